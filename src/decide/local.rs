//! What this member's own server is told: fence, un-fence, follow, or nothing. Pure.

mod following;
pub(super) mod promotion;

use super::lease::Sight;
use super::{
    Action, Decision, Local, Peer, PeerState, Reason, Silence, View, act, adopt, handover, wait,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Grant, Report};
use crate::topology::ReplicationId;

/// What the own server is told.
pub fn step(view: &View<'_>) -> Decision {
    if let Local::Up(server) = &view.snapshot.local
        && server.role == ServerRole::Master
    {
        // Before what was raised is given back: writes would come back with it.
        let decision = as_master(view, server);
        if decision.action == Action::Fence {
            return decision;
        }
    }
    let server = match &view.snapshot.local {
        Local::Up(server) if leftover(view, server) => return act(Action::Lower, Reason::Lowers),
        Local::Up(server) => server,
        Local::Loading { .. } => return wait(Reason::ServerLoading),
        Local::Unreachable { silence, why } => {
            let fence = match silence {
                // It is queued: whenever the server goes on, it does not go on as a master.
                Silence::Hangs | Silence::Refuses => {
                    past_its_deadline(view).or_else(|| promotion_unknown(view))
                }
                Silence::Gone => None,
            };
            return fence.unwrap_or_else(|| wait(Reason::ServerUnreachable(why.clone())));
        }
    };
    match &server.role {
        ServerRole::Master => as_master(view, server),
        ServerRole::Fenced => following::step(view, server, None),
        ServerRole::Replica { host, port, link } => {
            following::step(view, server, Some((host, *port, *link)))
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
    if let Some(unknown) = promotion_unknown(view) {
        return unknown;
    }
    if let Some(intent) = &view.memory.intent
        && let Some(armed) = &intent.armed
    {
        return handover::armed(view, server, intent, armed);
    }
    if let Some(decision) = past_its_deadline(view) {
        return decision;
    }
    if let Some(decision) = goes_on(view, server) {
        return decision;
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
        return promotion::unfence(view, server, grant);
    }
    // What is being granted to us is no reason to stop.
    let granted_to_us = view
        .newest_grant()
        .is_some_and(|g| g.target == view.snapshot.me && Some(g.epoch) == newest)
        && view.snapshot.authority.lease().is_none_or(Sight::is_ours);
    if let Some(held) = &view.memory.held {
        return match newest.filter(|newest| *newest > held.epoch && !granted_to_us) {
            Some(newer) => act(
                Action::Fence,
                Reason::NewerGrant {
                    ours: Some(held.epoch),
                    newer,
                },
            ),
            None => beside_us(view, server).unwrap_or_else(|| wait(Reason::Master(held.epoch))),
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
            // The Lease is taken from who answers and is no master; whoever does not answer may be one.
            && (g.by_hand
                || view.snapshot.authority.lease().is_none()
                || view.report(g.target).is_none())
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
    if view.snapshot.authority.lease().is_some() {
        return wait(Reason::UngrantedMaster(
            "it does not hold the Lease".to_owned(),
        ));
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

/// With a Lease: a server that goes on accepting writes of a history that ended, without a sidecar that
/// would stop it, was out of reach when this one was promoted.
fn beside_us(view: &View<'_>, server: &ServerInfo) -> Option<Decision> {
    let sight = view.snapshot.authority.lease().filter(|s| s.is_ours())?;
    sight.says().filter(|says| says.renewed)?;
    let is_past = |id: &ReplicationId| {
        let ended = view.memory.lineage.iter().any(|a| a.id == *id);
        Some(id) != server.id.as_ref() && (server.id2.as_ref() == Some(id) || ended)
    };
    view.snapshot.peers.iter().find_map(|(ordinal, peer)| {
        let PeerState::ServerOnly(other) = &peer.state else {
            return None;
        };
        let stands = other.role == ServerRole::Master && other.id.as_ref().is_some_and(is_past);
        let there = peer.server.filter(|_| stands)?;
        Some(act(
            Action::FenceThere {
                there,
                run_id: other.run_id.clone(),
            },
            Reason::MasterWithoutSidecar(*ordinal),
        ))
    })
}

/// A promotion was begun, and nobody knows whether it happened.
fn promotion_unknown(view: &View<'_>) -> Option<Decision> {
    let intent = view.memory.intent.as_ref().filter(|i| i.armed.is_none())?;
    Some(act(Action::Fence, Reason::PromotionUnknown(intent.epoch)))
}

/// With a Lease: what could not be renewed is given up in time.
fn past_its_deadline(view: &View<'_>) -> Option<Decision> {
    let sight = view.snapshot.authority.lease()?;
    let held = view.memory.held.as_ref()?;
    let until = sight.until(&view.policy.lease);
    // What was taken under another authority is held until the Lease is ours.
    let over = view.memory.by_lease && until.is_none_or(|u| view.snapshot.started_at >= u);
    over.then(|| act(Action::Fence, Reason::LeaseLost(held.epoch)))
}

/// With a Lease: a master that took it back goes on as it is, under the new epoch.
fn goes_on(view: &View<'_>, server: &ServerInfo) -> Option<Decision> {
    let sight = view.snapshot.authority.lease()?;
    let held = view.memory.held.as_ref()?;
    let epoch = sight.says().filter(|says| says.renewed)?.epoch?;
    let renewed = sight.renewed.is_some_and(|(_, renewed)| renewed == epoch);
    let newest = Some(epoch) == view.newest_epoch();
    (sight.is_ours() && renewed && newest && epoch > held.epoch).then(|| {
        let run_id = server.run_id.clone();
        act(Action::Adopt { epoch, run_id }, Reason::Granted(epoch))
    })
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
