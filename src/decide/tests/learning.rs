//! What restarts, copies and other hands teach.

mod unseen;

use super::*;
use crate::report::Armed;
use crate::state_file::{Followed, Memory};
use unseen::even;

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
    let Action::Publish(grant) = decision.action else {
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
        memory: Memory {
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
fn a_copy_is_unfinished_from_the_first_look_at_it() {
    // As init starts a member that found a live master; its sidecar comes a moment later.
    let me = Member::with_data(1, 1, 'a', 5)
        .replica_of(0, LinkState::Syncing)
        .server(|s| s.run_id = "run-new".to_owned());
    assert!(learn(&me.alone(), &me.memory).unfinished);
    // And a copy that was done by then is taken for done.
    let master = Member::with_data(0, 2, 'b', 9).master();
    let done = Member::empty(1).replica_of(0, LinkState::Up).server(|s| {
        s.run_id = "run-new".to_owned();
        s.id = Some(id('b'));
    });
    let memory = learn(&sees(&done, &[&master]), &done.memory);
    assert_eq!((memory.epoch, memory.unfinished), (Some(epoch(2)), false));
}

#[test]
fn a_copy_saved_before_its_end_was_seen_has_its_masters_epoch() {
    let member = Member::with_data(1, 1, 'a', 5).memory(|m| {
        m.unfinished = true;
        m.followed = Some(Followed {
            master: Ordinal(0),
            epoch: epoch(2),
            id: Some(id('b')),
            only_source: false,
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
            silence: Silence::Hangs,
            why: "hangs".to_owned(),
        },
        ..Member::with_data(1, 1, 'a', 5).master()
    };
    assert_eq!(learns(&hangs), Some(epoch(1)));
    let gone = Member {
        local: Local::Unreachable {
            silence: Silence::Gone,
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

/// Peers of other releases read this document: fields are added, never changed.
#[test]
fn the_status_document() {
    let member = Member::with_data(1, 2, 'b', 5)
        .replica_of(0, LinkState::Up)
        .memory(|m| {
            m.grant = Some(Grant {
                epoch: epoch(3),
                target: Ordinal(2),
                counts: true,
                by_hand: false,
                handover: None,
            });
        });
    let document = serde_json::to_string_pretty(&member.report()).expect("JSON");
    insta::assert_snapshot!(document);
}

/// The sidecar was paused just after it had promoted its server, and stopped it again when it went on.
#[test]
fn a_promotion_that_was_undone_too_late_has_its_own_history() {
    let armed = even('a', 9);
    for (armed, from, known) in [
        (None, 'a', true),
        (None, 'd', false),
        (Some(armed.clone()), 'a', true),
        (
            Some(Armed {
                even: None,
                ..armed
            }),
            'a',
            false,
        ),
    ] {
        let me = data(1, 9).memory(|m| {
            m.intent = Some(Intent {
                epoch: epoch(2),
                run_id: "run-1".to_owned(),
                armed: armed.clone(),
            });
        });
        let fenced = me.clone().server(|s| {
            s.id = Some(id('b'));
            s.id2 = Some(id(from));
            s.id2_end = Some(9);
            s.offset = 20;
        });
        let memory = learn(&fenced.alone(), &me.memory);
        let position = (memory.epoch, memory.unfinished, memory.offset);
        let expected = if known {
            (Some(epoch(2)), false, 20)
        } else {
            (Some(epoch(1)), true, 9)
        };
        assert_eq!(position, expected, "{armed:?} {from}");
        assert!(memory.held.is_none(), "the role is not kept");
    }
}
