//! A server: what it does, its data, and how that reaches its replicas. `tests/e2e/model.rs` holds this model
//! against real servers.

use podzero::decide::{Local, Silence};
use podzero::observe::info::{ServerInfo, ServerRole};
use podzero::report::{LinkState, ReplicaReport};
use podzero::topology::{Epoch, Ordinal, ReplicationId};

/// Whom it follows, if anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Master,
    Fenced,
    Follows(usize),
}

/// What is left of its data when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// A snapshot, which knows its history.
    Snapshot,
    /// An append-only file with every write, which does not.
    AppendOnly,
    /// Nothing but the file of its last full copy.
    Nothing,
}

/// Every write that was applied, and what the server calls it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Data {
    pub(crate) id: u64,
    pub(crate) offset: u64,
    pub(crate) log: Vec<u64>,
    /// In which epoch the last of it was written: what the observer knows, and no server.
    pub(crate) epoch: Option<Epoch>,
}

impl Data {
    /// Whether all of the other's writes are in it.
    pub(crate) fn has_all_of(&self, other: &Self) -> bool {
        let len = other.log.len();
        len <= self.log.len() && (len == 0 || self.log[len - 1] == other.log[len - 1])
    }
}

/// A full copy under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copying {
    data: Data,
    until: u64,
    /// All of it is here and is being loaded; what was there before is gone.
    arrived: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) run: u64,
    pub(crate) keeps: Keeps,
    /// Before 7.0: a server that stops being the master stops feeding its replicas.
    pub(crate) old: bool,
    pub(crate) doing: Doing,
    pub(crate) link: LinkState,
    pub(crate) data: Data,
    pub(crate) id2: Option<(u64, u64)>,
    /// Without one nobody can go on where it was, and the offset stands still.
    pub(crate) backlog: bool,
    /// As a replica it knows where it was.
    resumes: bool,
    saved: Data,
    copying: Option<Copying>,
    /// The append-only file is still the one from before a copy, until it is written anew.
    rewrites: Option<(u64, Data)>,
    /// Those that it feeds although it is fenced.
    pub(crate) fed: Vec<usize>,
    /// Writes are refused until this is lowered.
    pub(crate) raised: bool,
    /// Down, loading, hanging until then.
    pub(crate) down_until: u64,
    pub(crate) loads_until: u64,
    pub(crate) hangs_until: u64,
}

/// What one look of a replica at its master came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fed {
    Nothing,
    /// A full copy replaced what was there.
    Replaced(Data),
    /// Two servers had different data under one ID and offset.
    Apart,
}

pub(crate) fn id_of(number: u64) -> ReplicationId {
    ReplicationId::parse(&format!("{number:040x}")).expect("an ID")
}

/// Where servers are pointed at to follow a member.
pub(crate) fn target(member: usize) -> (String, u16) {
    (format!("10.0.{}.{}", member / 200, member % 200 + 1), 6379)
}

impl Server {
    pub(crate) fn new(run: u64, keeps: Keeps, old: bool) -> Self {
        Self {
            run,
            keeps,
            old,
            doing: Doing::Fenced,
            link: LinkState::Down,
            data: Data {
                id: run,
                ..Data::default()
            },
            id2: None,
            backlog: false,
            resumes: false,
            saved: Data::default(),
            copying: None,
            rewrites: None,
            fed: Vec::new(),
            raised: false,
            down_until: 0,
            loads_until: 0,
            hangs_until: 0,
        }
    }

    pub(crate) fn is_up(&self, now: u64) -> bool {
        now >= self.down_until
            && now >= self.loads_until
            && now >= self.hangs_until
            && !self.loads()
    }

    fn loads(&self) -> bool {
        self.copying.as_ref().is_some_and(|c| c.arrived)
    }

    pub(crate) fn is_master(&self, now: u64) -> bool {
        self.doing == Doing::Master && self.is_up(now)
    }

    pub(crate) fn writable(&self, now: u64) -> bool {
        self.is_master(now) && !self.raised
    }

    pub(crate) fn run_id(&self) -> String {
        format!("run-{}", self.run)
    }

    pub(crate) fn write(&mut self, name: u64) {
        self.data.log.push(name);
        self.data.offset += u64::from(self.backlog);
    }

    pub(crate) fn save(&mut self) {
        if self.keeps != Keeps::Nothing {
            self.writes_file();
        }
    }

    fn writes_file(&mut self) {
        self.saved = self.data.clone();
        if !(self.backlog || self.doing != Doing::Master && self.resumes) {
            (self.saved.id, self.saved.offset) = (0, 0);
        }
    }

    fn is_rewriting(&self, now: u64) -> bool {
        self.rewrites
            .as_ref()
            .is_some_and(|(until, _)| now < *until)
    }

    /// It ends now, and comes back fenced with what it keeps. Its names are its own run's.
    pub(crate) fn restart(&mut self, now: u64, run: u64, down_until: u64, loads_until: u64) {
        if let Some((_, before)) = self.rewrites.take_if(|(until, _)| now < *until) {
            self.data = before;
        }
        let saved = match (self.keeps, self.copying.take()) {
            // The copy's file is the snapshot from then on.
            (Keeps::Snapshot | Keeps::Nothing, Some(copying)) if copying.arrived => copying.data,
            (Keeps::Snapshot | Keeps::Nothing, _) => std::mem::take(&mut self.saved),
            // What was written to a file outlives the process.
            (Keeps::AppendOnly, _) => Data {
                id: 0,
                offset: 0,
                ..std::mem::take(&mut self.data)
            },
        };
        let resumes = saved.id != 0;
        *self = Self {
            data: Data {
                id: if resumes { saved.id } else { run },
                ..saved.clone()
            },
            saved,
            resumes,
            down_until,
            loads_until,
            ..Self::new(run, self.keeps, self.old)
        };
    }

    /// `REPLICAOF NO ONE`.
    pub(crate) fn promote(&mut self, id: u64) {
        if self.doing != Doing::Master {
            self.id2 = Some((self.data.id, self.data.offset));
            self.data.id = id;
            self.doing = Doing::Master;
            self.link = LinkState::Down;
            self.copying = None;
        }
    }

    /// It stops being what it was.
    fn leaves(&mut self) {
        if self.doing == Doing::Master {
            self.resumes = true;
        } else if self.copying.take().is_some() {
            self.resumes = false;
        }
        self.link = LinkState::Down;
    }

    /// `REPLICAOF` to where nobody is.
    pub(crate) fn fence(&mut self, attached: Vec<usize>) {
        if self.doing == Doing::Fenced {
            return;
        }
        self.fed = if self.old || self.doing != Doing::Master {
            Vec::new()
        } else {
            attached
        };
        self.leaves();
        self.doing = Doing::Fenced;
    }

    /// `REPLICAOF`.
    pub(crate) fn follow(&mut self, master: usize) {
        if self.doing == Doing::Follows(master) {
            return;
        }
        self.fed.clear();
        self.leaves();
        self.doing = Doing::Follows(master);
    }

    pub(crate) fn info(&self, now: u64, attached: &[(usize, u64)]) -> ServerInfo {
        let replicas = attached.iter().map(|(who, offset)| {
            let (host, port) = target(*who);
            ReplicaReport {
                host,
                port,
                state: "online".to_owned(),
                offset: *offset,
            }
        });
        let knows = self.doing == Doing::Master || self.resumes;
        ServerInfo {
            version: if self.old {
                "redis 6.0.16"
            } else {
                "redis 7.2.0"
            }
            .to_owned(),
            run_id: self.run_id(),
            loading: false,
            role: match self.doing {
                Doing::Master => ServerRole::Master,
                Doing::Fenced => ServerRole::Fenced,
                Doing::Follows(master) => {
                    let (host, port) = target(master);
                    ServerRole::Replica {
                        host,
                        port,
                        link: self.link,
                    }
                }
            },
            id: Some(id_of(self.data.id)),
            id2: self.id2.map(|(id, _)| id_of(id)),
            id2_end: self.id2.map(|(_, end)| end),
            offset: if knows { self.data.offset } else { 0 },
            keys: self.data.log.len() as u64,
            aof: self.keeps == Keeps::AppendOnly,
            aof_rewriting: self.is_rewriting(now),
            backlog: self.backlog,
            replicas: replicas.collect(),
        }
    }

    pub(crate) fn look(&self, now: u64, attached: &[(usize, u64)]) -> Local {
        let unreachable = |silence, why: &str| Local::Unreachable {
            silence,
            why: why.to_owned(),
        };
        if now < self.down_until {
            return unreachable(Silence::Gone, "gone");
        }
        if now < self.hangs_until {
            return unreachable(Silence::Hangs, "hangs");
        }
        if now < self.loads_until || self.loads() {
            let run_id = self.run_id();
            return Local::Loading { run_id };
        }
        Local::Up(self.info(now, attached))
    }

    /// Whether it answers a replica's request to be fed.
    fn feeds(&self, who: usize) -> bool {
        match self.doing {
            Doing::Master => true,
            Doing::Fenced => self.fed.contains(&who),
            Doing::Follows(_) => self.link == LinkState::Up,
        }
    }

    /// A new replica asks a server that has fed nobody yet: its history gets a name that others may know.
    fn begin_to_feed(&mut self, id: u64) {
        if !self.backlog {
            self.backlog = true;
            self.id2 = None;
            self.data.id = id;
            self.data.offset += 1;
        }
    }

    /// A moment of replication from `from`; `reached` when there is a way, `some` is how much goes through,
    /// `fresh` a name that nobody has, `far` when the backlog is too short.
    pub(crate) fn replicate(
        &mut self,
        me: usize,
        from: &mut Self,
        reached: bool,
        now: u64,
        some: usize,
        (fresh, far): (u64, bool),
    ) -> Fed {
        if now < self.down_until || now < self.loads_until || now < self.hangs_until {
            return Fed::Nothing;
        }
        if let Some(copying) = self.copying.take_if(|c| c.arrived && now >= c.until) {
            let before = std::mem::replace(&mut self.data, copying.data);
            (self.id2, self.backlog, self.resumes) = (None, true, true);
            self.link = LinkState::Down;
            // What was received is on the disk.
            self.writes_file();
            if self.keeps == Keeps::AppendOnly {
                // One that is not finished is begun anew: what is on the disk is older still.
                let oldest = self.rewrites.take_if(|(until, _)| now < *until);
                let on_disk = oldest.map_or_else(|| before.clone(), |(_, data)| data);
                self.rewrites = Some((now + some as u64 * 100, on_disk));
            }
            return Fed::Replaced(before);
        }
        if self.loads() {
            return Fed::Nothing;
        }
        if !(reached && from.is_up(now) && from.feeds(me)) {
            if self.copying.take().is_some() {
                self.resumes = false;
            }
            self.link = LinkState::Down;
            return Fed::Nothing;
        }
        if let Some(copying) = &mut self.copying {
            if now >= copying.until {
                copying.arrived = true;
                copying.until = now + some as u64 * 20;
            }
            return Fed::Nothing;
        }
        let (own, theirs) = (&self.data, &from.data);
        let renamed = from
            .id2
            .is_some_and(|(id, end)| own.id == id && own.offset <= end);
        let continues = (own.id == theirs.id || renamed) && own.offset <= theirs.offset;
        let is_new = self.link != LinkState::Up;
        if self.resumes && from.backlog && continues && !(is_new && far) {
            if !theirs.has_all_of(own) {
                return Fed::Apart;
            }
            let to = theirs.log.len().min(own.log.len() + some);
            let new = &theirs.log[own.log.len()..to];
            if own.id != theirs.id {
                self.id2 = Some((own.id, own.offset));
            }
            self.data.offset += new.len() as u64;
            self.data.log.extend_from_slice(new);
            self.data.id = theirs.id;
            self.data.epoch = theirs.epoch;
            self.backlog = true;
            self.link = LinkState::Up;
        } else if from.doing != Doing::Fenced {
            from.begin_to_feed(fresh);
            self.link = LinkState::Syncing;
            self.copying = Some(Copying {
                data: from.data.clone(),
                until: now + some as u64 * 100,
                arrived: false,
            });
        } else {
            self.link = LinkState::Down;
        }
        Fed::Nothing
    }
}

/// The ordinal of a member.
pub(crate) fn ordinal(member: usize) -> Ordinal {
    Ordinal(u32::try_from(member).expect("few"))
}
