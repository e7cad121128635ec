//! The whole set, time, and what the observer knows of it.

use podzero::decide::lease::Known;
use podzero::observe::info::ServerInfo;
use podzero::report::LinkState;
use podzero::topology::Epoch;

use super::api::Api;
use super::chance::Chance;
use super::faults::{Fault, Kinds};
use super::member::{Member, Stage};
use super::server::{Doing, Fed, Keeps, Server};
use super::shape::Shape;

/// What a server that hangs does when it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Queued {
    Fence,
    Promote(Epoch),
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) kinds: Kinds,
    pub(crate) now: u64,
    pub(crate) steps: u64,
    pub(crate) chance: Chance,
    pub(crate) calm: bool,
    /// Nothing takes time by itself.
    pub(crate) instant: bool,
    /// What goes wrong, and when: the last first.
    pub(crate) plan: Vec<(u64, Fault)>,
    /// `spec.replicas`.
    pub(crate) replicas: usize,
    pub(crate) api: Api,
    /// Events of the watch on their way to each member.
    pub(crate) events: Vec<Vec<(u64, Known)>>,
    pub(crate) servers: Vec<Server>,
    pub(crate) queued: Vec<Vec<Queued>>,
    pub(crate) members: Vec<Member>,
    /// Until when one does not reach another.
    pub(crate) apart: Vec<Vec<u64>>,
    pub(crate) api_until: Vec<u64>,
    next_write: u64,
    names: u64,
    /// Every epoch in which a role was taken or kept, in order.
    pub(crate) reigns: Vec<(Epoch, usize)>,
    /// How often the role went to another otherwise than in a handover.
    pub(crate) taken: u32,
    pub(crate) handed_over: u32,
    pub(crate) written: u64,
    /// What is known to break, and was seen to.
    pub(crate) open: Vec<String>,
    pub(crate) late_since: Vec<Option<u64>>,
    pub(crate) unhealthy_at: Vec<Vec<u64>>,
    /// Somebody decided by hand, or made a master by hand.
    pub(crate) by_hand: bool,
    pub(crate) tells: bool,
    pub(crate) tells_all: bool,
    pub(crate) broken: Option<String>,
    stuck: bool,
    /// A person had to decide.
    pub(crate) decided: bool,
}

impl World {
    pub(crate) fn new(seed: u64, shape: Shape, kinds: Kinds) -> Self {
        let mut chance = Chance::new(seed);
        let size = shape.members;
        let mut members: Vec<_> = (0..size)
            .map(|n| Member::new(n, chance.of(100_000, 900_000), chance.of(980, 1020)))
            .collect();
        let mut servers: Vec<_> = (0..size)
            .map(|n| Server::new(n as u64 + 1, shape.keeps, shape.old))
            .collect();
        // They start in any order.
        for (member, server) in members.iter_mut().zip(&mut servers) {
            member.start(chance.of(0, 3000));
            server.down_until = member.down_until + chance.of(1, 500);
            server.loads_until = server.down_until + chance.of(1, 200);
        }
        Self {
            shape,
            kinds,
            now: 0,
            steps: 0,
            chance,
            calm: true,
            instant: false,
            plan: Vec::new(),
            replicas: size,
            api: Api::default(),
            events: vec![Vec::new(); size],
            servers,
            queued: vec![Vec::new(); size],
            members,
            apart: vec![vec![0; size]; size],
            api_until: vec![0; size],
            next_write: 0,
            names: 1_000,
            reigns: Vec::new(),
            taken: 0,
            handed_over: 0,
            written: 0,
            open: Vec::new(),
            late_since: vec![None; size],
            unhealthy_at: vec![vec![0; size]; size],
            by_hand: false,
            tells: false,
            tells_all: false,
            broken: None,
            stuck: false,
            decided: false,
        }
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    #[expect(clippy::print_stderr, reason = "the story of one seed")]
    pub(crate) fn tell(&self, what: &dyn Fn() -> String) {
        if self.tells {
            eprintln!("{:>7} {}", self.now, what());
        }
    }

    pub(crate) fn breaks(&mut self, why: &str) {
        self.tell(&|| format!("BROKEN: {why}"));
        let now = self.now;
        self.broken
            .get_or_insert_with(|| format!("at {now}: {why}"));
    }

    /// Time alone does not make it well.
    pub(crate) fn is_stuck(&mut self, why: &str) {
        self.stuck = self.broken.is_none();
        self.breaks(why);
    }

    pub(crate) fn stuck(&self) -> bool {
        self.stuck
    }

    pub(crate) fn connects(&self, a: usize, b: usize) -> bool {
        self.now >= self.apart[a][b]
    }

    /// Whether a replica's connection to its master carries anything: it goes both ways.
    fn links(&self, a: usize, b: usize) -> bool {
        self.connects(a, b)
            && self.connects(b, a)
            && self.members[a].exists
            && self.members[b].exists
    }

    pub(crate) fn attached(&self, master: usize) -> Vec<(usize, u64)> {
        let follows = |s: &Server| s.doing == Doing::Follows(master) && s.link == LinkState::Up;
        let all = self.servers.iter().enumerate();
        all.filter(|(_, s)| follows(s))
            .map(|(n, s)| (n, s.data.offset))
            .collect()
    }

    pub(crate) fn info(&self, of: usize) -> ServerInfo {
        self.servers[of].info(self.now, &self.attached(of))
    }

    /// The one master, if there is one.
    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.shape.members).find(|n| self.servers[*n].is_master(self.now))
    }

    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end && self.broken.is_none() {
            self.now += self.chance.of(1, 8);
            while let Some((_, fault)) = self.plan.pop_if(|(at, _)| *at <= self.now) {
                self.strikes(&fault);
            }
            self.write();
            self.replicate();
            for n in 0..self.shape.members {
                self.go_on(n);
                if self.members[n].keeper.is_used() || self.members[n].runs(self.now) {
                    self.serve(n);
                }
                self.keep_time(n);
                if self.members[n].runs(self.now) && self.now >= self.members[n].next {
                    self.turn(n);
                }
            }
            self.check();
        }
    }

    /// A server that hung does what it was told meanwhile.
    fn go_on(&mut self, n: usize) {
        if self.queued[n].is_empty() || self.now < self.servers[n].hangs_until {
            return;
        }
        for what in std::mem::take(&mut self.queued[n]) {
            match what {
                Queued::Fence => self.fence(n),
                Queued::Promote(epoch) => self.promoted_late(n, epoch),
            }
        }
    }

    fn write(&mut self) {
        if self.now < self.next_write || !self.shape.writes {
            return;
        }
        // Sometimes nobody writes for a while.
        self.next_write = self.now + self.chance.delay(60, 4000);
        self.writes();
    }

    /// A client writes at whoever accepts it.
    pub(crate) fn writes(&mut self) {
        for n in 0..self.shape.members {
            if self.members[n].exists && self.servers[n].writable(self.now) {
                let name = self.fresh();
                self.servers[n].write(name);
                self.written += 1;
                self.acknowledges(n, name);
                if !self.instant && self.chance.one_in(20) {
                    self.servers[n].save();
                }
            }
        }
    }

    fn replicate(&mut self) {
        for n in 0..self.shape.members {
            if matches!(self.servers[n].doing, Doing::Follows(_)) {
                let some = self.chance.which(5);
                self.replicates(n, some);
                if self.chance.one_in(200) && self.servers[n].link == LinkState::Up {
                    self.servers[n].save();
                }
            }
        }
    }

    /// A moment of one server's replication.
    pub(crate) fn replicates(&mut self, n: usize, some: usize) {
        if let Doing::Follows(from) = self.servers[n].doing {
            if from == n {
                self.breaks(&format!("I9: {n} follows itself"));
                return;
            }
            let reached = self.links(n, from);
            let far = !self.instant && self.chance.one_in(15);
            let chances = (self.fresh(), far);
            let stand_in = Server::new(0, Keeps::Nothing, false);
            let mut source = std::mem::replace(&mut self.servers[from], stand_in);
            let fed = self.servers[n].replicate(n, &mut source, reached, self.now, some, chances);
            self.servers[from] = source;
            match fed {
                Fed::Nothing => {}
                Fed::Replaced(before) => self.check_copy(n, from, &before),
                Fed::Apart => self.breaks(&format!("{n} and {from} differ under one ID")),
            }
        }
    }

    /// From now on nothing takes time by itself, and nothing is left to chance.
    pub(crate) fn becomes_instant(&mut self) {
        self.instant = true;
        for n in 0..self.shape.members {
            self.servers[n].save();
            self.events[n].clear();
            self.members[n].stage = Stage::Idle;
        }
    }

    /// Whether what a server answers may be lost.
    pub(crate) fn loses_answers(&self) -> bool {
        !self.calm && self.kinds.servers
    }

    /// How long a request may take on its way.
    pub(crate) fn longest(&self) -> u64 {
        if !self.calm && self.kinds.api {
            1600
        } else {
            300
        }
    }

    /// How long a step of a turn may take.
    pub(crate) fn slowest(&self) -> u64 {
        if !self.calm && self.kinds.pauses {
            900
        } else {
            60
        }
    }

    pub(crate) fn has_api(&self, n: usize) -> bool {
        self.members[n].exists && self.now >= self.api_until[n]
    }
}
