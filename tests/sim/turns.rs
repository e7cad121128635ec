//! One turn of a sidecar's loop, in steps between which anything may happen.

use podzero::decide::learn::learn;
use podzero::decide::{Action, Authority, Local, PeerState, Snapshot, View, Wish, decide};

use super::member::{Look, Stage, Verified, policy};
use super::server::Doing;
use super::shape::By;
use super::world::World;

impl World {
    /// A turn is cut short where the role that is held would outlive its Lease.
    pub(crate) fn keep_time(&mut self, n: usize) {
        let now = self.now;
        if !self.members[n].runs(now) {
            return;
        }
        let Some(until) = self.members[n].stage.look().and_then(|look| look.until) else {
            return;
        };
        let clock = self.members[n].clock(now);
        if clock < until {
            return;
        }
        self.members[n].stage = Stage::Idle;
        self.members[n].next = now + 5;
        let until = self.members[n].until();
        if until.is_none_or(|until| clock >= until) && now >= self.servers[n].down_until {
            self.fence(n);
        }
    }

    pub(crate) fn turn(&mut self, n: usize) {
        let now = self.now;
        self.steps += 1;
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
                // Larger sets are looked at less often.
                let longest = 200 + 20 * self.shape.members as u64;
                let pause = if waits { self.chance.of(5, longest) } else { 5 };
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
            Stage::Evens {
                look,
                there,
                run_id,
                ends,
            } => {
                if self.evens(n, there, &run_id, look.run, ends) {
                    self.members[n].stage = Stage::Evens {
                        look,
                        there,
                        run_id,
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
        if matches!(local, Local::Up(_)) {
            self.members[n].looked = self.servers[n].data.id;
        }
        let mut seen = Vec::new();
        for m in (0..self.shape.members).filter(|m| *m != n) {
            let peer = &self.members[m];
            if !peer.exists && now > peer.gone_since + 2000 {
                // Beyond what the set is to have, nobody is expected.
                if m < self.replicas {
                    seen.push((m, PeerState::Missing, Verified::NotAsked));
                }
                continue;
            }
            let there = peer.exists && self.connects(n, m);
            let up = there && self.servers[m].is_up(now);
            let answers = there && peer.runs(now);
            let published = peer.published.clone().filter(|_| answers);
            let silent = || PeerState::Silent("does not answer".to_owned());
            let (state, verified) = match published {
                Some(report) => {
                    let pointed = self.servers[n].doing == Doing::Follows(m);
                    let verified = if !report.is_granted_master() || pointed {
                        Verified::NotAsked
                    } else if !up {
                        Verified::Unknown
                    } else if self.servers[m].doing == Doing::Master {
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
                None => (silent(), Verified::NotAsked),
            };
            seen.push((m, state, verified));
        }
        let replicas = (self.shape.by == By::Lease).then_some(self.replicas);
        let member = &mut self.members[n];
        let holds = member.memory.held.is_some() && member.memory.by_lease;
        let clock = member.clock(now);
        let until = member.until();
        let until = until.filter(|until| holds && clock < *until);
        let snapshot = member.look(now, local, seen, replicas);
        Look {
            snapshot,
            run,
            until,
        }
    }

    fn decide(&mut self, n: usize, look: &mut Look) -> Action {
        let now = self.now;
        let by = self.shape.by;
        let policy = policy(self.shape.told.then_some(self.replicas));
        let member = &mut self.members[n];
        if by == By::Lease {
            look.snapshot.authority = Authority::Lease(Box::new(member.sight(now)));
        }
        member.memory = learn(&look.snapshot, &member.memory);
        let own = member.report(&look.snapshot);
        let memory = member.memory.clone();
        let view = View {
            snapshot: &look.snapshot,
            memory: &memory,
            policy: &policy,
            own: &own,
        };
        let decision = decide(&view);
        member.remembers(&view, &decision, now);
        if let Authority::Lease(sight) = &look.snapshot.authority {
            let before = member.promises.clone();
            let promises = before.after(&view, sight, member.questions);
            if promises != member.promises {
                member.questions += 1;
                member.promises = promises;
            }
        }
        if decision.reasons.is_empty() {
            self.breaks(&format!("I8: {n} says nothing"));
        }
        self.go_home(n, &look.snapshot);
        let renews = matches!(&decision.action, Action::Claim(c) if c.says.renewed && decision.reasons.len() == 1);
        if decision.action != Action::Wait && !renews || self.tells_all {
            self.tell(&|| format!("{n} decides {:?} {:?}", decision.action, decision.reasons));
        }
        decision.action
    }

    /// The role comes home to pod-0 once that is caught up.
    fn go_home(&mut self, n: usize, snapshot: &Snapshot) {
        let member = &self.members[n];
        let held = member.memory.held.as_ref();
        let away = held.is_some_and(|held| held.away_from.is_none()) && n != 0;
        if self.shape.by == By::Lease
            || !away
            || member.wish.is_some()
            || self.instant
            || !self.chance.one_in(50)
        {
            return;
        }
        self.members[n].wish = Some(Wish {
            to: Some(self.members[0].ordinal),
            since: snapshot.started_at,
            ..Wish::default()
        });
    }

    pub(crate) fn publish(&mut self, n: usize, snapshot: &Snapshot) {
        let report = self.members[n].report(snapshot);
        self.members[n].published = Some(report);
    }
}
