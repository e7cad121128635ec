//! Random worlds: a set of one to five members with random pasts, seen by one of them.
//!
//! A member is drawn as what happened to it ([`Past`]), built by the fixture, and published as its own
//! sidecar would publish it. A [`Scene`] then makes the worlds likely in which something is decided.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::scene::{play, scene};
use crate::clock::Time;
use crate::decide::fixture::{Member, decided, epoch, id, identity, peer, policy};
use crate::decide::learn::{learn, own_report};
use crate::decide::{Decision, Local, PeerState, Policy, Snapshot, Wish};
use crate::observe::info::ServerRole;
use crate::report::{Ancestor, Grant, Intent, LinkState, Report};
use crate::state_file::{Alias, Followed, Memory};
use crate::topology::{Epoch, Ordinal};

/// When every snapshot is taken: late enough that everything can have begun long before.
pub(super) const NOW: Duration = Duration::from_secs(10_000);

/// A set as one of its members sees it.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The observer, with what it remembered before it looked.
    pub(super) me: Member,
    pub(super) snapshot: Snapshot,
    pub(super) policy: Policy,
}

impl World {
    /// What the observer knows once it has looked.
    pub(super) fn learnt(&self) -> Memory {
        learn(&self.snapshot, &self.me.memory)
    }

    /// The observer as the others see it.
    pub(super) fn own(&self) -> Report {
        own_report(&identity(self.me.ordinal), &self.snapshot, &self.learnt())
    }

    /// One turn of its loop.
    pub(super) fn decide(&self) -> Decision {
        let me = Member {
            memory: self.learnt(),
            ..self.me.clone()
        };
        decided(&me, &self.snapshot, &self.policy)
    }

    /// The same world with one peer in another state, since this moment.
    pub(super) fn with(&self, ordinal: Ordinal, state: PeerState) -> Self {
        let mut world = self.clone();
        if let Some(peer) = world.snapshot.peers.get_mut(&ordinal) {
            peer.since = self.snapshot.started_at;
            peer.state = state;
            peer.verified_run = None;
        }
        world
    }
}

/// What data a server has.
#[derive(Debug, Clone)]
enum Data {
    None,
    /// Of an epoch, under an ID, up to an offset; with the end of the history before it.
    Some(u64, char, u64, Option<End>),
}

/// Where the history before this one ended, if that is known.
#[derive(Debug, Clone, Copy)]
struct End(Option<u64>);

/// What a server does.
#[derive(Debug, Clone)]
enum Doing {
    Fenced,
    Follows(u32, LinkState),
    Leads,
    AcceptsWrites,
    Loads,
    Hangs { gone: bool },
}

/// What happened to a state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Whole,
    Lost,
    /// Somebody's old one: the data is labelled with an older epoch.
    Old,
}

#[derive(Debug, Clone)]
struct Past {
    data: Data,
    doing: Doing,
    file: File,
    restarted: bool,
    aof: bool,
    unfinished: bool,
    terminating: bool,
    seen_more: u64,
    holder: Option<u32>,
    closed: Option<u64>,
    intent: Option<u64>,
    grant: Option<(u64, u32, bool, bool)>,
}

/// How the observer sees a peer.
#[derive(Debug, Clone)]
struct Sight {
    kind: Kind,
    ago: u64,
    run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Answers,
    Silent,
    Missing,
    ServerOnly,
}

/// Who answers at the peer's server's address.
#[derive(Debug, Clone, Copy)]
enum Run {
    Itself,
    Nobody,
    Stranger,
    Observer,
}

fn data() -> impl Strategy<Value = Data> {
    let some = (
        1..4_u64,
        any::<bool>(),
        0..9_u64,
        proptest::option::of(proptest::option::of(0..9_u64).prop_map(End)),
    )
        .prop_map(|(counter, apart, offset, before)| {
            let letter = match (apart, counter) {
                (true, 2) => 'd',
                (_, 1) => 'a',
                (_, 2) => 'b',
                _ => 'c',
            };
            Data::Some(counter, letter, offset, before)
        });
    prop_oneof![1 => Just(Data::None), 5 => some]
}

fn doing() -> impl Strategy<Value = Doing> {
    let link = select(vec![LinkState::Up, LinkState::Down, LinkState::Syncing]);
    prop_oneof![
        6 => Just(Doing::Fenced),
        3 => (0..5_u32, link).prop_map(|(of, link)| Doing::Follows(of, link)),
        1 => Just(Doing::Leads),
        1 => Just(Doing::AcceptsWrites),
        1 => Just(Doing::Loads),
        1 => any::<bool>().prop_map(|gone| Doing::Hangs { gone }),
    ]
}

pub(super) fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

fn past() -> impl Strategy<Value = Past> {
    let file = prop_oneof![8 => Just(File::Whole), 1 => Just(File::Lost), 1 => Just(File::Old)];
    let body = (
        data(),
        doing(),
        file,
        rarely(),
        proptest::bool::weighted(0.2),
        rarely(),
        rarely(),
    );
    let marks = (
        prop_oneof![4 => Just(0), 1 => 1..3_u64],
        proptest::option::of(0..5_u32),
        proptest::option::weighted(0.2, 0..6_u64),
        proptest::option::weighted(0.1, 0..6_u64),
        proptest::option::weighted(0.1, (1..6_u64, 0..5_u32, any::<bool>(), rarely())),
    );
    (body, marks).prop_map(
        |(
            (data, doing, file, restarted, aof, unfinished, terminating),
            (seen_more, holder, closed, intent, grant),
        )| Past {
            data,
            doing,
            file,
            restarted,
            aof,
            unfinished,
            terminating,
            seen_more,
            holder,
            closed,
            intent,
            grant,
        },
    )
}

fn sight(all_answer: bool) -> impl Strategy<Value = Sight> {
    let kind = if all_answer {
        Just(Kind::Answers).boxed()
    } else {
        prop_oneof![
            3 => Just(Kind::Answers),
            1 => Just(Kind::Silent),
            1 => Just(Kind::Missing),
            1 => Just(Kind::ServerOnly),
        ]
        .boxed()
    };
    let run = prop_oneof![
        9 => Just(Run::Itself),
        1 => Just(Run::Nobody),
        1 => Just(Run::Stranger),
        1 => Just(Run::Observer),
    ];
    (kind, ago(), run).prop_map(|(kind, ago, run)| Sight { kind, ago, run })
}

/// On both sides of every limit: 30 s for names, 300 s for members.
fn ago() -> impl Strategy<Value = u64> {
    select(vec![0, 29, 30, 299, 300, 9_000])
}

fn wish() -> impl Strategy<Value = Wish> {
    let tried = proptest::collection::btree_set((0..5_u32).prop_map(Ordinal), 0..2);
    let to = proptest::option::weighted(0.3, (0..5_u32).prop_map(Ordinal));
    let patience = proptest::option::of(select(vec![before(1), Time(NOW), Time(2 * NOW)]));
    (to, tried, any::<bool>(), patience).prop_map(|(to, tried, stays, patience)| Wish {
        to,
        tried,
        stays,
        patience,
    })
}

/// A world.
pub(super) fn world() -> impl Strategy<Value = World> {
    (1..=5_u32, any::<bool>()).prop_flat_map(|(size, all_answer)| {
        (
            0..size,
            proptest::collection::vec(past(), size as usize),
            proptest::collection::vec(sight(all_answer), size as usize),
            scene(),
            (
                ago(),
                proptest::bool::weighted(0.9),
                proptest::option::of(0..2_u32),
            ),
            proptest::option::weighted(0.1, 0..size),
            proptest::option::weighted(0.7, wish()),
        )
            .prop_map(
                move |(me, pasts, sights, scene, (ago, own_name, more), resolve, wish)| {
                    let mut members: Vec<_> = (0..size)
                        .zip(&pasts)
                        .map(|(o, past)| build(o, past))
                        .collect();
                    play(&scene, &mut members, me);
                    let me = members.remove(me as usize);
                    let mut snapshot = look(&me, &members, &sights);
                    snapshot.process_started_at = before(ago);
                    snapshot.own_name_resolves = own_name;
                    snapshot.names_known = own_name;
                    snapshot.resolve = resolve.map(Ordinal);
                    snapshot.wish = wish;
                    let policy = Policy {
                        replicas: more.map(|more| size + more),
                        ..policy()
                    };
                    World {
                        me,
                        snapshot,
                        policy,
                    }
                },
            )
    })
}

fn before(seconds: u64) -> Time {
    Time(NOW.saturating_sub(Duration::from_secs(seconds)))
}

/// The server's run, whatever its state.
fn run_of(member: &Member) -> Option<String> {
    match &member.local {
        Local::Up(server) => Some(server.run_id.clone()),
        Local::Loading { .. } | Local::Unreachable { .. } => None,
    }
}

fn build(ordinal: u32, past: &Past) -> Member {
    let mut member = match past.data {
        Data::None => Member::empty(ordinal),
        Data::Some(counter, letter, offset, before) => {
            let member = Member::with_data(ordinal, counter, letter, offset);
            match before {
                Some(End(end)) if counter > 1 => descended(member, counter, end),
                Some(_) | None => member,
            }
        }
    };
    let has_data = member.memory.epoch.is_some();
    member = match past.doing {
        Doing::Leads if has_data => member.master(),
        Doing::Fenced | Doing::Leads | Doing::Loads | Doing::Hangs { .. } => member,
        Doing::Follows(of, link) => member.replica_of(of, link),
        Doing::AcceptsWrites => member.server(|s| s.role = ServerRole::Master),
    };
    member.terminating = past.terminating;
    let run = run_of(&member);
    let memory = &mut member.memory;
    memory.unfinished = past.unfinished;
    memory.epoch_seen = later(memory.epoch_seen, past.seen_more);
    memory.holder = past.holder.map(Ordinal).or(memory.holder);
    memory.closed = past.closed.map(epoch);
    memory.intent = past.intent.zip(run).map(|(counter, run_id)| Intent {
        epoch: epoch(counter),
        run_id,
        armed: None,
    });
    memory.grant = past.grant.map(|(counter, target, counts, by_hand)| Grant {
        epoch: Epoch {
            counter,
            granter: Ordinal(ordinal),
        },
        target: Ordinal(target),
        counts,
        by_hand,
        handover: None,
    });
    if past.aof && has_data && memory.held.is_none() {
        member = with_aof(member);
    }
    match past.file {
        File::Whole => {}
        File::Old => member.memory.epoch = member.memory.epoch.map(|_| epoch(1)),
        File::Lost => member.memory = Memory::default(),
    }
    if past.restarted {
        member.memory.followed = member.memory.epoch.map(|epoch| Followed {
            master: Ordinal::ZERO,
            epoch,
            id: Some(id('c')),
        });
        member = member.server(|s| s.run_id = format!("{}-again", s.run_id));
    }
    match past.doing {
        Doing::Loads => {
            member.local = Local::Loading {
                run_id: format!("run-{ordinal}"),
            };
        }
        Doing::Hangs { gone } => {
            member.local = Local::Unreachable {
                gone,
                why: "does not answer".to_owned(),
            };
        }
        Doing::Fenced | Doing::Follows(..) | Doing::Leads | Doing::AcceptsWrites => {}
    }
    member
}

/// A server with AOF that was started again: its ID is a fresh one, the state file vouches.
pub(super) fn with_aof(mut member: Member) -> Member {
    let fresh = Some(id('f'));
    member.memory.alias = Some(Alias {
        run_id: format!("run-{}", member.ordinal),
        id: fresh.clone(),
    });
    member.server(|s| {
        s.aof = true;
        s.id = fresh;
        s.offset = 0;
    })
}

/// Data that went on from the epoch before it.
fn descended(member: Member, counter: u64, end: Option<u64>) -> Member {
    let before = if counter == 2 { 'a' } else { 'b' };
    member
        .memory(|m| {
            m.lineage.insert(
                0,
                Ancestor {
                    id: id(before),
                    epoch: epoch(counter - 1),
                    end,
                },
            );
        })
        .server(|s| {
            s.id2 = Some(id(before));
            s.id2_end = end;
        })
}

fn later(epoch: Option<Epoch>, more: u64) -> Option<Epoch> {
    match (epoch, more) {
        (epoch, 0) => epoch,
        (epoch, more) => Some(Epoch {
            counter: epoch.map_or(0, |e| e.counter) + more,
            granter: Ordinal::ZERO,
        }),
    }
}

/// What the observer sees of the others.
fn look(me: &Member, others: &[Member], sights: &[Sight]) -> Snapshot {
    let mut snapshot = me.alone();
    snapshot.started_at = Time(NOW);
    for (other, sight) in others.iter().zip(sights) {
        let learnt = Member {
            memory: learn(&other.alone(), &other.memory),
            ..other.clone()
        };
        let state = match (sight.kind, &other.local) {
            (Kind::Answers, _) => PeerState::Answered(Box::new(learnt.report())),
            (Kind::ServerOnly, Local::Up(server)) => {
                PeerState::ServerOnly(Box::new(server.clone()))
            }
            (Kind::Missing, _) => PeerState::Missing,
            (Kind::Silent | Kind::ServerOnly, _) => PeerState::Silent("does not answer".to_owned()),
        };
        let mut peer = peer(state, other.ordinal);
        peer.since = before(sight.ago);
        match sight.run {
            Run::Itself => {}
            Run::Nobody => (peer.verified_run, peer.demoted) = (None, true),
            Run::Stranger => peer.verified_run = Some("a stranger's run".to_owned()),
            Run::Observer => peer.verified_run = run_of(me),
        }
        snapshot.peers.insert(other.ordinal, peer);
    }
    snapshot
}
