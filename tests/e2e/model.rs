//! The simulation's model of a server beside real servers: the same commands go to both, and both must come
//! to the same. Chains of replicas are left out: podzero makes none.

use anyhow::{Context, Result, ensure};
use harness::client::Info;
use harness::{Conn, Set};

use self::simulated::{Doing, Fed, Keeps, Server};
use crate::{connect, is_redis_6, repetitions, set};

#[expect(dead_code, reason = "the simulation uses the rest")]
#[path = "../sim/server.rs"]
mod simulated;

const MEMBERS: usize = 3;

/// What is done to one server.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    Promote,
    Fence,
    Follow(usize),
    Save,
    /// Killed, and started fenced.
    Restart,
}

struct Both {
    set: Set,
    servers: Vec<Server>,
    now: u64,
    names: u64,
    copies: u64,
    /// Of runs that have ended.
    real_copies: u64,
}

impl Both {
    fn start(keeps: Keeps) -> Result<Self> {
        let set = set().make()?;
        let servers = (0..MEMBERS).map(|n| Server::new(n as u64 + 1, keeps, is_redis_6()));
        let mut both = Self {
            servers: servers.collect(),
            set,
            now: 1,
            names: 100,
            copies: 0,
            real_copies: 0,
        };
        for n in 0..MEMBERS {
            both.start_server(n)?;
        }
        Ok(both)
    }

    /// As the generated configuration starts it.
    fn start_server(&mut self, n: usize) -> Result<()> {
        let keeps = self.servers[n].keeps;
        let aof = if keeps == Keeps::AppendOnly {
            "yes"
        } else {
            "no"
        };
        let arguments = [
            ["--replicaof", "127.0.0.1 0"],
            ["--protected-mode", "no"],
            // A copy leaves no file at its master.
            ["--repl-diskless-sync", "yes"],
            ["--repl-diskless-sync-delay", "0"],
            // Nothing but writes is to move the offset.
            ["--repl-ping-replica-period", "3600"],
            ["--appendonly", aof],
        ];
        let arguments: Vec<&str> = arguments
            .iter()
            .flat_map(|[name, value]| std::iter::once(*name).chain(value.split(' ')))
            .chain(["--save", ""])
            .collect();
        self.set.member_mut(n).start_server_with(&arguments)?;
        self.set.wait_for("it answers", || self.conn(n)?.info())?;
        Ok(())
    }

    fn conn(&self, n: usize) -> Result<Conn> {
        connect(&self.set, n)
    }

    fn fresh(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn attached(&self, to: usize) -> Vec<(usize, u64)> {
        let follows =
            |s: &Server| s.doing == Doing::Follows(to) && s.link == podzero::report::LinkState::Up;
        let all = self.servers.iter().enumerate();
        all.filter(|(_, s)| follows(s))
            .map(|(n, s)| (n, s.data.offset))
            .collect()
    }

    /// What makes sense now.
    fn steps(&self, n: usize) -> Vec<Step> {
        let is_followed = |n| self.servers.iter().any(|s| s.doing == Doing::Follows(n));
        let mut steps = vec![Step::Write, Step::Write, Step::Fence, Step::Restart];
        if self.servers[n].keeps == Keeps::Snapshot {
            steps.push(Step::Save);
        }
        let another = |m: usize| m != n && matches!(self.servers[m].doing, Doing::Master);
        if (0..MEMBERS).any(another) {
            let masters = (0..MEMBERS).filter(|m| another(*m) && !is_followed(n));
            steps.extend(masters.flat_map(|m| [Step::Follow(m), Step::Follow(m)]));
        } else {
            steps.push(Step::Promote);
        }
        steps
    }

    fn step(&mut self, n: usize, step: Step) -> Result<()> {
        match step {
            Step::Write => {
                let name = self.fresh();
                let said = self.conn(n)?.tell(&format!("SET key:{name} 1"));
                let writable = self.servers[n].writable(self.now);
                ensure!(said.is_ok() == writable, "a write: {said:?}");
                if writable {
                    self.servers[n].write(name);
                }
            }
            Step::Promote => {
                self.conn(n)?.tell("REPLICAOF NO ONE")?;
                let id = self.fresh();
                self.servers[n].promote(id);
            }
            Step::Fence => {
                self.conn(n)?.tell("REPLICAOF 127.0.0.1 0")?;
                let fed = self.attached(n).into_iter().map(|(n, _)| n).collect();
                self.servers[n].fence(fed);
            }
            Step::Follow(master) => {
                let to = self.set.member(master).address();
                self.conn(n)?.tell(&format!("REPLICAOF {to} 6379"))?;
                self.servers[n].follow(master);
            }
            Step::Save => {
                // The one for a replica may go on.
                self.set
                    .wait_for("it saves", || self.conn(n)?.tell("SAVE"))?;
                self.servers[n].save();
            }
            Step::Restart => {
                self.real_copies += self.conn(n)?.info()?.number("sync_full");
                self.set.member_mut(n).kill_server()?;
                self.start_server(n)?;
                let run = self.fresh();
                self.servers[n].restart(self.now, run, 0, 0);
            }
        }
        Ok(())
    }

    /// Time enough for the model.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..200 {
            self.now += 100;
            for n in 0..MEMBERS {
                let Doing::Follows(from) = self.servers[n].doing else {
                    continue;
                };
                let chances = (self.fresh(), false);
                let stand_in = Server::new(0, Keeps::Nothing, false);
                let mut source = std::mem::replace(&mut self.servers[from], stand_in);
                let fed = self.servers[n].replicate(n, &mut source, true, self.now, 4, chances);
                self.servers[from] = source;
                match fed {
                    Fed::Nothing => {}
                    Fed::Replaced(_) => self.copies += 1,
                    Fed::Apart => anyhow::bail!("the model's histories of one ID differ"),
                }
            }
        }
        Ok(())
    }

    /// Whether the servers are what the model says; the same question may have another answer a moment
    /// later.
    fn agree(&self) -> Result<()> {
        let infos: Vec<Info> = (0..MEMBERS)
            .map(|n| self.conn(n)?.info())
            .collect::<Result<_>>()?;
        let mut copies = self.real_copies;
        for (n, (server, info)) in self.servers.iter().zip(&infos).enumerate() {
            let said = server.info(self.now, &self.attached(n));
            let keys: u64 = self.conn(n)?.ask("DBSIZE")?;
            ensure!(keys == said.keys, "{n} has {keys} keys, not {}", said.keys);
            // One that is killed before has the old file.
            let rewrites = info.get("aof_rewrite_in_progress") == "1"
                || info.get("aof_rewrite_scheduled") == "1";
            ensure!(!rewrites, "{n} rewrites its file");
            let is_master = server.doing == Doing::Master;
            ensure!(info.is_master() == is_master, "{n}: {:?}", server.doing);
            let linked = server.link == podzero::report::LinkState::Up;
            ensure!(
                info.has_link() == linked,
                "{n}: the link, {:?}",
                server.link
            );
            let backlog = info.get("repl_backlog_active") == "1";
            ensure!(backlog == server.backlog, "{n}: a backlog: {backlog}");
            copies += info.number("sync_full");
        }
        ensure!(
            copies == self.copies,
            "{copies} full copies, not {}",
            self.copies
        );
        let id = |info: &Info, name: &str| info.get(name).to_owned();
        let offset = |info: &Info| {
            let is_master = info.is_master();
            info.number(if is_master {
                "master_repl_offset"
            } else {
                "slave_repl_offset"
            })
        };
        for (a, one) in infos.iter().enumerate() {
            for (b, other) in infos.iter().enumerate() {
                let (x, y) = (&self.servers[a], &self.servers[b]);
                let same = id(one, "master_replid") == id(other, "master_replid");
                ensure!(
                    same == (x.data.id == y.data.id),
                    "{a} and {b}: one ID: {same}"
                );
                let came = id(one, "master_replid2") == id(other, "master_replid");
                let says = x.id2.is_some_and(|(id, _)| id == y.data.id);
                ensure!(came == says, "{a} came from {b}: {came}");
                if same && a != b {
                    let order = offset(one).cmp(&offset(other));
                    let says = x.data.offset.cmp(&y.data.offset);
                    // Some put more than writes into the stream.
                    let fits = order == says || x.data.log == y.data.log;
                    ensure!(fits, "{a} and {b}: {order:?}, not {says:?}");
                }
            }
        }
        Ok(())
    }
}

fn compare(keeps: Keeps, seed: u64) -> Result<()> {
    let mut both = Both::start(keeps)?;
    let mut done = Vec::new();
    let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut any = |n: usize| {
        // xorshift64
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        usize::try_from(chance >> 33).expect("31 bits") % n
    };
    for _ in 0..repetitions(60, 400) {
        let n = any(MEMBERS);
        let steps = both.steps(n);
        let step = steps[any(steps.len())];
        done.push((n, step));
        let told = || format!("seed {seed}: {done:?}");
        both.step(n, step).with_context(told)?;
        both.settle().with_context(told)?;
        both.set
            .wait_for("both agree", || both.agree())
            .with_context(told)?;
    }
    Ok(())
}

#[test]
fn core_the_model_of_a_server_is_that_of_real_ones() -> Result<()> {
    compare(Keeps::Snapshot, 1)
}

#[test]
fn the_model_of_a_server_with_aof_is_that_of_real_ones() -> Result<()> {
    compare(Keeps::AppendOnly, 2)
}

#[test]
fn the_model_of_a_server_without_persistence_is_that_of_real_ones() -> Result<()> {
    compare(Keeps::Nothing, 3)
}
