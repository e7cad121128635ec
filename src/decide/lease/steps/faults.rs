//! What goes wrong, and how it is well again.

use super::set::{SIZE, Set};
use crate::decide::Wish;
use crate::topology::Ordinal;

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) servers: bool,
    pub(super) sidecars: bool,
    pub(super) pauses: bool,
    pub(super) links: bool,
    pub(super) api: bool,
    pub(super) outage: bool,
    pub(super) wishes: bool,
    pub(super) pods: bool,
}

impl Faults {
    const NONE: Self = Self {
        servers: false,
        sidecars: false,
        pauses: false,
        links: false,
        api: false,
        outage: false,
        wishes: false,
        pods: false,
    };
    pub(super) const ALL: Self = Self {
        servers: true,
        sidecars: true,
        pauses: true,
        links: true,
        api: true,
        outage: true,
        wishes: true,
        pods: true,
    };
    pub(super) const OUTAGE: Self = Self {
        outage: true,
        ..Self::NONE
    };
    pub(super) const SIDECARS: Self = Self {
        sidecars: true,
        ..Self::NONE
    };
    pub(super) const WISHES: Self = Self {
        wishes: true,
        ..Self::NONE
    };
}

impl Set {
    pub(super) fn heal(&mut self) {
        self.tell("all is well again");
        self.calm = true;
        self.links = [[true; SIZE]; SIZE];
        self.api_until = [0; SIZE];
        for n in 0..SIZE {
            if self.now < self.members[n].down_until || self.members[n].terminating {
                self.members[n].start(self.now);
            }
            self.members[n].paused_until = self.now;
            let server = &mut self.servers[n];
            server.down_until = server.down_until.min(self.now);
            server.loads_until = server.loads_until.min(self.now);
            server.hangs_until = server.hangs_until.min(self.now);
        }
    }

    pub(super) fn fault(&mut self) {
        let (mut n, now) = (self.chance.which(SIZE), self.now);
        let (short, long) = (self.chance.of(20, 1500), self.chance.of(100, 12_000));
        let faults = self.faults;
        let mut kind = self.chance.of(0, 12);
        let leads = (0..SIZE).find(|n| self.servers[*n].writable(now));
        if let Some(leads) = leads.filter(|_| faults.wishes && !faults.pods) {
            (n, kind) = (leads, 10);
        }
        match kind {
            0 | 1 if faults.servers => {
                let run = self.fresh();
                self.tell(&format!("server {n} crashes"));
                let ready = now + short + self.chance.of(0, 300);
                self.servers[n].crash(run, now + short, ready);
            }
            2 if faults.servers => {
                self.tell(&format!("server {n} hangs for {long}"));
                self.servers[n].hangs_until = now + long;
            }
            3 if faults.sidecars => {
                let length = if faults.servers { long } else { short };
                self.tell(&format!("sidecar {n} crashes for {length}"));
                self.members[n].start(now + length);
                self.members[n].down_until = now + length;
            }
            4 | 5 if faults.pauses => {
                self.tell(&format!("sidecar {n} is paused for {long}"));
                self.members[n].paused_until = now + long;
            }
            6 | 7 if faults.links => {
                let m = (n + 1) % SIZE;
                self.tell(&format!("{n} and {m} are apart for {long}"));
                (self.links[n][m], self.links[m][n]) = (false, false);
                self.links_until = self.links_until.max(now + long);
            }
            8 if faults.api => {
                self.tell(&format!("{n} loses the API for {long}"));
                self.api_until[n] = now + long;
            }
            9 if faults.outage => {
                self.tell(&format!("the API is down for {long}"));
                self.api_until = [now + long; SIZE];
            }
            10 if faults.wishes => {
                let since = self.members[n].clock(now);
                let to = self.chance.which(SIZE + 1);
                let to = (to < SIZE && to != n).then(|| Ordinal(u32::try_from(to).expect("few")));
                self.tell(&format!("{n} wishes a handover to {to:?}"));
                self.members[n].wish = Some(Wish {
                    to,
                    stays: to.is_some(),
                    since,
                    ..Wish::default()
                });
            }
            11 if faults.pods => {
                if !self.members[n].terminating {
                    self.tell(&format!("pod {n} is being stopped"));
                    let since = self.members[n].clock(now);
                    self.members[n].terminating = true;
                    self.members[n].wish = Some(Wish {
                        since,
                        ..Wish::default()
                    });
                    return;
                }
                self.tell(&format!("pod {n} is another"));
                let run = self.fresh();
                self.servers[n].save();
                self.servers[n].crash(run, now + short, now + short + 50);
                self.members[n].pod = run;
                self.members[n].renewed = None;
                self.members[n].start(now + short);
            }
            _ => {}
        }
    }
}
