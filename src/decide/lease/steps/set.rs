//! The whole set, time, and what goes wrong.

use std::collections::BTreeMap;

use super::api::Api;
use super::chance::Chance;
use super::faults::Faults;
use super::member::Member;
use super::server::{Doing, Server};
use crate::decide::lease::Known;
use crate::observe::info::ServerInfo;
use crate::report::LinkState;
use crate::topology::Epoch;

pub(super) const SIZE: usize = 3;

pub(super) struct Set {
    pub(super) seed: u64,
    pub(super) now: u64,
    pub(super) chance: Chance,
    pub(super) faults: Faults,
    pub(super) calm: bool,
    pub(super) api: Api,
    /// Events of the watch on their way to each member.
    pub(super) events: Vec<Vec<(u64, Known)>>,
    pub(super) servers: Vec<Server>,
    pub(super) members: Vec<Member>,
    /// Who reaches whom.
    pub(super) links: [[bool; SIZE]; SIZE],
    pub(super) links_until: u64,
    pub(super) api_until: [u64; SIZE],
    pub(super) next_fault: u64,
    pub(super) next_write: u64,
    pub(super) names: u64,
    /// Every write that was acknowledged, by the history in which it was.
    pub(super) acknowledged: BTreeMap<u64, Vec<u64>>,
    /// Every epoch in which a role was taken or kept, in order.
    pub(super) epochs: Vec<(Epoch, usize)>,
    pub(super) promotions: Vec<(Epoch, usize)>,
    /// How often the role went to another otherwise than in a handover.
    pub(super) taken: u32,
    pub(super) handed_over: u32,
    /// What is known to break, and was seen to.
    pub(super) open: Vec<String>,
    pub(super) late_since: [Option<u64>; SIZE],
    pub(super) unhealthy_at: [[u64; SIZE]; SIZE],
    pub(super) story: Vec<String>,
    pub(super) broken: Option<String>,
}

impl Set {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut chance = Chance::new(seed);
        let member = |n: u32, chance: &mut Chance| {
            Member::new(n, chance.of(100_000, 900_000), chance.of(980, 1020))
        };
        let members = (0..3).map(|n| member(n, &mut chance)).collect();
        Self {
            seed,
            now: 0,
            chance,
            faults,
            calm: true,
            api: Api::default(),
            events: vec![Vec::new(); SIZE],
            servers: (0..3).map(Server::new).collect(),
            members,
            links: [[true; SIZE]; SIZE],
            links_until: 0,
            api_until: [0; SIZE],
            next_fault: 0,
            next_write: 0,
            names: 10,
            acknowledged: BTreeMap::new(),
            epochs: Vec::new(),
            promotions: Vec::new(),
            taken: 0,
            handed_over: 0,
            open: Vec::new(),
            late_since: [None; SIZE],
            unhealthy_at: [[0; SIZE]; SIZE],
            story: Vec::new(),
            broken: None,
        }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    pub(super) fn tell(&mut self, what: &str) {
        self.story.push(format!("{:>6} {what}", self.now));
    }

    pub(super) fn breaks(&mut self, why: &str) {
        self.tell(&format!("BROKEN: {why}"));
        self.broken
            .get_or_insert_with(|| format!("at {}: {why}", self.now));
    }

    pub(super) fn connects(&self, a: usize, b: usize) -> bool {
        self.links[a][b]
    }

    pub(super) fn attached(&self, master: usize) -> Vec<(usize, u64)> {
        let follows = |s: &Server| s.doing == Doing::Follows(master) && s.link == LinkState::Up;
        let all = self.servers.iter().enumerate();
        all.filter(|(_, s)| follows(s))
            .map(|(n, s)| (n, s.offset()))
            .collect()
    }

    pub(super) fn info(&self, of: usize) -> ServerInfo {
        self.servers[of].info(&self.attached(of))
    }

    pub(super) fn fence(&mut self, of: usize) {
        let fed = self.attached(of).into_iter().map(|(n, _)| n).collect();
        self.tell(&format!("{of} is fenced"));
        self.servers[of].fence(fed);
    }

    /// A first boot, and a moment for everybody to follow.
    pub(super) fn settle(&mut self) {
        self.run(12_000);
        let led = self.servers.iter().filter(|s| s.writable(self.now)).count();
        if led != 1 {
            self.breaks(&format!("a first boot made {led} masters"));
        }
        self.calm = false;
        self.next_fault = self.now;
    }

    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end && self.broken.is_none() {
            self.now += self.chance.of(1, 8);
            if !self.calm && self.now >= self.next_fault {
                self.next_fault = self.now + self.chance.of(100, 6000);
                self.fault();
            }
            if self.now >= self.links_until {
                self.links = [[true; SIZE]; SIZE];
            }
            self.write();
            self.replicate();
            for n in 0..SIZE {
                self.serve(n);
                self.keep_time(n);
                if self.members[n].runs(self.now) && self.now >= self.members[n].next {
                    self.turn(n);
                }
            }
            self.check();
        }
    }

    fn write(&mut self) {
        if self.now < self.next_write {
            return;
        }
        // Sometimes nobody writes for a while.
        self.next_write = self.now + self.chance.delay(60, 4000);
        for n in 0..SIZE {
            if self.servers[n].writable(self.now) {
                let name = self.fresh();
                let server = &mut self.servers[n];
                server.log.push(name);
                if let Some(id) = server.id {
                    self.acknowledged.entry(id).or_default().push(name);
                }
                if self.chance.one_in(20) {
                    self.servers[n].save();
                }
            }
        }
    }

    fn replicate(&mut self) {
        for n in 0..SIZE {
            let Doing::Follows(from) = self.servers[n].doing else {
                continue;
            };
            if from == n {
                self.breaks(&format!("I9: {n} follows itself"));
                return;
            }
            let reached = self.connects(n, from);
            let some = self.chance.which(5);
            let source = std::mem::replace(&mut self.servers[from], Server::new(0));
            self.servers[n].replicate(n, &source, reached, self.now, some);
            self.servers[from] = source;
            if self.chance.one_in(200) {
                self.servers[n].save();
            }
        }
    }

    /// Whether what a server answers may be lost.
    pub(super) fn loses_answers(&self) -> bool {
        !self.calm && self.faults.servers
    }

    /// How long a request may take on its way.
    pub(super) fn longest(&self) -> u64 {
        if !self.calm && self.faults.api {
            1600
        } else {
            300
        }
    }

    /// How long a step of a turn may take.
    pub(super) fn slowest(&self) -> u64 {
        if !self.calm && self.faults.pauses {
            900
        } else {
            60
        }
    }

    pub(super) fn has_api(&self, n: usize) -> bool {
        self.now >= self.api_until[n]
    }
}
