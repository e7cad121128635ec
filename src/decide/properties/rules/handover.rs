//! What must never be decided in a handover.

use super::{Checked, nobody, rule};
use crate::clock::Time;
use crate::decide::PeerState;
use crate::decide::properties::known::{Known, contains, same_history};
use crate::observe::info::ServerRole;
use crate::report::{Grant, Handover, Intent, LinkState, Report, Role};
use crate::topology::{Epoch, Ordinal, ServerAt};

/// The own handover grant, if one is published.
fn own<'a>(known: &Known<'a>) -> Option<(&'a Grant, &'a Handover)> {
    let grant = known.before.grant.as_ref()?;
    Some((grant, grant.handover.as_ref()?))
}

fn declined(known: &Known<'_>, grant: &Grant) -> bool {
    let target = known.report(grant.target);
    target.is_some_and(|t| t.authority.closed >= Some(grant.epoch))
}

/// Somebody still wants the role to go there.
fn asked(known: &Known<'_>, grant: &Grant) -> bool {
    let Some(wish) = &known.world.snapshot.wish else {
        return false;
    };
    let open = |report: &Report| {
        let ordinal = report.ordinal;
        ordinal != known.own.ordinal
            && ordinal != grant.target
            && !wish.tried.contains(&ordinal)
            && fit(&known.own, report).is_ok()
    };
    let now = known.world.snapshot.started_at;
    let late = wish
        .patience
        .is_some_and(|(epoch, until)| epoch == grant.epoch && until <= now);
    let writable = known.server().role == ServerRole::Master;
    let gives_up = late && writable && wish.to.is_none();
    !(wish.tried.contains(&grant.target) || gives_up && known.all.iter().any(open))
}

/// From the moment it counts only the target ends it.
pub(super) fn is_over(known: &Known<'_>, grant: &Grant) -> Checked {
    let took = known.report(grant.target).is_some_and(|target| {
        target.role == Role::Master
            && target.epoch == Some(grant.epoch)
            && target.authority.epoch == target.epoch
    });
    let newer = known.newest() > Some(grant.epoch);
    let open = grant.handover.is_some() && grant.counts;
    rule(
        !open || declined(known, grant) || took || newer,
        "I4: ended by another than its target",
    )
}

/// A first grant, or one to the next target, or the one that takes the role back.
pub(super) fn publish(known: &Known<'_>, grant: &Grant, handover: &Handover) -> Checked {
    let own_report = &known.own;
    rule(handover.run_id == known.server().run_id, "I4: another run")?;
    rule(!handover.cancelled, "begins with its end")?;
    if let Some((before, _)) = own(known) {
        is_over(known, before)?;
    }
    let holds = known.world.learnt().held.is_some();
    if grant.target == own_report.ordinal {
        let fenced = own_report.role == Role::Fenced;
        rule(fenced && own(known).is_some(), "takes back what it has")?;
        return rule(!own_report.terminating, "I7: is being stopped");
    }
    rule(holds || own(known).is_some(), "gives what it has not")?;
    let wish = known.world.snapshot.wish.as_ref();
    let wish = wish.ok_or("nobody asked for it")?;
    let named = wish.to.is_none_or(|to| to == grant.target);
    rule(named && !wish.tried.contains(&grant.target), "to another")?;
    let target = known.report(grant.target).ok_or("I1: no answer")?;
    fit(own_report, target)
}

fn fit(own: &Report, target: &Report) -> Checked {
    rule(!target.terminating, "I7: to who is being stopped")?;
    rule(!target.forgets, "I2: to who cannot remember")?;
    let linked = target.role == Role::Replica && target.replication.link == Some(LinkState::Up);
    rule(linked && !target.unfinished, "I3: to who has no whole data")?;
    let same = same_history(own, target) && own.epoch == target.epoch;
    rule(same, "I3: to another history")?;
    let attached = own.replication.replicas.iter().any(|replica| {
        target.announced == Some((replica.host.clone(), replica.port)) && replica.state == "online"
    });
    rule(attached, "to who is not attached")
}

/// A change of the grant that is published.
pub(super) fn change(known: &Known<'_>, before: &Grant, grant: &Grant) -> Checked {
    let (Some(old), Some(new)) = (&before.handover, &grant.handover) else {
        return Err("another grant of one epoch".to_owned());
    };
    if new.cancelled && !old.cancelled {
        let writable = known.server().role == ServerRole::Master;
        rule(writable, "I4: called off after the fence")?;
        return rule(
            !asked(known, grant) && before.counts,
            "called off for nothing",
        );
    }
    let counts = Grant {
        counts: true,
        ..before.clone()
    };
    rule(
        counts == *grant && !before.counts,
        "another grant of one epoch",
    )?;
    let shown = known
        .all
        .iter()
        .all(|r| r.forgets || r.epoch_seen == Some(grant.epoch));
    rule(shown, "I2: counts before it was seen")?;
    if grant.target == known.own.ordinal {
        return rule(known.own.role == Role::Fenced, "takes back what it has");
    }
    rule(asked(known, grant), "nobody asks for it any more")?;
    let target = known.report(grant.target).ok_or("I1: no answer")?;
    fit(&known.own, target)
}

/// A master that hands over keeps the role under a new epoch.
pub(super) fn keep(known: &Known<'_>, grant: &Grant) -> Checked {
    rule(
        known.newest() > Some(grant.epoch) || !grant.counts || declined(known, grant),
        "I4: keeps what it gave",
    )?;
    rule(
        known.server().role == ServerRole::Master,
        "I2: it is fenced",
    )
}

/// The local server stops taking writes for a target.
pub(super) fn stop(known: &Known<'_>, there: ServerAt, run_id: &str, near: bool) -> Checked {
    let (grant, handover) = own(known).ok_or("no handover")?;
    let server = known.server();
    let holds = known.world.learnt().held.is_some();
    rule(
        server.role == ServerRole::Master && holds,
        "I2: not the master",
    )?;
    rule(handover.run_id == server.run_id, "I4: another run")?;
    rule(
        grant.counts && !handover.cancelled,
        "I4: stops writes too early",
    )?;
    rule(asked(known, grant), "stops writes for nobody")?;
    rule(
        known.newest() <= Some(grant.epoch),
        "I2: a newer one is visible",
    )?;
    let target = known.report(grant.target).ok_or("I1: no answer")?;
    let armed = target.authority.intent.as_ref();
    let armed = armed.filter(|i| i.epoch == grant.epoch && i.armed.is_some());
    rule(armed.is_some(), "I4: the target is not ready")?;
    let run = target.server.as_ref().map(|s| s.run_id.as_str());
    rule(run == Some(run_id), "I9: another server")?;
    let address = known.world.snapshot.peers[&grant.target].server;
    rule(address == Some(there), "I9: another address")?;
    let feeds = !server.version.starts_with("redis 6");
    rule(feeds == near, "the way of another version")
}

/// A raised setting stands only while writes are stopped for a handover.
pub(super) fn lower(known: &Known<'_>) -> Checked {
    rule(known.world.learnt().raised.is_some(), "lowers nothing")?;
    let master = known.server().role == ServerRole::Master;
    let newest = known.newest();
    let going_on = own(known).is_some_and(|(g, h)| !h.cancelled && Some(g.epoch) == newest);
    rule(!(master && going_on), "writes come back too early")
}

/// The target gets ready.
pub(super) fn arm(known: &Known<'_>, intent: &Intent, there: ServerAt) -> Checked {
    let address = |from| known.world.snapshot.peers.get(&from)?.server;
    let from = intent.armed.as_ref().map(|a| a.from);
    rule(from.and_then(address) == Some(there), "I9: another address")?;
    let armed = intent.armed.as_ref().ok_or("armed for nothing")?;
    let grant = known
        .counted_grant(intent.epoch)
        .ok_or("I2: no grant that counts")?;
    let same = grant.handover.as_ref() == Some(&armed.handover);
    rule(
        same && grant.epoch.granter == armed.from,
        "another handover",
    )?;
    rule(armed.from != known.own.ordinal, "I9: from itself")?;
    rule(!armed.handover.cancelled, "it was called off")?;
    rule(
        known.newest() <= Some(intent.epoch),
        "I2: a newer one is visible",
    )?;
    rule(
        known.before.closed < Some(intent.epoch),
        "I5: a grant is used twice",
    )?;
    rule(intent.run_id == known.server().run_id, "I2: another run")?;
    rule(!known.own.terminating, "I7: is being stopped")?;
    rule(!known.own.unfinished, "I3: between two histories")?;
    let granter = known.report(armed.from).ok_or("I1: no answer")?;
    let run = granter.server.as_ref().map(|s| &s.run_id);
    rule(run == Some(&armed.handover.run_id), "I4: another run there")?;
    let linked = known.own.replication.link == Some(LinkState::Up);
    rule(granter.role != Role::Master || linked, "without a link")
}

/// It was promoted from where both had the same, in the run that was told, and nobody was granted more.
pub(super) fn confirm(known: &Known<'_>) -> Checked {
    let intent = known.before.intent.as_ref().ok_or("without an intent")?;
    let armed = intent.armed.as_ref().ok_or("not armed")?;
    let even = armed
        .even
        .as_ref()
        .ok_or("I4: nothing shows that it had everything")?;
    rule(
        known.newest() <= Some(intent.epoch),
        "I2: a newer one is visible",
    )?;
    let server = known.server();
    rule(server.role == ServerRole::Master, "it was not promoted")?;
    rule(server.run_id == intent.run_id, "I5: another run")?;
    let from_there = server.id2.as_ref() == Some(&even.id) && server.id2_end == Some(even.offset);
    rule(from_there, "I4: promoted from elsewhere")
}

/// It looks at both servers until it may be promoted.
pub(super) fn take_over(known: &Known<'_>, there: ServerAt, deadline: Time) -> Checked {
    let intent = known.before.intent.as_ref().ok_or("without an intent")?;
    let armed = intent.armed.as_ref().ok_or("not armed")?;
    let soon = deadline.since(known.world.snapshot.started_at).as_secs() <= 10;
    rule(soon, "I2: no deadline")?;
    rule(
        known.newest() <= Some(intent.epoch),
        "I2: a newer one is visible",
    )?;
    rule(
        !known.own.terminating || known.own.role == Role::Master,
        "I7: is being stopped",
    )?;
    let peer = &known.world.snapshot.peers[&armed.from];
    rule(peer.server == Some(there), "I9: another address")?;
    let run_id = &armed.handover.run_id;
    match &peer.state {
        PeerState::Answered(granter) => {
            let grant = granter.authority.grant.as_ref();
            let grant = grant.filter(|g| g.epoch == intent.epoch && g.target == known.own.ordinal);
            let grant = grant.ok_or("I2: it is granted no more")?;
            let off = grant.handover.as_ref().is_none_or(|h| h.cancelled);
            rule(!(off && granter.role == Role::Master), "it was called off")?;
            let run = granter.server.as_ref().map(|s| &s.run_id);
            rule(run == Some(run_id), "I4: another run there")
        }
        PeerState::ServerOnly(server) => rule(server.run_id == *run_id, "I4: another run there"),
        PeerState::Missing | PeerState::Silent(_) => Err("I1: cannot be asked".to_owned()),
    }
}

/// Promoted without the server that hands over: only when that is gone for certain, and nobody who can
/// be asked has more.
pub(super) fn without_server(known: &Known<'_>, granter: Ordinal) -> Checked {
    let granter = known.report(granter).ok_or("I1: no answer")?;
    rule(granter.gone, "I4: its server is not gone")?;
    rule(contains(&known.own, granter), "I3: it had more")?;
    let more = known.others().find(|r| {
        same_history(r, &known.own) && r.replication.offset > known.own.replication.offset
    });
    nobody(more, "I3: has more")
}

/// A server that accepts writes is not left so by declining.
pub(super) fn close(known: &Known<'_>, epoch: Epoch) -> Checked {
    let armed = known.before.intent.as_ref();
    let armed = armed.is_some_and(|i| i.epoch == epoch && i.armed.is_some());
    rule(
        !(armed && known.server().role == ServerRole::Master),
        "I2: leaves a server that accepts writes",
    )
}
