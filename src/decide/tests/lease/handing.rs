//! The Lease in a handover, and under a person's word.

use super::*;

pub(super) fn rows(table: &mut Table) {
    offer_rows(table);
    over_rows(table);
    target_rows(table);
    by_hand_rows(table);
}

fn offer_rows(table: &mut Table) {
    let (b, c) = (replica(1, 9), replica(2, 9));
    let me = master(0).memory(|m| m.grant = Some(offered(2, false)));
    table.row(
        "an offer that was not written is over",
        &me,
        by_lease(&me, &[&b, &c], renewed(0, 1, 100)),
        "withdraw",
        "grant_ends",
    );
    let mut unread = sight(0, Known::Unread, 0);
    unread.renewed = renewed(0, 1, 100).renewed;
    table.row(
        "but not while nobody has looked (I1)",
        &me,
        by_lease(&me, &[&b, &c], unread),
        "wait",
        "handing_over",
    );
    let given = |renewed: bool| Says {
        renewed,
        handover: offered(2, false).handover,
        ..says(Some(1), 2)
    };
    let mut written = sight(0, known(given(true)), 0);
    written.renewed = renewed(0, 1, 100).renewed;
    let mut wished = by_lease(&me, &[&b, &c], written);
    wished.wish = Some(Wish::default());
    table.row(
        "it counts once the target has written it",
        &me,
        wished,
        "publish",
        "handing_over",
    );
    let mut unseen = sight(0, known(given(false)), 0);
    unseen.renewed = renewed(0, 1, 2100).renewed;
    let linked = b.clone().replica_of(0, LinkState::Up);
    let mut wished = by_lease(&me, &[&linked, &c], unseen);
    wished.wish = Some(Wish::default());
    table.row(
        "one that nobody sees is taken back while there is time",
        &me,
        wished,
        "claim",
        "grant_ends",
    );
}

fn over_rows(table: &mut Table) {
    let (b, c) = (replica(1, 9), replica(2, 9));
    let ending = Member {
        terminating: true,
        ..master(0)
    };
    table.row(
        "a master that took it back goes on, also while its pod is being stopped",
        &ending,
        by_lease(&ending, &[&b, &c], renewed(0, 2, 100)),
        "adopt",
        "granted",
    );
    let dead = gone(master(0));
    let fenced = data(1, 9);
    table.row(
        "a holder whose server is gone gives it up for fenced ones too",
        &dead,
        by_lease(&dead, &[&fenced, &data(2, 9)], renewed(0, 1, 100)),
        "claim",
        "grant_ends",
    );
}

fn target_rows(table: &mut Table) {
    let c = replica(2, 9);
    let armed = replica(1, 9).memory(|m| {
        m.epoch_seen = Some(epoch(2));
        m.intent = Some(Intent {
            epoch: epoch(2),
            run_id: "run-1".to_owned(),
            armed: Some(crate::report::Armed {
                from: Ordinal::ZERO,
                handover: offered(2, true).handover.expect("a handover"),
                even: None,
            }),
        });
    });
    let giver = data(0, 9).memory(|m| m.grant = Some(offered(2, true)));
    let renewing = |ago| Sight {
        writing: true,
        ..renewed(1, 2, ago)
    };
    table.row(
        "a target takes the role while its Lease lasts",
        &armed,
        by_lease(&armed, &[&giver, &c], renewing(3900)),
        "take_over",
        "handing_over",
    );
    let started_again = |ago| Sight {
        known: Known::Unread,
        unchanged: None,
        ..renewed(1, 2, ago)
    };
    table.row(
        "one whose sidecar was started again looks at the Lease first",
        &armed,
        by_lease(&armed, &[&giver, &c], started_again(500)),
        "wait",
        "handing_over",
    );
    let promoted = armed.clone().memory(|m| {
        let armed = m.intent.as_mut().and_then(|i| i.armed.as_mut());
        armed.expect("armed").even = Some(crate::report::Even {
            id: id('a'),
            offset: 9,
        });
    });
    let promoted = promoted.server(|s| {
        s.role = ServerRole::Master;
        s.id2 = s.id.replace(id('b'));
        s.id2_end = Some(9);
    });
    table.row(
        "and keeps the role that it took, in the time that it had",
        &promoted,
        by_lease(&promoted, &[&giver, &c], started_again(500)),
        "confirm",
        "granted",
    );
    table.row(
        "and not past it (I2)",
        &promoted,
        by_lease(&promoted, &[&giver, &c], started_again(4000)),
        "fence",
        "promotion_unknown",
    );
    table.row(
        "and not later (I2)",
        &armed,
        by_lease(&armed, &[&giver, &c], renewing(4000)),
        "close",
        "grant_refused",
    );
}

fn by_hand_rows(table: &mut Table) {
    let c = replica(2, 9);
    let hand = ungranted(0, 9);
    let mut word = renewed(1, 2, 100);
    if let Known::Lease { says, .. } = &mut word.known {
        says.by_hand = true;
    }
    let kept = replica(1, 5).memory(|m| m.epoch_seen = Some(epoch(2)));
    table.row(
        "a person's word is not given up for a hand's master",
        &kept,
        by_lease(&kept, &[&hand, &c], word),
        "wait",
        "ungranted_peer",
    );
    let mut theirs = sight(
        0,
        known(Says {
            by_hand: true,
            ..says(Some(1), 2)
        }),
        0,
    );
    theirs.unchanged = None;
    table.row(
        "which is fenced for it",
        &hand,
        by_lease(&hand, &[&kept, &c], theirs),
        "fence",
        "newer_grant",
    );
}
