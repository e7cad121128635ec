//! How an outage of the Kubernetes API alone is lived through: while the holder cannot renew, every
//! member that could take the role promises, each on its own clock, not to take the Lease and not to
//! follow another for one duration. A member that can read the API promises nothing.

use super::Sight;
use crate::clock::Time;
use crate::decide::View;
use crate::report::{Asks, Promise};

/// What this member asked for, and what it promised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Promises {
    /// As the holder: the newest question, and when it was made.
    asked: Option<(u64, Time)>,
    /// When the newest question was made to which everybody promised.
    kept_since: Option<Time>,
    /// To whom this member promised, and when.
    given: Option<(Promise, Time)>,
}

impl Promises {
    /// One that has been given.
    #[cfg(test)]
    pub(crate) fn given(promise: Promise, at: Time) -> Self {
        Self {
            given: Some((promise, at)),
            ..Self::default()
        }
    }

    /// Those that everybody has given, to a question of that time.
    #[cfg(test)]
    pub(crate) fn kept(since: Option<Time>) -> Self {
        Self {
            kept_since: since,
            ..Self::default()
        }
    }

    /// From when on everybody has promised.
    pub fn kept_since(&self) -> Option<Time> {
        self.kept_since
    }

    /// What is asked, for the status document.
    pub fn asks(&self) -> Option<Asks> {
        self.asked.map(|(number, _)| Asks { number })
    }

    /// What is promised, for the status document.
    pub fn promise(&self) -> Option<Promise> {
        self.given.as_ref().map(|(promise, _)| promise.clone())
    }

    /// Whether a promise of this member's stands.
    pub fn binds(&self, now: Time, duration: std::time::Duration) -> bool {
        self.given
            .as_ref()
            .is_some_and(|(_, at)| now.since(*at) < duration)
    }

    /// What is asked and promised after this look. `number` is one that was never asked before.
    #[must_use]
    pub fn after(mut self, view: &View<'_>, sight: &Sight, number: u64) -> Self {
        let now = view.snapshot.started_at;
        let cut_off = sight.failure.is_some();
        let late = sight
            .renewed
            .is_some_and(|(at, _)| now.since(at) >= 2 * view.policy.lease.retry);
        let holds = sight.is_ours() && view.own.is_granted_master();
        if !(late && holds) {
            self.asked = None;
        } else if let Some((number, at)) = self.asked {
            if everybody_promised(view, sight, number) {
                self.kept_since = self.kept_since.max(Some(at));
                self.asked = Some((number + 1, now));
            }
        } else {
            self.asked = Some((number, now));
        }
        let asks = view
            .granted_master()
            .filter(|m| m.ordinal != view.snapshot.me);
        let promise = asks.and_then(|master| {
            Some(Promise {
                holder: master.pod.clone(),
                epoch: master.epoch?,
                number: master.authority.asks.as_ref()?.number,
            })
        });
        match promise.filter(|_| cut_off && !sight.writing) {
            Some(promise) if view.memory.epoch_seen <= Some(promise.epoch) => {
                if self.promise().as_ref() != Some(&promise) {
                    self.given = Some((promise, now));
                }
            }
            // What was promised binds for its time; it is not shown any more.
            Some(_) | None => {
                if !self.binds(now, sight.duration(&view.policy.lease)) {
                    self.given = None;
                }
            }
        }
        self
    }
}

/// Whether every other member that could take the Lease has promised.
fn everybody_promised(view: &View<'_>, sight: &Sight, number: u64) -> bool {
    let Some(says) = sight.says() else {
        return false;
    };
    // What a write of unknown outcome records may be so.
    says.members
        .union(&sight.claimed)
        .filter(|pod| **pod != sight.me.pod)
        .all(|pod| {
            view.reports().filter(|r| r.pod == *pod).any(|r| {
                r.authority.promise.as_ref().is_some_and(|promise| {
                    promise.holder == sight.me.pod
                        && Some(promise.epoch) == says.epoch
                        && promise.number == number
                })
            })
        })
}
