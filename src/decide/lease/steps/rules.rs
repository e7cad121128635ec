//! What must never be so, whatever happens.

use super::member::Stage;
use super::server::Doing;
use super::set::{SIZE, Set};
use crate::decide::Snapshot;
use crate::topology::Epoch;

impl Set {
    /// At every moment.
    pub(super) fn check(&mut self) {
        for n in 0..SIZE {
            for m in 0..SIZE {
                if !self.members[m].runs(self.now)
                    || !self.servers[m].is_up(self.now)
                    || !self.connects(n, m)
                {
                    self.unhealthy_at[n][m] = self.now;
                }
            }
        }
        let writes: Vec<_> = (0..SIZE)
            .filter(|n| self.servers[*n].writable(self.now) && self.members[*n].runs(self.now))
            .collect();
        let in_time: Vec<_> = writes
            .iter()
            .copied()
            .filter(|n| self.is_in_time(*n))
            .collect();
        if in_time.len() > 1 {
            self.breaks(&format!("I2: {in_time:?} accept writes, each in time"));
        }
        for n in 0..SIZE {
            // Between an answer that is not told and the next look nobody knows.
            let late = writes.contains(&n) && !in_time.contains(&n);
            self.late_since[n] = late.then(|| self.late_since[n].unwrap_or(self.now));
            if self.late_since[n].is_some_and(|since| self.now - since > 3000) {
                let why = format!("I2: {n} accepts writes past its deadline");
                self.breaks(&why);
            }
        }
        let known = self.promotions.len();
        for at in known..self.epochs.len() {
            let (epoch, who) = self.epochs[at];
            let newest = self.promotions.iter().map(|(e, _)| *e).max();
            if Some(epoch) <= newest {
                self.breaks(&format!("I3: {who} takes epoch {epoch} after {newest:?}"));
            }
            self.promotions.push((epoch, who));
        }
    }

    fn is_in_time(&self, n: usize) -> bool {
        let clock = self.members[n].clock(self.now);
        let until = self.members[n].until();
        until.is_some_and(|until| clock < until)
    }

    /// Whoever can be asked, and could all the time, has not more.
    pub(super) fn check_promotion(&mut self, me: usize, epoch: Epoch, _snapshot: &Snapshot) {
        let mine = &self.servers[me];
        let more = (0..SIZE).find(|m| {
            let theirs = &self.servers[*m];
            let reachable = self.unhealthy_at[me][*m] + 3000 < self.now;
            *m != me && reachable && theirs.id == mine.id && theirs.offset() > mine.offset()
        });
        // Known: a replica that hangs on a master whose sidecar is away receives more meanwhile.
        let fed = more.is_some_and(|m| match self.servers[m].doing {
            Doing::Follows(from) => self.servers[from].doing == Doing::Master,
            Doing::Master | Doing::Fenced => false,
        });
        if more.is_some() && fed {
            self.open
                .push(format!("I3: {me} is promoted again in {epoch}"));
        } else if let Some(m) = more {
            self.breaks(&format!(
                "I3: {me} is promoted in {epoch}, and {m} has more"
            ));
        }
    }

    /// Whatever was acknowledged in the history that was handed over is here.
    pub(super) fn check_handover(&mut self, me: usize) {
        let server = &self.servers[me];
        let before = server.id2.and_then(|(id, _)| self.acknowledged.get(&id));
        let lost = before.map_or(0, |all| {
            all.iter().filter(|w| !server.log.contains(w)).count()
        });
        if lost > 0 {
            self.breaks(&format!("I4: {me} took over, and {lost} writes are lost"));
        }
    }

    /// When all has been well for long, one leads and all follow.
    pub(super) fn check_end(&mut self, calm: bool) {
        if self.broken.is_some() || !calm {
            return;
        }
        let leads: Vec<_> = (0..SIZE)
            .filter(|n| self.servers[*n].doing == Doing::Master)
            .collect();
        if leads.len() != 1 {
            for n in 0..SIZE {
                let published = self.members[n].published.clone();
                let reasons =
                    published.map(|r| (r.role, r.epoch, r.authority, r.replication.offset));
                let stage = matches!(self.members[n].stage, Stage::Idle);
                self.tell(&format!("{n}: {reasons:?} {stage}"));
            }
            let why = format!("{leads:?} lead when all is well");
            self.breaks(&why);
        }
    }
}
