//! What is asked and promised while the API is out of reach.

use std::collections::BTreeSet;
use std::time::Duration;

use super::beings::first;
use super::{Known, NOW, ago, known, says, sight};
use crate::clock::Time;
use crate::decide::fixture::{Member, epoch, identity, peer, policy};
use crate::decide::lease::{Promises, Sight};
use crate::decide::own_report::own_report;
use crate::decide::{Authority, PeerState, Snapshot, View};
use crate::report::{Asks, LinkState, Promise, Report};
use crate::topology::Ordinal;

const LATER: Duration = Duration::from_secs(1);

fn promise(holder: u32, counter: u64, number: u64) -> Promise {
    Promise {
        holder: format!("redis-{holder}"),
        epoch: epoch(counter),
        number,
    }
}

fn report(member: &Member) -> Report {
    let mut report = member.report();
    "lease".clone_into(&mut report.authority.kind);
    report
}

fn after(
    promises: &Promises,
    me: &Member,
    sight: &Sight,
    others: &[Option<Report>],
    now: Time,
    number: u64,
) -> Promises {
    let mut snapshot: Snapshot = me.alone();
    snapshot.started_at = now;
    snapshot.authority = Authority::Lease(Box::new(sight.clone()));
    let ordinals = (0..3).map(Ordinal).filter(|o| *o != me.ordinal);
    for (ordinal, report) in ordinals.zip(others) {
        let state = match report {
            Some(report) => PeerState::Answered(Box::new(report.clone())),
            None => PeerState::Silent("does not answer".to_owned()),
        };
        snapshot.peers.insert(ordinal, peer(state, ordinal));
    }
    let own = own_report(&identity(me.ordinal), &snapshot, &me.memory);
    let view = View {
        snapshot: &snapshot,
        memory: &me.memory,
        policy: &policy(),
        own: &own,
    };
    promises.clone().after(&view, sight, number)
}

/// What a peer may have promised; none when it does not answer.
fn answers(ordinal: u32) -> Vec<Option<Report>> {
    let said = |promise: Option<Promise>| {
        let mut report = report(&first(ordinal, 9).replica_of(0, LinkState::Up));
        report.authority.promise = promise;
        Some(report)
    };
    vec![
        None,
        said(None),
        said(Some(promise(0, 1, 7))),
        said(Some(promise(0, 1, 6))),
        said(Some(promise(0, 2, 7))),
        said(Some(promise(2, 1, 7))),
    ]
}

#[test]
fn only_the_word_of_every_recorded_member_prolongs_a_role() {
    let right = Some(promise(0, 1, 7));
    let (mut kept, mut lost) = (0, 0);
    let recorded: [&[u32]; 4] = [&[0], &[0, 1], &[0, 2], &[0, 1, 2]];
    for master in [first(0, 9).master(), first(0, 9)] {
        for members in recorded {
            for claimed in [&[][..], &[2]] {
                for by in [0, 1] {
                    for renewed in [500, 2500] {
                        for one in answers(1) {
                            for two in answers(2) {
                                let pods = |of: &[u32]| -> BTreeSet<String> {
                                    of.iter().map(|n| format!("redis-{n}")).collect()
                                };
                                let mut says = says(Some(by), epoch(1), true);
                                says.members = pods(members);
                                let mut sight = sight(0, known(says), None);
                                sight.renewed = Some((ago(renewed), epoch(1)));
                                sight.claimed = pods(claimed);
                                let others = [one.clone(), two.clone()];
                                let asked = after(
                                    &Promises::default(),
                                    &master,
                                    &sight,
                                    &[None, None],
                                    NOW,
                                    7,
                                );
                                let then = after(&asked, &master, &sight, &others, NOW + LATER, 99);
                                let must: BTreeSet<_> = members.iter().chain(claimed).collect();
                                let word = |n: &u32| {
                                    *n == 0
                                        || others[*n as usize - 1]
                                            .as_ref()
                                            .is_some_and(|r| r.authority.promise == right)
                                };
                                let holds = by == 0 && master.memory.held.is_some();
                                let all = must.into_iter().all(word) && holds;
                                if then.kept_since().is_some() {
                                    assert!(all, "I2: {members:?} {claimed:?} {others:#?}");
                                    let alone = then.kept_since() == asked.kept_since();
                                    assert!(alone || then.kept_since() <= Some(NOW), "{then:?}");
                                    kept += 1;
                                } else {
                                    assert!(!all || renewed == 500, "{members:?} {others:#?}");
                                    lost += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(kept > 20 && lost > 20, "{kept} {lost}");
}

#[test]
fn nothing_is_promised_by_who_knows_or_does_better() {
    let asks = |counter| {
        let master = first(0, 9).memory(|m| {
            m.epoch = Some(epoch(counter));
            m.epoch_seen = m.epoch;
        });
        let mut report = report(&master.master());
        report.authority.asks = Some(Asks { number: 7 });
        report
    };
    let mut given = 0;
    for seen in [1, 2] {
        for counter in [1, 2] {
            for failure in [None, Some("it failed".to_owned())] {
                for writing in [false, true] {
                    for lease in [Known::Unread, known(says(Some(0), epoch(1), true))] {
                        let me = first(1, 9).memory(|m| m.epoch_seen = Some(epoch(seen)));
                        let mut sight = sight(1, lease, Some(500));
                        sight.failure.clone_from(&failure);
                        sight.writing = writing;
                        let others = [Some(asks(counter)), None];
                        let before = Promises::default();
                        let then = after(&before, &me, &sight, &others, NOW, 99);
                        let Some(said) = then.promise() else {
                            continue;
                        };
                        given += 1;
                        assert_eq!(said, promise(0, counter, 7));
                        assert!(failure.is_some(), "can read the Lease");
                        assert!(!writing, "may have written it");
                        assert!(counter >= seen, "knows of a newer one");
                        let soon = NOW + Duration::from_millis(5999);
                        assert!(then.binds(soon, Duration::from_secs(6)));
                        // What is said once binds, whatever is seen then.
                        sight.failure = None;
                        let later = after(&then, &me, &sight, &others, soon, 100);
                        assert!(later.binds(soon, Duration::from_secs(6)));
                        let asked_again = later.promise() != Some(promise(0, counter, 7));
                        assert!(!asked_again, "promises with the Lease in sight");
                    }
                }
            }
        }
    }
    assert!(given > 2, "{given}");
}
