//! The rules: what must never be decided, whatever is [`Known`].

mod handover;

use super::known::{Known, complete, contains, knows_history, loaded, named};
use crate::decide::{Action, Decision, Local, Silence};
use crate::observe::info::ServerRole;
use crate::report::{Grant, Report, Role};
use crate::topology::{Epoch, Ordinal};

type Checked = Result<(), String>;

fn rule(holds: bool, otherwise: impl Into<String>) -> Checked {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// A rule that some member breaks.
fn nobody(broken_by: Option<&Report>, otherwise: &str) -> Checked {
    broken_by.map_or(Ok(()), |report| Err(format!("{}: {otherwise}", report.pod)))
}

/// Fails when the decision breaks a rule.
pub(super) fn check(known: &Known<'_>, decision: &Decision) -> Checked {
    rule(!decision.reasons.is_empty(), "I8: nothing is said")?;
    match &decision.action {
        Action::Wait => Ok(()),
        Action::Claim(_) | Action::FenceThere { .. } => {
            Err("the Lease is not the authority here".to_owned())
        }
        Action::Close(epoch) => handover::close(known, *epoch),
        Action::FenceWhenNear { there, run_id } => handover::stop(known, *there, run_id, true),
        Action::FenceWhenEven { there, run_id } => handover::stop(known, *there, run_id, false),
        Action::Lower => handover::lower(known),
        Action::Arm { intent, there } => handover::arm(known, intent, *there),
        Action::Confirm => handover::confirm(known),
        Action::TakeOver { there, deadline } => handover::take_over(known, *there, *deadline),
        Action::Withdraw => {
            let grant = known.before.grant.as_ref();
            handover::is_over(known, grant.ok_or("withdraws no grant")?)
        }
        Action::Fence => fence(known),
        Action::Unfence {
            epoch,
            run_id,
            deadline,
        } => {
            let now = known.world.snapshot.started_at;
            let soon = *deadline > now && deadline.since(now).as_secs() <= 10;
            rule(soon, "I2: no deadline")?;
            rule(*run_id == known.server().run_id, "I2: another run")?;
            unfence(known, *epoch)
        }
        Action::Adopt { epoch, run_id } => {
            rule(*run_id == known.server().run_id, "I2: another run")?;
            adopt(known, *epoch)
        }
        Action::Follow {
            master,
            epoch,
            host,
            port,
            lost_tail: _,
        } => {
            let target = &known.world.snapshot.peers[master].target;
            let there = *target == Some((host.clone(), *port));
            rule(there, "I9: another address")?;
            follow(known, *master, *epoch)
        }
        Action::Publish(grant) => match &known.before.grant {
            Some(before) if before.epoch == grant.epoch => count(known, before, grant),
            Some(_) | None => publish(known, grant),
        },
    }
}

/// A master is fenced for something newer, or for its own unknown promotion, and for nothing else.
fn fence(known: &Known<'_>) -> Checked {
    if let Local::Unreachable { silence, .. } = &known.world.snapshot.local {
        let intent = known.before.intent.as_ref();
        let unknown = intent.is_some_and(|intent| intent.armed.is_none());
        let may_go_on = *silence != Silence::Gone;
        return rule(unknown && may_go_on, "fences what may be a replica");
    }
    let writable = known.server().role == ServerRole::Master;
    rule(writable, "fences what accepts no writes")?;
    match (known.world.learnt().held, &known.before.intent) {
        (Some(held), None) => {
            let given = known.before.grant.as_ref().filter(|g| g.handover.is_some());
            let own = given.map(|g| g.epoch).max(Some(held.epoch));
            rule(known.newest() > own, "I6: fences the master for nothing")
        }
        (Some(_) | None, _) => Ok(()),
    }
}

fn unfence(known: &Known<'_>, epoch: Epoch) -> Checked {
    let grant = known
        .counted_grant(epoch)
        .ok_or("I2: no grant that counts")?;
    rule(known.newest() <= Some(epoch), "I2: a newer one is visible")?;
    rule(!known.own.terminating, "I7: is being stopped")?;
    let armed = known
        .before
        .intent
        .as_ref()
        .is_some_and(|i| i.armed.is_some());
    let told = known.before.intent.as_ref().filter(|i| i.armed.is_none());
    let used = [
        known.before.closed,
        known.before.held.as_ref().map(|h| h.epoch),
        told.map(|i| i.epoch),
    ];
    let fresh = used.iter().all(|used| *used < Some(epoch));
    rule(fresh, "I5: a grant is used twice")?;
    if grant.by_hand {
        return Ok(());
    }
    if grant.handover.is_some() && grant.epoch.granter != known.own.ordinal {
        rule(armed, "I4: not armed")?;
        handover::without_server(known, grant.epoch.granter)?;
    }
    rule(!known.own.unfinished, "I3: between two histories")?;
    nobody(
        known.loses_by(&known.own),
        "I3: has what this member has not",
    )?;
    rule(!known.shows_more(&known.own), "I3: a server shows more")?;
    let leads = |r: &&Report| {
        r.role == Role::Master
            && r.epoch.is_some()
            && r.epoch == r.authority.epoch
            && named(r.authority.holder.as_ref()) == Some(r.ordinal)
    };
    nobody(known.others().find(leads), "I2: is the master")
}

fn adopt(known: &Known<'_>, epoch: Epoch) -> Checked {
    let own = &known.own;
    let given = known.before.grant.as_ref();
    if let Some(grant) = given.filter(|g| g.handover.is_some())
        && known.world.learnt().held.is_some()
    {
        rule(known.newest() < Some(epoch), "I2: the epoch is not new")?;
        return handover::keep(known, grant);
    }
    rule(known.writable() == [own.ordinal], "I2: two masters")?;
    rule(!own.terminating, "I7: is being stopped")?;
    rule(!own.unfinished, "I3: between two histories")?;
    rule(known.newest() < Some(epoch), "I2: the epoch is not new")?;
    let peers = known.world.snapshot.peers.len();
    let expected = known.world.policy.replicas.unwrap_or(0) as usize;
    let asked = known.others().filter(|r| loaded(r)).count();
    let all_asked = asked == peers && asked + 1 >= expected;
    rule(all_asked, "I1: not everybody was asked")?;
    let learnt = known.world.learnt().epoch;
    let newest = known.others().map(|r| r.epoch).max().flatten().max(learnt);
    let lost = known
        .others()
        .find(|r| complete(r) && known.label(r) >= newest && !contains(own, r));
    nobody(lost, "I3: has what this member has not")
}

fn follow(known: &Known<'_>, master: Ordinal, epoch: Epoch) -> Checked {
    let own = &known.own;
    rule(master != own.ordinal, "I9: follows itself")?;
    let report = known.report(master).ok_or("I9: does not answer")?;
    let verified = known.world.snapshot.peers[&master].verified_run.as_ref();
    let run = report.server.as_ref().map(|s| &s.run_id);
    rule(run.is_some() && run == verified, "I9: not verified")?;
    rule(
        run != Some(&known.server().run_id),
        "I9: follows its own server",
    )?;
    let holder = named(report.authority.holder.as_ref());
    let leads = report.role == Role::Master && report.epoch == Some(epoch);
    let granted = holder == Some(master) && report.authority.epoch == Some(epoch);
    rule(leads && granted, "I2: follows who has no grant")?;
    let writable = known.server().role == ServerRole::Master;
    rule(!writable, "I2: follows while it accepts writes")?;
    rule(
        known.before.epoch_seen <= Some(epoch),
        "I2: obeys an older epoch",
    )?;
    if own.empty {
        return Ok(());
    }
    rule(own.epoch <= Some(epoch), "I3: older data replaces newer")?;
    let apart = own.epoch == Some(epoch) && !own.unfinished && !knows_history(report, own);
    rule(!apart, "I3: two histories of one epoch")
}

fn publish(known: &Known<'_>, grant: &Grant) -> Checked {
    let own = &known.own;
    let its_own = !grant.counts && grant.epoch.granter == own.ordinal;
    rule(its_own, "I2: not its own, or counts at once")?;
    rule(
        known.newest() < Some(grant.epoch),
        "I2: the epoch is not new",
    )?;
    if let Some(handover) = &grant.handover {
        return handover::publish(known, grant, handover);
    }
    if let Some(before) = &known.before.grant
        && !grant.by_hand
    {
        handover::is_over(known, before)?;
    }
    let target = known.report(grant.target).ok_or("I1: no answer")?;
    let able = loaded(target) && !target.terminating;
    rule(able, "I7: to who cannot take it")?;
    if grant.by_hand {
        let asked = known.world.snapshot.resolve == Some(grant.target);
        return rule(asked, "nobody asked for it");
    }
    let granter = own.ordinal == Ordinal::ZERO && !own.terminating;
    rule(granter, "I2: not the granter")?;
    choice(known, target)
}

fn count(known: &Known<'_>, before: &Grant, grant: &Grant) -> Checked {
    if before.handover.is_some() {
        return handover::change(known, before, grant);
    }
    let same = Grant {
        counts: true,
        ..before.clone()
    };
    let first_time = same == *grant && !before.counts;
    rule(first_time, "another grant of one epoch")?;
    let shown = known.all.iter().all(|r| r.epoch_seen == Some(grant.epoch));
    rule(shown, "I2: counts before it was seen")?;
    let target = known.report(grant.target).ok_or("I1: no answer")?;
    if grant.by_hand {
        return Ok(());
    }
    rule(!target.terminating, "I7: to who is being stopped")?;
    choice(known, target)
}

/// Whom pod-0 may choose by itself.
fn choice(known: &Known<'_>, target: &Report) -> Checked {
    rule(known.unknown().is_empty(), "I1: not knowing taken for a no")?;
    rule(known.writable().is_empty(), "I2: beside a master")?;
    let masters = known.newest_masters();
    let answers = |master: &Ordinal| known.report(*master).is_some_and(loaded);
    rule(
        masters.iter().all(answers),
        "I1: the newest master is not waited for",
    )?;
    rule(loaded(target) && !target.unfinished, "I3: no whole data")?;
    nobody(known.loses_by(target), "I3: has what the target has not")?;
    rule(!known.shows_more(target), "I3: a server shows more")?;
    let left_out = known.others().filter(|r| loaded(r)).count() < known.world.snapshot.peers.len();
    let first_boot = known.all.iter().all(|r| r.empty);
    let newest = known.all.iter().filter_map(|r| r.last_epoch).max();
    let newest_data = target.epoch.is_some() && target.epoch >= newest;
    rule(
        !left_out || first_boot || newest_data,
        "I3: older than what may be elsewhere",
    )?;
    let label = known.label(target);
    let mut all = known.all.iter();
    let cut =
        all.find(|r| loaded(r) && r.unfinished && !r.empty && (target.empty || r.epoch > label));
    nobody(cut, "I3: may hold the only copy")?;
    let mut all = known.all.iter();
    let recorded = all.find(|r| !loaded(r) && !r.unfinished && r.epoch > label);
    nobody(recorded, "I3: is recorded as newer")?;
    let mut all = known.all.iter();
    let apart = all.find(|r| {
        let same_age = complete(r) && known.label(r) == label;
        same_age && !contains(target, r) && !contains(r, target)
    });
    let apart = apart.filter(|_| !masters.contains(&target.ordinal));
    nobody(apart, "I3: two histories of one epoch")
}
