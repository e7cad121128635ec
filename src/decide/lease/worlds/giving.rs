//! The master offers the role, has offered it, or wants it back: every step of the giving side.

use std::collections::BTreeSet;

use super::beings::{Being, data, first, gone, hand, only, terminating};
use super::{NOW, Tally, World, ago, known, says, sight};
use crate::authority::lease::Says;
use crate::decide::Wish;
use crate::decide::fixture::{Member, epoch, id, target};
use crate::decide::lease::Known;
use crate::observe::info::ServerRole;
use crate::report::{Armed, Even, Grant, Handover, Intent, LinkState, ReplicaReport};
use crate::state_file::Raised;
use crate::topology::Ordinal;

pub(super) fn handover() -> Handover {
    Handover {
        run_id: "run-0".to_owned(),
        cancelled: false,
        away_from: None,
    }
}

/// What pod-0 offers to pod-1 in the second epoch.
pub(super) fn offer(counts: bool, cancelled: bool) -> Grant {
    Grant {
        epoch: epoch(2),
        target: Ordinal(1),
        counts,
        by_hand: false,
        handover: Some(Handover {
            cancelled,
            ..handover()
        }),
    }
}

pub(super) fn armed(even: bool) -> Intent {
    Intent {
        epoch: epoch(2),
        run_id: "run-1".to_owned(),
        armed: Some(Armed {
            from: Ordinal::ZERO,
            handover: handover(),
            even: even.then(|| Even {
                id: id('a'),
                offset: 9,
            }),
        }),
    }
}

/// Promoted from where both had the same.
pub(super) fn promoted(member: Member) -> Member {
    member.server(|s| {
        s.role = ServerRole::Master;
        s.id2 = s.id.replace(id('e'));
        s.id2_end = Some(s.offset);
    })
}

/// The master, with both others attached.
fn master() -> Member {
    let attached = |ordinal| {
        let (host, port) = target(Ordinal(ordinal));
        ReplicaReport {
            host,
            port,
            state: "online".to_owned(),
            offset: 9,
        }
    };
    first(0, 9)
        .master()
        .memory(|m| m.by_lease = true)
        .server(|s| s.replicas = vec![attached(1), attached(2)])
}

fn givers() -> Vec<Member> {
    let mut all = vec![master(), terminating(master())];
    for grant in [offer(false, false), offer(true, false), offer(true, true)] {
        let master = master().memory(|m| m.grant = Some(grant.clone()));
        let raised = master.clone().memory(|m| {
            m.raised = Some(Raised {
                run_id: "run-0".to_owned(),
                before: "1".to_owned(),
                max_lag: None,
            });
        });
        let fenced = first(0, 9).memory(|m| {
            m.grant = Some(grant);
            m.by_lease = true;
            m.closed = Some(epoch(1));
        });
        all.push(master.clone());
        all.push(terminating(master.clone()));
        all.push(raised);
        all.push(
            master
                .clone()
                .server(|s| s.version = "redis 6.0.16".to_owned()),
        );
        all.push(fenced.clone());
        all.push(terminating(fenced.clone()));
        all.push(fenced.server(|s| s.run_id = "again".to_owned()));
        all.push(gone(master));
    }
    all
}

fn takers() -> Vec<Being> {
    let replica = || first(1, 9).replica_of(0, LinkState::Up);
    let seen = |m: Member| m.memory(|m| m.epoch_seen = Some(epoch(2)));
    let leads = promoted(first(1, 9))
        .memory(|m| m.epoch = Some(epoch(2)))
        .master();
    let all = [
        replica(),
        seen(replica()),
        first(1, 9).replica_of(0, LinkState::Down),
        terminating(replica()),
        seen(replica()).memory(|m| m.intent = Some(armed(false))),
        seen(promoted(first(1, 9))).memory(|m| m.intent = Some(armed(true))),
        seen(leads),
        seen(replica()).memory(|m| m.closed = Some(epoch(2))),
        gone(replica()),
    ];
    let mut all: Vec<_> = all.map(Being::Answers).into();
    all.push(Being::OtherAuthority(replica()));
    all.push(Being::Forgets(replica()));
    all.push(Being::Silent);
    all.push(only(replica()));
    all
}

fn leases() -> Vec<(Known, Option<u64>)> {
    let offered = |renewed| Says {
        handover: Some(handover()),
        ..says(Some(1), epoch(2), renewed)
    };
    let mut all = vec![
        (Known::Unread, None),
        (known(says(Some(0), epoch(1), true)), None),
        (known(offered(true)), None),
        (known(offered(false)), Some(6000)),
    ];
    for says in [
        says(Some(0), epoch(1), true),
        offered(false),
        offered(true),
        says(None, epoch(2), false),
        says(Some(0), epoch(3), true),
        says(Some(2), epoch(3), true),
    ] {
        all.push((known(says), Some(500)));
    }
    all
}

fn wishes() -> Vec<Option<Wish>> {
    let wish = |to: Option<u32>, tried: &[u32]| Wish {
        to: to.map(Ordinal),
        tried: tried.iter().copied().map(Ordinal).collect::<BTreeSet<_>>(),
        stays: to.is_some(),
        since: ago(3000),
        patience: to.is_none().then_some((epoch(2), NOW)),
    };
    vec![
        None,
        Some(wish(None, &[])),
        Some(wish(Some(1), &[])),
        Some(wish(None, &[1])),
    ]
}

#[test]
fn the_role_is_given_by_the_rules() {
    let mut tally = Tally::default();
    let thirds = [
        Being::Answers(first(2, 9).replica_of(0, LinkState::Up)),
        Being::Answers(hand(first(2, 12))),
        Being::Answers(data(2, 3, 'c', 1).master()),
        Being::Silent,
    ];
    for me in givers() {
        for taker in takers() {
            for (few, third) in thirds.iter().enumerate() {
                for (known, seen) in leases() {
                    for renewed in [(500, 1), (2500, 3), (4000, 1)] {
                        // The third member changes little of what is wished for.
                        for wish in wishes().into_iter().step_by(1 + few) {
                            let mut sight = sight(0, known.clone(), seen);
                            sight.renewed = Some((ago(renewed.0), epoch(renewed.1)));
                            sight.writing = renewed.1 == 3 && wish.is_none();
                            tally.look(&World {
                                me: &me,
                                others: [(Ordinal(1), &taker), (Ordinal(2), third)],
                                sight,
                                wish,
                                resolve: None,
                            });
                        }
                    }
                }
            }
        }
    }
    tally.shows(&[
        "adopt",
        "claim",
        "fence",
        "fence_when_even",
        "fence_when_near",
        "lower",
        "publish",
        "withdraw",
    ]);
}
