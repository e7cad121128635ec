//! A person decides: `podzero resolve --keep POD`.

use super::*;
use crate::decide::GRANT_VALID;

fn asks(mut snapshot: Snapshot, keep: u32) -> Snapshot {
    snapshot.resolve = Some(Ordinal(keep));
    snapshot
}

fn by_hand(counter: u64, target: u32) -> Grant {
    Grant {
        by_hand: true,
        ..grant(counter, target, false)
    }
}

pub(super) fn rows(table: &mut Table) {
    let (me, apart) = (data(0, 5), Member::with_data(1, 1, 'd', 5));
    table.row(
        "of two histories a person keeps one",
        &me,
        asks(sees(&me, &[&apart, &data(2, 5)]), 1),
        "publish",
        "grants",
    );
    let knows = data(0, 5).memory(|m| m.holder = Some(Ordinal(1)));
    let lost = with(sees(&knows, &[&data(2, 5)]), 1, silent());
    table.row(
        "and ends the wait for a master that is lost",
        &knows,
        asks(lost.clone(), 0),
        "publish",
        "grants",
    );
    table.row(
        "but not in favour of who does not answer",
        &knows,
        asks(lost, 1),
        "wait",
        "nobody_to_choose",
    );
    let granted = granting(by_hand(2, 0));
    let recent = with(sees(&granted, &[&seen(data(2, 5), 2)]), 1, silent());
    table.row(
        "it does not count while somebody who fell silent a moment ago may still act",
        &granted,
        recent.clone(),
        "wait",
        "grant_not_seen",
    );
    table.row(
        "but does afterwards",
        &granted,
        later(recent, GRANT_VALID + Duration::from_millis(1)),
        "publish",
        "grant_waits",
    );
    let ending = Member {
        terminating: true,
        ..data(1, 5)
    };
    table.row(
        "nor of a pod that is stopped",
        &me,
        asks(sees(&me, &[&ending, &data(2, 5)]), 1),
        "wait",
        "nobody_to_choose",
    );
    let hangs = Member {
        local: Local::Unreachable {
            silence: Silence::Hangs,
            why: "hangs".to_owned(),
        },
        ..data(1, 5)
    };
    table.row(
        "nor of a server that does not answer",
        &me,
        asks(sees(&me, &[&hangs, &data(2, 5)]), 1),
        "wait",
        "nobody_to_choose",
    );
    let content = data(0, 5).replica_of(1, LinkState::Up);
    table.row(
        "nor where there is nothing to decide",
        &content,
        asks(sees(&content, &[&master(1), &data(2, 5)]), 0),
        "wait",
        "nobody_to_choose",
    );
    let cut = data(1, 5).memory(|m| {
        m.unfinished = true;
        m.epoch_seen = Some(epoch(2));
    });
    let decider = data(0, 9).memory(|m| {
        m.epoch_seen = Some(epoch(2));
        m.holder = Some(Ordinal(1));
        m.grant = Some(Grant {
            counts: true,
            ..by_hand(2, 1)
        });
    });
    table.row(
        "what a person chose is carried out although others have more",
        &cut,
        sees(&cut, &[&decider]),
        "unfence",
        "granted",
    );
    let hand = ungranted(2, 9);
    table.row(
        "and fences a hand's master before it counts",
        &hand,
        sees(&hand, &[&granting(by_hand(2, 1)), &data(1, 5)]),
        "fence",
        "newer_grant",
    );
}

#[test]
fn a_refusal_of_anybody_is_something_to_decide() {
    let me = data(0, 5);
    let mut snapshot = asks(sees(&me, &[&master(1), &data(2, 5)]), 0);
    if let Some(PeerState::Answered(report)) = snapshot
        .peers
        .get_mut(&Ordinal(2))
        .map(|peer| &mut peer.state)
    {
        report.reasons =
            vec![super::super::Reason::TwoHistories(Ordinal(2), Ordinal(1)).report("redis")];
    }
    let Action::Publish(grant) = decided(&me, &snapshot, &policy()).action else {
        panic!("a grant")
    };
    assert!(grant.by_hand && grant.target == Ordinal::ZERO && !grant.counts);
}
