//! Properties of the core over random worlds. The oracle is a checker of its own ([`rules`]).

mod known;
mod past;
mod rules;
mod scene;
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use self::known::Known;
use self::rules::check;
use self::world::{World, world};
use super::learn::learn;
use super::ready::{ReadyMemory, conditions};
use super::{Action, Decision, Local, PeerState, Reason, Silence, View};
use crate::observe::info::ServerRole;
use crate::report::LinkState;
use crate::topology::Ordinal;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        // More by PROPTEST_CASES.
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            default.cases
        } else {
            2_500
        },
        // The worlds are worth more as rows of the table than as seeds in a file.
        failure_persistence: None,
        ..default
    }
}

fn silent() -> PeerState {
    PeerState::Silent("does not answer".to_owned())
}

/// What makes somebody master, or lets it be one; a person's word apart, and what a master gives or keeps.
fn promotes(decision: &Decision) -> Option<(&'static str, Option<Ordinal>)> {
    let kept = |r: &Reason| matches!(r, Reason::GrantEnds { .. });
    match &decision.action {
        Action::Adopt { .. } if decision.reasons.iter().any(kept) => None,
        Action::Unfence { .. } | Action::Adopt { .. } => Some((decision.action.as_str(), None)),
        Action::Publish(grant) if !grant.by_hand && grant.handover.is_none() => {
            Some(("publish", Some(grant.target)))
        }
        Action::Publish(_)
        | Action::Claim(_)
        | Action::FenceThere { .. }
        | Action::Wait
        | Action::FenceWhenNear { .. }
        | Action::FenceWhenEven { .. }
        | Action::Lower
        | Action::Arm { .. }
        | Action::Confirm
        | Action::TakeOver { .. }
        | Action::Fence
        | Action::Follow { .. }
        | Action::Withdraw
        | Action::Close(_) => None,
    }
}

fn ready(world: &World) -> bool {
    let (own, memory) = (world.own(), world.learnt());
    let view = View {
        snapshot: &world.snapshot,
        memory: &memory,
        policy: &world.policy,
        own: &own,
    };
    conditions(&view, &mut ReadyMemory::default())
        .iter()
        .all(|c| c.ok)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_world_breaks_a_rule(world in world()) {
        let (known, decision) = (Known::of(&world), world.decide());
        prop_assert_eq!(check(&known, &decision), Ok(()), "{:#?}", decision);
    }

    #[test]
    fn the_same_world_is_decided_the_same_way(world in world()) {
        prop_assert_eq!(world.decide(), world.decide());
    }

    #[test]
    fn a_peer_that_falls_silent_promotes_nobody(world in world(), which in 0..5_u32) {
        let (before, after) = (world.decide(), world.with(Ordinal(which), silent()));
        if !world.snapshot.peers.contains_key(&Ordinal(which)) {
            return Ok(());
        }
        let now = after.decide();
        prop_assert_eq!(check(&Known::of(&after), &now), Ok(()), "{:#?}", now);
        // Who is silent is waited for, whatever it said before. A grant that counts is the word of a
        // granter who waited: it stays good while its target hears less.
        if !matches!(now.action, Action::Unfence { .. }) {
            prop_assert_eq!(promotes(&now), None, "before: {:#?}", before);
        }
    }

    #[test]
    fn a_name_that_is_missing_says_more_than_silence(world in world(), which in 0..5_u32, ago in 0..400_u64) {
        let since = |mut world: World| {
            let now = world.snapshot.started_at.0;
            if let Some(peer) = world.snapshot.peers.get_mut(&Ordinal(which)) {
                peer.since = crate::clock::Time(now.saturating_sub(std::time::Duration::from_secs(ago)));
            }
            world
        };
        let silent = since(world.with(Ordinal(which), silent()));
        let missing = since(world.with(Ordinal(which), PeerState::Missing));
        if let Some(promoted) = promotes(&silent.decide()) {
            prop_assert_eq!(promotes(&missing.decide()), Some(promoted));
        }
    }

    #[test]
    fn who_may_be_fenced_next_is_not_ready(world in world()) {
        let (decision, ready) = (world.decide(), ready(&world));
        if ready && let Local::Up(server) = &world.snapshot.local && server.role == ServerRole::Master {
            let held = world.learnt().held;
            prop_assert!(held.is_some(), "I7: ready without the role");
            let stops = matches!(
                decision.action,
                Action::Fence | Action::FenceWhenNear { .. } | Action::FenceWhenEven { .. }
            );
            prop_assert!(!stops, "I7: ready to the last");
        }
        prop_assert!(!(ready && world.snapshot.terminating));
    }

    #[test]
    fn learning_twice_teaches_nothing_new(world in world()) {
        let once = world.learnt();
        prop_assert_eq!(learn(&world.snapshot, &once), once);
    }

    #[test]
    fn a_promise_is_kept(world in world()) {
        let (before, after) = (&world.me.memory, world.learnt());
        prop_assert!(after.epoch_seen >= before.epoch_seen);
        prop_assert!(after.last_epoch >= before.last_epoch.max(before.epoch));
        prop_assert!(after.closed >= before.closed);
        // A server that may accept writes, or become able to, promises nothing to another member.
        let writable = match &world.snapshot.local {
            Local::Up(server) => server.role == ServerRole::Master,
            Local::Loading { .. } | Local::Unreachable { silence: Silence::Gone, .. } => false,
            Local::Unreachable { silence: Silence::Hangs | Silence::Refuses, .. } => before.held.is_some(),
        };
        let own = after.epoch.max(after.last_epoch).max(after.held.as_ref().map(|h| h.epoch));
        if (writable || after.intent.is_some()) && after.epoch_seen > before.epoch_seen.max(own) {
            prop_assert!(writable && after.intent.is_none(), "I2: promises during a promotion");
            prop_assert_eq!(after.holder, Some(world.me.ordinal), "I2: promises while writable");
        }
    }

    #[test]
    fn another_run_holds_nothing(world in world()) {
        let (before, after) = (&world.me.memory, world.learnt());
        let Local::Up(server) = &world.snapshot.local else { return Ok(()) };
        if before.run_id.as_deref() != Some(server.run_id.as_str()) {
            prop_assert_eq!(&after.held, &None, "I5: a role is inherited");
            let held = before.held.as_ref().map(|h| h.epoch);
            prop_assert!(after.closed >= held, "I5: a used grant is still good");
        }
        if after.held.is_some() {
            prop_assert_eq!(&server.role, &ServerRole::Master, "holds a role that it has not");
        }
    }

    #[test]
    fn an_epoch_is_that_of_the_data(world in world()) {
        let (before, after) = (&world.me.memory, world.learnt());
        let Local::Up(server) = &world.snapshot.local else {
            prop_assert_eq!(after.epoch, before.epoch);
            return Ok(());
        };
        let recorded = before.lineage.iter().find(|a| Some(&a.id) == server.id.as_ref()).map(|a| a.epoch);
        let goes_on = !server.aof && server.offset > 0 && server.offset >= before.offset;
        let followed = before.followed.as_ref();
        let followed = followed.filter(|f| f.id.is_some() && f.id == server.id || f.only_source && goes_on).map(|f| f.epoch);
        let masters: Vec<_> = world.snapshot.peers.values().filter_map(|peer| match &peer.state {
            PeerState::Answered(r) if r.replication.id == server.id => r.epoch,
            PeerState::Answered(_) | PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
        }).collect();
        let same_run = before.run_id.as_deref() == Some(server.run_id.as_str());
        let vouched = (server.aof || (before.held.is_some() && !before.backlog)) && server.keys > 0;
        // What it told this very run to become shows in the IDs.
        let alias = before.alias.as_ref().and_then(|a| a.id.clone());
        let told = before.intent.as_ref().filter(|i| i.run_id == server.run_id);
        let promoted = told.filter(|i| match &i.armed {
            Some(armed) => armed.even.as_ref().is_some_and(|even| {
                Some(&even.id) == server.id2.as_ref() && Some(even.offset) == server.id2_end
            }),
            None if server.id2.is_none() => !matches!(server.role, ServerRole::Replica { .. }),
            None => server.id2 == before.id || server.id2 == alias,
        });
        // What it told the run before to become may have happened, and nobody looked.
        let unseen = !same_run && server.keys > 0 && (server.aof || goes_on);
        let taken = before.intent.as_ref().filter(|i| i.armed.as_ref().is_none_or(|a| a.even.is_some())).map(|i| i.epoch);
        let held = before.held.as_ref().map(|h| h.epoch);
        let linked = matches!(&server.role, ServerRole::Replica { link: LinkState::Up, .. });
        let from_data = after.epoch.is_none()
            || unseen && (after.epoch == taken || after.epoch == held)
            || promoted.is_some_and(|i| after.epoch == Some(i.epoch))
            || after.epoch == recorded
            || after.epoch == followed
            || (linked || server.id2 == before.id)
                && before.followed.as_ref().is_some_and(|f| f.only_source && after.epoch == Some(f.epoch))
            || masters.contains(&after.epoch.expect("some"))
            || after.held.as_ref().map(|h| h.epoch) == after.epoch;
        let kept = after.epoch == before.epoch && (same_run || vouched);
        prop_assert!(from_data || kept, "I3: {:?} became {:?}", before.epoch, after.epoch);
    }

    #[test]
    fn a_file_that_is_loaded_twice_has_one_epoch(world in world(), offset in 0..9_u64) {
        let again = |run: &str, memory: &crate::state_file::Memory| {
            let mut snapshot = world.snapshot.clone();
            if let Local::Up(server) = &mut snapshot.local {
                (server.run_id, server.role, server.aof) = (run.to_owned(), ServerRole::Fenced, false);
                (server.id2, server.id2_end, server.offset) = (None, None, offset);
            }
            learn(&snapshot, memory)
        };
        let once = again("run-once", &world.me.memory);
        let twice = again("run-twice", &once);
        if once.alias.is_none() {
            prop_assert_eq!(once.epoch, twice.epoch, "I3: {:?}", world.me.memory);
        }
    }

    #[test]
    fn data_between_two_histories_is_unfinished(world in world()) {
        let (before, after) = (&world.me.memory, world.learnt());
        let Local::Up(server) = &world.snapshot.local else { return Ok(()) };
        if let ServerRole::Replica { link: LinkState::Syncing, .. } = &server.role {
            prop_assert!(after.unfinished, "I3: a sync is seen");
        }
        let same_run = before.run_id.as_deref() == Some(server.run_id.as_str());
        if same_run && before.unfinished && !after.unfinished {
            let linked = matches!(&server.role, ServerRole::Replica { link: LinkState::Up, .. });
            // Its own data, and what came after it under another name.
            let goes_on = before.id.is_some() && server.id2 == before.id;
            let whole = (linked || goes_on) && after.id == server.id || after.held.is_some();
            prop_assert!(whole, "I3: finished by itself");
        }
    }

    #[test]
    fn offsets_of_other_histories_decide_nothing(world in world(), offsets in proptest::collection::vec(0..9_u64, 5)) {
        let mut world = world;
        // Everybody on a history of its own, without a known descent.
        let letters = ['a', 'b', 'c', 'd', 'e'];
        let alone = |letter: char, server: &mut crate::observe::info::ServerInfo, memory: &mut crate::state_file::Memory| {
            let id = super::fixture::id(letter);
            server.id = Some(id.clone());
            server.id2 = None;
            memory.alias = None;
            memory.id = Some(id);
            memory.lineage.clear();
        };
        let mut memory = world.me.memory.clone();
        if let Local::Up(server) = &mut world.snapshot.local {
            alone(letters[world.me.ordinal.0 as usize], server, &mut memory);
        }
        world.me.memory = memory;
        world.me.local = world.snapshot.local.clone();
        for (ordinal, peer) in &mut world.snapshot.peers {
            let own = Some(super::fixture::id(letters[ordinal.0 as usize]));
            match &mut peer.state {
                PeerState::Answered(report) => {
                    report.replication.id = own;
                    report.replication.id2 = None;
                    report.replication.lineage.clear();
                }
                PeerState::ServerOnly(server) => (server.id, server.id2) = (own, None),
                PeerState::Missing | PeerState::Silent(_) => {}
            }
        }
        let mut other = world.clone();
        for (ordinal, peer) in &mut other.snapshot.peers {
            if let PeerState::Answered(report) = &mut peer.state {
                report.replication.offset = offsets[ordinal.0 as usize];
            }
        }
        prop_assert_eq!(world.decide().action, other.decide().action);
    }
}

#[test]
fn every_action_is_decided_somewhere() {
    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::<_, u32>::new();
    for _ in 0..16_000 {
        let world = world().new_tree(&mut runner).expect("a world").current();
        *counts.entry(world.decide().action.as_str()).or_default() += 1;
    }
    let rare: Vec<_> = counts.iter().filter(|(_, n)| **n < 30).collect();
    assert!(counts.len() == 14 && rare.is_empty(), "{counts:?}");
}
