//! The role is offered, given, or half taken here: every step of the taking side.

use super::beings::{Being, first, gone, only, terminating};
use super::giving::{armed, handover, offer, promoted};
use super::{Tally, World, ago, known, says, sight};
use crate::authority::lease::Says;
use crate::decide::fixture::{Member, epoch, id};
use crate::decide::lease::{Known, Promises};
use crate::observe::info::ServerRole;
use crate::report::{Intent, LinkState, Promise};
use crate::topology::Ordinal;

fn takers() -> Vec<Member> {
    let replica = |offset| first(1, offset).replica_of(0, LinkState::Up);
    let told = Intent {
        armed: None,
        ..armed(false)
    };
    let intent = |member: Member, intent: Intent| member.memory(|m| m.intent = Some(intent));
    vec![
        replica(9),
        replica(8),
        first(1, 9).replica_of(0, LinkState::Down),
        terminating(replica(9)),
        replica(9).memory(|m| m.unfinished = true),
        replica(9).memory(|m| m.closed = Some(epoch(2))),
        intent(replica(9), armed(false)),
        intent(replica(8), armed(false)),
        intent(terminating(replica(9)), armed(false)),
        intent(
            replica(9).server(|s| s.run_id = "again".to_owned()),
            armed(false),
        ),
        intent(first(1, 9), armed(true)),
        intent(promoted(first(1, 9)), armed(true)),
        intent(promoted(first(1, 8)), armed(true)),
        intent(promoted(first(1, 9)), armed(false)),
        intent(promoted(terminating(first(1, 9))), armed(true)),
        intent(
            first(1, 9).server(|s| s.role = ServerRole::Master),
            told.clone(),
        ),
        intent(first(1, 9), told),
        promoted(first(1, 9))
            .memory(|m| {
                m.epoch = Some(epoch(2));
                m.by_lease = true;
            })
            .master()
            .memory(|m| m.held.as_mut().expect("held").id = Some(id('e'))),
    ]
}

fn givers() -> Vec<Being> {
    let giver = |offset| {
        first(0, offset).memory(|m| {
            m.grant = Some(offer(true, false));
            m.epoch_seen = Some(epoch(2));
        })
    };
    let off = |m: Member| m.memory(|m| m.grant = Some(offer(true, true)));
    let all = [
        giver(9).master(),
        off(giver(9).master()),
        giver(9),
        giver(12),
        giver(9).server(|s| s.id = Some(id('c'))),
        giver(9).memory(|m| m.grant = None),
        giver(9).server(|s| s.run_id = "again".to_owned()),
        gone(giver(9)),
        gone(giver(12)),
        giver(9).replica_of(2, LinkState::Up),
    ];
    let mut all: Vec<_> = all.map(Being::Answers).into();
    all.extend([
        only(giver(9).master()),
        only(giver(9)),
        only(giver(12)),
        only(giver(9).server(|s| s.run_id = "again".to_owned())),
        Being::Silent,
    ]);
    all
}

fn leases() -> Vec<(Known, Option<u64>)> {
    let given = |renewed| Says {
        handover: Some(handover()),
        ..says(Some(1), epoch(2), renewed)
    };
    let by_hand = Says {
        by_hand: true,
        ..says(Some(1), epoch(3), true)
    };
    let mut all = vec![
        (Known::Unread, None),
        (known(given(true)), None),
        (known(given(true)), Some(6000)),
    ];
    for says in [
        given(false),
        given(true),
        by_hand,
        says(Some(1), epoch(2), true),
        says(Some(0), epoch(1), true),
        says(Some(0), epoch(3), true),
        says(Some(2), epoch(3), false),
        says(None, epoch(2), false),
    ] {
        all.push((known(says), Some(500)));
    }
    all
}

#[test]
fn the_role_is_taken_by_the_rules() {
    let mut tally = Tally::default();
    let thirds = [
        Being::Answers(first(2, 9).replica_of(0, LinkState::Up)),
        Being::Answers(first(2, 12).replica_of(0, LinkState::Down)),
        Being::Answers(first(2, 9).memory(|m| m.epoch_seen = Some(epoch(3)))),
        Being::Forgets(first(2, 12)),
        Being::Silent,
    ];
    let promise = Promise {
        holder: "redis-0".to_owned(),
        epoch: epoch(1),
        number: 1,
    };
    for me in takers() {
        for giver in givers() {
            for (few, third) in thirds.iter().enumerate() {
                for (known, seen) in leases() {
                    for renewed in [None, Some((500, 2)), Some((500, 3)), Some((4000, 2))] {
                        let often = [(false, None), (true, None), (false, Some(3000))];
                        for (writing, promised) in often.into_iter().step_by(1 + few) {
                            let mut sight = sight(1, known.clone(), seen);
                            sight.renewed = renewed.map(|(millis, n)| (ago(millis), epoch(n)));
                            sight.writing = writing;
                            if let Some(millis) = promised {
                                sight.promises = Promises::given(promise.clone(), ago(millis));
                            }
                            tally.look(&World {
                                me: &me,
                                others: [(Ordinal::ZERO, &giver), (Ordinal(2), third)],
                                sight,
                                wish: None,
                                resolve: None,
                            });
                        }
                    }
                }
            }
        }
    }
    tally.shows(&[
        "arm",
        "claim",
        "close",
        "confirm",
        "fence",
        "fence_there",
        "take_over",
        "unfence",
    ]);
}
