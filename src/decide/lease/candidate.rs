//! Who takes a Lease that nobody holds.

use super::{Sight, claim, holding, members, quiet};
use crate::authority::lease::Says;
use crate::decide::adopt::adoptable;
use crate::decide::choice::{choose, feeds, visible_loss_but};
use crate::decide::history::{Relation, relation};
use crate::decide::waiting::{Waiting, has_the_newest, wait_for_members};
use crate::decide::{
    Decision, Local, PeerState, Reason, View, answers_for_its_data, ordinal_of, wait,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{LinkState, Report, Role};
use crate::topology::{Epoch, Ordinal};

/// Another member, or somebody else, is the holder; or nobody is.
pub(super) fn step(view: &View<'_>, sight: &Sight, says: &Says) -> Decision {
    let Some(holder) = &says.holder else {
        return match still_gives(view, sight, says) {
            Some(giver) => wait(Reason::LeaseHeld {
                holder: view.pod(giver),
                known: true,
            }),
            None => vacant(view, sight, says.epoch),
        };
    };
    if has_run_out(view, sight) {
        return vacant(view, sight, says.epoch);
    }
    if view.granted_master().is_some() {
        return quiet();
    }
    let known = ordinal_of(&holder.pod).is_some_and(|o| view.pod(o) == holder.pod);
    wait(Reason::LeaseHeld {
        holder: holder.pod.clone(),
        known,
    })
}

/// Whoever offered the role to a member that did not want it goes on until it sees that, or to its
/// deadline.
fn still_gives(view: &View<'_>, sight: &Sight, says: &Says) -> Option<Ordinal> {
    let giver = says.handover.as_ref().and(says.epoch)?.granter;
    let stopped = view.report(giver).is_some_and(|r| {
        let answers = answers_for_its_data(r.role) && r.role != Role::Master;
        r.gone || answers && !r.forgets
    });
    let over = stopped || giver == view.snapshot.me || has_run_out(view, sight);
    (!over).then_some(giver)
}

/// There is no Lease: a first boot, or somebody deleted it.
pub(super) fn absent(view: &View<'_>, sight: &Sight) -> Decision {
    let first_boot = view.reports().all(|r| r.empty && r.epoch_seen.is_none());
    if holds(view).is_some() || first_boot || has_run_out(view, sight) {
        return vacant(view, sight, None);
    }
    if view.granted_master().is_some() {
        return quiet();
    }
    wait(Reason::NoLease)
}

/// Somebody wrote into it what cannot be understood: it is replaced as one that has run out.
pub(super) fn unreadable(view: &View<'_>, sight: &Sight, why: &str, newer: bool) -> Decision {
    // Also the holder keeps what it has until its deadline only: it may say that somebody else has it.
    if has_run_out(view, sight) && !newer {
        return vacant(view, sight, None);
    }
    wait(Reason::LeaseUnread(why.to_owned()))
}

/// Whether this member has itself seen it unchanged for the whole duration.
pub(super) fn has_run_out(view: &View<'_>, sight: &Sight) -> bool {
    sight
        .unchanged
        .is_some_and(|seen| seen.read_at.since(seen.since) >= sight.duration(&view.policy.lease))
}

/// The epoch of a role that is still held here: the server accepts writes, in time.
fn holds(view: &View<'_>) -> Option<Epoch> {
    let held = view.memory.held.as_ref()?;
    match &view.snapshot.local {
        Local::Up(server) if server.role == ServerRole::Master => Some(held.epoch),
        Local::Up(_) | Local::Loading { .. } | Local::Unreachable { .. } => None,
    }
}

/// Nobody holds it: this member takes it if its data is the best. `used` is the epoch of the Lease.
pub(super) fn vacant(view: &View<'_>, sight: &Sight, used: Option<Epoch>) -> Decision {
    // It takes the Lease itself, or stops at its deadline.
    if view
        .granted_master()
        .is_some_and(|m| m.ordinal != view.snapshot.me)
    {
        return quiet();
    }
    match candidate(view, sight, used) {
        Ok(Taking {
            epoch,
            why,
            at_risk,
        }) => {
            let says = Says {
                holder: Some(sight.me.clone()),
                epoch: Some(epoch),
                renewed: true,
                members: members(view, sight),
                handover: None,
                by_hand: false,
                duration: None,
            };
            let target = view.snapshot.me;
            claim(
                sight,
                says,
                Reason::Grants {
                    epoch,
                    target,
                    why,
                    at_risk,
                },
            )
        }
        Err(reason) => yields(sight, reason),
    }
}

/// Another one is better: who holds the Lease without a use for it gives it up.
fn yields(sight: &Sight, reason: Reason) -> Decision {
    let (Reason::BetterCandidate(_) | Reason::UngrantedPeer(_), Some(says)) =
        (&reason, sight.says())
    else {
        return wait(reason);
    };
    if says.holder.as_ref() != Some(&sight.me) {
        return wait(reason);
    }
    holding::give_up(sight, says, reason)
}

struct Taking {
    epoch: Epoch,
    why: String,
    /// Members were left out that may have had more.
    at_risk: bool,
}

fn candidate(view: &View<'_>, sight: &Sight, used: Option<Epoch>) -> Result<Taking, Reason> {
    let now = view.snapshot.started_at;
    let server = match &view.snapshot.local {
        Local::Up(server) => server,
        Local::Loading { .. } => return Err(Reason::ServerLoading),
        Local::Unreachable { why, .. } => return Err(Reason::ServerUnreachable(why.clone())),
    };
    if let Some(held) = holds(view).filter(|held| Some(*held) >= used) {
        // It was given up, edited or deleted by somebody else while the role is held here.
        let why = "it is the master".to_owned();
        return Ok(Taking {
            epoch: held,
            why,
            at_risk: false,
        });
    }
    if view.snapshot.terminating {
        return Err(Reason::Terminating);
    }
    if view.own.forgets {
        let why = "this member cannot write its state file".to_owned();
        return Err(Reason::NobodyToChoose(why));
    }
    if sight
        .promises
        .binds(now, sight.duration(&view.policy.lease))
    {
        return Err(Reason::Promised);
    }
    let other = |r: &&Report| r.authority.kind != view.own.authority.kind;
    if let Some(other) = view.reports().find(other) {
        return Err(Reason::OtherAuthority(other.ordinal));
    }
    let epoch = Epoch::after(view.newest_epoch().max(used), view.snapshot.me);
    if holds(view).is_some() {
        // What it offered came back before it had stopped.
        let why = "it still is the master".to_owned();
        return Ok(Taking {
            epoch,
            why,
            at_risk: false,
        });
    }
    if server.role == ServerRole::Master {
        return match adoptable(view) {
            Ok(_) => Ok(Taking {
                epoch,
                why: "it was made master by hand and goes on from the newest history".to_owned(),
                at_risk: false,
            }),
            Err(why) => Err(Reason::UngrantedMaster(why)),
        };
    }
    recorded(sight)?;
    beside_masters(view, server)?;
    let left_out = wait_for_members(view, &waited_for(view, sight))?;
    has_seen_it(view, sight)?;
    let (target, mut why) = choose(view)?;
    let chosen = view.report(target);
    if let Some(loss) =
        chosen.and_then(|report| visible_loss_but(view, report, feeds(view, report)))
    {
        return Err(Reason::NobodyToChoose(format!(
            "{loss}; bring it back, or decide with: podzero resolve --keep POD"
        )));
    }
    has_the_newest(view, chosen, &left_out)?;
    if target != view.snapshot.me && !in_its_place(view, sight, chosen) {
        return Err(Reason::BetterCandidate(target));
    }
    if !left_out.is_empty() {
        why = format!(
            "{why}; chosen without {}, whose writes may be lost",
            left_out.join(", ")
        );
    }
    Ok(Taking {
        epoch,
        why,
        at_risk: !left_out.is_empty(),
    })
}

/// Only those that the holder has recorded are asked for promises, so only they may take the role.
fn recorded(sight: &Sight) -> Result<(), Reason> {
    let members = sight.says().map(|says| &says.members);
    let known = members.is_none_or(|members| members.is_empty() || members.contains(&sight.me.pod));
    if known {
        Ok(())
    } else {
        Err(Reason::NotRecorded)
    }
}

/// Whoever accepts writes without a sidecar, and with data that is not ours, cannot be taken over from.
fn beside_masters(view: &View<'_>, server: &ServerInfo) -> Result<(), Reason> {
    for (ordinal, peer) in &view.snapshot.peers {
        match &peer.state {
            PeerState::Answered(report) if report.is_hands_master() => {
                return Err(Reason::UngrantedPeer(*ordinal));
            }
            PeerState::ServerOnly(other)
                if other.role == ServerRole::Master
                    && (other.id.is_none() || other.id != server.id) =>
            {
                return Err(Reason::MasterWithoutSidecar(*ordinal));
            }
            PeerState::Answered(_)
            | PeerState::ServerOnly(_)
            | PeerState::Missing
            | PeerState::Silent(_) => {}
        }
    }
    Ok(())
}

/// Whom to wait for, and how long. In a set that had a master a moment ago nobody is waited for longer
/// than for the master itself; in one that starts from nothing the pods come one after the other.
fn waited_for(view: &View<'_>, sight: &Sight) -> Waiting {
    let recorded = sight.says().map(|says| says.members.iter());
    let recorded: Vec<Ordinal> = recorded
        .into_iter()
        .flatten()
        .filter_map(|pod| ordinal_of(pod))
        .collect();
    let holder = sight.says().and_then(|says| says.holder.as_ref());
    let holder = holder.and_then(|holder| ordinal_of(&holder.pod));
    Waiting {
        limit: if view.snapshot.had_master {
            view.policy.lease.duration
        } else {
            view.policy.peer_wait
        },
        members: (!recorded.is_empty()).then_some(recorded),
        gone_too: !view.snapshot.had_master,
        // The Lease ran out: its holder was waited for in that.
        over: holder.filter(|_| view.snapshot.had_master && has_run_out(view, sight)),
    }
}

/// What a member says is final when it has no link to the master any more, or has seen the same Lease.
fn has_seen_it(view: &View<'_>, sight: &Sight) -> Result<(), Reason> {
    let waited = sight.unchanged.map(|seen| seen.read_at.since(seen.since));
    if waited >= Some(view.policy.lease.duration) {
        return Ok(());
    }
    // A holder whose server was started again: the Lease is the same as when their links were up.
    let ours = sight.is_ours();
    let seen = |r: &Report| {
        r.ordinal == view.snapshot.me
            || !answers_for_its_data(r.role)
            || r.replication.link != Some(LinkState::Up)
            || !ours && r.authority.lease.is_some() && r.authority.lease.as_ref() == sight.version()
    };
    match view.reports().find(|r| !seen(r)) {
        Some(other) => Err(Reason::WaitingForMembers(format!(
            "{} has not seen that the Lease is free",
            other.pod
        ))),
        None => Ok(()),
    }
}

/// The best one has not taken it for a while, and has nothing that this member lacks.
fn in_its_place(view: &View<'_>, sight: &Sight, best: Option<&Report>) -> bool {
    let whole = !view.memory.unfinished && !view.own.empty && !view.own.is_bare();
    let as_much = |best: &&Report| relation(view.own, best) == Relation::Contains;
    let Some(best) = best.filter(|best| whole && as_much(best)) else {
        return false;
    };
    let before = view
        .reports()
        .filter(|r| r.ordinal < view.snapshot.me && r.ordinal != best.ordinal && !r.unfinished)
        .count();
    let rank = u32::try_from(before + 1).unwrap_or(u32::MAX);
    let waited = sight.unchanged.map(|seen| seen.read_at.since(seen.since));
    waited >= Some(2 * rank * view.policy.lease.retry)
}
