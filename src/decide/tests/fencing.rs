//! The own server is not there yet, keeps the role, or loses it.

use super::*;

pub(super) fn rows(table: &mut Table) {
    let me = Member {
        local: Local::Unreachable {
            silence: Silence::Gone,
            why: "refused".to_owned(),
        },
        ..Member::empty(1)
    };
    table.row(
        "no server",
        &me,
        sees(&me, &[]),
        "wait",
        "server_unreachable",
    );
    let me = Member {
        local: Local::Loading {
            run_id: "r".to_owned(),
        },
        ..Member::empty(1)
    };
    table.row(
        "a server that loads",
        &me,
        sees(&me, &[]),
        "wait",
        "loading",
    );

    let me = Member {
        local: Local::Unreachable {
            silence: Silence::Hangs,
            why: "no answer".to_owned(),
        },
        ..data(1, 5).memory(|m| {
            m.intent = Some(Intent {
                epoch: epoch(2),
                run_id: "run-1".to_owned(),
                armed: None,
            });
        })
    };
    table.row(
        "one that hangs over a promotion is fenced for when it goes on (I1)",
        &me,
        sees(&me, &[]),
        "fence",
        "promotion_unknown",
    );

    let me = master(0);
    table.row(
        "the master goes on",
        &me,
        sees(&me, &[&data(1, 5)]),
        "wait",
        "master",
    );
    table.row(
        "the master goes on alone (I1)",
        &me,
        with(with(me.alone(), 1, silent()), 2, PeerState::Missing),
        "wait",
        "master",
    );
    let newer = Member::with_data(1, 2, 'b', 3).master();
    table.row(
        "a newer grant ends the role",
        &me,
        sees(&me, &[&newer]),
        "fence",
        "newer_grant",
    );
    let me = master(1).memory(|m| {
        m.intent = Some(Intent {
            epoch: epoch(2),
            run_id: "run-1".to_owned(),
            armed: None,
        });
    });
    table.row(
        "a promotion of unknown outcome is undone",
        &me,
        sees(&me, &[]),
        "fence",
        "promotion_unknown",
    );
    beside_a_master(table);
}

fn beside_a_master(table: &mut Table) {
    let me = ungranted(1, 9);
    table.row(
        "a hand's master beside a granted one",
        &me,
        sees(&me, &[&master(0), &data(2, 5)]),
        "fence",
        "ungranted_beside_master",
    );
    let mut late = sees(&me, &[&master(0), &data(2, 5)]);
    for peer in late.peers.values_mut() {
        peer.verified_run = None;
    }
    table.row(
        "nor before its server was asked",
        &me,
        late.clone(),
        "wait",
        "ungranted_master",
    );
    for peer in late.peers.values_mut() {
        peer.unverified = Some("it does not answer".to_owned());
    }
    table.row(
        "one that cannot be asked is believed (I1)",
        &me,
        late.clone(),
        "fence",
        "ungranted_beside_master",
    );
    for peer in late.peers.values_mut() {
        peer.demoted = true;
    }
    table.row(
        "but not when only its sidecar still calls it the master: somebody gave FAILOVER",
        &me,
        late,
        "wait",
        "ungranted_master",
    );
    table.row(
        "somebody else's grant ends a hand's master",
        &me,
        sees(&me, &[&granting(grant(2, 2, true)), &data(2, 5)]),
        "fence",
        "newer_grant",
    );
}
