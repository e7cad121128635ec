//! What an action does: as `act` does it, to the model.

use super::api::{Ask, Request};
use super::member::{Look, Stage};
use super::set::Set;
use crate::decide::handover::{Verdict, is_near, judge};
use crate::decide::{Action, GRANT_VALID, Snapshot};
use crate::observe::info::ServerRole;
use crate::report::{Even, Intent};
use crate::state_file::{Followed, Held, Memory};
use crate::topology::{Epoch, Ordinal, ServerAt};

fn hold(memory: &mut Memory, me: Ordinal, epoch: Epoch, run_id: &str) {
    memory.intent = None;
    memory.grant.take_if(|grant| grant.handover.is_some());
    memory.held = Some(Held {
        epoch,
        run_id: run_id.to_owned(),
        id: None,
        took_over_from: None,
        away_from: None,
    });
    memory.epoch_seen = memory.epoch_seen.max(Some(epoch));
    memory.holder = Some(me);
    memory.followed = None;
}

fn close(memory: &mut Memory, epoch: Epoch) {
    memory.intent = None;
    memory.closed = memory.closed.max(Some(epoch));
}

fn index(there: ServerAt) -> usize {
    there.ordinal.0 as usize
}

impl Set {
    /// Does it; whatever follows at once is the next stage.
    #[expect(clippy::too_many_lines, reason = "an arm an action")]
    pub(super) fn act(&mut self, me: usize, look: Box<Look>, action: &Action) -> Stage {
        let now = self.now;
        let connected = self.servers[me].run == look.run && self.servers[me].is_up(now);
        match action {
            Action::Wait | Action::Lower => {}
            Action::Fence => {
                // Over a connection, or queued for when it goes on.
                if self.servers[me].run == look.run && now >= self.servers[me].down_until {
                    self.fence(me);
                }
            }
            Action::FenceWhenNear { there, run_id } => {
                let there = index(*there);
                if connected && self.connects(me, there) && self.servers[there].is_up(now) {
                    let (ours, theirs) = (self.info(me), self.info(there));
                    if is_near(run_id, &ours, &theirs) {
                        self.fence(me);
                    }
                }
            }
            Action::FenceWhenEven { .. } => panic!("servers of 7.2 are fenced when near"),
            Action::FenceThere { there, run_id } => {
                let there = index(*there);
                let same = self.servers[there].run_id() == *run_id;
                if same && self.connects(me, there) && self.servers[there].is_up(now) {
                    self.fence(there);
                }
            }
            Action::Claim(claim) => {
                if claim.offers.is_some() {
                    self.members[me].memory.grant.clone_from(&claim.offers);
                }
                self.claim(me, claim.as_ref().clone());
            }
            Action::Arm { intent, there: at } => {
                let there = index(*at);
                let renewed = self.members[me].keeper.renewed.map(|(_, epoch)| epoch);
                if renewed != Some(intent.epoch) {
                    self.breaks(&format!("I2: {me} arms without a renewal"));
                }
                let memory = &mut self.members[me].memory;
                if !self.links[me][there] || !self.servers[there].is_up(now) {
                    close(memory, intent.epoch);
                } else {
                    memory.intent = Some(intent.clone());
                    self.publish(me, &look.snapshot);
                    // What the loop does in the same turn.
                    let deadline = look.snapshot.started_at + GRANT_VALID;
                    return Stage::Takes {
                        look,
                        there: *at,
                        deadline,
                        ends: now + 2000,
                    };
                }
            }
            Action::Confirm => {
                let intent = self.members[me].memory.intent.clone();
                if let Some(intent) = intent {
                    self.done(me, &intent);
                }
            }
            Action::TakeOver { there, deadline } => {
                return Stage::Takes {
                    look,
                    there: *there,
                    deadline: *deadline,
                    ends: now + 2000,
                };
            }
            Action::Unfence {
                epoch,
                run_id,
                deadline,
            } => {
                let clock = self.members[me].clock(now);
                let memory = &mut self.members[me].memory;
                memory.intent = Some(Intent {
                    epoch: *epoch,
                    run_id: run_id.clone(),
                    armed: None,
                });
                if !connected || clock >= *deadline {
                    close(memory, *epoch);
                } else if self.loses_answers() && self.chance.one_in(20) {
                    // Nobody knows what became of it.
                    if self.chance.one_in(2) {
                        self.promoted(me, *epoch, &look.snapshot);
                    }
                } else {
                    self.promoted(me, *epoch, &look.snapshot);
                    hold(
                        &mut self.members[me].memory,
                        look.snapshot.me,
                        *epoch,
                        run_id,
                    );
                }
            }
            Action::Adopt { epoch, run_id } => {
                hold(
                    &mut self.members[me].memory,
                    look.snapshot.me,
                    *epoch,
                    run_id,
                );
                self.epochs.push((*epoch, me));
            }
            Action::Follow { master, epoch, .. } => {
                let master_at = master.0 as usize;
                let peer = look.snapshot.peers.get(master).map(|p| &p.state);
                let id = match peer {
                    Some(crate::decide::PeerState::Answered(r)) => r.replication.id.clone(),
                    Some(_) | None => None,
                };
                let memory = &mut self.members[me].memory;
                memory.unfinished = memory.unfinished || memory.id != id || memory.alias.is_some();
                memory.followed = Some(Followed {
                    master: *master,
                    epoch: *epoch,
                    id,
                });
                if connected {
                    self.servers[me].follow(master_at);
                }
            }
            Action::Publish(grant) => {
                let memory = &mut self.members[me].memory;
                memory.grant = Some(grant.clone());
                memory.epoch_seen = memory.epoch_seen.max(Some(grant.epoch));
                memory.holder = Some(grant.target);
            }
            Action::Withdraw => self.members[me].memory.grant = None,
            Action::Close(epoch) => close(&mut self.members[me].memory, *epoch),
        }
        self.publish(me, &look.snapshot);
        Stage::Idle
    }

    /// One look at both servers. Whether it goes on.
    pub(super) fn takes(
        &mut self,
        me: usize,
        there: ServerAt,
        deadline: crate::clock::Time,
        run: u64,
        ends: u64,
    ) -> bool {
        let (now, there) = (self.now, index(there));
        let memory = &self.members[me].memory;
        let Some(intent) = memory.intent.clone() else {
            return false;
        };
        let Some(armed) = intent.armed.clone() else {
            return false;
        };
        let reached = self.connects(me, there) && self.servers[there].is_up(now);
        let here = self.servers[me].run == run && self.servers[me].is_up(now);
        if now >= ends || !reached || !here {
            return false;
        }
        let (theirs, ours) = (self.info(there), self.info(me));
        match judge(&intent, &armed, &theirs, &ours) {
            Verdict::Wait => return true,
            Verdict::Promoted => self.done(me, &intent),
            Verdict::Promote => {
                let clock = self.members[me].clock(now);
                if let Some(armed) = self.members[me]
                    .memory
                    .intent
                    .as_mut()
                    .and_then(|i| i.armed.as_mut())
                {
                    let offset = theirs.offset;
                    armed.even = theirs.id.map(|id| Even { id, offset });
                }
                if clock >= deadline {
                    return false;
                }
                let id = self.fresh();
                self.servers[me].promote(id);
                self.epochs.push((intent.epoch, me));
                self.tell(&format!("{me} takes over in {}", intent.epoch));
                if self.chance.one_in(10) {
                    // Not told: the next turn looks at what it became.
                    return false;
                }
                self.done(me, &intent);
            }
            Verdict::Decline(why) => {
                self.tell(&format!("{me} declines {}: {why}", intent.epoch));
                if ours.role == ServerRole::Master {
                    self.fence(me);
                }
                close(&mut self.members[me].memory, intent.epoch);
            }
        }
        false
    }

    /// It took over with everything.
    fn done(&mut self, me: usize, intent: &Intent) {
        let ordinal = self.members[me].ordinal;
        let memory = &mut self.members[me].memory;
        hold(memory, ordinal, intent.epoch, &intent.run_id);
        if let (Some(held), Some(armed)) = (&mut memory.held, &intent.armed) {
            held.took_over_from = Some(armed.handover.run_id.clone());
            self.handed_over += 1;
            self.check_handover(me);
        }
    }

    fn promoted(&mut self, me: usize, epoch: Epoch, snapshot: &Snapshot) {
        self.check_promotion(me, epoch, snapshot);
        let id = self.fresh();
        self.servers[me].promote(id);
        self.taken += u32::from(self.epochs.last().is_none_or(|(_, last)| *last != me));
        self.epochs.push((epoch, me));
        self.tell(&format!("{me} is un-fenced in {epoch}"));
    }

    fn claim(&mut self, me: usize, claim: crate::decide::lease::Claim) {
        let now = self.now;
        let stamp = self.fresh();
        let sent = self.members[me].clock(now);
        let over = {
            let keeper = &self.members[me].keeper;
            match &keeper.known {
                crate::decide::lease::Known::Lease { version, .. } => Some(version.clone()),
                crate::decide::lease::Known::Unread
                | crate::decide::lease::Known::Absent
                | crate::decide::lease::Known::Unreadable { .. } => None,
            }
        };
        if self.members[me].keeper.writing || over != claim.over {
            return;
        }
        let keeper = &mut self.members[me].keeper;
        keeper.writing = true;
        keeper.claimed.clone_from(&claim.says.members);
        self.ask(me, Ask::Write { claim, stamp }, sent);
    }

    pub(super) fn ask(&mut self, me: usize, ask: Ask, sent: crate::clock::Time) {
        let longest = self.longest();
        let there = self.chance.delay(8, longest);
        let back = self.chance.delay(8, longest);
        let (arrives, answers) = (self.now + there, self.now + there + back);
        self.members[me].keeper.requests.push(Request {
            ask,
            sent,
            arrives,
            answers,
            answer: None,
        });
    }
}
