//! What this member's own server is told: fence, un-fence, follow, or nothing. Pure.

use super::choice::visible_loss;
use super::history::{Relation, epoch_among, knows_history_of, lost_tail, relation};
use super::{
    Action, Decision, GRANT_VALID, Local, Peer, PeerState, Reason, View, act, adopt,
    answers_for_its_data, handover, wait,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Grant, LinkState, Report, Role};
use crate::topology::Ordinal;

/// What the own server is told.
pub fn step(view: &View<'_>) -> Decision {
    let server = match &view.snapshot.local {
        Local::Up(server) if leftover(view, server) => return act(Action::Lower, Reason::Lowers),
        Local::Up(server) => server,
        Local::Loading { .. } => return wait(Reason::ServerLoading),
        Local::Unreachable { why, .. } => return wait(Reason::ServerUnreachable(why.clone())),
    };
    match &server.role {
        ServerRole::Master => as_master(view, server),
        ServerRole::Fenced => as_replica(view, server, None),
        ServerRole::Replica { host, port, link } => {
            as_replica(view, server, Some((host, *port, *link)))
        }
    }
}

/// Whether writes are still stopped for a handover that has ended, or for which the fence stands.
fn leftover(view: &View<'_>, server: &ServerInfo) -> bool {
    let goes_on = |grant: &Grant| Some(grant.epoch) == view.newest_epoch();
    let own = handover::own(view);
    let stops = own.is_some_and(|(grant, handover)| !handover.cancelled && goes_on(grant))
        && server.role == ServerRole::Master;
    view.memory.raised.is_some() && !stops
}

/// The newest grant to this member that it may still obey.
fn grant_to_us<'a>(view: &View<'a>) -> Option<&'a Grant> {
    let grant = view.newest_grant()?;
    let ours = grant.target == view.snapshot.me
        && grant.counts
        && Some(grant.epoch) == view.newest_epoch()
        && Some(grant.epoch) > view.memory.closed
        && view
            .memory
            .held
            .as_ref()
            .is_none_or(|held| grant.epoch > held.epoch);
    ours.then_some(grant)
}

fn as_master(view: &View<'_>, server: &ServerInfo) -> Decision {
    if let Some(intent) = &view.memory.intent {
        return match &intent.armed {
            Some(armed) => handover::armed(view, server, intent, armed),
            None => act(Action::Fence, Reason::PromotionUnknown(intent.epoch)),
        };
    }
    let newest = view.newest_epoch();
    if let Some((grant, handover)) = handover::own(view)
        && Some(grant.epoch) == newest
        && handover.run_id == server.run_id
        && view.memory.held.is_some()
    {
        return hand_over(view, server, grant);
    }
    if let Some(grant) = grant_to_us(view) {
        return unfence(view, server, grant);
    }
    // What is being granted to us is no reason to stop.
    let granted_to_us = view
        .newest_grant()
        .is_some_and(|g| g.target == view.snapshot.me && Some(g.epoch) == newest);
    if let Some(held) = &view.memory.held {
        return match newest.filter(|newest| *newest > held.epoch && !granted_to_us) {
            Some(newer) => act(
                Action::Fence,
                Reason::NewerGrant {
                    ours: Some(held.epoch),
                    newer,
                },
            ),
            None => wait(Reason::Master(held.epoch)),
        };
    }
    // Its sidecar's word may be a second old: whoever switches by hand demotes it. Whom this server
    // followed at the last look was not asked in this one; it is in the next.
    let stands = |m: &&Report| {
        let peer = view.snapshot.peers.get(&m.ordinal);
        let asked = |p: &Peer| p.verified_run.is_some() || p.unverified.is_some();
        peer.is_none_or(|p| asked(p) && !p.demoted)
    };
    if let Some(master) = view.granted_master().filter(stands) {
        return act(Action::Fence, Reason::UngrantedBesideMaster(master.ordinal));
    }
    // A grant that does not count yet is given up by its granter when it sees this server, and a
    // handover ends when its two servers see what became of them; one by hand does not.
    let elsewhere = |g: &&Grant| {
        g.target != view.snapshot.me
            && Some(g.epoch) == newest
            && (g.by_hand || g.counts && g.handover.is_none())
    };
    if let Some(grant) = view.newest_grant().filter(elsewhere) {
        return act(
            Action::Fence,
            Reason::NewerGrant {
                ours: None,
                newer: grant.epoch,
            },
        );
    }
    match adopt::adoptable(view) {
        Ok(epoch) => act(
            Action::Adopt {
                epoch,
                run_id: server.run_id.clone(),
            },
            Reason::Adopted(epoch),
        ),
        Err(why) => wait(Reason::UngrantedMaster(why)),
    }
}

/// Writes go on until the target has armed itself.
fn hand_over(view: &View<'_>, server: &ServerInfo, grant: &Grant) -> Decision {
    let reason = Reason::HandingOver {
        from: view.snapshot.me,
        to: grant.target,
    };
    let armed = view
        .report(grant.target)
        .is_some_and(|target| handover::armed_for(target, grant.epoch));
    let cancelled = grant.handover.as_ref().is_some_and(|h| h.cancelled);
    if !grant.counts || cancelled || !armed || handover::gives_up(view, grant) {
        return wait(reason);
    }
    let peer = view.snapshot.peers.get(&grant.target);
    let run_id = view.report(grant.target).and_then(|r| r.server.as_ref());
    match (peer.and_then(|p| p.server), run_id) {
        (Some(there), Some(run)) => {
            let run_id = run.run_id.clone();
            let action = if handover::feeds_when_fenced(server) {
                Action::FenceWhenNear { there, run_id }
            } else {
                Action::FenceWhenEven { there, run_id }
            };
            act(action, reason)
        }
        (Some(_) | None, _) => wait(reason),
    }
}

/// A grant to us that counts: take it, or say why not.
fn unfence(view: &View<'_>, server: &ServerInfo, grant: &Grant) -> Decision {
    let refuse = |why: String| {
        act(
            Action::Close(grant.epoch),
            Reason::GrantRefused {
                epoch: grant.epoch,
                why,
            },
        )
    };
    if view.snapshot.terminating {
        return refuse("this pod is being stopped".to_owned());
    }
    if !grant.by_hand {
        if view.memory.unfinished {
            return refuse("the data here is between two histories".to_owned());
        }
        if let Some(why) = visible_loss(view, view.own) {
            return refuse(why);
        }
        if let Some((other, what)) = would_lose(view) {
            return refuse(format!("{} has {what}", other.pod));
        }
        if let Some(master) = view
            .granted_master()
            .filter(|m| m.ordinal != view.snapshot.me)
        {
            return refuse(format!("{} still is the master", master.pod));
        }
    }
    act(
        Action::Unfence {
            epoch: grant.epoch,
            run_id: server.run_id.clone(),
            deadline: view.snapshot.started_at + GRANT_VALID,
        },
        Reason::Granted(grant.epoch),
    )
}

/// Who would lose data if this member became the master: the granter chose among those who answered
/// it, and others may have come back since.
pub(super) fn would_lose<'a>(view: &View<'a>) -> Option<(&'a Report, &'static str)> {
    let own = view.own;
    let all: Vec<&Report> = view.reports().collect();
    let ours = epoch_among(own, &all);
    let mut others = all.iter().filter(|r| {
        r.ordinal != own.ordinal && answers_for_its_data(r.role) && !r.empty && !r.unfinished
    });
    others.find_map(|other| {
        let (a, b) = (&own.replication, &other.replication);
        // Of two lower bounds, the larger proves nothing.
        let more = b.id.is_some() && a.id == b.id && b.offset > a.offset && (a.exact || b.exact);
        if own.empty {
            Some((*other, "data, and this member has none"))
        } else if more {
            Some((*other, "more of the same history"))
        } else if epoch_among(other, &all) > ours && relation(own, other) != Relation::Contains {
            Some((*other, "newer data"))
        } else {
            None
        }
    })
}

fn as_replica(
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
            Some(_) | None => unfence(view, server, grant),
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
