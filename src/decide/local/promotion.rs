//! A grant to this member that counts: its server is un-fenced, or what stands against that is said.

use crate::decide::choice::visible_loss;
use crate::decide::history::{Relation, epoch_among, relation};
use crate::decide::lease::Sight;
use crate::decide::{
    Action, Decision, GRANT_VALID, Peer, PeerState, Reason, View, act, answers_for_its_data, wait,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Grant, LinkState, Report, Role};

/// A grant to us that counts: take it, or say why not.
pub(super) fn unfence(view: &View<'_>, server: &ServerInfo, grant: &Grant) -> Decision {
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
    let mut deadline = view.snapshot.started_at + GRANT_VALID;
    if let Some(sight) = view.snapshot.authority.lease() {
        let now = view.snapshot.started_at;
        if sight
            .promises
            .binds(now, sight.duration(&view.policy.lease))
        {
            return wait(Reason::Promised);
        }
        if grant.by_hand && may_go_on_elsewhere(view, sight) {
            return wait(Reason::LeaseHeld {
                holder: "the master before".to_owned(),
                known: true,
            });
        }
        let renewed = sight.renewed.is_some_and(|(_, epoch)| epoch == grant.epoch);
        match sight.until(&view.policy.lease).filter(|_| renewed) {
            Some(until) => deadline = deadline.min(until),
            None => return wait(Reason::LeaseUnread("it is not renewed".to_owned())),
        }
        if now >= deadline {
            return wait(Reason::LeaseLost(grant.epoch));
        }
        if let Some(decision) = before_us(view, server) {
            return decision;
        }
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
            deadline,
        },
        Reason::Granted(grant.epoch),
    )
}

/// A person took the Lease from a holder that had time left: whoever is not seen may be that one.
fn may_go_on_elsewhere(view: &View<'_>, sight: &Sight) -> bool {
    let now = view.snapshot.started_at;
    let waited = sight.epoch_since.map(|since| now.since(since));
    let seen = |peer: &Peer| match &peer.state {
        PeerState::Answered(report) => answers_for_its_data(report.role) || report.gone,
        PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => false,
    };
    let over = waited.is_some_and(|waited| waited >= view.policy.lease.duration);
    !over && !view.snapshot.peers.values().all(seen)
}

/// With a Lease: a master before us that can be reached is stopped first, and what it still has is
/// received.
fn before_us(view: &View<'_>, server: &ServerInfo) -> Option<Decision> {
    let linked = matches!(
        &server.role,
        ServerRole::Replica {
            link: LinkState::Up,
            ..
        }
    );
    view.snapshot.peers.iter().find_map(|(ordinal, peer)| {
        let reason = Reason::HandingOver {
            from: *ordinal,
            to: view.snapshot.me,
        };
        match &peer.state {
            PeerState::Answered(report) if report.is_hands_master() => {
                Some(wait(Reason::UngrantedPeer(*ordinal)))
            }
            // Its own sidecar stops it when it sees the Lease.
            PeerState::Answered(report) if report.role == Role::Master => Some(wait(reason)),
            PeerState::Answered(report) => {
                let more = report.role == Role::Fenced
                    && report.replication.id.is_some()
                    && report.replication.id == server.id
                    && report.replication.offset > server.offset;
                (more && linked).then(|| wait(reason))
            }
            PeerState::ServerOnly(other) if other.id.is_some() && other.id == server.id => {
                let there = peer.server?;
                match other.role {
                    ServerRole::Master => Some(act(
                        Action::FenceThere {
                            there,
                            run_id: other.run_id.clone(),
                        },
                        reason,
                    )),
                    ServerRole::Fenced if linked && other.offset > server.offset => {
                        Some(wait(reason))
                    }
                    ServerRole::Fenced | ServerRole::Replica { .. } => None,
                }
            }
            PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
        }
    })
}

/// Who would lose data if this member became the master: the granter chose among those who answered
/// it, and others may have come back since.
pub(in crate::decide) fn would_lose<'a>(view: &View<'a>) -> Option<(&'a Report, &'static str)> {
    let own = view.own;
    let all: Vec<&Report> = view.reports().collect();
    let ours = epoch_among(own, &all);
    let mut others = all.iter().filter(|r| {
        // Who has nothing is nobody to lose for a member that has nothing either.
        let nothing = r.empty || own.empty && r.is_bare();
        r.ordinal != own.ordinal && answers_for_its_data(r.role) && !nothing && !r.unfinished
    });
    others.find_map(|other| {
        let (a, b) = (&own.replication, &other.replication);
        // Of two lower bounds, the larger proves nothing.
        let longer = b.id.is_some() && a.id == b.id && b.offset > a.offset;
        // It went on from there, under a name that this one's data has not.
        let went_on =
            relation(own, other) == Relation::IsContained && epoch_among(other, &all) >= ours;
        let more = (longer || went_on) && (a.exact || b.exact);
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
