//! Every small world: one to three members, each in one of the states that matter, seen by pod-0 and
//! by another member, early and late. The checker knows nothing of how the core decides.

use std::time::Duration;

use super::fixture::{Member, decided, epoch, id, peer, policy};
use super::{Action, Local, PeerState, Silence};
use crate::clock::Time;
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Grant, LinkState};
use crate::state_file::Memory;
use crate::topology::Ordinal;

/// A member as an observer who sees everything knows it: the state, and how the peers see it.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few dozen, in a test")]
enum Being {
    Answers(Member),
    Missing,
    Silent,
    ServerOnly(ServerInfo),
}

fn up(member: &Member) -> &ServerInfo {
    match &member.local {
        Local::Up(server) => server,
        Local::Loading { .. } | Local::Unreachable { .. } => panic!("up"),
    }
}

fn members(ordinal: u32) -> Vec<Member> {
    let data = |counter, letter, offset| Member::with_data(ordinal, counter, letter, offset);
    let grant = |target, counts| Grant {
        epoch: crate::topology::Epoch {
            counter: 9,
            granter: Ordinal(ordinal),
        },
        target: Ordinal(target),
        counts,
        by_hand: false,
        handover: None,
    };
    let granting = |target, counts| {
        data(1, 'a', 5).memory(|m| {
            m.grant = Some(grant(target, counts));
            m.epoch_seen = Some(grant(target, counts).epoch);
            m.holder = Some(Ordinal(target));
        })
    };
    vec![
        Member::empty(ordinal),
        data(1, 'a', 5),
        data(1, 'a', 9),
        data(2, 'b', 3),
        data(1, 'a', 9).memory(|m| m.epoch = None),
        data(1, 'a', 9).memory(|m| m.unfinished = true),
        data(1, 'a', 9).memory(|m| m.closed = Some(epoch(1))),
        data(1, 'a', 9).master(),
        data(2, 'b', 3).master(),
        data(1, 'a', 9).server(|s| s.role = ServerRole::Master),
        data(1, 'a', 5).replica_of(0, LinkState::Down),
        data(2, 'b', 3).replica_of(1, LinkState::Up),
        granting(0, true),
        granting(1, true),
        granting(1, false),
        Member {
            terminating: true,
            ..data(1, 'a', 9)
        },
        Member {
            local: Local::Unreachable {
                silence: Silence::Gone,
                why: "gone".to_owned(),
            },
            ..data(1, 'a', 9)
        },
        Member {
            local: Local::Loading {
                run_id: "x".to_owned(),
            },
            ..data(1, 'a', 9)
        },
    ]
}

fn beings(ordinal: u32) -> Vec<Being> {
    let mut all: Vec<_> = members(ordinal).into_iter().map(Being::Answers).collect();
    all.push(Being::Missing);
    all.push(Being::Silent);
    all.push(Being::ServerOnly(
        up(&Member::with_data(ordinal, 1, 'a', 9)).clone(),
    ));
    all.push(Being::ServerOnly(
        up(&Member::with_data(ordinal, 1, 'a', 9).master()).clone(),
    ));
    all
}

/// What must never be decided, whatever the world is.
#[expect(clippy::too_many_lines, reason = "a rule after the other")]
fn check(me: &Member, others: &[(Ordinal, &Being)], late: bool) {
    let mut snapshot = me.alone();
    for (ordinal, being) in others {
        let state = match being {
            Being::Answers(member) => PeerState::Answered(Box::new(member.report())),
            Being::Missing => PeerState::Missing,
            Being::Silent => PeerState::Silent("does not answer".to_owned()),
            Being::ServerOnly(server) => PeerState::ServerOnly(Box::new(server.clone())),
        };
        snapshot.peers.insert(*ordinal, peer(state, *ordinal));
    }
    if late {
        snapshot.started_at = Time(Duration::from_secs(1000));
    }
    let policy = policy();
    let decision = decided(me, &snapshot, &policy);
    let world = || format!("{decision:#?}\nme: {me:#?}\nothers: {others:#?}");
    assert!(
        !decision.reasons.is_empty(),
        "an action without a reason: {}",
        world()
    );
    let answering: Vec<&Member> = others
        .iter()
        .filter_map(|(_, b)| match b {
            Being::Answers(member) => Some(member),
            Being::Missing | Being::Silent | Being::ServerOnly(_) => None,
        })
        .collect();
    let writable_elsewhere = others.iter().any(|(_, b)| match b {
        Being::Answers(m) => matches!(&m.local, Local::Up(s) if s.role == ServerRole::Master),
        Being::ServerOnly(s) => s.role == ServerRole::Master,
        Being::Missing | Being::Silent => false,
    });
    match &decision.action {
        Action::Wait | Action::Withdraw | Action::Close(_) => {}
        Action::FenceWhenNear { .. }
        | Action::FenceWhenEven { .. }
        | Action::Lower
        | Action::Arm { .. }
        | Action::Confirm
        | Action::Claim(_)
        | Action::FenceThere { .. }
        | Action::TakeOver { .. } => {
            panic!("a handover without one: {}", world())
        }
        Action::Fence => assert_eq!(
            up(me).role,
            ServerRole::Master,
            "fences what is no master: {}",
            world()
        ),
        Action::Unfence { epoch, run_id, .. } => {
            // I2: only by a grant that counts, is the newest known, and was not used before.
            let grants = answering
                .iter()
                .map(|m| &m.memory)
                .chain([&me.memory])
                .filter_map(|m| m.grant.as_ref());
            assert!(
                grants
                    .clone()
                    .any(|g| g.epoch == *epoch && g.counts && g.target == me.ordinal),
                "no grant: {}",
                world()
            );
            assert!(
                answering
                    .iter()
                    .all(|m| m.memory.epoch_seen <= Some(*epoch)),
                "a newer epoch: {}",
                world()
            );
            assert_eq!(run_id, &up(me).run_id);
            assert!(
                !me.terminating && !me.memory.unfinished && me.memory.closed < Some(*epoch),
                "{}",
                world()
            );
            // I3: nobody who can be asked has more of the same history.
            assert!(
                !has_more(&me.memory, &answering),
                "somebody has more: {}",
                world()
            );
        }
        Action::Adopt { .. } => {
            assert!(!writable_elsewhere, "two masters: {}", world());
            assert_eq!(
                answering.len(),
                others.len(),
                "not everybody was asked (I1): {}",
                world()
            );
            assert!(
                !has_more(&me.memory, &answering),
                "somebody has more: {}",
                world()
            );
        }
        Action::Follow { master, .. } => {
            let followed = answering
                .iter()
                .find(|m| m.ordinal == *master)
                .expect("who answers");
            assert!(
                followed.memory.held.is_some() && *master != me.ordinal,
                "{}",
                world()
            );
            let own = if followed.memory.id == me.memory.id {
                None
            } else {
                me.memory.epoch
            };
            assert!(
                followed.memory.epoch >= own,
                "an older history replaces a newer one (I3): {}",
                world()
            );
            assert!(
                followed.memory.epoch >= me.memory.epoch_seen,
                "obeys an older epoch: {}",
                world()
            );
        }
        Action::Publish(grant) if me.memory.grant.is_none() => {
            assert_eq!(me.ordinal, Ordinal::ZERO, "only pod-0 grants: {}", world());
            assert!(
                !writable_elsewhere && !me.terminating,
                "grants beside a master: {}",
                world()
            );
            let unasked = others.len() - answering.len();
            assert!(
                late || unasked == 0,
                "not knowing promotes (I1): {}",
                world()
            );
            let target = answering
                .iter()
                .copied()
                .chain([me])
                .find(|m| m.ordinal == grant.target)
                .expect("who answers");
            let everybody: Vec<&Member> = answering.iter().copied().chain([me]).collect();
            assert!(
                !has_more(&target.memory, &everybody),
                "somebody has more: {}",
                world()
            );
            assert!(
                !target.terminating && !target.memory.unfinished,
                "{}",
                world()
            );
            let any_data = everybody
                .iter()
                .any(|m| m.memory.id.is_some() && !m.memory.unfinished);
            assert!(
                !any_data || target.memory.id.is_some(),
                "an empty member beside data: {}",
                world()
            );
            let newest = everybody
                .iter()
                .filter(|m| !m.memory.unfinished)
                .filter_map(|m| m.memory.epoch)
                .max();
            let of_target = everybody
                .iter()
                .filter(|m| m.memory.id == target.memory.id)
                .filter_map(|m| m.memory.epoch)
                .max();
            assert!(of_target >= newest, "an older epoch: {}", world());
            assert!(
                everybody
                    .iter()
                    .all(|m| m.memory.epoch_seen < Some(grant.epoch)),
                "an epoch that is not new: {}",
                world()
            );
        }
        Action::Publish(grant) => {
            let target = answering
                .iter()
                .copied()
                .chain([me])
                .find(|m| m.ordinal == grant.target)
                .expect("who answers");
            assert!(
                !has_more(&target.memory, &answering),
                "somebody has more: {}",
                world()
            );
            assert!(
                grant.counts
                    && answering
                        .iter()
                        .all(|m| m.memory.epoch_seen == Some(grant.epoch)),
                "counts too early: {}",
                world()
            );
        }
    }
}

fn has_more(mine: &Memory, others: &[&Member]) -> bool {
    others.iter().any(|m| {
        matches!(m.local, Local::Up(_))
            && !m.memory.unfinished
            && m.memory.id.is_some()
            && m.memory.id == mine.id
            && m.memory.offset > mine.offset
    })
}

#[test]
fn every_small_world_keeps_the_rules() {
    let mut worlds = 0_u64;
    for me in 0..3_u32 {
        let (a, b) = match me {
            0 => (1, 2),
            1 => (0, 2),
            _ => (0, 1),
        };
        for mine in members(me) {
            check(&mine, &[], false);
            for first in beings(a) {
                check(&mine, &[(Ordinal(a), &first)], false);
                for second in beings(b) {
                    for late in [false, true] {
                        check(&mine, &[(Ordinal(a), &first), (Ordinal(b), &second)], late);
                        worlds += 1;
                    }
                }
            }
        }
    }
    assert!(worlds > 50_000, "{worlds} worlds");
}

#[test]
fn the_checker_can_fail() {
    // A planted violation: a member that takes an old grant for a new one.
    let me = Member::with_data(1, 1, 'a', 5);
    let other = Member::with_data(2, 1, 'a', 9);
    assert!(has_more(&me.memory, &[&other]));
    assert!(!has_more(&other.memory, &[&me]));
    let _ = id('a');
}
