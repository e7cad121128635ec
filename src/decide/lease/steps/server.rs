//! A server: what it does, its data, and how that reaches its replicas.

use crate::decide::fixture::target;
use crate::decide::{Local, Silence};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{LinkState, ReplicaReport};
use crate::topology::{Ordinal, ReplicationId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Master,
    Fenced,
    Follows(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) run: u64,
    pub(super) doing: Doing,
    pub(super) link: LinkState,
    pub(super) id: Option<u64>,
    pub(super) id2: Option<(u64, u64)>,
    /// Every write that it has applied.
    pub(super) log: Vec<u64>,
    saved: (Option<u64>, usize),
    /// Those that it feeds although it is fenced.
    pub(super) fed: Vec<usize>,
    /// Down, loading, hanging until then.
    pub(super) down_until: u64,
    pub(super) loads_until: u64,
    pub(super) hangs_until: u64,
    synced_at: u64,
}

pub(super) fn id_of(number: u64) -> ReplicationId {
    ReplicationId::parse(&format!("{number:040x}")).expect("an ID")
}

impl Server {
    pub(super) fn new(run: u64) -> Self {
        Self {
            run,
            doing: Doing::Fenced,
            link: LinkState::Down,
            id: None,
            id2: None,
            log: Vec::new(),
            saved: (None, 0),
            fed: Vec::new(),
            down_until: 0,
            loads_until: 0,
            hangs_until: 0,
            synced_at: 0,
        }
    }

    pub(super) fn is_up(&self, now: u64) -> bool {
        now >= self.down_until && now >= self.loads_until && now >= self.hangs_until
    }

    pub(super) fn writable(&self, now: u64) -> bool {
        self.doing == Doing::Master && self.is_up(now)
    }

    pub(super) fn offset(&self) -> u64 {
        self.log.len() as u64
    }

    pub(super) fn run_id(&self) -> String {
        format!("run-{}", self.run)
    }

    pub(super) fn save(&mut self) {
        self.saved = (self.id, self.log.len());
    }

    /// It ends, and comes back with what was saved.
    pub(super) fn crash(&mut self, run: u64, down_until: u64, loads_until: u64) {
        let (id, len) = self.saved;
        // Another history may have come since: then that was saved as it came.
        let len = if id == self.id { len } else { self.log.len() };
        self.log.truncate(len);
        *self = Self {
            id: self.id,
            log: std::mem::take(&mut self.log),
            saved: (self.id, len),
            down_until,
            loads_until,
            ..Self::new(run)
        };
    }

    pub(super) fn promote(&mut self, id: u64) {
        if self.doing != Doing::Master {
            self.id2 = self.id.map(|id| (id, self.offset()));
            self.id = Some(id);
            self.doing = Doing::Master;
        }
    }

    pub(super) fn fence(&mut self, fed: Vec<usize>) {
        if self.doing != Doing::Fenced {
            self.fed = fed;
        }
        self.doing = Doing::Fenced;
        self.link = LinkState::Down;
    }

    pub(super) fn follow(&mut self, master: usize) {
        if self.doing != Doing::Follows(master) {
            self.link = LinkState::Down;
        }
        self.doing = Doing::Follows(master);
    }

    pub(super) fn info(&self, attached: &[(usize, u64)]) -> ServerInfo {
        let replicas = attached.iter().map(|(who, offset)| {
            let (host, port) = target(Ordinal(u32::try_from(*who).expect("few")));
            ReplicaReport {
                host,
                port,
                state: "online".to_owned(),
                offset: *offset,
            }
        });
        ServerInfo {
            version: "redis 7.2.0".to_owned(),
            run_id: self.run_id(),
            loading: false,
            role: match self.doing {
                Doing::Master => ServerRole::Master,
                Doing::Fenced => ServerRole::Fenced,
                Doing::Follows(master) => {
                    let (host, port) = target(Ordinal(u32::try_from(master).expect("few")));
                    ServerRole::Replica {
                        host,
                        port,
                        link: self.link,
                    }
                }
            },
            id: self.id.map(id_of),
            id2: self.id2.map(|(id, _)| id_of(id)),
            id2_end: self.id2.map(|(_, end)| end),
            offset: self.offset(),
            keys: self.offset(),
            aof: false,
            aof_rewriting: false,
            backlog: self.id.is_some(),
            replicas: replicas.collect(),
        }
    }

    pub(super) fn look(&self, now: u64, attached: &[(usize, u64)]) -> Local {
        if now < self.down_until {
            return Local::Unreachable {
                silence: Silence::Gone,
                why: "gone".to_owned(),
            };
        }
        if now < self.loads_until {
            let run_id = self.run_id();
            return Local::Loading { run_id };
        }
        if now < self.hangs_until {
            return Local::Unreachable {
                silence: Silence::Hangs,
                why: "hangs".to_owned(),
            };
        }
        Local::Up(self.info(attached))
    }

    /// Some of what `from` has reaches this replica; `reached` when there is a way.
    pub(super) fn replicate(
        &mut self,
        me: usize,
        from: &Self,
        reached: bool,
        now: u64,
        bytes: usize,
    ) {
        let feeds = from.doing == Doing::Master || from.fed.contains(&me);
        if !(reached && feeds && self.is_up(now) && from.is_up(now)) {
            if self.link == LinkState::Up {
                self.link = LinkState::Down;
            }
            return;
        }
        if self.link == LinkState::Syncing {
            if now >= self.synced_at && from.doing == Doing::Master {
                self.log.clone_from(&from.log);
                (self.id, self.id2) = (from.id, from.id2);
                self.link = LinkState::Up;
                self.save();
            }
            return;
        }
        let same = self.id == from.id && self.id.is_some() && self.offset() <= from.offset();
        let goes_on = from
            .id2
            .is_some_and(|(id, end)| self.id == Some(id) && self.offset() <= end);
        if same || goes_on {
            (self.id, self.id2) = (from.id, from.id2);
            self.link = LinkState::Up;
            let to = from.log.len().min(self.log.len() + bytes);
            let new = &from.log[self.log.len()..to];
            self.log.extend_from_slice(new);
        } else if from.doing == Doing::Master {
            self.link = LinkState::Syncing;
            self.synced_at = now + bytes as u64 * 100;
        } else {
            self.link = LinkState::Down;
        }
    }
}
