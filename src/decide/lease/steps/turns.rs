//! One turn of a sidecar's loop, in steps between which anything may happen.

use super::member::{Look, Stage, Verified};
use super::server::Doing;
use super::set::{SIZE, Set};
use crate::decide::fixture::policy;
use crate::decide::learn::learn;
use crate::decide::{Action, Authority, PeerState, Snapshot, View, decide};
use crate::observe::info::ServerRole;

impl Set {
    /// A turn is cut short where the role that is held would outlive its Lease.
    pub(super) fn keep_time(&mut self, n: usize) {
        let now = self.now;
        if !self.members[n].runs(now) {
            return;
        }
        let until = match &self.members[n].stage {
            Stage::Idle => return,
            Stage::Looked(look) | Stage::Decided(look, _) | Stage::Takes { look, .. } => look.until,
        };
        let clock = self.members[n].clock(now);
        if until.is_none_or(|until| clock < until) {
            return;
        }
        self.members[n].stage = Stage::Idle;
        self.members[n].next = now + 5;
        let until = self.members[n].until();
        if until.is_none_or(|until| clock >= until) && now >= self.servers[n].down_until {
            self.fence(n);
        }
    }

    pub(super) fn turn(&mut self, n: usize) {
        let now = self.now;
        let stage = std::mem::replace(&mut self.members[n].stage, Stage::Idle);
        match stage {
            Stage::Idle => {
                let look = self.look(n);
                self.members[n].stage = Stage::Looked(Box::new(look));
                let slowest = self.slowest();
                self.members[n].next = now + self.chance.delay(10, slowest);
            }
            Stage::Looked(mut look) => {
                let action = self.decide(n, &mut look);
                let slowest = self.slowest();
                self.members[n].next = now + self.chance.delay(4, slowest);
                self.members[n].stage = Stage::Decided(look, action);
            }
            Stage::Decided(look, action) => {
                let waits = action == Action::Wait;
                self.members[n].stage = self.act(n, look, &action);
                let pause = if waits { self.chance.of(5, 200) } else { 5 };
                self.members[n].next = now + pause;
            }
            Stage::Takes {
                look,
                there,
                deadline,
                ends,
            } => {
                if self.takes(n, there, deadline, look.run, ends) {
                    self.members[n].stage = Stage::Takes {
                        look,
                        there,
                        deadline,
                        ends,
                    };
                    self.members[n].next = now + 1;
                } else {
                    self.publish(n, &look.snapshot);
                    self.members[n].next = now + 5;
                }
            }
        }
    }

    fn look(&mut self, n: usize) -> Look {
        let now = self.now;
        let local = self.servers[n].look(now, &self.attached(n));
        let run = self.servers[n].run;
        let mut seen = Vec::new();
        for m in (0..SIZE).filter(|m| *m != n) {
            let ordinal = self.members[m].ordinal;
            let reached = self.connects(n, m);
            let up = reached && self.servers[m].is_up(now);
            let answers = reached && self.members[m].runs(now);
            let published = self.members[m].published.clone().filter(|_| answers);
            let (state, verified) = match published {
                Some(report) => {
                    let pointed = self.servers[n].doing == Doing::Follows(m);
                    let verified = if !report.is_granted_master() || pointed {
                        Verified::NotAsked
                    } else if !up {
                        Verified::Unknown
                    } else if self.info(m).role == ServerRole::Master {
                        Verified::Master(self.servers[m].run_id())
                    } else {
                        Verified::NoMaster
                    };
                    (PeerState::Answered(Box::new(report)), verified)
                }
                None if up => (
                    PeerState::ServerOnly(Box::new(self.info(m))),
                    Verified::NotAsked,
                ),
                None => (
                    PeerState::Silent("does not answer".to_owned()),
                    Verified::NotAsked,
                ),
            };
            seen.push((ordinal, state, verified));
        }
        let member = &mut self.members[n];
        let holds = member.memory.held.is_some() && member.memory.by_lease;
        let clock = member.clock(now);
        let until = member.until();
        let until = until.filter(|until| holds && clock < *until);
        let snapshot = member.look(now, local, seen);
        Look {
            snapshot,
            run,
            until,
        }
    }

    fn decide(&mut self, n: usize, look: &mut Look) -> Action {
        let now = self.now;
        let member = &mut self.members[n];
        look.snapshot.authority = Authority::Lease(Box::new(member.sight(now)));
        member.memory = learn(&look.snapshot, &member.memory);
        let own = member.report(&look.snapshot);
        let memory = member.memory.clone();
        let policy = policy();
        let view = View {
            snapshot: &look.snapshot,
            memory: &memory,
            policy: &policy,
            own: &own,
        };
        let decision = decide(&view);
        if view.granted_master().is_some() {
            member.masterless_since = member.clock(now);
            member.had_master = true;
        }
        let Authority::Lease(sight) = &look.snapshot.authority else {
            panic!("a Lease")
        };
        let promises = member
            .promises
            .clone()
            .after(&view, sight, member.questions);
        if promises != member.promises {
            member.questions += 1;
            member.promises = promises;
        }
        if decision.reasons.is_empty() {
            self.breaks(&format!("I8: {n} says nothing"));
        }
        if decision.action != Action::Wait {
            let renews = matches!(&decision.action, Action::Claim(c) if c.says.renewed && decision.reasons.len() == 1);
            if !renews || std::env::var_os("LEASE_ALL").is_some() {
                self.tell(&format!(
                    "{n} decides {:?} {:?}",
                    decision.action, decision.reasons
                ));
            }
        } else if std::env::var_os("LEASE_ALL").is_some() {
            let said = format!("{:?}", self.members[n].promises);
            self.tell(&format!("{n} waits {:?} {said}", decision.reasons));
        }
        decision.action
    }

    pub(super) fn publish(&mut self, n: usize, snapshot: &Snapshot) {
        let report = self.members[n].report(snapshot);
        self.members[n].published = Some(report);
    }
}
