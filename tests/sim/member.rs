//! A sidecar: what it remembers, its look, and what it publishes.

use std::collections::BTreeMap;
use std::time::Duration;

use podzero::authority::lease::Holder;
use podzero::clock::Time;
use podzero::decide::lease::{Known, Promises, Sight, Times};
use podzero::decide::own_report::own_report;
use podzero::decide::{
    Action, Authority, Decision, Local, Peer, PeerState, Policy, Reason, Snapshot, View, Wish,
};
use podzero::report::{Report, Role};
use podzero::state_file::Memory;
use podzero::topology::{Epoch, Identity, Ordinal, ServerAt};

use super::api::Keeper;
use super::server::{ordinal, target};

/// How long a wish lasts.
const WISH: Duration = Duration::from_secs(15);
/// How long a member that declined is passed over, as the loop has it.
const DECLINED: Duration = Duration::from_secs(10);

/// The Lease's times, as they are by default.
pub(crate) fn times() -> Times {
    Times {
        duration: Duration::from_secs(6),
        deadline: Duration::from_secs(4),
        retry: Duration::from_secs(1),
    }
}

pub(crate) fn policy(replicas: Option<usize>) -> Policy {
    Policy {
        replicas: replicas.map(|n| u32::try_from(n).expect("few")),
        discover: Duration::from_secs(5),
        peer_wait: Duration::from_mins(5),
        link_grace: Duration::from_secs(5),
        max_lag: None,
        lease: times(),
    }
}

/// How far a turn has got.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
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
    /// Has stopped writes, and waits for a replica until then.
    Evens {
        look: Box<Look>,
        there: ServerAt,
        run_id: String,
        ends: u64,
    },
}

impl Stage {
    pub(crate) fn look(&self) -> Option<&Look> {
        match self {
            Self::Idle => None,
            Self::Looked(look)
            | Self::Decided(look, _)
            | Self::Takes { look, .. }
            | Self::Evens { look, .. } => Some(look),
        }
    }
}

/// What was seen.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) snapshot: Snapshot,
    /// The run to which the connection leads.
    pub(crate) run: u64,
    /// Until when the role was held when the turn began.
    pub(crate) until: Option<Time>,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) ordinal: Ordinal,
    /// The pod; another one of the same name has another number.
    pub(crate) pod: u64,
    offset: u64,
    drift: u64,
    pub(crate) memory: Memory,
    pub(crate) renewed: Option<(Time, Epoch)>,
    pub(crate) keeper: Keeper,
    pub(crate) promises: Promises,
    pub(crate) questions: u64,
    epoch_since: Option<(Epoch, Time)>,
    pub(crate) started_at: Time,
    pub(crate) masterless_since: Time,
    pub(crate) had_master: bool,
    kinds: BTreeMap<Ordinal, (u8, Time)>,
    declined: BTreeMap<Ordinal, Time>,
    pub(crate) published: Option<Report>,
    /// What its server called its history at the last look; and what it had loaded at its last start, if no
    /// look had shown that before.
    pub(crate) looked: u64,
    pub(crate) unseen: Option<u64>,
    /// Why it waits, in the last turn.
    pub(crate) reasons: Vec<Reason>,
    pub(crate) wish: Option<Wish>,
    pub(crate) resolve: Option<Ordinal>,
    pub(crate) terminating: bool,
    /// Its pod is there; else its name is not either, from some time on.
    pub(crate) exists: bool,
    pub(crate) gone_since: u64,
    pub(crate) down_until: u64,
    pub(crate) paused_until: u64,
    pub(crate) next: u64,
    pub(crate) stage: Stage,
}

/// What a peer's server says that is the master by its sidecar's word.
#[derive(Debug, Clone)]
pub(crate) enum Verified {
    NotAsked,
    Master(String),
    NoMaster,
    Unknown,
}

impl Member {
    pub(crate) fn new(member: usize, offset: u64, drift: u64) -> Self {
        Self {
            ordinal: ordinal(member),
            pod: member as u64,
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
            declined: BTreeMap::new(),
            published: None,
            looked: 0,
            unseen: None,
            reasons: Vec::new(),
            wish: None,
            resolve: None,
            terminating: false,
            exists: true,
            gone_since: 0,
            down_until: 0,
            paused_until: 0,
            next: 0,
            stage: Stage::Idle,
        }
    }

    /// Its own clock: in another place than the others', and a little slower or faster.
    pub(crate) fn clock(&self, now: u64) -> Time {
        Time(Duration::from_millis(self.offset + now * self.drift / 1000))
    }

    pub(crate) fn runs(&self, now: u64) -> bool {
        self.exists && now >= self.down_until && now >= self.paused_until
    }

    /// Until when what is held here may be kept.
    pub(crate) fn until(&self) -> Option<Time> {
        let renewed = self.keeper.renewed.or(self.renewed).map(|(at, _)| at);
        Some(renewed.max(self.promises.kept_since())? + times().deadline)
    }

    /// The process begins then: what lies on the disk is all that it has.
    pub(crate) fn start(&mut self, at: u64) {
        let clock = self.clock(at);
        self.keeper = Keeper::new(at);
        self.promises = Promises::default();
        self.questions += 1 << 20;
        self.epoch_since = None;
        (self.started_at, self.masterless_since) = (clock, clock);
        self.had_master = false;
        self.kinds.clear();
        self.declined.clear();
        self.published = None;
        self.reasons.clear();
        self.wish = None;
        self.resolve = None;
        self.terminating = false;
        self.stage = Stage::Idle;
        self.down_until = at;
        self.next = at + 1;
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder {
            pod: format!("redis-{}", self.ordinal),
            uid: format!("uid-{}", self.pod),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            pod: format!("redis-{}", self.ordinal)
                .parse()
                .expect("a pod's name"),
            uid: Some(format!("uid-{}", self.pod)),
            namespace: "ns".to_owned(),
            service: "redis".to_owned(),
            domain: "cluster.local".to_owned(),
        }
    }

    pub(crate) fn report(&self, snapshot: &Snapshot) -> Report {
        let announced = Some(target(self.ordinal.0 as usize));
        Report {
            announced,
            ..own_report(&self.identity(), snapshot, &self.memory)
        }
    }

    pub(crate) fn sight(&mut self, now: u64) -> Sight {
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
            .filter(|sent| clock.since(*sent) >= times().retry);
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

    pub(crate) fn look(
        &mut self,
        now: u64,
        local: Local,
        seen: Vec<(usize, PeerState, Verified)>,
        replicas: Option<usize>,
    ) -> Snapshot {
        let clock = self.clock(now);
        let mut peers = BTreeMap::new();
        for (member, state, verified) in seen {
            let ordinal = ordinal(member);
            let since = self.since(ordinal, &state, clock);
            let address = ([10, 0, 0, 1], 6379).into();
            let (verified_run, unverified, demoted) = match verified {
                Verified::NotAsked => (None, None, false),
                Verified::Master(run) => (Some(run), None, false),
                Verified::NoMaster => (None, Some("is no master".to_owned()), true),
                Verified::Unknown => (None, Some("does not answer".to_owned()), false),
            };
            let there = state != PeerState::Missing;
            peers.insert(
                ordinal,
                Peer {
                    state,
                    since,
                    target: there.then(|| target(member)),
                    server: there.then_some(ServerAt { ordinal, address }),
                    verified_run,
                    unverified,
                    demoted,
                },
            );
        }
        self.wish.take_if(|w| clock.since(w.since) >= WISH);
        self.declined.retain(|_, at| clock.since(*at) < DECLINED);
        Snapshot {
            started_at: clock,
            process_started_at: self.started_at,
            me: self.ordinal,
            local,
            peers,
            own_name_resolves: true,
            names_known: true,
            masterless_since: self.masterless_since,
            declined: self.declined.keys().copied().collect(),
            terminating: self.terminating,
            resolve: self.resolve.take(),
            wish: self.wish.clone(),
            authority: Authority::Ordinal,
            replicas: replicas.map(|n| u32::try_from(n).expect("few")),
            in_order: false,
            had_master: self.had_master,
        }
    }

    fn since(&mut self, ordinal: Ordinal, state: &PeerState, now: Time) -> Time {
        let kind = match state {
            PeerState::Answered(report) => match report.role {
                Role::Master | Role::Replica | Role::Fenced if !report.forgets => 0,
                Role::Master | Role::Replica | Role::Fenced | Role::Loading | Role::Unreachable => {
                    1
                }
            },
            PeerState::ServerOnly(_) | PeerState::Silent(_) => 2,
            PeerState::Missing => 3,
        };
        let entry = self.kinds.entry(ordinal).or_insert((kind, now));
        if entry.0 != kind {
            *entry = (kind, now);
        }
        entry.1
    }

    /// What the loop keeps of a decision beside the action.
    pub(crate) fn remembers(&mut self, view: &View<'_>, decision: &Decision, now: u64) {
        let clock = self.clock(now);
        if view.granted_master().is_some() {
            self.masterless_since = clock;
            self.had_master = true;
        }
        if decision.action == Action::Withdraw
            && let Some(grant) = &view.memory.grant
            && let Some(target) = view.report(grant.target)
            && target.authority.closed >= Some(grant.epoch)
            && !target.is_granted_master()
        {
            self.declined.insert(grant.target, clock);
        }
        self.reasons.clone_from(&decision.reasons);
    }
}
