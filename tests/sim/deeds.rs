//! What an action does: as `act` does it, to the model.

use podzero::clock::Time;
use podzero::decide::handover::{Verdict, is_even, is_near, judge};
use podzero::decide::lease::{Claim, Known};
use podzero::decide::{Action, GRANT_VALID, Local, PeerState};
use podzero::observe::info::ServerRole;
use podzero::report::{Even, Intent};
use podzero::state_file::{Followed, Raised};
use podzero::topology::{Epoch, ServerAt};

use super::api::{Ask, Request};
use super::member::{Look, Stage};
use super::shape::By;
use super::world::{Queued, World};

/// How long one action looks at two servers.
const SLICE: u64 = 2000;

fn index(there: ServerAt) -> usize {
    there.ordinal.0 as usize
}

impl World {
    /// Whether a server can be asked from a member.
    fn asks(&self, me: usize, there: usize) -> bool {
        self.members[there].exists
            && self.connects(me, there)
            && self.servers[there].is_up(self.now)
    }

    /// Whether the connection of a look still leads to that run.
    fn is_here(&self, me: usize, run: u64) -> bool {
        self.servers[me].run == run && self.servers[me].is_up(self.now)
    }

    /// Does it; whatever follows at once is the next stage.
    #[expect(clippy::too_many_lines, reason = "an arm an action")]
    pub(crate) fn act(&mut self, me: usize, look: Box<Look>, action: &Action) -> Stage {
        let now = self.now;
        let connected = self.is_here(me, look.run);
        let hangs = self.servers[me].run == look.run && now < self.servers[me].hangs_until;
        match action {
            Action::Wait => {}
            Action::Fence => {
                if connected {
                    self.fence(me);
                } else if hangs {
                    self.queue(me, Queued::Fence);
                }
            }
            Action::FenceWhenNear { there, run_id } => {
                let there = index(*there);
                if connected && self.asks(me, there) {
                    let (ours, theirs) = (self.info(me), self.info(there));
                    if ours.role == ServerRole::Master && is_near(run_id, &ours, &theirs) {
                        self.fence(me);
                    }
                }
            }
            Action::FenceWhenEven { there, run_id } => {
                if connected && self.asks(me, index(*there)) {
                    let memory = &mut self.members[me].memory;
                    let run = memory.run_id.clone().unwrap_or_default();
                    memory.raised.get_or_insert_with(|| Raised {
                        run_id: run,
                        before: "0".to_owned(),
                        max_lag: None,
                    });
                    self.servers[me].raised = true;
                    return Stage::Evens {
                        look,
                        there: *there,
                        run_id: run_id.clone(),
                        ends: now + SLICE,
                    };
                }
            }
            Action::Lower => {
                if connected {
                    self.servers[me].raised = false;
                    self.members[me].memory.raised = None;
                }
            }
            Action::FenceThere { there, run_id } => {
                let there = index(*there);
                if self.servers[there].run_id() == *run_id && self.asks(me, there) {
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
                if self.shape.by == By::Lease && renewed != Some(intent.epoch) {
                    self.breaks(&format!("I2: {me} arms without a renewal"));
                }
                if self.asks(me, there) {
                    self.members[me].memory.intent = Some(intent.clone());
                    self.publish(me, &look.snapshot);
                    // What the loop does in the same turn.
                    let valid = look.snapshot.started_at + GRANT_VALID;
                    let until = self.members[me].until();
                    let until = until.filter(|_| self.shape.by == By::Lease);
                    let deadline = until.map_or(valid, |until| until.min(valid));
                    return self.takes_until(look, *at, deadline);
                }
                let memory = &mut self.members[me].memory;
                memory.closed = memory.closed.max(Some(intent.epoch));
            }
            Action::Confirm => {
                if let Some(intent) = self.members[me].memory.intent.clone() {
                    self.done(me, &intent);
                }
            }
            Action::TakeOver { there, deadline } => {
                return self.takes_until(look, *there, *deadline);
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
                let unknown = self.loses_answers() && self.chance.one_in(20);
                if hangs && clock < *deadline {
                    // It may do it yet: whoever sent it does not know.
                    self.queue(me, Queued::Promote(*epoch));
                } else if !connected || clock >= *deadline {
                    self.members[me].memory.closes(*epoch);
                } else if unknown {
                    if self.chance.one_in(2) {
                        self.promoted(me, *epoch);
                    }
                } else {
                    self.promoted(me, *epoch);
                    let memory = &mut self.members[me].memory;
                    memory.holds(look.snapshot.me, *epoch, run_id);
                }
            }
            Action::Adopt { epoch, run_id } => {
                let memory = &mut self.members[me].memory;
                memory.holds(look.snapshot.me, *epoch, run_id);
                self.takes_role(me, *epoch);
            }
            Action::Follow {
                master,
                epoch,
                host,
                port,
                ..
            } => {
                let peer = look.snapshot.peers.get(master).map(|p| &p.state);
                let id = match peer {
                    Some(PeerState::Answered(report)) => report.replication.id.clone(),
                    Some(PeerState::ServerOnly(server)) => server.id.clone(),
                    Some(PeerState::Missing | PeerState::Silent(_)) | None => None,
                };
                let memory = &mut self.members[me].memory;
                let known = match &look.snapshot.local {
                    Local::Up(server) => memory.knows(server),
                    Local::Loading { .. } | Local::Unreachable { .. } => false,
                };
                let followed = Followed {
                    master: *master,
                    epoch: *epoch,
                    id,
                    only_source: known,
                };
                memory.follows(followed, Some(format!("{host}:{port}")));
                if connected {
                    self.servers[me].follow(master.0 as usize);
                }
            }
            Action::Publish(grant) => {
                let memory = &mut self.members[me].memory;
                memory.grant = Some(grant.clone());
                memory.epoch_seen = memory.epoch_seen.max(Some(grant.epoch));
                memory.holder = Some(grant.target);
            }
            Action::Withdraw => self.members[me].memory.grant = None,
            Action::Close(epoch) => self.members[me].memory.closes(*epoch),
        }
        self.publish(me, &look.snapshot);
        Stage::Idle
    }

    fn takes_until(&self, look: Box<Look>, there: ServerAt, deadline: Time) -> Stage {
        Stage::Takes {
            look,
            there,
            deadline,
            ends: self.now + SLICE,
        }
    }

    /// One look at both servers. Whether it goes on.
    pub(crate) fn takes(
        &mut self,
        me: usize,
        there: ServerAt,
        deadline: Time,
        run: u64,
        ends: u64,
    ) -> bool {
        let (now, there) = (self.now, index(there));
        let Some(intent) = self.members[me].memory.intent.clone() else {
            return false;
        };
        let Some(armed) = intent.armed.clone() else {
            return false;
        };
        if now >= ends || !self.asks(me, there) || !self.is_here(me, run) {
            return false;
        }
        let (theirs, ours) = (self.info(there), self.info(me));
        match judge(&intent, &armed, &theirs, &ours) {
            Verdict::Wait => return true,
            Verdict::Promoted => self.done(me, &intent),
            Verdict::Promote => {
                let clock = self.members[me].clock(now);
                let memory = &mut self.members[me].memory;
                if let Some(armed) = memory.intent.as_mut().and_then(|i| i.armed.as_mut()) {
                    let offset = theirs.offset;
                    armed.even = theirs.id.map(|id| Even { id, offset });
                }
                if clock >= deadline {
                    return false;
                }
                let id = self.fresh();
                self.servers[me].promote(id);
                self.takes_role(me, intent.epoch);
                self.tell(&|| format!("{me} takes over in {}", intent.epoch));
                if self.loses_answers() && self.chance.one_in(10) {
                    // Not told: the next turn looks at what it became.
                    return false;
                }
                let told = self.members[me].memory.intent.clone().unwrap_or(intent);
                self.done(me, &told);
            }
            Verdict::Decline(why) => {
                self.tell(&|| format!("{me} declines {}: {why}", intent.epoch));
                if ours.role == ServerRole::Master {
                    self.fence(me);
                }
                self.members[me].memory.closes(intent.epoch);
            }
        }
        false
    }

    /// One look at a replica that is to come even. Whether it goes on.
    pub(crate) fn evens(
        &mut self,
        me: usize,
        there: ServerAt,
        run_id: &str,
        run: u64,
        ends: u64,
    ) -> bool {
        if !self.is_here(me, run) {
            return false;
        }
        if self.now >= ends {
            let grant = self.members[me].memory.grant.as_mut();
            if let Some(handover) = grant.and_then(|g| g.handover.as_mut()) {
                handover.cancelled = true;
            }
            return false;
        }
        let ours = self.info(me);
        if ours.role != ServerRole::Master {
            return false;
        }
        let there = index(there);
        if self.asks(me, there) && is_even(run_id, &ours, &self.info(there)) {
            self.fence(me);
            return false;
        }
        true
    }

    /// It took over with everything.
    fn done(&mut self, me: usize, intent: &Intent) {
        let ordinal = self.members[me].ordinal;
        self.members[me].memory.takes_over(ordinal, intent);
        if intent.armed.is_some() {
            self.handed_over += 1;
            // A server that was killed since has what it kept.
            if self.servers[me].run_id() == intent.run_id {
                self.check_handover(me);
            }
        }
    }

    /// The server accepts writes from now on.
    pub(crate) fn promoted(&mut self, me: usize, epoch: Epoch) {
        self.check_promotion(me, epoch);
        let id = self.fresh();
        self.servers[me].promote(id);
        self.taken += u32::from(self.reigns.last().is_none_or(|(_, last)| *last != me));
        self.takes_role(me, epoch);
        self.tell(&|| format!("{me} is un-fenced in {epoch}"));
    }

    fn takes_role(&mut self, me: usize, epoch: Epoch) {
        self.servers[me].data.epoch = Some(epoch);
        self.begins(me, epoch);
    }

    fn claim(&mut self, me: usize, claim: Claim) {
        let now = self.now;
        let stamp = self.fresh();
        let sent = self.members[me].clock(now);
        let keeper = &mut self.members[me].keeper;
        let over = match &keeper.known {
            Known::Lease { version, .. } => Some(version.clone()),
            Known::Unread | Known::Absent | Known::Unreadable { .. } => None,
        };
        if keeper.writing || over != claim.over {
            return;
        }
        keeper.writing = true;
        keeper.claimed.clone_from(&claim.says.members);
        self.ask(me, Ask::Write { claim, stamp }, sent);
    }

    pub(crate) fn ask(&mut self, me: usize, ask: Ask, sent: Time) {
        let (mut there, mut back) = (0, 0);
        if !self.instant {
            let longest = self.longest();
            there = self.chance.delay(8, longest);
            back = self.chance.delay(8, longest);
        }
        let (arrives, answers) = (self.now + there, self.now + there + back);
        self.members[me].keeper.requests.push(Request {
            ask,
            sent,
            arrives,
            answers,
            answer: None,
        });
    }

    pub(crate) fn fence(&mut self, of: usize) {
        let fed = self.attached(of).into_iter().map(|(n, _)| n).collect();
        self.tell(&|| format!("{of} is fenced"));
        self.servers[of].fence(fed);
    }

    /// A server that hangs does later what it was told.
    fn queue(&mut self, me: usize, what: Queued) {
        self.tell(&|| format!("{me} hangs: {what:?} waits"));
        self.queued[me].push(what);
    }
}
