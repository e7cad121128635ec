//! What is between a member and the API: requests, answers, and the watch.

use podzero::decide::lease::Known;

use super::api::{Ask, Keeper};
use super::world::World;

impl World {
    /// What is between a member and the API.
    pub(crate) fn serve(&mut self, n: usize) {
        let (now, has_api) = (self.now, self.has_api(n));
        let mut wrote = false;
        let mut requests = std::mem::take(&mut self.members[n].keeper.requests);
        for request in &mut requests {
            if request.answer.is_none() && now >= request.arrives && has_api {
                wrote |= Keeper::arrive(request, &mut self.api);
            }
        }
        if wrote {
            let known = self.api.known();
            self.tell(&|| format!("{n} writes {:?}", self.api.says));
            self.steps += 1;
            for m in 0..self.shape.members {
                let after = self.events[m].last().map_or(now, |(at, _)| *at);
                let at = if self.instant {
                    now
                } else {
                    after.max(now + self.chance.delay(20, 3000))
                };
                self.events[m].push((at, known.clone()));
            }
        }
        let runs = self.members[n].runs(now);
        let clock = self.members[n].clock(now);
        if runs {
            let (done, left): (Vec<_>, Vec<_>) =
                requests.into_iter().partition(|r| now >= r.answers);
            requests = left;
            for request in done {
                let lost = !has_api || self.chance.one_in(60) && !self.calm && self.kinds.api;
                let keeper = &mut self.members[n].keeper;
                if let Some(next) = keeper.answered(request, lost, clock, now) {
                    self.ask(n, next, clock);
                }
            }
        }
        self.members[n].keeper.requests.extend(requests);
        let events = std::mem::take(&mut self.events[n]);
        for (at, known) in events {
            if now < at || !runs {
                self.events[n].push((at, known));
                continue;
            }
            let keeper = &mut self.members[n].keeper;
            if has_api && keeper.watches {
                // A watch goes on from what was read.
                let newer = |k: &Known| match k {
                    Known::Lease { version, .. } => version.parse().unwrap_or(0_u64),
                    Known::Unread | Known::Absent | Known::Unreadable { .. } => 0,
                };
                if newer(&known) >= newer(&keeper.known) {
                    keeper.is(known, clock, clock);
                }
            } else {
                keeper.watches = false;
            }
        }
        if !runs {
            return;
        }
        self.members[n].keeper.rest_is_over(now);
        if self.members[n].keeper.reading.is_none() && now >= self.members[n].keeper.next_read {
            let before = self.members[n].keeper.known.clone();
            self.members[n].keeper.reading = Some(clock);
            self.ask(n, Ask::Read { before }, clock);
        }
    }
}
