//! The giving side: what the master publishes, and what becomes of it. Pure.

use super::choice::{away, target, unfit};
use crate::decide::lease::{Known, Sight, give_up, offer, take_back};
use crate::decide::{Action, Decision, Local, PeerState, Reason, View, Wish, act, wait};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Grant, Handover, Report, Role};
use crate::topology::{Epoch, Ordinal};

/// The first grant of a wish: only the granted master has a role to hand over.
pub fn begin(view: &View<'_>, wish: &Wish) -> Option<Decision> {
    let Local::Up(server) = &view.snapshot.local else {
        return None;
    };
    if !view.own.is_granted_master() || view.memory.intent.is_some() {
        return None;
    }
    Some(match target(view, wish, None) {
        Ok(target) => publish(view, wish, server, target),
        Err(why) => wait(Reason::NoTarget(why)),
    })
}

fn publish(view: &View<'_>, wish: &Wish, server: &ServerInfo, target: Ordinal) -> Decision {
    let grant = Grant {
        epoch: Epoch::after(view.newest_epoch(), view.snapshot.me),
        target,
        counts: false,
        by_hand: false,
        handover: Some(Handover {
            run_id: server.run_id.clone(),
            cancelled: false,
            away_from: away_from(view, wish, target),
        }),
    };
    let reason = Reason::HandingOver {
        from: view.snapshot.me,
        to: target,
    };
    match view.snapshot.authority.lease() {
        Some(sight) => offer(view, sight, &grant, reason),
        None => act(Action::Publish(grant), reason),
    }
}

/// A person who sends the role elsewhere wants it to stay away from home, until pod-0 is another;
/// wherever it goes from there.
fn away_from(view: &View<'_>, wish: &Wish, target: Ordinal) -> Option<String> {
    if target == Ordinal::ZERO {
        return None;
    }
    if !wish.stays {
        return away(view).cloned();
    }
    let now = match &view.snapshot.peers.get(&Ordinal::ZERO).map(|p| &p.state) {
        Some(PeerState::ServerOnly(server)) => Some(&server.run_id),
        _ => view
            .report(Ordinal::ZERO)
            .and_then(|r| Some(&r.server.as_ref()?.run_id)),
    };
    now.or_else(|| away(view)).cloned()
}

/// What becomes of our own handover.
pub fn pending(view: &View<'_>, grant: &Grant, handover: &Handover) -> Decision {
    let epoch = grant.epoch;
    let ends = |how: String| act(Action::Withdraw, Reason::GrantEnds { epoch, how });
    let under_way = Reason::HandingOver {
        from: view.snapshot.me,
        to: grant.target,
    };
    if let Some(newer) = view.newest_epoch().filter(|newest| *newest > epoch) {
        return ends(format!("epoch {newer} is newer"));
    }
    let target = view.report(grant.target);
    if target.is_some_and(|t| t.is_granted_master() && t.epoch == Some(epoch)) {
        return ends(format!("{} is the master", view.pod(grant.target)));
    }
    let to_the_target = |server| wait(is_taking(view, grant, server));
    let declined = target.is_some_and(|t| t.authority.closed >= Some(epoch));
    let server = match &view.snapshot.local {
        Local::Up(server) if server.run_id == handover.run_id => server,
        // Another run has forgotten what it acknowledged last: the role is not ours to give any more.
        Local::Up(_) if declined || !grant.counts => {
            return ends("the server here was started again".to_owned());
        }
        Local::Up(server) => return to_the_target(Some(server)),
        Local::Loading { .. } | Local::Unreachable { .. } => return to_the_target(None),
    };
    if matches!(server.role, ServerRole::Replica { .. }) && (declined || !grant.counts) {
        return ends("the server here was pointed elsewhere".to_owned());
    }
    let writable = server.role == ServerRole::Master;
    let other = view
        .reports()
        .find(|r| r.role == Role::Master && r.ordinal != view.snapshot.me);
    // With a Lease the target's own renewal decides, once it was looked at.
    let open = view.snapshot.authority.lease().is_none_or(|sight| {
        let says = sight.says().filter(|says| says.epoch == Some(epoch));
        says.map_or(sight.version().is_some(), |says| !says.renewed)
    });
    if let Some(other) = other.filter(|_| open && (declined || !grant.counts)) {
        // Made one by hand: it promises nothing, so that no grant can count beside it.
        let how = format!("{} accepts writes", other.pod);
        if !writable {
            return ends(how);
        }
        let epoch = Epoch::after(view.newest_epoch(), view.snapshot.me);
        let run_id = server.run_id.clone();
        let reason = Reason::GrantEnds { epoch, how };
        return match view.snapshot.authority.lease() {
            Some(sight) => take_back(view, sight, reason),
            None => act(Action::Adopt { epoch, run_id }, reason),
        };
    }
    if let Some(sight) = view.snapshot.authority.lease() {
        return in_the_lease(view, sight, server, grant, handover);
    }
    if declined && grant.target == view.snapshot.me {
        return ends("it was not taken back here".to_owned());
    }
    if target.is_some_and(|t| t.epoch >= Some(epoch)) {
        // It took the role, and lost it: what it wrote is newer than what is here.
        let how = format!("{} has led in it", view.pod(grant.target));
        return ends(how);
    }
    if declined {
        return next(view, server, grant);
    }
    if grant.counts {
        if gives_up(view, grant) && writable && !handover.cancelled {
            let cancelled = Handover {
                cancelled: true,
                ..handover.clone()
            };
            let grant = Grant {
                handover: Some(cancelled),
                ..grant.clone()
            };
            return act(Action::Publish(grant), under_way);
        }
        return to_the_target(Some(server));
    }
    let unfit = |target: Option<&Report>| target.is_none_or(|t| unfit(view, t).is_some());
    if grant.target != view.snapshot.me && (gives_up(view, grant) || unfit(target)) {
        return next(view, server, grant);
    }
    let unseen: Vec<_> = view
        .reports()
        // Who cannot remember can do nothing, and is not waited for.
        .filter(|r| r.epoch_seen != Some(epoch) && !r.forgets)
        .map(|r| r.pod.as_str())
        .collect();
    if unseen.is_empty() {
        let grant = Grant {
            counts: true,
            ..grant.clone()
        };
        return act(Action::Publish(grant), under_way);
    }
    let by = unseen.join(", ");
    Decision {
        action: Action::Wait,
        reasons: vec![under_way, Reason::GrantNotSeen { epoch, by }],
    }
}

/// What the giver waits for. Where nobody accepts writes, or it was called off, and whoever may have taken the
/// role cannot be asked, that may last until somebody decides.
fn is_taking(view: &View<'_>, grant: &Grant, server: Option<&ServerInfo>) -> Reason {
    let goes_on = server.is_some_and(|server| server.role == ServerRole::Master);
    let by_grant = view.snapshot.authority.lease().is_none();
    let called_off = grant.handover.as_ref().is_some_and(|h| h.cancelled);
    if by_grant && view.report(grant.target).is_none() && (called_off || !goes_on) {
        return Reason::WaitingForMaster {
            master: grant.target,
            why: "the role was handed to it, and it does not answer".to_owned(),
        };
    }
    Reason::HandingOver {
        from: view.snapshot.me,
        to: grant.target,
    }
}

/// The same where the grant is the Lease: the target gives it up when it declines, and takes it by
/// writing it.
fn in_the_lease(
    view: &View<'_>,
    sight: &Sight,
    server: &ServerInfo,
    grant: &Grant,
    handover: &Handover,
) -> Decision {
    let epoch = grant.epoch;
    let writable = server.role == ServerRole::Master;
    let under_way = Reason::HandingOver {
        from: view.snapshot.me,
        to: grant.target,
    };
    let now = |grant: Grant| act(Action::Publish(grant), under_way.clone());
    let given_up = sight
        .says()
        .is_some_and(|says| says.holder.is_none() && says.epoch == Some(epoch));
    if given_up {
        let wish = view.snapshot.wish.as_ref();
        let another = wish.and_then(|w| Some((w, target(view, w, Some(grant.target)).ok()?)));
        if let Some((wish, another)) = another {
            return publish(view, wish, server, another);
        }
        if view.snapshot.terminating && !writable {
            return wait(Reason::Terminating);
        }
        let how = format!("{} does not take it", view.pod(grant.target));
        return take_back(view, sight, Reason::GrantEnds { epoch, how });
    }
    if grant.counts {
        if gives_up(view, grant) && writable && !handover.cancelled {
            let cancelled = Handover {
                cancelled: true,
                ..handover.clone()
            };
            return now(Grant {
                handover: Some(cancelled),
                ..grant.clone()
            });
        }
        return wait(under_way);
    }
    if sight.failure.is_some() || sight.known == Known::Unread {
        return wait(under_way);
    }
    let Some(says) = sight.says().filter(|says| says.epoch == Some(epoch)) else {
        let how = "the Lease could not be written".to_owned();
        return act(Action::Withdraw, Reason::GrantEnds { epoch, how });
    };
    if says.renewed {
        return now(Grant {
            counts: true,
            ..grant.clone()
        });
    }
    let target = view.report(grant.target);
    // Who never saw it must not cost the time that the role has left here.
    let times = &view.policy.lease;
    let soon = view.snapshot.started_at + 2 * times.retry;
    let late = sight.until(times).is_some_and(|until| soon >= until);
    let unfit = |t: &Report| unfit(view, t).is_some();
    let over = late || gives_up(view, grant) || target.is_none_or(unfit);
    if over && view.snapshot.terminating && !writable {
        // This pod takes nothing any more: whoever is best does.
        return give_up(sight, says, Reason::Terminating);
    }
    if over {
        let how = format!("{} does not take it", view.pod(grant.target));
        return take_back(view, sight, Reason::GrantEnds { epoch, how });
    }
    wait(under_way)
}

/// Nobody wants the role to go to this target any more.
pub fn gives_up(view: &View<'_>, grant: &Grant) -> bool {
    let to = grant.target;
    let unwanted = |wish: &Wish| wish.tried.contains(&to) || is_too_slow(view, wish, grant);
    to != view.snapshot.me && view.snapshot.wish.as_ref().is_none_or(unwanted)
}

/// Who takes long is waited for while nobody else could take the role; and to the end where a person
/// named it.
fn is_too_slow(view: &View<'_>, wish: &Wish, grant: &Grant) -> bool {
    let writable = matches!(&view.snapshot.local, Local::Up(s) if s.role == ServerRole::Master);
    let over = |(epoch, until)| epoch == grant.epoch && view.snapshot.started_at >= until;
    let another = || target(view, wish, Some(grant.target)).is_ok();
    writable && wish.patience.is_some_and(over) && wish.to.is_none() && another()
}

/// The target declined, or was never asked in earnest: another one, or the role stays here.
fn next(view: &View<'_>, server: &ServerInfo, grant: &Grant) -> Decision {
    let another = view
        .snapshot
        .wish
        .as_ref()
        .map(|wish| (wish, target(view, wish, Some(grant.target))));
    if let Some((wish, Ok(target))) = another {
        return publish(view, wish, server, target);
    }
    let epoch = Epoch::after(view.newest_epoch(), view.snapshot.me);
    let how = format!("{} does not take it", view.pod(grant.target));
    let reason = Reason::GrantEnds {
        epoch: grant.epoch,
        how,
    };
    if server.role == ServerRole::Master {
        let run_id = server.run_id.clone();
        return act(Action::Adopt { epoch, run_id }, reason);
    }
    if view.snapshot.terminating {
        return wait(Reason::Terminating);
    }
    let back = Grant {
        epoch,
        target: view.snapshot.me,
        counts: false,
        by_hand: false,
        handover: Some(Handover {
            run_id: server.run_id.clone(),
            cancelled: false,
            away_from: away_from(view, &Wish::default(), view.snapshot.me),
        }),
    };
    act(Action::Publish(back), reason)
}
