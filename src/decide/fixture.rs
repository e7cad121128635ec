//! Members made by hand, for the tests of the core.

use std::collections::BTreeMap;
use std::time::Duration;

use super::own_report::own_report;
use super::{Decision, Local, Peer, PeerState, Policy, Snapshot, View, decide};
use crate::clock::Time;
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Ancestor, LinkState, Report};
use crate::state_file::{Held, Memory};
use crate::topology::{Epoch, Identity, Ordinal, ReplicationId, ServerAt};

pub(crate) fn id(letter: char) -> ReplicationId {
    ReplicationId::parse(&letter.to_string().repeat(40)).expect("forty digits")
}

pub(crate) fn epoch(counter: u64) -> Epoch {
    Epoch {
        counter,
        granter: Ordinal::ZERO,
    }
}

pub(crate) fn identity(ordinal: Ordinal) -> Identity {
    Identity {
        pod: format!("redis-{ordinal}").parse().expect("a pod's name"),
        uid: None,
        namespace: "ns".to_owned(),
        service: "redis".to_owned(),
        domain: "cluster.local".to_owned(),
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        replicas: Some(3),
        discover: Duration::from_secs(30),
        peer_wait: Duration::from_mins(5),
        link_grace: Duration::from_secs(5),
        max_lag: None,
        lease: times(),
    }
}

/// The Lease's times as they are by default.
pub(crate) fn times() -> super::lease::Times {
    super::lease::Times {
        duration: Duration::from_secs(6),
        deadline: Duration::from_secs(4),
        retry: Duration::from_secs(1),
    }
}

/// A member: its memory and what its server says.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) ordinal: Ordinal,
    pub(crate) memory: Memory,
    pub(crate) local: Local,
    pub(crate) terminating: bool,
}

impl Member {
    /// A fenced server without anything.
    pub(crate) fn empty(ordinal: u32) -> Self {
        let ordinal = Ordinal(ordinal);
        let run_id = format!("run-{ordinal}");
        Self {
            ordinal,
            memory: Memory {
                run_id: Some(run_id.clone()),
                ..Memory::default()
            },
            local: Local::Up(ServerInfo {
                version: "redis 7.0.15".to_owned(),
                run_id,
                loading: false,
                role: ServerRole::Fenced,
                id: None,
                id2: None,
                id2_end: None,
                offset: 0,
                keys: 0,
                aof: false,
                aof_rewriting: false,
                backlog: false,
                replicas: Vec::new(),
            }),
            terminating: false,
        }
    }

    /// A fenced server with data of an epoch, written under an ID up to an offset.
    pub(crate) fn with_data(ordinal: u32, counter: u64, letter: char, offset: u64) -> Self {
        let mut member = Self::empty(ordinal);
        let epoch = epoch(counter);
        member.memory.epoch = Some(epoch);
        member.memory.last_epoch = Some(epoch);
        member.memory.epoch_seen = Some(epoch);
        member.memory.id = Some(id(letter));
        member.memory.offset = offset;
        member.memory.backlog = true;
        member.memory.lineage = vec![Ancestor {
            id: id(letter),
            epoch,
            end: None,
            at_least: false,
        }];
        member.server(|s| {
            s.id = Some(id(letter));
            s.offset = offset;
            s.keys = 1;
            s.backlog = true;
        })
    }

    /// The granted master of its epoch.
    pub(crate) fn master(mut self) -> Self {
        let epoch = self.memory.epoch.expect("data of an epoch");
        self.memory.held = Some(Held {
            epoch,
            run_id: self.memory.run_id.clone().expect("a run"),
            id: self.memory.id.clone(),
            took_over_from: None,
            away_from: None,
        });
        self.memory.master = Some(self.ordinal);
        self.memory.holder = Some(self.ordinal);
        self.server(|s| s.role = ServerRole::Master)
    }

    /// A replica of a member.
    pub(crate) fn replica_of(mut self, master: u32, link: LinkState) -> Self {
        if link == LinkState::Up {
            self.memory.master = Some(Ordinal(master));
            self.memory.holder = Some(Ordinal(master));
        }
        let (host, port) = target(Ordinal(master));
        if self.memory.pointed_at.is_none() {
            self.memory.pointed_at = Some(format!("{host}:{port}"));
        }
        self.server(|s| s.role = ServerRole::Replica { host, port, link })
    }

    pub(crate) fn server(mut self, change: impl FnOnce(&mut ServerInfo)) -> Self {
        let Local::Up(server) = &mut self.local else {
            panic!("the server is up")
        };
        change(server);
        self
    }

    pub(crate) fn memory(mut self, change: impl FnOnce(&mut Memory)) -> Self {
        change(&mut self.memory);
        self
    }

    /// A snapshot in which nobody else is.
    pub(crate) fn alone(&self) -> Snapshot {
        Snapshot {
            started_at: Time(Duration::from_secs(100)),
            process_started_at: Time(Duration::from_secs(100)),
            me: self.ordinal,
            local: self.local.clone(),
            peers: BTreeMap::new(),
            own_name_resolves: true,
            names_known: true,
            masterless_since: Time::default(),
            declined: std::collections::BTreeSet::new(),
            terminating: self.terminating,
            resolve: None,
            wish: None,
            authority: super::Authority::Ordinal,
            replicas: None,
            in_order: false,
            had_master: false,
        }
    }

    pub(crate) fn report(&self) -> Report {
        announced(own_report(
            &identity(self.ordinal),
            &self.alone(),
            &self.memory,
        ))
    }
}

/// What the loop fills in.
pub(crate) fn announced(report: Report) -> Report {
    let announced = Some(target(report.ordinal));
    Report {
        announced,
        ..report
    }
}

pub(crate) fn target(ordinal: Ordinal) -> (String, u16) {
    (format!("10.0.0.{}", ordinal.0 + 1), 6379)
}

pub(crate) fn peer(state: PeerState, ordinal: Ordinal) -> Peer {
    let verified_run = match &state {
        PeerState::Answered(report) if report.is_granted_master() => {
            report.server.as_ref().map(|s| s.run_id.clone())
        }
        PeerState::Answered(_)
        | PeerState::ServerOnly(_)
        | PeerState::Missing
        | PeerState::Silent(_) => None,
    };
    Peer {
        state,
        since: Time(Duration::from_secs(100)),
        target: Some(target(ordinal)),
        server: Some(ServerAt {
            ordinal,
            address: ([10, 0, 0, 1], 6379).into(),
        }),
        verified_run,
        unverified: None,
        demoted: false,
    }
}

/// What a member sees when all the others answer.
pub(crate) fn sees(me: &Member, others: &[&Member]) -> Snapshot {
    let mut snapshot = me.alone();
    for other in others {
        let state = PeerState::Answered(Box::new(other.report()));
        snapshot
            .peers
            .insert(other.ordinal, peer(state, other.ordinal));
    }
    snapshot
}

/// Decides on a snapshot as it stands: what was learnt before is in the memory already.
pub(crate) fn decided(me: &Member, snapshot: &Snapshot, policy: &Policy) -> Decision {
    let own = announced(own_report(&identity(me.ordinal), snapshot, &me.memory));
    decide(&View {
        snapshot,
        memory: &me.memory,
        policy,
        own: &own,
    })
}
