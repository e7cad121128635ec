//! A master that nobody granted: made by a person's hand, or by another chart. Pure.

use super::history::{Relation, epoch_among, relation};
use super::{PeerState, View, answers_for_its_data, handover};
use crate::report::{Report, Role};
use crate::topology::{Epoch, Ordinal};

/// Whether a master that nobody granted may be taken as one: only when everybody who is expected was
/// asked, nobody else is a master, and its history goes on from the newest.
pub fn adoptable(view: &View<'_>) -> Result<Epoch, String> {
    if view.snapshot.terminating {
        return Err("this pod is being stopped".to_owned());
    }
    if view.memory.unfinished {
        return Err("the data here is between two histories".to_owned());
    }
    if let Some((from, to)) = handover::under_way(view) {
        let (from, to) = (view.pod(from), view.pod(to));
        return Err(format!("{from} is handing the master role over to {to}"));
    }
    let expected = view.replicas().unwrap_or(0);
    let known = |o: Ordinal| o == view.snapshot.me || view.snapshot.peers.contains_key(&o);
    if let Some(unasked) = (0..expected).map(Ordinal).find(|o| !known(*o)) {
        return Err(format!("{} has not been asked yet", view.pod(unasked)));
    }
    for (ordinal, peer) in &view.snapshot.peers {
        match &peer.state {
            PeerState::Answered(report) if report.role == Role::Master => {
                return Err(format!("{} is a master too", report.pod));
            }
            PeerState::Answered(report) if !answers_for_its_data(report.role) => {
                return Err(format!(
                    "the server of {} is {}",
                    report.pod,
                    report.role.as_str()
                ));
            }
            PeerState::Answered(_) => {}
            PeerState::ServerOnly(_) => {
                return Err(format!(
                    "the sidecar of {} does not answer",
                    view.pod(*ordinal)
                ));
            }
            PeerState::Missing => {
                return Err(format!("the name of {} does not exist", view.pod(*ordinal)));
            }
            PeerState::Silent(why) => {
                return Err(format!("{} does not answer: {why}", view.pod(*ordinal)));
            }
        }
    }
    let others: Vec<&Report> = view
        .reports()
        .filter(|r| r.ordinal != view.snapshot.me)
        .collect();
    let newest = others
        .iter()
        .filter_map(|r| r.epoch)
        .max()
        .max(view.memory.epoch);
    for other in &others {
        let matters = !other.empty && epoch_among(other, &others) >= newest;
        if matters && relation(view.own, other) != Relation::Contains {
            return Err(format!("{} has data that this member has not", other.pod));
        }
    }
    if let Some(newest) = newest {
        let own_line = view.own.replication.lineage.iter().any(|a| {
            a.epoch == newest
                && (view.own.replication.id.as_ref() == Some(&a.id)
                    || view.own.replication.id2.as_ref() == Some(&a.id))
        });
        let shared = others
            .iter()
            .any(|o| o.epoch == Some(newest) && relation(view.own, o) == Relation::Contains);
        if !own_line && !shared {
            return Err(format!("its history does not go on from epoch {newest}"));
        }
    }
    Ok(Epoch::after(view.newest_epoch(), view.snapshot.me))
}
