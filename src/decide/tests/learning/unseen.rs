//! What happened while nobody looked: promotions and copies of which only the server's data tells.

use crate::decide::fixture::target;
use crate::decide::tests::*;
use crate::report::{Armed, Even, Handover};
use crate::state_file::{Followed, Memory};
use crate::topology::ReplicationId;

pub(super) fn even(letter: char, offset: u64) -> Armed {
    Armed {
        from: Ordinal(0),
        handover: Handover {
            run_id: "run-0".to_owned(),
            cancelled: false,
            away_from: None,
        },
        even: Some(Even {
            id: id(letter),
            offset,
        }),
    }
}

fn told(armed: Option<Armed>) -> Intent {
    Intent {
        epoch: epoch(2),
        run_id: "run-1".to_owned(),
        armed,
    }
}

/// The server is pointed at a member that leads in this epoch.
fn follow(m: &mut Memory, master: u32, of: u64, id: Option<ReplicationId>, only_source: bool) {
    let followed = Followed {
        master: Ordinal(master),
        epoch: epoch(of),
        id,
        only_source,
    };
    let (host, port) = target(Ordinal(master));
    m.follows(followed, Some(format!("{host}:{port}")));
}

/// It comes back with AOF, which keeps each write and no ID.
fn back_with_aof(before: Member) -> Member {
    before.server(|s| {
        s.run_id = "run-new".to_owned();
        s.role = ServerRole::Fenced;
        s.id = Some(id('f'));
        s.offset = 0;
        s.aof = true;
    })
}

/// The server may have taken the role over, and acknowledged writes, before anything of that was remembered.
#[test]
fn a_takeover_that_aof_does_not_tell_has_the_newer_data() {
    let before = Member::with_data(1, 1, 'a', 90);
    let after = back_with_aof(before.memory(|m| m.intent = Some(told(Some(even('a', 95))))));
    let memory = learn(&after.alone(), &after.memory);
    assert_eq!(
        (memory.epoch, memory.master, &memory.id, &memory.intent),
        (Some(epoch(2)), Some(Ordinal(1)), &Some(id('f')), &None)
    );
    let ends: Vec<_> = memory.lineage.iter().map(|a| (&a.id, a.end)).collect();
    assert_eq!(ends, [(&id('a'), Some(95)), (&id('f'), None)]);
    // Whoever handed over is no match for it, restarted or not: the old ID lends it nothing.
    let gave = Member::with_data(0, 1, 'a', 95).memory(|m| m.epoch_seen = Some(epoch(2)));
    let it = Member { memory, ..after };
    for gave in [gave.clone(), back_with_aof(gave)] {
        let three = Policy {
            replicas: Some(2),
            ..policy()
        };
        let decision = decided(&gave, &sees(&gave, &[&it]), &three);
        let Action::Publish(grant) = decision.action else {
            panic!("{decision:?}")
        };
        assert_eq!(grant.target, Ordinal(1));
        // And it obeys: nobody would lose by that.
        let counts = Grant {
            counts: true,
            ..grant
        };
        let gave = gave.memory(|m| {
            m.epoch_seen = Some(counts.epoch);
            m.grant = Some(counts);
        });
        let it = seen(it.clone(), 3);
        let decision = decided(&it, &sees(&it, &[&gave]), &three);
        assert!(
            matches!(decision.action, Action::Unfence { .. }),
            "{decision:?}"
        );
    }
    // What was not even had told its server nothing.
    let armed = Armed {
        even: None,
        ..even('a', 95)
    };
    let waited = Member::with_data(1, 1, 'a', 90).memory(|m| m.intent = Some(told(Some(armed))));
    let waited = back_with_aof(waited);
    assert_eq!(learn(&waited.alone(), &waited.memory).epoch, Some(epoch(1)));
}

#[test]
fn a_promotion_that_nobody_looked_at_counts_after_a_restart() {
    let by_intent = Member::with_data(1, 1, 'a', 90).memory(|m| m.intent = Some(told(None)));
    let held = Member::with_data(1, 1, 'a', 90)
        .master()
        .memory(|m| m.holds(Ordinal(1), epoch(2), "run-1"));
    let first = Member::with_data(1, 1, 'a', 90).memory(|m| {
        *m = Memory {
            intent: Some(told(None)),
            ..Memory::default()
        };
    });
    for before in [by_intent, held, first] {
        let back = back_with_aof(before.clone());
        let memory = learn(&back.alone(), &back.memory);
        assert_eq!(
            (memory.epoch, memory.master, &memory.held),
            (Some(epoch(2)), Some(Ordinal(1)), &None)
        );
        // Again: the next run of it is vouched for by the file.
        let again = Member { memory, ..back }.server(|s| {
            s.run_id = "run-again".to_owned();
            s.id = Some(id('e'));
        });
        let memory = learn(&again.alone(), &again.memory);
        assert_eq!((memory.epoch, memory.id), (Some(epoch(2)), Some(id('f'))));
        // A file that was saved since knows its history, one from before does too, and a fresh name says
        // nothing.
        let saved = |letter, offset| {
            let after = back_with_aof(before.clone()).server(|s| {
                s.aof = false;
                s.id = Some(id(letter));
                s.offset = offset;
            });
            learn(&after.alone(), &after.memory).epoch
        };
        assert_eq!(saved('f', 95), Some(epoch(2)));
        if before.memory.epoch.is_some() {
            assert_eq!(saved('a', 80), Some(epoch(1)));
            assert_eq!(saved('f', 80), None);
        }
        assert_ne!(saved('f', 0), Some(epoch(2)));
    }
}

/// Everybody was killed before anybody saw what the promoted server calls its history.
#[test]
fn a_history_that_nobody_remembers_is_that_of_the_one_that_was_followed() {
    let follows = |then: &dyn Fn(&mut Memory)| {
        let member = Member::with_data(1, 1, 'a', 50).memory(|m| {
            follow(m, 0, 2, Some(id('a')), true);
            then(m);
        });
        member.server(|s| {
            s.run_id = "run-new".to_owned();
            s.role = ServerRole::Fenced;
            s.id = Some(id('b'));
            s.offset = 60;
        })
    };
    let epoch_of = |member: &Member| learn(&member.alone(), &member.memory).epoch;
    let one = follows(&|_| {});
    assert_eq!(epoch_of(&one), Some(epoch(2)));
    let master = learn(&one.alone(), &one.memory).master;
    assert_eq!(master, Some(Ordinal(0)));
    // Not so where it may be another's: one of two, a file of long ago, a name without a history, AOF.
    let two = follows(&|m| follow(m, 2, 3, Some(id('c')), false));
    assert_eq!(epoch_of(&two), None);
    let unknown = Member::with_data(1, 1, 'a', 50)
        .memory(|m| {
            follow(m, 0, 2, Some(id('a')), false);
        })
        .server(|s| {
            s.run_id = "run-new".to_owned();
            s.id = Some(id('b'));
            s.offset = 60;
        });
    assert_eq!(epoch_of(&unknown), None);
    for offset in [0, 49] {
        let old = one.clone().server(|s| s.offset = offset);
        let memory = learn(&old.alone(), &old.memory);
        assert_eq!(memory.epoch, None);
        // Nor when it is loaded once more.
        let again = Member { memory, ..old }.server(|s| s.run_id = "run-again".to_owned());
        assert_eq!(epoch_of(&again), None);
    }
    assert_ne!(
        epoch_of(&one.clone().server(|s| s.aof = true)),
        Some(epoch(2))
    );
    // The known data again: what it followed then has left nothing here.
    let known = one.server(|s| s.id = Some(id('a')));
    let memory = learn(&known.alone(), &known.memory);
    assert_eq!((memory.epoch, memory.followed), (Some(epoch(1)), None));
}

/// Its sidecar was paused right after the takeover, and stopped the server first when it went on.
#[test]
fn what_was_led_with_is_of_its_epoch_though_nobody_had_looked() {
    let leads = Member::with_data(1, 1, 'a', 50).memory(|m| {
        m.holds(Ordinal(1), epoch(2), "run-1");
    });
    let fenced = |letter, id2| {
        leads.clone().server(|s| {
            s.id = Some(id(letter));
            s.id2 = id2;
            s.id2_end = Some(50);
            s.offset = 60;
        })
    };
    for stopped in [
        fenced('b', Some(id('a'))),
        fenced('b', None),
        fenced('a', None),
    ] {
        let memory = learn(&stopped.alone(), &stopped.memory);
        assert_eq!(
            (memory.epoch, memory.unfinished, memory.offset, &memory.held),
            (Some(epoch(2)), false, 60, &None)
        );
    }
    // Somebody's hand demoted it, and promoted it again.
    let by_hand = fenced('b', Some(id('a'))).memory(|m| {
        m.held.as_mut().expect("held").id = Some(id('a'));
    });
    assert!(learn(&by_hand.alone(), &by_hand.memory).unfinished);
}

/// `init` found a later master, whose copy was there before any sidecar looked.
#[test]
fn a_copy_of_a_later_master_is_not_taken_for_an_own_promotion() {
    let later = Followed {
        master: Ordinal(0),
        epoch: epoch(4),
        id: Some(id('c')),
        only_source: false,
    };
    let me = Member::with_data(1, 1, 'a', 90).memory(|m| {
        m.intent = Some(told(None));
        m.unfinished = true;
        m.followed = Some(later);
    });
    let me = me.server(|s| {
        s.run_id = "run-new".to_owned();
        s.id = Some(id('c'));
        s.offset = 500;
    });
    let memory = learn(&me.alone(), &me.memory);
    assert_eq!(
        (memory.epoch, memory.master),
        (Some(epoch(4)), Some(Ordinal(0)))
    );
}

/// A link that went on where it was, under a name that nobody has told yet, leaves whole data.
#[test]
fn what_went_on_under_another_name_is_whole() {
    let goes_on = |member: Member, end| {
        member.replica_of(0, LinkState::Down).server(|s| {
            s.id = Some(id('b'));
            s.id2 = Some(id('a'));
            s.id2_end = Some(end);
            s.offset = 60;
        })
    };
    let learnt = |me: &Member| learn(&with(sees(me, &[]), 0, silent()), &me.memory);
    // The one that it follows took the role from another.
    let follows = Member::with_data(1, 1, 'a', 50).memory(|m| m.master = Some(Ordinal(0)));
    let chained = learnt(&goes_on(follows, 55));
    assert_eq!((chained.epoch, chained.unfinished), (Some(epoch(1)), false));
    let ends: Vec<_> = chained.lineage.iter().map(|a| (&a.id, a.end)).collect();
    assert_eq!(ends, [(&id('a'), Some(55)), (&id('b'), None)]);
    // It was pointed at the one that took it.
    let told = Member::with_data(1, 1, 'a', 50).memory(|m| follow(m, 0, 2, Some(id('b')), true));
    let memory = learnt(&goes_on(told, 55));
    assert_eq!(
        (memory.epoch, memory.master, memory.unfinished),
        (Some(epoch(2)), Some(Ordinal(0)), false)
    );
    // Somebody's hand pointed it elsewhere.
    let elsewhere = goes_on(Member::with_data(1, 1, 'a', 50), 55).replica_of(3, LinkState::Up);
    let elsewhere = elsewhere.memory(|m| m.master = Some(Ordinal(0)));
    assert!(learnt(&elsewhere).unfinished);
}

/// The sidecar of the promoted server was paused before it had told what that one calls its history.
#[test]
fn a_copy_is_whole_when_it_came_from_the_one_that_was_followed() {
    let before = Member::with_data(1, 1, 'a', 50);
    let me = before.clone().memory(|m| follow(m, 0, 2, None, true));
    let copied = |me: Member, link| {
        me.replica_of(0, link).server(|s| {
            s.id = Some(id('b'));
            s.offset = 60;
        })
    };
    let learnt = |me: &Member| learn(&with(sees(me, &[]), 0, silent()), &me.memory);
    let state = |me: &Member| (learnt(me).epoch, learnt(me).unfinished);
    let whole = (Some(epoch(2)), false);
    let not = (Some(epoch(1)), true);
    for link in [LinkState::Up, LinkState::Down] {
        let memory = learnt(&copied(me.clone(), link));
        assert_eq!(
            (memory.epoch, memory.unfinished, memory.offset),
            (Some(epoch(2)), false, 60)
        );
        let names: Vec<_> = memory.lineage.iter().map(|a| (&a.id, a.epoch)).collect();
        assert_eq!(names, [(&id('b'), epoch(2))]);
    }
    // From one of two, from elsewhere, while it is copied again, and while the file is not written.
    let two = me.clone().memory(|m| follow(m, 2, 2, None, false));
    assert_eq!(state(&copied(two, LinkState::Up)), not);
    assert_eq!(
        state(&copied(me.clone(), LinkState::Up).replica_of(3, LinkState::Up)),
        not
    );
    assert!(state(&copied(me.clone(), LinkState::Syncing)).1);
    let rewriting = copied(me.clone(), LinkState::Up).server(|s| s.aof_rewriting = true);
    assert_eq!(state(&rewriting), not);
    // Nobody was to be followed but the master of before: it may have passed on another's data.
    let whole_with_it = before.clone().memory(|m| m.master = Some(Ordinal(0)));
    let copied_again = copied(whole_with_it.clone(), LinkState::Up);
    assert_eq!(state(&copied_again), (Some(epoch(1)), false));
    assert_eq!(state(&copied(whole_with_it, LinkState::Down)), not);
    let tells = |master: &Member, me: &Member| {
        let memory = learn(&sees(me, &[master]), &me.memory);
        (memory.epoch, memory.unfinished)
    };
    let passes_on = Member::with_data(0, 1, 'b', 60).replica_of(2, LinkState::Up);
    assert_eq!(tells(&passes_on, &copied_again), (Some(epoch(1)), false));
    let unfinished = passes_on.clone().memory(|m| m.unfinished = true);
    assert_eq!(tells(&unfinished, &copied_again), not);
    assert_eq!(tells(&passes_on, &copied(me.clone(), LinkState::Up)), not);
    // Somebody's hand pointed it elsewhere meanwhile.
    let mut astray = copied(me.clone(), LinkState::Up).replica_of(3, LinkState::Up);
    astray.memory = learn(&with(sees(&astray, &[]), 0, silent()), &astray.memory);
    let back = astray.memory(|m| follow(m, 0, 2, None, false));
    assert_eq!(state(&back.clone().replica_of(0, LinkState::Down)), not);
    let back_up = back.replica_of(0, LinkState::Up);
    // Unless the server there shows that it is the master of the same.
    let shows = |master: &Member| {
        let memory = learn(
            &with(sees(&back_up, &[]), 0, server_only(master)),
            &back_up.memory,
        );
        (memory.epoch, memory.unfinished)
    };
    let master = Member::with_data(0, 2, 'b', 60).master();
    assert_eq!(shows(&master), whole);
    assert_eq!(shows(&master.clone().server(|s| s.id = Some(id('c')))), not);
    assert_eq!(shows(&master.server(|s| s.role = ServerRole::Fenced)), not);
    // Nor is a master of before its own source.
    let led = copied(before.clone(), LinkState::Up).memory(|m| m.master = Some(Ordinal(1)));
    assert_eq!(state(&led), not);
    // The same history again, and a master that kept its history in a newer epoch.
    let again = before.replica_of(0, LinkState::Up);
    assert_eq!(
        state(&again.clone().memory(|m| m.unfinished = true)),
        (Some(epoch(1)), false)
    );
    let newer = again.memory(|m| follow(m, 0, 2, Some(id('a')), true));
    assert_eq!(state(&newer), whole);
    assert_eq!(
        learnt(&newer).lineage.last().map(|a| a.epoch),
        Some(epoch(2))
    );
}
