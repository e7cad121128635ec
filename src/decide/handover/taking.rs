//! The taking side: what the target of a handover does. Pure.

use super::compare::is_promoted;
use crate::decide::choice::visible_loss;
use crate::decide::local::would_lose;
use crate::decide::{
    Action, Decision, GRANT_VALID, PeerState, Reason, View, act, answers_for_its_data, wait,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Armed, Grant, Handover, Intent, LinkState, Report, Role};
use crate::topology::Epoch;

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
    if handover.cancelled {
        return decline("it was called off");
    }
    let granter = view.report(from);
    let run = granter.and_then(|g| g.server.as_ref()).map(|s| &s.run_id);
    let Some(granter) = granter.filter(|_| run == Some(&handover.run_id)) else {
        return decline("the server that hands over was started again");
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
    if is_promoted(intent, armed, server) {
        return act(Action::Confirm, Reason::Granted(epoch));
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
                return without_server(view, server, granter, epoch);
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
        Some(there) if alive => act(
            Action::TakeOver {
                there,
                deadline: view.snapshot.started_at + GRANT_VALID,
            },
            under_way,
        ),
        // Nobody can say how this server became writable: not knowing counts as the worse.
        Some(_) | None if server.role == ServerRole::Master => {
            act(Action::Fence, Reason::PromotionUnknown(epoch))
        }
        Some(_) | None => wait(under_way),
    }
}

/// The server that hands over is gone, as its own sidecar says: whoever has what it had last may go
/// on, though nobody can tell whether it acknowledged more.
fn without_server(
    view: &View<'_>,
    server: &ServerInfo,
    granter: &Report,
    epoch: Epoch,
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
    act(
        Action::Unfence {
            epoch,
            run_id: server.run_id.clone(),
            deadline: view.snapshot.started_at + GRANT_VALID,
        },
        Reason::Granted(epoch),
    )
}
