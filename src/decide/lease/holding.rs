//! What the holder does with the Lease.

use std::time::Duration;

use super::{Sight, candidate, claim, members, quiet};
use crate::authority::lease::Says;
use crate::clock::Time;
use crate::decide::{
    Action, Decision, Local, Reason, Silence, View, Wish, answers_for_its_data, handover, wait,
};
use crate::observe::info::ServerRole;
use crate::report::{LinkState, Report, Role};
use crate::topology::{Epoch, Ordinal};

/// The Lease is ours.
pub(super) fn step(view: &View<'_>, sight: &Sight) -> Decision {
    let Some(says) = sight.says() else {
        return quiet();
    };
    if let (Some(granted), false) = (says.epoch, says.renewed) {
        return taken(view, sight, says, granted);
    }
    let Some(epoch) = says.epoch else {
        return candidate::vacant(view, sight, None);
    };
    let held = view.memory.held.as_ref().map(|held| held.epoch);
    let used_up = view.memory.closed >= Some(epoch);
    if let Some(decision) = declined(view, sight, says, epoch).filter(|_| used_up) {
        return decision;
    }
    match &view.snapshot.local {
        // The role was held under another authority meanwhile.
        Local::Up(server) if server.role == ServerRole::Master && held > Some(epoch) => {
            candidate::vacant(view, sight, Some(epoch))
        }
        Local::Up(server) if server.role == ServerRole::Master && held == Some(epoch) => {
            let begun = begin(view, sight);
            match begun {
                Some(begun) if begun.action != Action::Wait => begun,
                begun => {
                    let mut renewed = renew(view, sight, says);
                    renewed
                        .reasons
                        .extend(begun.into_iter().flat_map(|b| b.reasons));
                    let failure = sight.leads.as_ref().and_then(|l| l.failure.clone());
                    renewed.reasons.extend(failure.map(Reason::ServiceNotLed));
                    renewed
                }
            }
        }
        // It is being promoted, or waits for what the master before it still has.
        Local::Up(server) if !used_up => {
            let holds = held.is_some() && server.role == ServerRole::Master;
            match hands_master(view).filter(|_| !says.by_hand && !holds) {
                Some(other) => give_up(sight, says, Reason::UngrantedPeer(other)),
                None => renew(view, sight, says),
            }
        }
        // The server was started again, or does not take the role: whoever is best takes it, under a
        // new epoch.
        Local::Up(_) => candidate::vacant(view, sight, Some(epoch)),
        Local::Unreachable {
            silence: Silence::Gone,
            ..
        } if somebody_else(view, says).is_some() => {
            let how = "its server is gone, and another member can take over".to_owned();
            give_up(sight, says, Reason::GrantEnds { epoch, how })
        }
        Local::Unreachable {
            silence: Silence::Refuses,
            ..
        } if never_led(view) && somebody_else(view, says).is_some() => {
            let how = "its server refuses podzero, and another member can take over".to_owned();
            give_up(sight, says, Reason::GrantEnds { epoch, how })
        }
        // One that runs a script takes no writes, and is the master again when it ends. One that refuses
        // the login may take them, and nobody can stop it.
        Local::Loading { .. }
        | Local::Unreachable {
            silence: Silence::Gone | Silence::Refuses,
            ..
        } => renew(view, sight, says),
        // Whoever hangs for longer than the Lease lasts loses it.
        Local::Unreachable {
            silence: Silence::Hangs,
            ..
        } => quiet(),
    }
}

/// What was offered is not wanted here: it goes back to whoever offered it, while that one accepts
/// writes, or may.
fn declined(view: &View<'_>, sight: &Sight, says: &Says, epoch: Epoch) -> Option<Decision> {
    says.handover.as_ref()?;
    let giver = epoch.granter;
    if giver == view.snapshot.me {
        return None;
    }
    let now = view.snapshot.started_at;
    let waited = sight.epoch_since.map(|since| now.since(since));
    let over = waited >= Some(sight.duration(&view.policy.lease));
    match view.report(giver) {
        Some(report) if report.role == Role::Master => {
            let why = "it was declined".to_owned();
            Some(give_up(sight, says, Reason::GrantRefused { epoch, why }))
        }
        Some(report) if report.gone || answers_for_its_data(report.role) => None,
        Some(_) | None if over => None,
        Some(_) | None => Some(wait(Reason::LeaseHeld {
            holder: view.pod(giver),
            known: true,
        })),
    }
}

/// A wish to hand the role over.
fn begin(view: &View<'_>, sight: &Sight) -> Option<Decision> {
    let wish = view.snapshot.wish.as_ref()?;
    if sight.failure.is_some() || view.memory.grant.is_some() {
        return None;
    }
    // New clients are led to the target first: so they find it the moment it is promoted.
    let late = view.snapshot.started_at.since(wish.since) >= LED;
    let to = chosen(view, sight);
    let Some(to) = to.filter(|_| sight.leads.is_some() && !late) else {
        return handover::begin(view, wish);
    };
    let answers = sight.leads.as_ref().is_some_and(|leads| leads.answers);
    if led(view, sight) != Some(to) || !answers {
        return Some(wait(Reason::Leading(to)));
    }
    let named = Wish {
        to: Some(to),
        ..wish.clone()
    };
    handover::begin(view, &named)
}

/// How long a handover waits for the Service to lead to its target.
const LED: Duration = Duration::from_secs(3);

/// The member that the Service leads to.
fn led(view: &View<'_>, sight: &Sight) -> Option<Ordinal> {
    let (pod, _) = sight.leads.as_ref()?.to.as_ref()?;
    view.reports().find(|r| r.pod == *pod).map(|r| r.ordinal)
}

/// The target of the handover that is wished for: the one that the Service leads to already, while it
/// can take the role.
fn chosen(view: &View<'_>, sight: &Sight) -> Option<Ordinal> {
    let wish = view.snapshot.wish.as_ref()?;
    if wish.to.is_none()
        && let Some(led) = led(view, sight).filter(|led| *led != view.snapshot.me)
    {
        let named = Wish {
            to: Some(led),
            ..wish.clone()
        };
        if let Ok(led) = handover::target(view, &named, None) {
            return Some(led);
        }
    }
    handover::target(view, wish, None).ok()
}

/// Whom the master's Service is to lead to, where that is this member's to say: the master, or the target
/// of the handover that is wished for.
pub fn leads_to(view: &View<'_>) -> Option<(Ordinal, Epoch)> {
    let sight = view.snapshot.authority.lease()?;
    let epoch = sight.says()?.epoch?;
    let held = view.memory.held.as_ref().map(|held| held.epoch);
    if !sight.is_ours() || held != Some(epoch) || !view.own.is_granted_master() {
        return None;
    }
    Some((chosen(view, sight).unwrap_or(view.snapshot.me), epoch))
}

/// Another member made us the holder: it counts once we have written it ourselves.
fn taken(view: &View<'_>, sight: &Sight, says: &Says, epoch: Epoch) -> Decision {
    let server = match &view.snapshot.local {
        Local::Up(server) => server,
        Local::Loading { .. } => return wait(Reason::ServerLoading),
        Local::Unreachable { why, .. } => return wait(Reason::ServerUnreachable(why.clone())),
    };
    let refuses = if server.role == ServerRole::Master && view.memory.held.is_some() {
        // It is the master, and goes on being it.
        None
    } else if view.snapshot.terminating {
        Some("this pod is being stopped".to_owned())
    } else if view.memory.unfinished && !says.by_hand {
        Some("the data here is between two histories".to_owned())
    } else if view.own.forgets {
        Some("the state file here cannot be written".to_owned())
    } else {
        None
    };
    if let Some(why) = refuses {
        return give_up(sight, says, Reason::GrantRefused { epoch, why });
    }
    let says = Says {
        renewed: true,
        ..says.clone()
    };
    claim(sight, says, Reason::Granted(epoch))
}

/// Writes the Lease again when it is time, and when there is another member that could take it.
fn renew(view: &View<'_>, sight: &Sight, says: &Says) -> Decision {
    let now = view.snapshot.started_at;
    let in_time = |(at, epoch): (Time, Epoch)| {
        now.since(at) < view.policy.lease.retry && Some(epoch) == says.epoch
    };
    let members = members(view, sight);
    let more = members.iter().any(|pod| !says.members.contains(pod));
    if sight.renewed.is_some_and(in_time) && !(more && sight.refused.is_none()) {
        return quiet();
    }
    let holds = view.memory.held.as_ref().map(|held| held.epoch) == says.epoch;
    let says = Says {
        members,
        // It is over once the role is held.
        handover: says.handover.clone().filter(|_| !holds),
        ..says.clone()
    };
    let reason = match says.epoch {
        Some(epoch) => Reason::Master(epoch),
        None => Reason::Terminating,
    };
    let mut decision = claim(sight, says, reason);
    // It is the usual, and no news.
    decision.reasons.clear();
    let trouble = sight.refused.clone().or_else(|| sight.failure.clone());
    decision.reasons.extend(trouble.map(Reason::LeaseUnwritten));
    decision
}

/// Nobody holds it from now on: whoever is best takes it. From whom the role was to come stays in it.
pub fn give_up(sight: &Sight, says: &Says, reason: Reason) -> Decision {
    let says = Says {
        holder: None,
        renewed: false,
        by_hand: false,
        ..says.clone()
    };
    claim(sight, says, reason)
}

/// A member that was made master by hand: what it has acknowledged since is not to be lost.
fn hands_master(view: &View<'_>) -> Option<Ordinal> {
    let other = |r: &&Report| r.ordinal != view.snapshot.me && r.is_hands_master();
    view.reports().find(other).map(|r| r.ordinal)
}

/// The role was granted, and the server never told to take it.
fn never_led(view: &View<'_>) -> bool {
    view.memory.held.is_none() && view.memory.intent.is_none()
}

/// A member that could take the role at once.
fn somebody_else<'a>(view: &View<'a>, says: &Says) -> Option<&'a Report> {
    view.reports().find(|r| {
        r.ordinal != view.snapshot.me
            && says.members.contains(&r.pod)
            && matches!(r.role, Role::Replica | Role::Fenced)
            && !r.unfinished
            && !r.terminating
            && !r.forgets
            && r.replication.link != Some(LinkState::Syncing)
            && r.epoch == view.own.epoch
    })
}
