//! Random worlds: a set of one to five members with random pasts, seen by one of them.
//!
//! A member is drawn as what happened to it ([`past`]), built by the fixture, and published as its own
//! sidecar would publish it. A [`Scene`] then makes the worlds likely in which something is decided.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::past::{build, past, run_of};
use super::scene::{play, scene};
use crate::clock::Time;
use crate::decide::fixture::{Member, decided, epoch, identity, peer, policy};
use crate::decide::learn::learn;
use crate::decide::own_report::own_report;
use crate::decide::{Decision, Local, PeerState, Policy, Snapshot, Wish};
use crate::report::Report;
use crate::state_file::Memory;
use crate::topology::Ordinal;

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

/// A wish; and whether its patience is for the grant that is published, or for one before it.
fn wish() -> impl Strategy<Value = (Wish, bool)> {
    let tried = proptest::collection::btree_set((0..5_u32).prop_map(Ordinal), 0..2);
    let to = proptest::option::weighted(0.3, (0..5_u32).prop_map(Ordinal));
    let until = select(vec![before(1), Time(NOW), Time(2 * NOW)]);
    let patience = proptest::option::of(until.prop_map(|until| (epoch(1), until)));
    (to, tried, any::<bool>(), patience, any::<bool>()).prop_map(
        |(to, tried, stays, patience, of_this)| {
            let wish = Wish {
                to,
                tried,
                stays,
                since: Time(NOW),
                patience,
            };
            (wish, of_this)
        },
    )
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
                    snapshot.wish = wish.map(|(mut wish, of_this)| {
                        if let (Some((of, _)), Some(grant), true) =
                            (&mut wish.patience, &me.memory.grant, of_this)
                        {
                            *of = grant.epoch;
                        }
                        wish
                    });
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
