//! The taking side: what the target of a handover does. Pure.

use super::compare::is_promoted;
use crate::clock::Time;
use crate::decide::choice::visible_loss;
use crate::decide::lease::Known;
use crate::decide::local::promotion::would_lose;
use crate::decide::{
    Action, Decision, GRANT_VALID, PeerState, Reason, View, act, answers_for_its_data, wait,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Armed, Grant, Handover, Intent, LinkState, Report, Role};
use crate::topology::{Epoch, Ordinal};

/// A handover to this member counts: it arms itself, or declines.
pub fn arm(view: &View<'_>, server: &ServerInfo, grant: &Grant, handover: &Handover) -> Decision {
    let from = grant.epoch.granter;
    let decline = |why: &str| decline(grant.epoch, why);
    if view.snapshot.terminating {
        return decline("this pod is being stopped");
    }
    if view.memory.unfinished {
        return decline("the data here is between two histories");
    }
    let granter = view.report(from);
    let published = granter.and_then(|g| g.authority.grant.as_ref());
    let published = published.filter(|g| g.epoch == grant.epoch);
    let published = published.and_then(|g| g.handover.as_ref());
    if handover.cancelled || published.is_some_and(|h| h.cancelled) {
        return decline("it was called off");
    }
    let run = granter.and_then(|g| g.server.as_ref()).map(|s| &s.run_id);
    let Some(granter) = granter.filter(|_| run == Some(&handover.run_id)) else {
        return decline(
            "the server that hands over was started again, or its sidecar does not answer",
        );
    };
    let target = view
        .snapshot
        .peers
        .get(&from)
        .and_then(|p| p.target.as_ref());
    let linked = match &server.role {
        ServerRole::Replica { host, port, link } => {
            *link == LinkState::Up && target.is_some_and(|(h, p)| h == host && p == port)
        }
        ServerRole::Fenced | ServerRole::Master => false,
    };
    if granter.role == Role::Master && !linked {
        return decline("there is no link to the server that hands over");
    }
    let Some(there) = view.snapshot.peers.get(&from).and_then(|p| p.server) else {
        return decline("the address of the server that hands over is not known");
    };
    match left(view, grant.epoch) {
        Left::Until(_) => {}
        Left::Late => return decline(LATE),
        Left::Unrenewed => return wait(unrenewed(from, view)),
    }
    let intent = Intent {
        epoch: grant.epoch,
        run_id: server.run_id.clone(),
        armed: Some(Armed {
            from,
            handover: handover.clone(),
            even: None,
        }),
    };
    act(
        Action::Arm { intent, there },
        Reason::HandingOver {
            from,
            to: view.snapshot.me,
        },
    )
}

fn decline(epoch: Epoch, why: &str) -> Decision {
    let why = why.to_owned();
    act(Action::Close(epoch), Reason::GrantRefused { epoch, why })
}

/// This member is armed: it takes the role when it can, declines when it cannot any more, and waits
/// while it does not know.
pub fn armed(view: &View<'_>, server: &ServerInfo, intent: &Intent, armed: &Armed) -> Decision {
    let epoch = intent.epoch;
    let under_way = Reason::HandingOver {
        from: armed.from,
        to: view.snapshot.me,
    };
    // A server that accepts writes is never left as it is by declining.
    let decline = |why: &str| match server.role {
        ServerRole::Master => act(Action::Fence, Reason::PromotionUnknown(epoch)),
        ServerRole::Fenced | ServerRole::Replica { .. } => decline(epoch, why),
    };
    if view.newest_epoch() > Some(epoch) {
        return decline("a newer epoch was granted");
    }
    if view.snapshot.terminating && server.role != ServerRole::Master {
        return decline("this pod is being stopped");
    }
    let deadline = match left(view, epoch) {
        Left::Until(deadline) => deadline,
        Left::Late => return decline(LATE),
        Left::Unrenewed if server.role == ServerRole::Master || is_overdue(view) => {
            return decline(LATE);
        }
        Left::Unrenewed => return wait(under_way),
    };
    let unread = view.snapshot.authority.lease();
    if unread.is_some_and(|sight| sight.known == Known::Unread) && server.role != ServerRole::Master
    {
        // This sidecar was started again a moment ago.
        return wait(under_way);
    }
    if is_promoted(intent, armed, server) {
        return act(Action::Confirm, Reason::Granted(epoch));
    }
    if server.role != ServerRole::Master && is_overdue(view) {
        return decline("the server that hands over did not stop in time");
    }
    let run_id = &armed.handover.run_id;
    let peer = view.snapshot.peers.get(&armed.from);
    let alive = match peer.map(|p| &p.state) {
        Some(PeerState::Answered(granter)) => {
            let grant = granter.authority.grant.as_ref();
            let Some(grant) = grant.filter(|g| g.epoch == epoch) else {
                return decline("it is not granted any more");
            };
            let called_off = grant.handover.as_ref().is_some_and(|h| h.cancelled);
            if called_off && granter.role == Role::Master {
                return decline("it was called off");
            }
            if granter.gone && server.role != ServerRole::Master {
                return without_server(view, server, granter, epoch, deadline);
            }
            let run = granter.server.as_ref().map(|s| &s.run_id);
            if run.is_some_and(|run| run != run_id) {
                return decline("the server that hands over was started again");
            }
            answers_for_its_data(granter.role)
        }
        Some(PeerState::ServerOnly(info)) if info.run_id != *run_id => {
            return decline("the server that hands over was started again");
        }
        Some(PeerState::ServerOnly(_)) => true,
        Some(PeerState::Missing | PeerState::Silent(_)) | None => false,
    };
    match peer.and_then(|p| p.server) {
        Some(there) if alive => act(Action::TakeOver { there, deadline }, under_way),
        // Nobody can say how this server became writable: not knowing counts as the worse.
        Some(_) | None if server.role == ServerRole::Master => {
            act(Action::Fence, Reason::PromotionUnknown(epoch))
        }
        Some(_) | None => wait(under_way),
    }
}

const LATE: &str = "the Lease was not renewed in time";

/// With a Lease nobody waits for ever: after its duration it is as one that nobody holds.
fn is_overdue(view: &View<'_>) -> bool {
    let lease = view.snapshot.authority.lease();
    let since = lease.and_then(|sight| sight.epoch_since);
    let waited = since.map(|since| view.snapshot.started_at.since(since));
    waited >= Some(view.policy.lease.duration)
}

/// The time for taking the role.
enum Left {
    /// There is some.
    Until(Time),
    /// It is over.
    Late,
    /// It has not begun: as far as is known, this member has not written the Lease under this epoch.
    Unrenewed,
}

fn left(view: &View<'_>, epoch: Epoch) -> Left {
    let valid = view.snapshot.started_at + GRANT_VALID;
    let Some(sight) = view.snapshot.authority.lease() else {
        return Left::Until(valid);
    };
    if sight.renewed.is_none_or(|(_, of)| of != epoch) {
        return Left::Unrenewed;
    }
    // A sidecar that was started again keeps the time that it had, also before its first look.
    let ours = sight.is_ours() || sight.known == Known::Unread;
    let until = sight.until(&view.policy.lease).filter(|_| ours);
    match until.filter(|until| view.snapshot.started_at < *until) {
        Some(until) => Left::Until(valid.min(until)),
        None => Left::Late,
    }
}

fn unrenewed(from: Ordinal, view: &View<'_>) -> Reason {
    Reason::HandingOver {
        from,
        to: view.snapshot.me,
    }
}

/// The server that hands over is gone, as its own sidecar says: whoever has what it had last may go
/// on, though nobody can tell whether it acknowledged more.
fn without_server(
    view: &View<'_>,
    server: &ServerInfo,
    granter: &Report,
    epoch: Epoch,
    deadline: Time,
) -> Decision {
    let (ours, theirs) = (&view.own.replication, &granter.replication);
    if theirs.id.is_none() || ours.id != theirs.id || ours.offset < theirs.offset {
        return decline(epoch, "the server that hands over is gone, and had more");
    }
    if view.memory.unfinished {
        return decline(epoch, "the data here is between two histories");
    }
    if let Some(why) = visible_loss(view, view.own) {
        return decline(epoch, &why);
    }
    if let Some((other, what)) = would_lose(view) {
        return decline(epoch, &format!("{} has {what}", other.pod));
    }
    if view.reports().any(|r| still_receives(view, r, granter)) {
        // What it tells is from before the end, and it may have received more until then.
        return wait(Reason::HandingOver {
            from: granter.ordinal,
            to: view.snapshot.me,
        });
    }
    act(
        Action::Unfence {
            epoch,
            run_id: server.run_id.clone(),
            deadline,
        },
        Reason::Granted(epoch),
    )
}

/// Whether a member's link to the server that is gone was up when it looked last.
fn still_receives(view: &View<'_>, member: &Report, gone: &Report) -> bool {
    let peer = view.snapshot.peers.get(&gone.ordinal);
    let target = peer.and_then(|p| p.target.as_ref());
    let link = &member.replication;
    let there = target.map(|(host, port)| format!("{host}:{port}"));
    link.link == Some(LinkState::Up) && link.following.is_some() && link.following == there
}
