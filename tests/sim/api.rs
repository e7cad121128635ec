//! The Kubernetes API with its one Lease, and a member's keeper of it (as `authority::keeper` does it).

use std::collections::BTreeSet;

use podzero::authority::lease::Says;
use podzero::clock::Time;
use podzero::decide::lease::{Claim, Known, Unchanged};
use podzero::topology::Epoch;

use super::member::times;

/// The Lease as it is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api {
    pub(crate) version: u64,
    pub(crate) says: Option<Says>,
    /// The write that made it so.
    stamp: u64,
}

impl Api {
    pub(crate) fn known(&self) -> Known {
        match &self.says {
            None => Known::Absent,
            Some(says) => Known::Lease {
                version: self.version.to_string(),
                says: says.clone(),
            },
        }
    }

    /// One compare-and-set.
    fn write(&mut self, claim: &Claim, stamp: u64) -> bool {
        let version = self.says.is_some().then(|| self.version.to_string());
        if version != claim.over {
            return false;
        }
        self.version += 1;
        self.says = Some(claim.says.clone());
        self.stamp = stamp;
        true
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Read {
        before: Known,
    },
    Write {
        claim: Claim,
        stamp: u64,
    },
    /// After a write of unknown outcome, or one that was refused.
    Again {
        claim: Claim,
        stamp: u64,
        sent: Time,
        unknown: bool,
    },
}

/// A request that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) sent: Time,
    /// When it reaches the API; never when the way there is cut then.
    pub(crate) arrives: u64,
    pub(crate) answers: u64,
    /// What the API did with it.
    pub(crate) answer: Option<(Api, bool)>,
}

/// What a member knows of the Lease; gone with its sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    pub(crate) known: Known,
    pub(crate) unchanged: Option<Unchanged>,
    pub(crate) failure: Option<String>,
    pub(crate) reading: Option<Time>,
    pub(crate) writing: bool,
    pub(crate) claimed: BTreeSet<String>,
    pub(crate) renewed: Option<(Time, Epoch)>,
    pub(crate) refused: Option<String>,
    pub(crate) requests: Vec<Request>,
    pub(crate) next_read: u64,
    pub(crate) watches: bool,
    /// A refused write is over then.
    pub(crate) rests_until: Option<u64>,
}

impl Keeper {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            known: Known::Unread,
            unchanged: None,
            failure: None,
            reading: None,
            writing: false,
            claimed: BTreeSet::new(),
            renewed: None,
            refused: None,
            requests: Vec::new(),
            next_read: now,
            watches: false,
            rests_until: None,
        }
    }

    /// As an answer or an event showed it.
    pub(crate) fn is(&mut self, known: Known, sent: Time, now: Time) {
        self.unchanged = match self.unchanged {
            Some(before) if self.known == known => Some(Unchanged {
                read_at: sent.max(before.read_at),
                ..before
            }),
            Some(_) | None => Some(Unchanged {
                since: now,
                read_at: sent,
            }),
        };
        self.known = known;
        self.failure = None;
    }

    fn failed(&mut self) {
        self.failure = Some("the API does not answer".to_owned());
        self.unchanged = None;
        self.watches = false;
    }

    fn written(&mut self) {
        self.writing = false;
        self.claimed.clear();
    }

    /// When the next read is due, on this member's clock.
    fn next_read(&self, now: Time) -> u64 {
        let times = times();
        let Some(unchanged) = self.unchanged else {
            return 1000;
        };
        let heard = unchanged.since.max(unchanged.read_at);
        let usual = (heard + times.retry * 3 / 2).since(now);
        let over = (unchanged.since + times.duration).since(now);
        let wait = if over.is_zero() {
            times.retry.saturating_sub(now.since(heard))
        } else {
            usual.min(over)
        };
        u64::try_from(wait.as_millis()).expect("short").max(1)
    }

    /// A request reaches the API.
    pub(crate) fn arrive(request: &mut Request, api: &mut Api) -> bool {
        let written = match &request.ask {
            Ask::Read { .. } | Ask::Again { .. } => false,
            Ask::Write { claim, stamp } => api.write(claim, *stamp),
        };
        request.answer = Some((api.clone(), written));
        written
    }

    /// An answer comes back, or none does. What is to be asked next.
    pub(crate) fn answered(
        &mut self,
        request: Request,
        lost: bool,
        now: Time,
        at: u64,
    ) -> Option<Ask> {
        let answer = request.answer.filter(|_| !lost);
        match (request.ask, answer) {
            (Ask::Read { before }, answer) => {
                self.reading = None;
                match answer {
                    Some((api, _)) => {
                        if self.known == before {
                            self.is(api.known(), request.sent, now);
                        }
                        self.watches = true;
                    }
                    None => self.failed(),
                }
                self.next_read = at + self.next_read(now);
                None
            }
            (Ask::Write { claim, .. }, Some((api, true))) => {
                self.is(api.known(), request.sent, now);
                self.carried_out(&claim, request.sent);
                None
            }
            (Ask::Write { claim, stamp }, answer) => {
                self.refused = Some("it was not written".to_owned());
                Some(Ask::Again {
                    claim,
                    stamp,
                    sent: request.sent,
                    unknown: answer.is_none(),
                })
            }
            (
                Ask::Again {
                    claim,
                    stamp,
                    sent,
                    unknown,
                },
                Some((api, _)),
            ) => {
                self.is(api.known(), request.sent, now);
                let same = api.says.is_some().then(|| api.version.to_string()) == claim.over;
                if unknown && api.stamp == stamp {
                    self.carried_out(&claim, sent);
                } else if !unknown && same {
                    self.rests_until = Some(at + 1000);
                } else {
                    self.written();
                }
                None
            }
            (again @ Ask::Again { unknown, .. }, None) => {
                self.failed();
                if unknown {
                    return Some(again);
                }
                self.written();
                None
            }
        }
    }

    fn carried_out(&mut self, claim: &Claim, sent: Time) {
        self.refused = None;
        if let (true, Some(epoch)) = (claim.says.renewed, claim.says.epoch) {
            self.renewed = Some((sent, epoch));
        }
        self.written();
    }

    /// Whether something is under way.
    pub(crate) fn is_used(&self) -> bool {
        !self.requests.is_empty()
    }

    pub(crate) fn rest_is_over(&mut self, at: u64) {
        if self.rests_until.is_some_and(|until| at >= until) {
            self.rests_until = None;
            self.written();
        }
    }
}
