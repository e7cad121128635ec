//! What must never be so. The observer sees the true state of everything, and knows nothing of how the core
//! decides.

use podzero::decide::Reason;
use podzero::report::LinkState;
use podzero::topology::Epoch;

use super::server::{Data, Doing, Keeps};
use super::shape::By;
use super::world::World;

/// For how long somebody must have been well until it counts as reachable.
const WELL: u64 = 3000;

impl World {
    /// At every moment.
    pub(crate) fn check(&mut self) {
        let now = self.now;
        for n in 0..self.shape.members {
            for m in 0..self.shape.members {
                let well = self.members[m].runs(now)
                    && self.servers[m].is_up(now)
                    && self.connects(n, m)
                    && self.connects(m, n);
                if !well {
                    self.unhealthy_at[n][m] = now;
                }
            }
        }
        if self.by_hand {
            return;
        }
        let writes: Vec<_> = (0..self.shape.members)
            .filter(|n| self.servers[*n].is_master(now) && self.members[*n].runs(now))
            .collect();
        let in_time: Vec<_> = writes
            .iter()
            .copied()
            .filter(|n| self.is_in_time(*n))
            .collect();
        if in_time.len() > 1 {
            self.breaks(&format!("I2: {in_time:?} accept writes, each in time"));
        }
        for n in 0..self.shape.members {
            // Between an answer that is not told and the next look nobody knows.
            let late = writes.contains(&n) && !in_time.contains(&n);
            self.late_since[n] = late.then(|| self.late_since[n].unwrap_or(now));
            let long = self.late_since[n].is_some_and(|since| now - since > WELL);
            // Where time passes without a turn, everybody is as if paused.
            if long && !self.instant {
                self.breaks(&format!("I2: {n} accepts writes past its deadline"));
            }
        }
    }

    fn is_in_time(&self, n: usize) -> bool {
        if self.shape.by == By::Ordinal {
            return true;
        }
        let clock = self.members[n].clock(self.now);
        let until = self.members[n].until();
        until.is_some_and(|until| clock < until)
    }

    /// A role is taken or kept in an epoch: it is a new one.
    pub(crate) fn begins(&mut self, me: usize, epoch: Epoch) {
        let newest = self.reigns.iter().map(|(e, _)| *e).max();
        if Some(epoch) <= newest && !self.by_hand {
            self.breaks(&format!("I3: {me} takes epoch {epoch} after {newest:?}"));
        }
        self.reigns.push((epoch, me));
    }

    /// Told to a server that hung, and done when it went on: another may have been given the role.
    pub(crate) fn promoted_late(&mut self, me: usize, epoch: Epoch) {
        let id = self.fresh();
        self.tell(&|| format!("{me} goes on, and is un-fenced in {epoch}"));
        self.servers[me].promote(id);
        let newest = self.reigns.iter().map(|(e, _)| *e).max();
        if Some(epoch) > newest {
            self.reigns.push((epoch, me));
            self.servers[me].data.epoch = Some(epoch);
        }
    }

    /// Whoever can be asked, and could all the time, has nothing that is missing here.
    pub(crate) fn check_promotion(&mut self, me: usize, epoch: Epoch) {
        if self.by_hand {
            return;
        }
        let mine = &self.servers[me].data;
        // An append-only file does not tell how far it goes: what is recorded may be a little less.
        let tells = self.shape.keeps != Keeps::AppendOnly;
        let more = (0..self.shape.members).find(|m| {
            let theirs = &self.servers[*m].data;
            let reachable = self.unhealthy_at[me][*m] + WELL < self.now;
            *m != me
                && reachable
                && !mine.has_all_of(theirs)
                && (theirs.epoch > mine.epoch
                    || theirs.epoch == mine.epoch
                        && (tells || theirs.id == mine.id)
                        && theirs.has_all_of(mine))
        });
        let Some(m) = more else { return };
        // Known: a replica that hangs on a master whose sidecar is away receives more meanwhile.
        let fed = match self.servers[m].doing {
            Doing::Follows(from) => self.servers[from].doing == Doing::Master,
            Doing::Master | Doing::Fenced => false,
        };
        // Known: a copy that came and went with its server while no sidecar looked at that one.
        let unseen = self.members[m].unseen == Some(self.servers[m].data.id);
        // Known, and the letter of I3: whoever was pointed at another history counts as unfinished from then
        // on, also when nothing came.
        let memory = &self.members[m].memory;
        let pointed = memory.unfinished && memory.id == self.info(m).id;
        if fed || unseen || pointed {
            self.open
                .push(format!("I3: {me} is promoted in {epoch}, {m} has more"));
        } else {
            self.breaks(&format!(
                "I3: {me} is promoted in {epoch}, and {m} has more"
            ));
        }
    }

    /// A full copy took the place of what was there: only what was granted later may.
    pub(crate) fn check_copy(&mut self, me: usize, from: usize, before: &Data) {
        let after = &self.servers[me].data;
        if after.has_all_of(before) || self.by_hand || after.epoch > before.epoch {
            return;
        }
        // The rest comes by the same way: the server in between had not received it yet.
        let chained = self.servers[from].doing != Doing::Master;
        if chained && after.epoch == before.epoch && before.has_all_of(after) {
            return;
        }
        self.breaks(&format!(
            "I3: {me} had {} writes of {:?}, and has {} of {:?} by a copy of {from}",
            before.log.len(),
            before.epoch,
            after.log.len(),
            after.epoch
        ));
    }

    /// A write was accepted: nobody else writes in that epoch.
    pub(crate) fn acknowledges(&mut self, n: usize, _name: u64) {
        let epoch = self.servers[n].data.epoch;
        let also = (0..self.shape.members).find(|m| {
            let other = &self.servers[*m];
            *m != n && other.writable(self.now) && other.data.epoch == epoch
        });
        if let Some(m) = also.filter(|_| !self.by_hand) {
            self.breaks(&format!("I2: {n} and {m} acknowledge writes in {epoch:?}"));
        }
    }

    /// Whatever was acknowledged in the history that was handed over is here.
    pub(crate) fn check_handover(&mut self, me: usize) {
        if self.by_hand {
            return;
        }
        let armed = self.members[me].memory.held.as_ref();
        let Some(run) = armed.and_then(|held| held.took_over_from.clone()) else {
            return;
        };
        let gave = self.servers.iter().find(|s| s.run_id() == run);
        let lost = gave.map(|gave| !self.servers[me].data.has_all_of(&gave.data));
        if lost == Some(true) {
            self.breaks(&format!("I4: {me} took over without everything"));
        }
    }

    /// Why somebody waits for a hand.
    pub(crate) fn asks_for_a_hand(&self) -> bool {
        let asks = |reason: &Reason| reason.needs_a_hand();
        let mut here = self.members.iter().filter(|m| m.exists);
        here.any(|member| member.reasons.iter().any(asks))
    }

    /// The member with the newest data, and the most of it.
    pub(crate) fn best(&self) -> usize {
        let here = (0..self.shape.members).filter(|n| self.members[*n].exists);
        let worth = |n: &usize| (self.servers[*n].data.epoch, self.servers[*n].data.log.len());
        here.max_by_key(worth).unwrap_or(0)
    }

    /// Whether one leads, and all have what it has.
    pub(crate) fn is_well(&self) -> Result<(), String> {
        let here: Vec<_> = (0..self.shape.members)
            .filter(|n| self.members[*n].exists)
            .collect();
        let leads: Vec<_> = here
            .iter()
            .copied()
            .filter(|n| self.servers[*n].doing == Doing::Master)
            .collect();
        let [master] = leads[..] else {
            return Err(format!("{leads:?} lead when all is well"));
        };
        for n in here.into_iter().filter(|n| *n != master) {
            let server = &self.servers[n];
            let follows = server.doing == Doing::Follows(master) && server.link == LinkState::Up;
            if !follows {
                return Err(format!("{n} does not follow {master}: {:?}", server.doing));
            }
        }
        Ok(())
    }

    /// What each member is at, for the story.
    pub(crate) fn tell_state(&self) {
        for (member, server) in self.members.iter().zip(&self.servers) {
            self.tell(&|| {
                format!(
                    "{}: {:?} {:?} id {} id2 {:?} offset {} writes {} of {:?}, knows {:?} ({:?}), {:?}",
                    member.ordinal,
                    server.doing,
                    server.link,
                    server.data.id,
                    server.id2,
                    server.data.offset,
                    server.data.log.len(),
                    server.data.epoch,
                    member.memory.epoch,
                    member.memory.epoch_seen,
                    member.reasons
                )
            });
        }
    }
}
