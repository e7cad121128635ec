//! Who may become the master: authority `lease`.
//!
//! The set has one Kubernetes Lease. Whoever holds it may be the master: its holder is the grant, and it
//! counts once the holder itself has written it. Every change is one compare-and-set over the version
//! that the decision rests on, so that Kubernetes' store, and nothing of ours, decides between two.
//! Nobody's clock is compared with another's: a holder keeps the role until a deadline that it counts
//! from when it sent its last renewal, and a candidate must itself have seen the Lease unchanged for
//! longer than that. Pure.
//!
//! | file | decides |
//! |---|---|
//! | `holding` | what the holder does with the Lease: renew it, give it up, pass it on |
//! | `candidate` | who takes a Lease that nobody holds |
//! | `promise` | how an outage of the Kubernetes API alone is lived through |

mod candidate;
mod holding;
mod promise;

pub use holding::{give_up, leads_to};
pub use promise::Promises;

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Action, Decision, Reason, View, grant, handover, ordinal_of, wait};
use crate::authority::Leads;
use crate::authority::lease::{Holder, Says};
use crate::clock::Time;
use crate::report::Grant;
use crate::topology::{Epoch, Ordinal};

/// What is known of the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has not been read since this process began.
    Unread,
    /// There is none.
    Absent,
    /// It is there, and says what cannot be understood.
    Unreadable {
        /// Its `resourceVersion`.
        version: String,
        /// In words.
        why: String,
        /// A newer release wrote it.
        newer: bool,
    },
    /// It is there.
    Lease {
        /// Its `resourceVersion`.
        version: String,
        /// What it says.
        says: Says,
    },
}

/// The time in which a member has seen the Lease say just this, without a read that failed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unchanged {
    /// When this member first saw it.
    pub since: Time,
    /// When it sent the last read that was answered.
    pub read_at: Time,
}

/// The Lease as this member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// This pod, as a holder.
    pub me: Holder,
    /// What it says.
    pub known: Known,
    /// For how long; none since a read failed.
    pub unchanged: Option<Unchanged>,
    /// Why it cannot be read now.
    pub failure: Option<String>,
    /// Why it could not be written at the last attempt.
    pub refused: Option<String>,
    /// A write of this member is under way.
    pub writing: bool,
    /// The members that it would record.
    pub claimed: BTreeSet<String>,
    /// When this member sent its last write as the holder that was carried out, and the epoch in it.
    pub renewed: Option<(Time, Epoch)>,
    /// What is promised in an outage.
    pub promises: Promises,
    /// The grant that it is, as the rest of the core knows grants.
    pub grant: Option<Grant>,
    /// When the epoch that it shows was first seen here.
    pub epoch_since: Option<Time>,
    /// Whom the master's Service leads to; none where there is no such Service.
    pub leads: Option<Leads>,
}

/// The Lease's times (`--lease-duration`, `--renew-deadline`, `--retry-period`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a candidate must have seen it unchanged.
    pub duration: Duration,
    /// How long a holder keeps the role after its last renewal.
    pub deadline: Duration,
    /// Between two renewals.
    pub retry: Duration,
}

/// One compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The version that it replaces; none to make the Lease.
    pub over: Option<String>,
    /// What the Lease says then.
    pub says: Says,
    /// A handover that this member begins with it: remembered before it is sent.
    pub offers: Option<Grant>,
}

impl Sight {
    /// What it says, where that is known.
    pub fn says(&self) -> Option<&Says> {
        match &self.known {
            Known::Lease { says, .. } => Some(says),
            Known::Unread | Known::Absent | Known::Unreadable { .. } => None,
        }
    }

    /// Its `resourceVersion`.
    pub fn version(&self) -> Option<&String> {
        match &self.known {
            Known::Lease { version, .. } | Known::Unreadable { version, .. } => Some(version),
            Known::Unread | Known::Absent => None,
        }
    }

    /// How long it must have been unchanged: whoever holds it may go by a longer time.
    pub fn duration(&self, times: &Times) -> Duration {
        let theirs = self.says().and_then(|says| says.duration);
        theirs.map_or(times.duration, |theirs| theirs.max(times.duration))
    }

    /// Whether this pod, and no earlier one of its name, is the holder.
    pub fn is_ours(&self) -> bool {
        self.says()
            .is_some_and(|s| s.holder.as_ref() == Some(&self.me))
    }

    /// Until when this member may keep what it holds.
    pub fn until(&self, times: &Times) -> Option<Time> {
        let renewed = self.renewed.map(|(at, _)| at);
        Some(renewed.max(self.promises.kept_since())? + times.deadline)
    }

    /// The grant that a Lease is.
    #[must_use]
    pub fn granted(mut self) -> Self {
        self.grant = self.says().and_then(|says| {
            let holder = says.holder.as_ref()?;
            let target = ordinal_of(&holder.pod)?;
            let set = |pod: &str| pod.rsplit_once('-').map(|(set, _)| set.to_owned());
            let ours = set(&holder.pod) == set(&self.me.pod);
            let earlier = holder.pod == self.me.pod && *holder != self.me;
            ours.then_some(Grant {
                epoch: says.epoch?,
                target,
                counts: says.renewed && !earlier,
                by_hand: says.by_hand,
                handover: says.handover.clone(),
            })
        });
        self
    }
}

/// What this member does with the Lease.
pub fn step(view: &View<'_>, sight: &Sight) -> Decision {
    let mut decision = decide(view, sight);
    let waits = |r: &Reason| matches!(r, Reason::WaitingForMembers(_));
    if view.snapshot.in_order && decision.reasons.iter().any(waits) {
        decision.reasons.insert(0, Reason::PodsInOrder);
    }
    decision
}

fn decide(view: &View<'_>, sight: &Sight) -> Decision {
    if let Some(keep) = view.snapshot.resolve {
        return match by_hand(view, sight, keep) {
            Ok(decision) => decision,
            Err(why) => wait(Reason::NobodyToChoose(why)),
        };
    }
    if sight.writing {
        let trouble = sight.refused.clone().or_else(|| sight.failure.clone());
        return trouble.map_or_else(quiet, |why| wait(Reason::LeaseUnwritten(why)));
    }
    if let Some((grant, _)) = handover::own(view)
        && sight.is_ours()
        && sight
            .says()
            .is_some_and(|says| says.epoch < Some(grant.epoch))
    {
        // A write that lands yet is void once the next renewal has gone over the same version.
        let (epoch, how) = (grant.epoch, "the Lease could not be written".to_owned());
        return super::act(Action::Withdraw, Reason::GrantEnds { epoch, how });
    }
    if let Some((grant, handover)) = handover::own(view)
        && !sight.is_ours()
        && !candidate::has_run_out(view, sight)
    {
        return handover::pending(view, grant, handover);
    }
    if sight.is_ours() {
        return holding::step(view, sight);
    }
    if let Some(why) = &sight.failure {
        return wait(Reason::LeaseUnread(why.clone()));
    }
    match &sight.known {
        Known::Unread => wait(Reason::ReadingLease),
        Known::Absent => candidate::absent(view, sight),
        Known::Unreadable { why, newer, .. } => candidate::unreadable(view, sight, why, *newer),
        Known::Lease { says, .. } => candidate::step(view, sight, says),
    }
}

fn quiet() -> Decision {
    Decision {
        action: Action::Wait,
        reasons: Vec::new(),
    }
}

fn claim(sight: &Sight, says: Says, reason: Reason) -> Decision {
    let over = sight.version().cloned();
    let claim = Claim {
        over,
        says,
        offers: None,
    };
    super::act(Action::Claim(Box::new(claim)), reason)
}

/// The Lease for the target of a handover: it counts once the target has written it.
pub fn offer(view: &View<'_>, sight: &Sight, grant: &Grant, reason: Reason) -> Decision {
    let target = view.report(grant.target);
    let Some((pod, uid)) = target.and_then(|t| Some((t.pod.clone(), t.uid.clone()?))) else {
        let pod = view.pod(grant.target);
        return wait(Reason::NoTarget(format!(
            "{pod} does not say its UID (--pod-uid)"
        )));
    };
    let claim = Claim {
        over: sight.version().cloned(),
        says: Says {
            holder: Some(Holder { pod, uid }),
            epoch: Some(grant.epoch),
            renewed: false,
            members: members(view, sight),
            handover: grant.handover.clone(),
            by_hand: false,
            duration: None,
        },
        offers: Some(grant.clone()),
    };
    super::act(Action::Claim(Box::new(claim)), reason)
}

/// What was offered is taken back, or kept beside a master that a hand made: under a new epoch.
pub fn take_back(view: &View<'_>, sight: &Sight, reason: Reason) -> Decision {
    let says = Says {
        holder: Some(sight.me.clone()),
        epoch: Some(Epoch::after(view.newest_epoch(), view.snapshot.me)),
        renewed: true,
        members: members(view, sight),
        handover: None,
        by_hand: false,
        duration: None,
    };
    claim(sight, says, reason)
}

/// The pods that could take the role: those recorded, and those that have it all by now; without those
/// that are gone for good.
fn members(view: &View<'_>, sight: &Sight) -> std::collections::BTreeSet<String> {
    let recorded = sight.says().map(|says| says.members.clone());
    let mut members = recorded.unwrap_or_default();
    members.insert(sight.me.pod.clone());
    let synced = view.reports().filter(|r| {
        r.role == crate::report::Role::Replica
            && !r.unfinished
            && r.epoch == view.own.epoch
            && r.replication.link == Some(crate::report::LinkState::Up)
            && r.replication.id.is_some()
            && r.replication.id == view.own.replication.id
    });
    members.extend(synced.map(|r| r.pod.clone()));
    members.retain(|pod| {
        let Some(ordinal) = ordinal_of(pod) else {
            return false;
        };
        let peer = view.snapshot.peers.get(&ordinal);
        let missing = peer.map_or(view.snapshot.names_known, |peer| {
            peer.state == super::PeerState::Missing
        });
        let covered = view.snapshot.replicas.is_none_or(|n| ordinal.0 < n);
        ordinal == view.snapshot.me || covered || !missing
    });
    members
}

/// A person's word goes into the Lease, over whoever holds it.
fn by_hand(view: &View<'_>, sight: &Sight, keep: Ordinal) -> Result<Decision, String> {
    let granted = grant::by_hand(view, keep)?;
    if let Some(why) = &sight.failure {
        return Err(format!("the Lease cannot be written: {why}"));
    }
    if sight.writing || sight.known == Known::Unread {
        return Err("the Lease is being read or written; try again".to_owned());
    }
    let target = view.report(keep);
    let uid = target.and_then(|r| r.uid.clone());
    let (Some(target), Some(uid)) = (target, uid) else {
        return Err(format!(
            "{} does not say the UID of its pod (--pod-uid)",
            view.pod(keep)
        ));
    };
    let says = Says {
        holder: Some(Holder {
            pod: target.pod.clone(),
            uid,
        }),
        epoch: Some(granted.epoch),
        renewed: keep == view.snapshot.me,
        members: members(view, sight),
        handover: None,
        by_hand: true,
        duration: None,
    };
    Ok(claim(
        sight,
        says,
        Reason::Grants {
            epoch: granted.epoch,
            target: keep,
            why: "a person decided so (podzero resolve)".to_owned(),
            at_risk: false,
        },
    ))
}

#[cfg(test)]
mod worlds;
