//! Carries the plan's faults out, in a set of real servers, and mends them again.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::names::Trouble;
use harness::{Member, Set};

use crate::api_proxy::ApiTrouble;
use crate::clients::Known;
use crate::cluster::Cluster;
use crate::history::Claim;
use crate::plan::{Api, By, Dns, Fault, Part};

/// How long a server may take to end: a redis that has just begun to write its AOF does not end at all.
const GRACE: Duration = Duration::from_secs(15);

/// How slow what is slow is.
const SLOW: Duration = Duration::from_secs(2);

/// A started set of either authority.
pub(crate) enum Ground {
    Ordinal(Box<Set>),
    Lease(Box<Cluster>),
}

impl Ground {
    /// Starts a set, and waits until it works.
    pub(crate) fn start(by: By, base: &str) -> Result<Self> {
        let mut ground = match by {
            By::Ordinal => Self::Ordinal(Box::new(crate::set().base(base).make()?)),
            By::Lease => Self::Lease(Box::new(Cluster::unwatched(|set| set.base(base))?)),
        };
        ground.set_mut().start_all()?;
        ground.set().converge()?;
        Ok(ground)
    }

    pub(crate) fn set(&self) -> &Set {
        match self {
            Self::Ordinal(set) => set,
            Self::Lease(cluster) => &cluster.set,
        }
    }

    fn set_mut(&mut self) -> &mut Set {
        match self {
            Self::Ordinal(set) => set,
            Self::Lease(cluster) => &mut cluster.set,
        }
    }

    fn cluster(&self) -> Result<&Cluster> {
        match self {
            Self::Ordinal(_) => anyhow::bail!("there is no API server"),
            Self::Lease(cluster) => Ok(cluster),
        }
    }
}

/// A `podzero` command on its way, and the run of the server that it is to move the role from.
struct Caller {
    words: String,
    child: Child,
    from: String,
}

/// What is done to a set.
pub(crate) struct Hands<'a> {
    pub(crate) ground: &'a mut Ground,
    known: &'a Known,
    callers: Vec<Caller>,
    /// What was done, and when.
    pub(crate) story: Vec<String>,
    /// Faults by their kind.
    pub(crate) faults: BTreeMap<String, u64>,
    /// The answers of `podzero failover` and of hooks, by their kind.
    pub(crate) answers: BTreeMap<&'static str, u64>,
    pub(crate) claims: Vec<Claim>,
}

impl<'a> Hands<'a> {
    pub(crate) fn new(ground: &'a mut Ground, known: &'a Known) -> Self {
        Self {
            ground,
            known,
            callers: Vec::new(),
            story: Vec::new(),
            faults: BTreeMap::new(),
            answers: BTreeMap::new(),
            claims: Vec::new(),
        }
    }

    /// One more line of the story.
    pub(crate) fn tell(&mut self, what: &str) {
        let at = self.known.at().as_secs_f64();
        self.story.push(format!("{at:8.3} s  {what}"));
    }

    fn member(&mut self, whom: usize) -> &mut Member {
        self.ground.set_mut().member_mut(whom)
    }

    fn others(&self, whom: usize) -> impl Iterator<Item = &Member> {
        let members = self.ground.set().members().iter().enumerate();
        members.filter(move |(at, _)| *at != whom).map(|(_, m)| m)
    }

    /// Lets a fault begin.
    pub(crate) fn begin(&mut self, fault: Fault) -> Result<()> {
        self.tell(&format!("{fault:?}"));
        *self.faults.entry(fault.kind()).or_default() += 1;
        match fault {
            Fault::Dies(part, whom) => self.kill(part, whom),
            Fault::Hangs(part, whom) => self.each(part, whom, harness::Process::pause),
            Fault::Restarts(Part::Server, whom) => {
                self.member(whom).server()?.terminate_within(GRACE)?;
                self.member(whom).start_server()
            }
            Fault::Restarts(part, whom) => {
                self.kill(part, whom)?;
                self.start(part, whom)
            }
            Fault::Moves(whom) => self.member(whom).delete_within(GRACE),
            Fault::LosesVolume(whom) => {
                self.member(whom).kill()?;
                self.member(whom).delete_data()
            }
            Fault::IsReplaced(whom) => {
                self.call(whom, &["prestop"])?;
                self.hear()?;
                self.member(whom).delete_within(GRACE)
            }
            Fault::HandsOver(to) => self.hand_over(to),
            Fault::Dns(dns) => {
                self.ground.set().names().trouble(match dns {
                    Dns::Errs => Trouble {
                        servfail: 100,
                        ..Trouble::default()
                    },
                    Dns::SaysNothing => Trouble {
                        silent: true,
                        ..Trouble::default()
                    },
                    Dns::IsSlow => Trouble {
                        delay: SLOW,
                        ..Trouble::default()
                    },
                });
                Ok(())
            }
            Fault::IsCutOff(whom) => self.cut(whom),
            Fault::IsCutOneWay(from, to) => {
                let set = self.ground.set();
                set.member(from).cut_towards(set.member(to))
            }
            Fault::IsCutFromApi(whom) => self.member(whom).cut_from_api(),
            Fault::IsAlone(whom) => {
                self.cut(whom)?;
                self.member(whom).cut_from_api()
            }
            Fault::Api(Api::Stops) => self.ground.cluster()?.apiserver().pause(),
            Fault::Api(api) => self.trouble(trouble(api)),
        }
    }

    /// Mends a fault.
    pub(crate) fn end(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Restarts(..) | Fault::HandsOver(_) => return Ok(()),
            Fault::Dies(part, whom) => self.start(part, whom)?,
            Fault::Hangs(part, whom) => self.each(part, whom, harness::Process::resume)?,
            Fault::Moves(whom) => {
                let addresses = self.ground.set_mut().new_addresses();
                self.known.moves(whom, addresses[0]);
                self.member(whom).move_to(addresses)?;
                self.member(whom).publish_name();
                self.member(whom).start()?;
            }
            Fault::LosesVolume(whom) => self.member(whom).start()?,
            Fault::IsReplaced(whom) => {
                self.member(whom).publish_name();
                self.member(whom).start()?;
            }
            Fault::Dns(_) => self.ground.set().names().trouble(Trouble::default()),
            Fault::IsCutOff(whom) => self.heal(whom)?,
            Fault::IsCutOneWay(from, to) => {
                let set = self.ground.set();
                set.member(from).heal_towards(set.member(to))?;
            }
            Fault::IsCutFromApi(whom) => self.member(whom).heal_with_api()?,
            Fault::IsAlone(whom) => {
                self.heal(whom)?;
                self.member(whom).heal_with_api()?;
            }
            Fault::Api(Api::Stops) => self.ground.cluster()?.apiserver().resume()?,
            Fault::Api(_) => self.trouble(ApiTrouble::default())?,
        }
        self.tell(&format!("{fault:?} is mended"));
        Ok(())
    }

    fn kill(&mut self, part: Part, whom: usize) -> Result<()> {
        match part {
            Part::Server => self.member(whom).kill_server(),
            Part::Sidecar => self.member(whom).kill_sidecar(),
            Part::Pod => self.member(whom).kill(),
        }
    }

    fn start(&mut self, part: Part, whom: usize) -> Result<()> {
        match part {
            Part::Server => self.member(whom).start_server(),
            Part::Sidecar => self.member(whom).start_sidecar(),
            Part::Pod => self.member(whom).start(),
        }
    }

    /// Does something to each process of a part.
    fn each(
        &mut self,
        part: Part,
        whom: usize,
        act: fn(&harness::Process) -> Result<()>,
    ) -> Result<()> {
        let member = self.member(whom);
        match part {
            Part::Server => act(member.server()?),
            Part::Sidecar => act(member.sidecar()?),
            Part::Pod => {
                act(member.sidecar()?)?;
                act(member.server()?)
            }
        }
    }

    fn cut(&self, whom: usize) -> Result<()> {
        let member = self.ground.set().member(whom);
        self.others(whom).try_for_each(|o| member.cut_from(o))
    }

    fn heal(&self, whom: usize) -> Result<()> {
        let member = self.ground.set().member(whom);
        self.others(whom).try_for_each(|o| member.heal_with(o))
    }

    fn trouble(&self, trouble: ApiTrouble) -> Result<()> {
        self.ground.cluster()?.proxy()?.trouble(trouble);
        Ok(())
    }

    /// Asks the master, whoever that is, to hand over.
    fn hand_over(&mut self, to: Option<usize>) -> Result<()> {
        let Some(&master) = self.ground.set().masters().first() else {
            self.tell("nobody is there to hand over");
            *self.answers.entry(NOBODY).or_default() += 1;
            return Ok(());
        };
        let to = to.map(|to| self.ground.set().member(to).pod());
        match &to {
            Some(to) => self.call(master, &["failover", "--to", to]),
            None => self.call(master, &["failover"]),
        }
    }

    fn call(&mut self, whom: usize, words: &[&str]) -> Result<()> {
        let member = self.ground.set().member(whom);
        // A server that does not answer has handed nothing over.
        let from = member.info().unwrap_or_default().get("run_id").to_owned();
        let child = member
            .podzero(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        self.callers.push(Caller {
            words: format!("podzero {} at redis-{whom}", words.join(" ")),
            child,
            from,
        });
        Ok(())
    }

    /// Waits for the commands that were given, and notes what they answered.
    pub(crate) fn hear(&mut self) -> Result<()> {
        for caller in std::mem::take(&mut self.callers) {
            let done = caller.child.wait_with_output()?;
            let code = done.status.code().context("a command was killed")?;
            let text = [done.stdout, done.stderr].concat();
            let said = String::from_utf8_lossy(&text);
            let epoch = said
                .split_once("is the master of epoch ")
                .and_then(|(_, rest)| rest.split_once(", with every write"));
            let kind = match (code, epoch) {
                (0, Some((epoch, _))) => {
                    self.claims.push(Claim {
                        from: caller.from,
                        epoch: epoch.to_owned(),
                    });
                    "done, with every write"
                }
                (0 | 7, _) => "nothing to do",
                (8, _) => "possible loss",
                _ => "declined, or no answer",
            };
            *self.answers.entry(kind).or_default() += 1;
            let last = said.trim().lines().last().unwrap_or_default();
            self.tell(&format!("{}: exit code {code}: {last}", caller.words));
        }
        Ok(())
    }
}

/// The answer of a set without a master.
const NOBODY: &str = "no master to ask";

fn trouble(api: Api) -> ApiTrouble {
    let mut trouble = ApiTrouble::default();
    match api {
        // That is the API server's process, not its proxy.
        Api::Stops => {}
        Api::Refuses => trouble.refuse = true,
        Api::Errs(code) => trouble.code = Some(code),
        Api::IsSlow => trouble.delay = SLOW,
        Api::LosesAnswers => {
            trouble.lose_answer = true;
            trouble.only_writes = true;
        }
    }
    trouble
}
