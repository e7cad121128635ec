//! The decision table: a row per reason, and the properties of what is learnt.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::{Member, decided, epoch, id, identity, peer, policy, sees, target};
use super::learn::{learn, own_report};
use super::ready::{ReadyMemory, conditions};
use super::{Decision, Local, PeerState, Snapshot, View};
use crate::clock::Time;
use crate::observe::info::ServerRole;
use crate::report::{Grant, Intent, LinkState, ReplicaReport};
use crate::state_file::Followed;
use crate::topology::{Epoch, Ordinal};

/// One row: what is so, and what is decided: the action's word and the first reason's code.
struct Row {
    name: &'static str,
    me: Member,
    snapshot: Snapshot,
    action: &'static str,
    code: &'static str,
}

fn row(
    name: &'static str,
    me: Member,
    snapshot: Snapshot,
    action: &'static str,
    code: &'static str,
) -> Row {
    Row {
        name,
        me,
        snapshot,
        action,
        code,
    }
}

fn grant(counter: u64, target: u32, counts: bool) -> Grant {
    Grant {
        epoch: epoch(counter),
        target: Ordinal(target),
        counts,
        by_hand: false,
    }
}

/// Pod-0 with data, publishing a grant.
fn granting(grant: Grant) -> Member {
    Member::with_data(0, 1, 'a', 5).memory(|m| {
        m.epoch_seen = Some(grant.epoch);
        m.holder = Some(grant.target);
        m.grant = Some(grant);
    })
}

/// Has seen an epoch.
fn seen(member: Member, counter: u64) -> Member {
    member.memory(|m| m.epoch_seen = Some(epoch(counter)))
}

fn with(mut snapshot: Snapshot, ordinal: u32, state: PeerState) -> Snapshot {
    snapshot
        .peers
        .insert(Ordinal(ordinal), peer(state, Ordinal(ordinal)));
    snapshot
}

fn later(mut snapshot: Snapshot, length: Duration) -> Snapshot {
    snapshot.started_at = Time(Duration::from_secs(100)) + length;
    snapshot
}

fn silent() -> PeerState {
    PeerState::Silent("does not answer".to_owned())
}

fn ungranted(ordinal: u32, offset: u64) -> Member {
    Member::with_data(ordinal, 1, 'a', offset).server(|s| {
        s.role = ServerRole::Master;
        s.id2 = s.id.clone();
        s.id2_end = Some(offset);
        s.id = Some(id('c'));
    })
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<Row> {
    let data = |ordinal, offset| Member::with_data(ordinal, 1, 'a', offset);
    let master = |ordinal| Member::with_data(ordinal, 1, 'a', 9).master();
    let fenced2 = data(2, 5);
    let mut rows = Vec::new();
    let mut add = |r| rows.push(r);

    let me = Member {
        local: Local::Unreachable {
            gone: true,
            why: "refused".to_owned(),
        },
        ..Member::empty(1)
    };
    add(row(
        "no server",
        me.clone(),
        sees(&me, &[]),
        "wait",
        "server_unreachable",
    ));
    let me = Member {
        local: Local::Loading {
            run_id: "r".to_owned(),
        },
        ..Member::empty(1)
    };
    add(row(
        "a server that loads",
        me.clone(),
        sees(&me, &[]),
        "wait",
        "loading",
    ));

    let me = master(0);
    add(row(
        "the master goes on",
        me.clone(),
        sees(&me, &[&data(1, 5)]),
        "wait",
        "master",
    ));
    add(row(
        "the master goes on alone (I1)",
        me.clone(),
        with(with(me.alone(), 1, silent()), 2, PeerState::Missing),
        "wait",
        "master",
    ));
    let newer = Member::with_data(1, 2, 'b', 3).master();
    add(row(
        "a newer grant ends the role",
        me.clone(),
        sees(&me, &[&newer]),
        "fence",
        "newer_grant",
    ));
    let me = master(1).memory(|m| {
        m.intent = Some(Intent {
            epoch: epoch(2),
            run_id: "run-1".to_owned(),
        });
    });
    add(row(
        "a promotion of unknown outcome is undone",
        me.clone(),
        sees(&me, &[]),
        "fence",
        "promotion_unknown",
    ));

    let me = ungranted(1, 9);
    add(row(
        "a hand's master beside a granted one",
        me.clone(),
        sees(&me, &[&master(0), &fenced2]),
        "fence",
        "ungranted_beside_master",
    ));
    let fenced0 = data(0, 9);
    add(row(
        "a hand's master that goes on from the newest",
        me.clone(),
        sees(&me, &[&fenced0, &fenced2]),
        "adopt",
        "adopted",
    ));
    add(row(
        "a hand's master while somebody is silent",
        me.clone(),
        with(sees(&me, &[&fenced0]), 2, silent()),
        "wait",
        "ungranted_master",
    ));
    let more = data(0, 99);
    add(row(
        "a hand's master that lacks data",
        me.clone(),
        sees(&me, &[&more, &fenced2]),
        "wait",
        "ungranted_master",
    ));
    add(row(
        "two masters by hand",
        me.clone(),
        sees(&me, &[&ungranted(0, 9), &fenced2]),
        "wait",
        "ungranted_master",
    ));
    add(row(
        "somebody else's grant ends a hand's master",
        me.clone(),
        sees(&me, &[&granting(grant(2, 2, true)), &fenced2]),
        "fence",
        "newer_grant",
    ));

    let me = data(1, 5);
    let me_new = Member::empty(1);
    add(row(
        "an empty member follows",
        me_new.clone(),
        sees(&me_new, &[&master(0)]),
        "follow",
        "follows",
    ));
    add(row(
        "a member of the same history follows",
        me.clone(),
        sees(&me, &[&master(0)]),
        "follow",
        "follows",
    ));
    let me_up = data(1, 5).replica_of(0, LinkState::Up);
    add(row(
        "a replica",
        me_up.clone(),
        sees(&me_up, &[&master(0)]),
        "wait",
        "following",
    ));
    let me_syncing = data(1, 5).replica_of(0, LinkState::Syncing);
    add(row(
        "a first copy",
        me_syncing.clone(),
        sees(&me_syncing, &[&master(0)]),
        "wait",
        "first_sync",
    ));
    let me_down = data(1, 5).replica_of(0, LinkState::Down);
    add(row(
        "a link that is down",
        me_down.clone(),
        sees(&me_down, &[&master(0)]),
        "wait",
        "link_down",
    ));
    let me_chained = data(1, 5).replica_of(2, LinkState::Up);
    add(row(
        "a chain, or a cycle, is led to the master",
        me_chained.clone(),
        sees(&me_chained, &[&master(0)]),
        "follow",
        "follows",
    ));
    let me_newer = Member::with_data(1, 3, 'b', 3);
    let behind = Member::with_data(0, 1, 'a', 9).master();
    add(row(
        "an older master is not followed (I3)",
        me_newer.clone(),
        sees(&me_newer, &[&behind]),
        "wait",
        "obeys_newer",
    ));
    let me_newer = Member::with_data(1, 3, 'b', 3).memory(|m| m.epoch_seen = Some(epoch(1)));
    add(row(
        "nor when its epoch was never seen",
        me_newer.clone(),
        sees(&me_newer, &[&behind]),
        "wait",
        "master_is_older",
    ));
    let me_apart = Member::with_data(1, 1, 'd', 5);
    add(row(
        "two histories of one epoch",
        me_apart.clone(),
        sees(&me_apart, &[&master(0)]),
        "wait",
        "two_histories",
    ));
    let mut strange = sees(&me, &[&master(0)]);
    if let Some(peer) = strange.peers.get_mut(&Ordinal::ZERO) {
        peer.verified_run = Some("another".to_owned());
    }
    add(row(
        "another server at the master's address (I9)",
        me.clone(),
        strange,
        "wait",
        "master_unverified",
    ));
    let Local::Up(server) = master(0).local else {
        panic!("up")
    };
    let only = with(me.alone(), 0, PeerState::ServerOnly(Box::new(server)));
    add(row(
        "a master without its sidecar",
        me.clone(),
        only,
        "wait",
        "master_without_sidecar",
    ));
    add(row(
        "nobody to follow",
        me.clone(),
        sees(&me, &[&data(0, 5), &fenced2]),
        "wait",
        "no_master",
    ));
    add(row(
        "a peer made master by hand",
        me.clone(),
        sees(&me, &[&ungranted(0, 9)]),
        "wait",
        "ungranted_peer",
    ));

    let granted = granting(grant(2, 1, true));
    let me = seen(data(1, 5), 2);
    add(row(
        "a grant that counts is obeyed",
        me.clone(),
        sees(&me, &[&granted, &seen(data(2, 5), 2)]),
        "unfence",
        "granted",
    ));
    add(row(
        "one that does not count is not",
        me.clone(),
        sees(&me, &[&granting(grant(2, 1, false))]),
        "wait",
        "no_master",
    ));
    add(row(
        "somebody has more",
        me.clone(),
        sees(&me, &[&granted, &seen(data(2, 9), 2)]),
        "close",
        "grant_refused",
    ));
    let me_unfinished = seen(data(1, 5), 2).memory(|m| m.unfinished = true);
    add(row(
        "unfinished data is not promoted",
        me_unfinished.clone(),
        sees(&me_unfinished, &[&granted]),
        "close",
        "grant_refused",
    ));
    let me_ending = Member {
        terminating: true,
        ..seen(data(1, 5), 2)
    };
    add(row(
        "a pod that is stopped refuses (I7)",
        me_ending.clone(),
        sees(&me_ending, &[&granted]),
        "close",
        "grant_refused",
    ));
    let me_closed = seen(data(1, 5), 2).memory(|m| m.closed = Some(epoch(2)));
    add(row(
        "a used grant is not obeyed again",
        me_closed.clone(),
        sees(&me_closed, &[&granted]),
        "wait",
        "no_master",
    ));

    let me = Member::empty(0);
    add(row(
        "a first boot",
        me.clone(),
        sees(&me, &[&Member::empty(1), &Member::empty(2)]),
        "publish",
        "grants",
    ));
    let missing = with(
        with(me.alone(), 1, PeerState::Missing),
        2,
        PeerState::Missing,
    );
    add(row(
        "a first boot waits for names",
        me.clone(),
        missing.clone(),
        "wait",
        "waiting_for_members",
    ));
    add(row(
        "and goes on after the discovery limit",
        me.clone(),
        later(missing.clone(), Duration::from_secs(31)),
        "publish",
        "grants",
    ));
    let mut unnamed = later(missing.clone(), Duration::from_secs(31));
    unnamed.own_name_resolves = false;
    add(row(
        "but not while its own name is missing",
        me.clone(),
        unnamed,
        "wait",
        "own_name_missing",
    ));
    let quiet = with(with(me.alone(), 1, silent()), 2, silent());
    add(row(
        "silence is no absence (I1)",
        me.clone(),
        later(quiet, Duration::from_secs(31)),
        "wait",
        "waiting_for_members",
    ));
    let with_data = data(0, 5);
    let missing = with(
        with(with_data.alone(), 1, PeerState::Missing),
        2,
        PeerState::Missing,
    );
    add(row(
        "with data a missing name is not an absence",
        with_data.clone(),
        later(missing, Duration::from_secs(31)),
        "wait",
        "waiting_for_members",
    ));
    add(row(
        "an empty pod-0 lets the data lead",
        me.clone(),
        sees(&me, &[&data(1, 5), &Member::empty(2)]),
        "publish",
        "grants",
    ));
    let me_ending = Member {
        terminating: true,
        ..data(0, 5)
    };
    add(row(
        "a pod-0 that is stopped grants nothing",
        me_ending.clone(),
        sees(&me_ending, &[&data(1, 5), &fenced2]),
        "wait",
        "terminating",
    ));
    let knows = data(0, 5).memory(|m| m.holder = Some(Ordinal(1)));
    let lost = with(sees(&knows, &[&fenced2]), 1, silent());
    add(row(
        "the newest master is waited for without limit",
        knows.clone(),
        later(lost, Duration::from_secs(9999)),
        "wait",
        "waiting_for_master",
    ));
    add(row(
        "two histories that nobody can order",
        me.clone(),
        sees(
            &me,
            &[
                &Member::with_data(1, 1, 'a', 5),
                &Member::with_data(2, 1, 'b', 5),
            ],
        ),
        "wait",
        "two_histories",
    ));
    let cut = data(1, 5).memory(|m| m.unfinished = true);
    add(row(
        "only a cut copy is left",
        me.clone(),
        sees(&me, &[&cut, &Member::empty(2)]),
        "wait",
        "nobody_to_choose",
    ));
    let me = granting(grant(2, 1, false));
    add(row(
        "a grant waits to be seen",
        me.clone(),
        sees(&me, &[&data(1, 5), &seen(data(2, 5), 2)]),
        "wait",
        "grant_not_seen",
    ));
    add(row(
        "and counts once all have",
        me.clone(),
        sees(&me, &[&seen(data(1, 5), 2), &seen(data(2, 5), 2)]),
        "publish",
        "grant_waits",
    ));
    add(row(
        "but not for less data than the latest answers show (I3)",
        me.clone(),
        sees(&me, &[&seen(data(1, 5), 2), &seen(data(2, 9), 2)]),
        "withdraw",
        "grant_ends",
    ));
    add(row(
        "nor beside a hand's master",
        me.clone(),
        sees(&me, &[&ungranted(1, 9), &seen(data(2, 5), 2)]),
        "withdraw",
        "grant_ends",
    ));
    let done = Member::with_data(1, 2, 'b', 5).master();
    let me = granting(grant(2, 1, true));
    add(row(
        "and ends when it is done",
        me.clone(),
        sees(&me, &[&done, &seen(data(2, 5), 2)]),
        "withdraw",
        "grant_ends",
    ));
    rows
}

#[test]
fn the_table() {
    for Row {
        name,
        me,
        snapshot,
        action,
        code,
    } in table()
    {
        let Decision {
            action: got,
            reasons,
        } = decided(&me, &snapshot, &policy());
        let codes: Vec<_> = reasons.iter().map(super::Reason::code).collect();
        assert_eq!(
            (got.as_str(), codes.first()),
            (action, Some(&code)),
            "{name}: {got:?} {codes:?}"
        );
        for reason in &reasons {
            assert!(!reason.message("redis").is_empty());
        }
    }
}

#[test]
fn every_reason_has_a_row() {
    let rows: BTreeSet<_> = table().iter().map(|r| r.code).collect();
    // `discovering` needs a set of unknown size: see below.
    let missing: Vec<_> = super::reason::CODES
        .iter()
        .filter(|c| !rows.contains(*c) && **c != "discovering")
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn a_set_of_unknown_size_waits_for_names_to_appear() {
    let me = Member::empty(0);
    let policy = super::Policy {
        replicas: None,
        ..policy()
    };
    let decision = decided(&me, &me.alone(), &policy);
    assert_eq!(decision.reasons[0].code(), "discovering");
    let decision = decided(&me, &later(me.alone(), Duration::from_secs(31)), &policy);
    assert_eq!(decision.action.as_str(), "publish");
}

#[test]
fn a_restart_with_an_older_rdb_keeps_its_true_place() {
    let master = Member::with_data(0, 1, 'a', 90).master();
    let restarted = master.clone().server(|s| {
        s.run_id = "run-new".to_owned();
        s.role = ServerRole::Fenced;
        s.offset = 40;
    });
    let memory = learn(&restarted.alone(), &restarted.memory);
    assert_eq!(
        (memory.epoch, memory.offset, &memory.held),
        (Some(epoch(1)), 40, &None)
    );
    assert_eq!(memory.closed, Some(epoch(1)), "its grant is used up (I5)");
    // The replica that has more is chosen.
    let me = Member {
        memory,
        ..restarted
    };
    let decision = decided(
        &me,
        &sees(
            &me,
            &[
                &Member::with_data(1, 1, 'a', 80),
                &Member::with_data(2, 1, 'a', 70),
            ],
        ),
        &policy(),
    );
    let super::Action::Publish(grant) = decision.action else {
        panic!("{decision:?}")
    };
    assert_eq!(grant.target, Ordinal(1));
}

#[test]
fn a_restart_with_aof_is_vouched_for_by_the_state_file_alone() {
    let restart = |aof, keys, backlog| {
        let before = Member::with_data(0, 1, 'a', 90)
            .master()
            .memory(|m| m.backlog = backlog);
        let after = before.server(|s| {
            s.run_id = "run-new".to_owned();
            s.role = ServerRole::Fenced;
            s.id = Some(id('f'));
            s.offset = 0;
            s.aof = aof;
            s.keys = keys;
        });
        let memory = learn(&after.alone(), &after.memory);
        own_report(&identity(Ordinal::ZERO), &after.alone(), &memory)
    };
    let report = restart(true, 5, true);
    assert_eq!(
        (
            report.epoch,
            report.replication.offset,
            report.replication.exact
        ),
        (Some(epoch(1)), 90, false)
    );
    assert_eq!(report.replication.id, Some(id('a')));
    // Without AOF an unknown ID is the oldest, and so is an AOF without keys.
    assert_eq!(restart(false, 5, true).epoch, None);
    assert_eq!(restart(true, 0, true).epoch, None);
    // A master without a backlog saves an RDB without an ID.
    assert_eq!(restart(false, 5, false).epoch, Some(epoch(1)));
    assert!(
        !restart(false, 0, true).empty,
        "a member that held data is not empty"
    );
}

#[test]
fn a_changed_id_is_unfinished_until_the_ids_match() {
    let replica = Member::with_data(1, 1, 'a', 5)
        .replica_of(0, LinkState::Down)
        .server(|s| s.id = Some(id('b')));
    let master = Member::with_data(0, 2, 'b', 9).master();
    let memory = learn(&sees(&replica, &[&master]), &replica.memory);
    assert!(memory.unfinished);
    let up = Member {
        memory,
        ..replica.replica_of(0, LinkState::Up)
    };
    let memory = learn(&sees(&up, &[&master]), &up.memory);
    assert!(!memory.unfinished);
    assert_eq!(
        (memory.epoch, memory.master),
        (Some(epoch(2)), Some(Ordinal(0)))
    );
    // With AOF the old file lies on the disk until it is rewritten.
    let rewriting = Member {
        memory: super::Memory {
            unfinished: true,
            ..up.memory.clone()
        },
        ..up
    }
    .server(|s| {
        s.aof = true;
        s.aof_rewriting = true;
    });
    assert!(learn(&sees(&rewriting, &[&master]), &rewriting.memory).unfinished);
}

#[test]
fn a_copy_saved_before_its_end_was_seen_has_its_masters_epoch() {
    let member = Member::with_data(1, 1, 'a', 5).memory(|m| {
        m.unfinished = true;
        m.followed = Some(Followed {
            master: Ordinal(0),
            epoch: epoch(2),
            id: Some(id('b')),
        });
    });
    let after = member.server(|s| {
        s.run_id = "run-new".to_owned();
        s.id = Some(id('b'));
    });
    let memory = learn(&after.alone(), &after.memory);
    assert_eq!((memory.epoch, memory.unfinished), (Some(epoch(2)), false));
}

#[test]
fn a_newer_epoch_is_promised_only_when_nothing_contradicts_it() {
    let newer = Member::with_data(2, 5, 'b', 3);
    let learns = |me: &Member| learn(&sees(me, &[&newer]), &me.memory).epoch_seen;
    assert_eq!(learns(&Member::with_data(1, 1, 'a', 5)), Some(epoch(5)));
    // A writable server must be fenced first; so must one that hangs while it may be writable.
    assert_eq!(
        learns(&Member::with_data(1, 1, 'a', 5).master()),
        Some(epoch(1))
    );
    let hangs = Member {
        local: Local::Unreachable {
            gone: false,
            why: "hangs".to_owned(),
        },
        ..Member::with_data(1, 1, 'a', 5).master()
    };
    assert_eq!(learns(&hangs), Some(epoch(1)));
    let gone = Member {
        local: Local::Unreachable {
            gone: true,
            why: "gone".to_owned(),
        },
        ..hangs
    };
    assert_eq!(learns(&gone), Some(epoch(5)));
}

#[test]
fn another_hand_that_promoted_again_is_noticed() {
    let master = Member::with_data(0, 1, 'a', 9).master();
    let again = master.server(|s| {
        s.id2 = s.id.clone();
        s.id = Some(id('e'));
    });
    assert_eq!(learn(&again.alone(), &again.memory).held, None);
    // The first replica makes a master begin a new ID; that is no promotion.
    let attached = Member::with_data(0, 1, 'a', 9)
        .master()
        .server(|s| s.id = Some(id('e')));
    let memory = learn(&attached.alone(), &attached.memory);
    assert_eq!(memory.epoch, Some(epoch(1)));
    assert_eq!(memory.lineage.len(), 2);
}

#[test]
fn a_replica_is_ready_once_its_master_calls_it_online() {
    let me = Member::with_data(1, 1, 'a', 9).replica_of(0, LinkState::Up);
    let mut ready = ReadyMemory::default();
    let mut look = |me: &Member, master: &Member, at: u64| {
        let snapshot = later(sees(me, &[master]), Duration::from_secs(at));
        let (host, port) = target(Ordinal(1));
        let own = crate::report::Report {
            announced: Some((host, port)),
            ..own_report(&identity(Ordinal(1)), &snapshot, &me.memory)
        };
        let policy = policy();
        let view = View {
            snapshot: &snapshot,
            memory: &me.memory,
            policy: &policy,
            own: &own,
        };
        conditions(&view, &mut ready).iter().all(|c| c.ok)
    };
    let state = |state: &str| {
        let (host, port) = target(Ordinal(1));
        let replica = ReplicaReport {
            host,
            port,
            state: state.to_owned(),
            offset: 9,
        };
        Member::with_data(0, 1, 'a', 9)
            .master()
            .server(|s| s.replicas = vec![replica])
    };
    assert!(!look(&me, &state("wait_bgsave"), 0));
    assert!(look(&me, &state("online"), 1));
    let down = me.clone().replica_of(0, LinkState::Down);
    assert!(look(&down, &state("online"), 2), "within the grace");
    assert!(!look(&down, &state("online"), 20), "past the grace");
    assert!(look(&me, &state("online"), 21));
}

#[test]
fn a_tie_goes_to_the_recorded_master() {
    let report = |m: &Member| m.report();
    let (a, b) = (
        Member::with_data(1, 1, 'a', 5),
        Member::with_data(2, 1, 'a', 5),
    );
    let (a, b) = (report(&a), report(&b));
    let best = |master: Option<u32>| super::history::best(&[&a, &b], |_| master.map(Ordinal));
    assert_eq!(best(Some(2)), super::history::Best::Member(Ordinal(2)));
    assert_eq!(best(None), super::history::Best::Member(Ordinal(1)));
    let e = Epoch {
        counter: 1,
        granter: Ordinal(3),
    };
    assert!(e > epoch(1));
}
