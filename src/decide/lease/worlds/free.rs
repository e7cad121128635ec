//! Nobody holds the Lease, somebody may have lost it, or nobody can say.

use super::beings::{Being, beings, data, first, hand, hangs, members, only, terminating};
use super::{Known, Tally, World, ago, holder, known, says, sight};
use crate::authority::lease::{Holder, Says};
use crate::decide::fixture::{Member, epoch};
use crate::decide::lease::Promises;
use crate::report::{LinkState, Promise};
use crate::topology::Ordinal;

fn promise() -> Promise {
    Promise {
        holder: "redis-0".to_owned(),
        epoch: epoch(1),
        number: 1,
    }
}

/// What the Lease says, and since when it has been seen so; none when the last read failed.
fn leases() -> Vec<(Known, Option<u64>)> {
    let earlier = Says {
        holder: Some(Holder {
            uid: "earlier".to_owned(),
            ..holder(1)
        }),
        ..says(Some(1), epoch(2), true)
    };
    let mut all = vec![(Known::Unread, None)];
    for who in [None, Some(0), Some(1)] {
        all.push((known(says(who, epoch(2), false)), None));
    }
    for millis in [0, 6000] {
        let seen = Some(millis);
        all.push((Known::Absent, seen));
        all.push((known(earlier.clone()), seen));
        for who in [None, Some(0), Some(1)] {
            for counter in [1, 2] {
                all.push((known(says(who, epoch(counter), who.is_some())), seen));
            }
        }
    }
    all
}

/// Renewed so long ago, and in which epoch; and what is promised by who did not.
fn renewals() -> [(Option<(u64, u64)>, Promises); 3] {
    let promised = || Promises::given(promise(), ago(3000));
    [
        (None, promised()),
        (Some((500, 2)), Promises::default()),
        (Some((4000, 1)), promised()),
    ]
}

fn look(tally: &mut Tally, me: &Member, first: &Being, second: &Being) {
    let (a, b) = (Ordinal(1 - me.ordinal.0), Ordinal(2));
    for (known, seen) in leases() {
        for (renewed, promises) in renewals() {
            let mut sight = sight(me.ordinal.0, known.clone(), seen);
            sight.renewed = renewed.map(|(millis, counter)| (ago(millis), epoch(counter)));
            sight.promises = promises;
            tally.look(&World {
                me,
                others: [(a, first), (b, second)],
                sight,
                wish: None,
                resolve: None,
            });
        }
    }
}

#[test]
fn a_lease_that_may_be_free_is_taken_by_the_rules() {
    let mut tally = Tally::default();
    for me in 0..2 {
        // Most worlds are the same whoever looks.
        let some = if me == 0 { 1 } else { 3 };
        for mine in members(me).iter().step_by(some) {
            for first in beings(1 - me).iter().step_by(some) {
                for second in beings(2).iter().skip(1).step_by(2) {
                    look(&mut tally, mine, first, second);
                }
            }
        }
    }
    tally.shows(&[
        "adopt",
        "claim",
        "fence",
        "fence_there",
        "follow",
        "unfence",
    ]);
}

/// Members and Leases that are seldom so.
#[test]
fn what_is_seldom_so_breaks_no_rule() {
    let mut tally = Tally::default();
    let unrecorded = |by: Option<u32>, me: u32| {
        let mut says = says(by, epoch(1), by.is_some());
        says.members.remove(&format!("redis-{me}"));
        known(says)
    };
    let by_hand = |to, renewed| {
        known(Says {
            by_hand: true,
            ..says(Some(to), epoch(2), renewed)
        })
    };
    let unreadable = Known::Unreadable {
        version: "7".to_owned(),
        why: "its schema is 99".to_owned(),
        newer: false,
    };
    for (me, other) in [(0, 1)] {
        let other_beings = [
            Being::Answers(first(other, 9)),
            Being::Answers(first(other, 9).master()),
            Being::Answers(hand(first(other, 9))),
            Being::OtherAuthority(first(other, 9)),
            Being::OtherAuthority(data(other, 2, 'b', 3).master()),
            Being::Forgets(first(other, 12)),
            Being::Late(first(other, 9).replica_of(0, LinkState::Up)),
            Being::Silent,
            only(first(other, 9).master()),
        ];
        let thirds = [
            Being::Answers(first(2, 9).replica_of(0, LinkState::Up)),
            Being::Answers(hand(first(2, 12))),
            Being::Answers(terminating(first(2, 9))),
            Being::OtherAuthority(first(2, 9)),
            Being::Forgets(first(2, 12)),
            Being::Silent,
        ];
        let mine = [
            first(me, 9),
            first(me, 9).replica_of(2, LinkState::Up),
            first(me, 9).memory(|m| m.unfinished = true),
            first(me, 9).master(),
            terminating(first(me, 9).master().memory(|m| m.by_lease = true)),
            hangs(first(me, 9).master().memory(|m| m.by_lease = true)),
            hand(first(me, 9)),
            terminating(first(me, 9)),
            Member::empty(me),
        ];
        let leases = [
            unrecorded(None, me),
            unrecorded(Some(2), me),
            unrecorded(Some(me), me),
            by_hand(me, false),
            by_hand(me, true),
            by_hand(2, true),
            known(says(Some(2), epoch(2), true)),
            known(says(None, epoch(2), false)),
            known(says(None, epoch(1), false)),
            unreadable.clone(),
            Known::Absent,
        ];
        for mine in &mine {
            for first in &other_beings {
                for second in &thirds {
                    for known in &leases {
                        for seen in [Some(0), Some(6000), None] {
                            for (renewed, since) in [
                                (None, None),
                                (Some((500, 1)), None),
                                (Some((500, 2)), None),
                                (Some((4000, 1)), Some(500)),
                            ] {
                                for resolve in [None, Some(Ordinal(me)), Some(Ordinal(2))] {
                                    if resolve.is_some() && (seen != Some(0) || since.is_some()) {
                                        continue;
                                    }
                                    let mut sight = sight(me, known.clone(), seen);
                                    sight.renewed = renewed
                                        .map(|(millis, counter)| (ago(millis), epoch(counter)));
                                    sight.promises = Promises::kept(since.map(ago));
                                    sight.writing =
                                        resolve.is_none() && seen == Some(6000) && since.is_some();
                                    tally.look(&World {
                                        me: mine,
                                        others: [(Ordinal(other), first), (Ordinal(2), second)],
                                        sight,
                                        wish: None,
                                        resolve,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    tally.shows(&["adopt", "claim", "fence", "follow", "unfence", "wait"]);
}
