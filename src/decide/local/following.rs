//! What the own server is told while it is no master: whom to follow, or to take the role. Pure.

use super::{grant_to_us, promotion};
use crate::decide::history::{epoch_among, knows_history_of, lost_tail};
use crate::decide::lease::Sight;
use crate::decide::{Action, Decision, PeerState, Reason, View, act, handover, wait};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{LinkState, Report, Role};
use crate::topology::Ordinal;

/// What a server that accepts no writes is told.
pub(super) fn step(
    view: &View<'_>,
    server: &ServerInfo,
    follows: Option<(&String, u16, LinkState)>,
) -> Decision {
    if let Some(intent) = &view.memory.intent
        && let Some(armed) = &intent.armed
    {
        return handover::armed(view, server, intent, armed);
    }
    if let Some(grant) = grant_to_us(view) {
        return match &grant.handover {
            Some(handover) if grant.epoch.granter != view.snapshot.me => {
                handover::arm(view, server, grant, handover)
            }
            Some(_) | None => promotion::unfence(view, server, grant),
        };
    }
    let Some(master) = view
        .granted_master()
        .filter(|m| m.ordinal != view.snapshot.me)
    else {
        return wait(without_master(view));
    };
    let peer = view.snapshot.peers.get(&master.ordinal);
    let target = peer.and_then(|p| p.target.as_ref());
    let points_at_it = match (follows, target) {
        (Some((host, port, _)), Some((h, p))) => host == h && port == *p,
        (Some(_) | None, _) => false,
    };
    if points_at_it && let Some((_, _, link)) = follows {
        return wait(match link {
            LinkState::Up if view.memory.unfinished => Reason::Syncing(master.ordinal),
            LinkState::Up => Reason::Following(master.ordinal),
            LinkState::Syncing => Reason::Syncing(master.ordinal),
            LinkState::Down => Reason::LinkDown(master.ordinal),
        });
    }
    if let Some(reason) = refuses(view, master) {
        return wait(reason);
    }
    let (Some(peer), Some((host, port)), Some(epoch)) = (peer, target, master.epoch) else {
        let why = "its address is not known".to_owned();
        return wait(Reason::MasterUnverified {
            master: master.ordinal,
            why,
        });
    };
    if peer.verified_run.is_none()
        || peer.verified_run != master.server.as_ref().map(|s| s.run_id.clone())
    {
        let why = peer
            .unverified
            .clone()
            .unwrap_or_else(|| "another server answers at its address".to_owned());
        return wait(Reason::MasterUnverified {
            master: master.ordinal,
            why,
        });
    }
    let promised = |sight: &Sight| {
        let now = view.snapshot.started_at;
        sight
            .promises
            .binds(now, sight.duration(&view.policy.lease))
            && sight
                .promises
                .promise()
                .is_some_and(|p| p.holder != master.pod)
    };
    if view.snapshot.authority.lease().is_some_and(promised) {
        return wait(Reason::Promised);
    }
    act(
        Action::Follow {
            master: master.ordinal,
            epoch,
            host: host.clone(),
            port: *port,
            lost_tail: if view.own.empty {
                Some(0)
            } else {
                lost_tail(view.own, master)
            },
        },
        Reason::Follows(master.ordinal),
    )
}

/// Why this member does not follow a granted master; none when it may.
fn refuses(view: &View<'_>, master: &Report) -> Option<Reason> {
    if let Some(seen) = view
        .memory
        .epoch_seen
        .filter(|seen| Some(*seen) > master.epoch)
    {
        return Some(Reason::ObeysNewer {
            master: master.ordinal,
            seen,
        });
    }
    if view.own.empty {
        return None;
    }
    let ours = epoch_among(view.own, &[view.own, master]);
    if ours > master.epoch {
        return Some(Reason::MasterIsOlder {
            master: master.ordinal,
            theirs: master.epoch,
            ours,
        });
    }
    // A copy that was cut off makes the recorded ID meaningless; the epoch still says that the data
    // is not newer.
    let same_epoch = ours == master.epoch && !view.memory.unfinished;
    (same_epoch && !knows_history_of(master, view.own))
        .then_some(Reason::TwoHistories(view.snapshot.me, master.ordinal))
}

/// What a person can do about a pod-0 that does not come back.
const WAY_OUT: &str =
    "if it is lost for good, decide in any other pod with: podzero resolve --keep POD";

/// Why there is nobody to follow.
fn without_master(view: &View<'_>) -> Reason {
    if view.snapshot.authority.lease().is_some() {
        let pod0 = "whoever takes the Lease leads".to_owned();
        return Reason::NoMaster { pod0 };
    }
    if let Some((from, to)) = handover::under_way(view) {
        return Reason::HandingOver { from, to };
    }
    for (ordinal, peer) in &view.snapshot.peers {
        match &peer.state {
            PeerState::Answered(report) if report.role == Role::Master => {
                return Reason::UngrantedPeer(*ordinal);
            }
            PeerState::ServerOnly(server) if server.role == ServerRole::Master => {
                return Reason::MasterWithoutSidecar(*ordinal);
            }
            PeerState::Answered(_)
            | PeerState::ServerOnly(_)
            | PeerState::Missing
            | PeerState::Silent(_) => {}
        }
    }
    let pod0 = if view.snapshot.me == Ordinal::ZERO {
        "pod-0 grants the role".to_owned()
    } else {
        match view.snapshot.peers.get(&Ordinal::ZERO).map(|p| &p.state) {
            Some(PeerState::Answered(report)) => match report.reasons.first() {
                Some(reason) => format!("{} {}", report.pod, reason.message),
                None => format!("{} has not decided yet", report.pod),
            },
            Some(PeerState::ServerOnly(_)) => {
                format!("the sidecar of pod-0, which grants the role, does not answer; {WAY_OUT}")
            }
            Some(PeerState::Missing) => {
                format!("the name of pod-0, which grants the role, does not exist; {WAY_OUT}")
            }
            Some(PeerState::Silent(why)) => {
                format!("pod-0, which grants the role, does not answer: {why}; {WAY_OUT}")
            }
            None => "pod-0, which grants the role, has not been asked yet".to_owned(),
        }
    };
    Reason::NoMaster { pod0 }
}
