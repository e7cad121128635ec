//! A sidecar: what it remembers, its look, and what it publishes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::api::Keeper;
use crate::authority::lease::Holder;
use crate::clock::Time;
use crate::decide::fixture::{announced, identity, target, times};
use crate::decide::lease::{Known, Promises, Sight};
use crate::decide::own_report::own_report;
use crate::decide::{
    Action, Authority, Local, Peer, PeerState, Snapshot, Wish, answers_for_its_data,
};
use crate::report::Report;
use crate::state_file::Memory;
use crate::topology::{Epoch, Identity, Ordinal, ServerAt};

/// How far a turn has got.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Idle,
    /// Has looked, and is about to decide.
    Looked(Box<Look>),
    /// Has decided, and is about to act.
    Decided(Box<Look>, Action),
    /// Looks at both servers of a handover until then.
    Takes {
        look: Box<Look>,
        there: ServerAt,
        deadline: Time,
        ends: u64,
    },
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) snapshot: Snapshot,
    /// The run to which the connection leads.
    pub(super) run: u64,
    /// Until when the role was held when the turn began.
    pub(super) until: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) ordinal: Ordinal,
    pub(super) pod: u64,
    offset: u64,
    drift: u64,
    pub(super) memory: Memory,
    pub(super) renewed: Option<(Time, Epoch)>,
    pub(super) keeper: Keeper,
    pub(super) promises: Promises,
    pub(super) questions: u64,
    epoch_since: Option<(Epoch, Time)>,
    pub(super) started_at: Time,
    pub(super) masterless_since: Time,
    pub(super) had_master: bool,
    kinds: BTreeMap<Ordinal, (u8, Time)>,
    pub(super) published: Option<Report>,
    pub(super) wish: Option<Wish>,
    pub(super) terminating: bool,
    pub(super) down_until: u64,
    pub(super) paused_until: u64,
    pub(super) next: u64,
    pub(super) stage: Stage,
}

impl Member {
    pub(super) fn new(ordinal: u32, offset: u64, drift: u64) -> Self {
        let mut member = Self {
            ordinal: Ordinal(ordinal),
            pod: u64::from(ordinal),
            offset,
            drift,
            memory: Memory::default(),
            renewed: None,
            keeper: Keeper::new(0),
            promises: Promises::default(),
            questions: 0,
            epoch_since: None,
            started_at: Time::default(),
            masterless_since: Time::default(),
            had_master: false,
            kinds: BTreeMap::new(),
            published: None,
            wish: None,
            terminating: false,
            down_until: 0,
            paused_until: 0,
            next: 0,
            stage: Stage::Idle,
        };
        member.start(0);
        member
    }

    /// Its own clock: in another place than the others', and a little slower or faster.
    pub(super) fn clock(&self, now: u64) -> Time {
        Time(Duration::from_millis(self.offset + now * self.drift / 1000))
    }

    pub(super) fn runs(&self, now: u64) -> bool {
        now >= self.down_until && now >= self.paused_until
    }

    /// Until when what is held here may be kept.
    pub(super) fn until(&self) -> Option<Time> {
        let renewed = self.keeper.renewed.or(self.renewed).map(|(at, _)| at);
        Some(renewed.max(self.promises.kept_since())? + times().deadline)
    }

    /// The process begins: what lies on the disk is all that it has.
    pub(super) fn start(&mut self, now: u64) {
        let clock = self.clock(now);
        self.keeper = Keeper::new(now);
        self.promises = Promises::default();
        self.questions += 1 << 20;
        self.epoch_since = None;
        (self.started_at, self.masterless_since) = (clock, clock);
        self.had_master = false;
        self.kinds.clear();
        self.published = None;
        self.wish = None;
        self.terminating = false;
        self.stage = Stage::Idle;
        self.down_until = now;
        self.next = now + 1;
    }

    pub(super) fn holder(&self) -> Holder {
        Holder {
            pod: format!("redis-{}", self.ordinal),
            uid: format!("uid-{}", self.pod),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            uid: Some(format!("uid-{}", self.pod)),
            ..identity(self.ordinal)
        }
    }

    pub(super) fn report(&self, snapshot: &Snapshot) -> Report {
        announced(own_report(&self.identity(), snapshot, &self.memory))
    }

    pub(super) fn sight(&mut self, now: u64) -> Sight {
        let clock = self.clock(now);
        if self.keeper.renewed.is_some() {
            self.renewed = self.keeper.renewed;
        }
        let epoch = match &self.keeper.known {
            Known::Lease { says, .. } => says.epoch,
            Known::Unread | Known::Absent | Known::Unreadable { .. } => None,
        };
        if epoch != self.epoch_since.map(|(epoch, _)| epoch) {
            self.epoch_since = epoch.map(|epoch| (epoch, clock));
        }
        let keeper = &self.keeper;
        let slow = keeper
            .reading
            .filter(|sent| clock.since(*sent).as_secs() >= 1);
        Sight {
            me: self.holder(),
            known: keeper.known.clone(),
            unchanged: keeper.unchanged,
            failure: keeper.failure.clone().or(slow.map(|_| "slow".to_owned())),
            refused: keeper.refused.clone(),
            writing: keeper.writing,
            claimed: keeper.claimed.clone(),
            renewed: self.renewed,
            promises: self.promises.clone(),
            grant: None,
            leads: None,
            epoch_since: self.epoch_since.map(|(_, at)| at),
        }
        .granted()
    }

    pub(super) fn look(
        &mut self,
        now: u64,
        local: Local,
        seen: Vec<(Ordinal, PeerState, Verified)>,
    ) -> Snapshot {
        let clock = self.clock(now);
        let mut peers = BTreeMap::new();
        for (ordinal, state, verified) in seen {
            let since = self.since(ordinal, &state, clock);
            let address = ([10, 0, 0, u8::try_from(ordinal.0).expect("few")], 6379).into();
            let (verified_run, unverified, demoted) = match verified {
                Verified::NotAsked => (None, None, false),
                Verified::Master(run) => (Some(run), None, false),
                Verified::NoMaster => (None, Some("is no master".to_owned()), true),
                Verified::Unknown => (None, Some("does not answer".to_owned()), false),
            };
            peers.insert(
                ordinal,
                Peer {
                    state,
                    since,
                    target: Some(target(ordinal)),
                    server: Some(ServerAt { ordinal, address }),
                    verified_run,
                    unverified,
                    demoted,
                },
            );
        }
        let wish = self.wish.clone();
        let wish = wish.filter(|w| clock.since(w.since) < Duration::from_secs(15));
        self.wish.clone_from(&wish);
        Snapshot {
            started_at: clock,
            process_started_at: self.started_at,
            me: self.ordinal,
            local,
            peers,
            own_name_resolves: true,
            names_known: true,
            masterless_since: self.masterless_since,
            declined: std::collections::BTreeSet::new(),
            terminating: self.terminating,
            resolve: None,
            wish,
            authority: Authority::Ordinal,
            replicas: None,
            in_order: false,
            had_master: self.had_master,
        }
    }

    fn since(&mut self, ordinal: Ordinal, state: &PeerState, now: Time) -> Time {
        let kind = match state {
            PeerState::Answered(report) if answers_for_its_data(report.role) && !report.forgets => {
                0
            }
            PeerState::Answered(_) => 1,
            PeerState::ServerOnly(_) | PeerState::Silent(_) => 2,
            PeerState::Missing => 3,
        };
        let entry = self.kinds.entry(ordinal).or_insert((kind, now));
        if !(entry.0 == kind || entry.0 >= 2 && kind == 2) {
            *entry = (kind, now);
        }
        entry.1
    }
}

/// What a peer's server says that is the master by its sidecar's word.
#[derive(Debug, Clone)]
pub(super) enum Verified {
    NotAsked,
    Master(String),
    NoMaster,
    Unknown,
}
