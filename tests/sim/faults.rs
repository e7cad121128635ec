//! What goes wrong, planned before a run so that a plan can be reduced, and how all is well again.

use podzero::decide::Wish;

use super::chance::Chance;
use super::server::{Doing, Server, ordinal};
use super::shape::{By, Shape};
use super::world::World;

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) servers: bool,
    pub(crate) sidecars: bool,
    pub(crate) pauses: bool,
    pub(crate) links: bool,
    pub(crate) api: bool,
    pub(crate) outage: bool,
    pub(crate) wishes: bool,
    pub(crate) pods: bool,
    pub(crate) volumes: bool,
    pub(crate) scale: bool,
    pub(crate) hands: bool,
}

impl Kinds {
    pub(crate) const NONE: Self = Self {
        servers: false,
        sidecars: false,
        pauses: false,
        links: false,
        api: false,
        outage: false,
        wishes: false,
        pods: false,
        volumes: false,
        scale: false,
        hands: false,
    };
    /// Everything that happens by itself.
    pub(crate) const ALL: Self = Self {
        servers: true,
        sidecars: true,
        pauses: true,
        links: true,
        api: true,
        outage: true,
        wishes: true,
        pods: true,
        volumes: true,
        scale: true,
        hands: false,
    };
    /// And what people do with the servers behind podzero's back.
    pub(crate) const HANDS: Self = Self {
        hands: true,
        ..Self::ALL
    };
    pub(crate) const OUTAGE: Self = Self {
        outage: true,
        ..Self::NONE
    };
    pub(crate) const SIDECARS: Self = Self {
        sidecars: true,
        ..Self::NONE
    };
    pub(crate) const WISHES: Self = Self {
        wishes: true,
        ..Self::NONE
    };
}

/// One thing that goes wrong. Lengths are in milliseconds, `load` from the start of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash {
        server: usize,
        down: u64,
        load: u64,
    },
    Hang {
        server: usize,
        length: u64,
    },
    SidecarDies {
        of: usize,
        length: u64,
    },
    SidecarPauses {
        of: usize,
        length: u64,
    },
    /// One way, or both.
    Apart {
        a: usize,
        b: usize,
        both: bool,
        length: u64,
    },
    NoApi {
        of: usize,
        length: u64,
    },
    ApiDown {
        length: u64,
    },
    /// Of the member or, with none, of whoever leads then.
    Handover {
        of: Option<usize>,
        to: Option<usize>,
    },
    /// The pod is told to stop and then replaced by another of its name.
    Moves {
        pod: usize,
        after: u64,
        down: u64,
    },
    /// The same at once, and without its volume.
    LosesVolume {
        pod: usize,
        down: u64,
    },
    AllDie {
        down: u64,
    },
    /// One pod more or less.
    Scale {
        up: bool,
    },
    /// `REPLICAOF` by hand; `NO ONE` without anybody.
    Hand {
        server: usize,
        follows: Option<usize>,
    },
    /// The second half of [`Fault::Moves`].
    Moved {
        pod: usize,
        down: u64,
    },
}

/// What goes wrong between `from` and `to`, the last first.
pub(crate) fn plan(
    chance: &mut Chance,
    shape: Shape,
    kinds: Kinds,
    from: u64,
    to: u64,
) -> Vec<(u64, Fault)> {
    let mut plan = Vec::new();
    let mut at = from;
    loop {
        at += chance.of(100, 6000);
        if at >= to {
            break;
        }
        plan.extend(one(chance, shape, kinds).map(|fault| (at, fault)));
    }
    plan.reverse();
    plan
}

fn one(chance: &mut Chance, shape: Shape, kinds: Kinds) -> Option<Fault> {
    let (n, m) = (chance.which(shape.members), chance.which(shape.members));
    let (short, long) = (chance.of(20, 1500), chance.of(100, 12_000));
    let lease = shape.by == By::Lease;
    Some(match chance.of(0, 18) {
        0 | 1 if kinds.servers => Fault::Crash {
            server: n,
            down: short,
            load: chance.of(0, 300),
        },
        2 if kinds.servers => Fault::Hang {
            server: n,
            length: long,
        },
        3 if kinds.sidecars => Fault::SidecarDies {
            of: n,
            length: if kinds.servers { long } else { short },
        },
        4 | 5 if kinds.pauses => Fault::SidecarPauses {
            of: n,
            length: long,
        },
        6 | 7 if kinds.links && n != m => Fault::Apart {
            a: n,
            b: m,
            both: !chance.one_in(3),
            length: long,
        },
        8 if kinds.api && lease => Fault::NoApi {
            of: n,
            length: long,
        },
        9 if kinds.outage && lease => Fault::ApiDown { length: long },
        10 | 11 if kinds.wishes => Fault::Handover {
            of: chance.one_in(3).then_some(n),
            to: chance.one_in(2).then_some(m),
        },
        12 | 13 if kinds.pods => Fault::Moves {
            pod: n,
            after: chance.of(500, 9000),
            down: short,
        },
        14 if kinds.volumes => Fault::LosesVolume {
            pod: n,
            down: short,
        },
        15 if kinds.scale => Fault::Scale {
            up: chance.one_in(2),
        },
        16 if kinds.servers && kinds.pods => Fault::AllDie { down: short },
        17 if kinds.hands => Fault::Hand {
            server: n,
            follows: chance.one_in(2).then_some(m).filter(|m| *m != n),
        },
        _ => return None,
    })
}

impl World {
    pub(crate) fn heal(&mut self) {
        self.tell(&|| "all is well again".to_owned());
        self.calm = true;
        // Pods that were being stopped are replaced.
        for (_, fault) in std::mem::take(&mut self.plan) {
            if matches!(fault, Fault::Moved { .. }) {
                self.strikes(&fault);
            }
        }
        let now = self.now;
        self.apart.iter_mut().flatten().for_each(|until| *until = 0);
        self.api_until.fill(0);
        for n in 0..self.shape.members {
            if !self.members[n].exists && n < self.replicas {
                self.comes(n, now);
            }
            let member = &mut self.members[n];
            if member.down_until > now {
                member.start(now);
            }
            member.paused_until = now.min(member.paused_until);
            let server = &mut self.servers[n];
            for until in [
                &mut server.down_until,
                &mut server.loads_until,
                &mut server.hangs_until,
            ] {
                *until = now.min(*until);
            }
        }
    }

    fn crash(&mut self, n: usize, down_until: u64, loads_until: u64) {
        let run = self.fresh();
        self.queued[n].clear();
        self.servers[n].restart(self.now, run, down_until, loads_until);
        let (loaded, member) = (self.servers[n].data.id, &mut self.members[n]);
        member.unseen =
            Some(loaded).filter(|id| *id != member.looked || member.unseen == Some(*id));
    }

    /// A pod that was not there is.
    fn comes(&mut self, n: usize, at: u64) {
        let run = self.fresh();
        let member = &mut self.members[n];
        (member.exists, member.pod, member.renewed) = (true, run, None);
        member.start(at);
        self.crash(n, at, at + 50);
    }

    fn loses(&mut self, n: usize) {
        let run = self.fresh();
        self.members[n].memory = podzero::state_file::Memory::default();
        self.servers[n] = Server::new(run, self.shape.keeps, self.shape.old);
    }

    #[expect(clippy::too_many_lines, reason = "an arm a fault")]
    pub(crate) fn strikes(&mut self, fault: &Fault) {
        let now = self.now;
        self.steps += 1;
        self.tell(&|| format!("{fault:?}"));
        match *fault {
            Fault::Crash { server, down, load } => {
                self.crash(server, now + down, now + down + load);
            }
            Fault::Hang { server, length } => self.servers[server].hangs_until = now + length,
            Fault::SidecarDies { of, length } => {
                let member = &mut self.members[of];
                let stops = member.terminating;
                member.start(now + length);
                member.terminating = stops;
            }
            Fault::SidecarPauses { of, length } => self.members[of].paused_until = now + length,
            Fault::Apart { a, b, both, length } => {
                self.apart[a][b] = now + length;
                if both {
                    self.apart[b][a] = now + length;
                }
            }
            Fault::NoApi { of, length } => self.api_until[of] = now + length,
            Fault::ApiDown { length } => self.api_until.fill(now + length),
            Fault::Handover { of, to } => {
                let Some(of) = of.or_else(|| self.leader()) else {
                    return;
                };
                let member = &mut self.members[of];
                let since = member.clock(now);
                let to = to.filter(|to| *to != of).map(ordinal);
                member.wish = Some(Wish {
                    to,
                    stays: to.is_some(),
                    since,
                    ..Wish::default()
                });
            }
            Fault::Moves { pod, after, down } => {
                let member = &mut self.members[pod];
                if !member.exists || member.terminating {
                    return;
                }
                let since = member.clock(now);
                member.terminating = true;
                member.wish = Some(Wish {
                    since,
                    ..Wish::default()
                });
                let at = now + after;
                let before = self.plan.partition_point(|(other, _)| *other > at);
                self.plan.insert(before, (at, Fault::Moved { pod, down }));
            }
            Fault::Moved { pod, down } => {
                if !self.members[pod].exists {
                    return;
                }
                if self.servers[pod].is_up(now) {
                    self.servers[pod].save();
                }
                self.comes(pod, now + down);
            }
            Fault::LosesVolume { pod, down } => {
                // Whoever loses the only copy has lost it.
                let leads = self.leader().is_some_and(|leads| leads != pod);
                if !self.members[pod].exists || !leads {
                    return;
                }
                self.loses(pod);
                self.comes(pod, now + down);
            }
            Fault::AllDie { down } => {
                for n in 0..self.shape.members {
                    if self.members[n].exists {
                        self.crash(n, now + down, now + down + 50);
                        self.members[n].start(now + down);
                    }
                }
            }
            Fault::Scale { up } => {
                if up && self.replicas < self.shape.members {
                    let n = self.replicas;
                    self.replicas += 1;
                    self.comes(n, now);
                } else if !up && self.replicas > 2 {
                    self.replicas -= 1;
                    let n = self.replicas;
                    self.tell(&|| format!("{n} is not wanted any more"));
                    let leaves = &mut self.members[n];
                    (leaves.exists, leaves.gone_since) = (false, now);
                    if self.servers[n].is_up(now) {
                        self.servers[n].save();
                    }
                    self.crash(n, u64::MAX, u64::MAX);
                }
            }
            Fault::Hand { server, follows } => {
                if !self.servers[server].is_up(now) {
                    return;
                }
                self.by_hand = true;
                match follows {
                    Some(master) => self.servers[server].follow(master),
                    None if self.servers[server].doing == Doing::Master => {}
                    None => {
                        let id = self.fresh();
                        self.servers[server].promote(id);
                    }
                }
            }
        }
    }
}
