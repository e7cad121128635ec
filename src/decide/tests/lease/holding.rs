//! What the holder does with the Lease.

use super::*;

pub(super) fn rows(table: &mut Table) {
    renewing_rows(table);
    leading_rows(table);
    server_rows(table);
}

fn renewing_rows(table: &mut Table) {
    let (me, b, c) = (master(0), replica(1, 9), replica(2, 9));
    let under = me.clone().memory(|m| m.by_lease = true);
    let others = [&b, &c];
    table.row(
        "the holder renews when it is time",
        &me,
        by_lease(&me, &others, renewed(0, 1, 1000)),
        "claim",
        "master",
    );
    table.row(
        "and not before",
        &me,
        by_lease(&me, &others, renewed(0, 1, 900)),
        "wait",
        "master",
    );
    table.row(
        "at the deadline it stops accepting writes (I2)",
        &under,
        by_lease(&under, &others, renewed(0, 1, 4000)),
        "fence",
        "lease_lost",
    );
    table.row(
        "so does one that was started again and knows no deadline",
        &under,
        by_lease(&under, &others, sight(0, known(says(Some(0), 1)), 0)),
        "fence",
        "lease_lost",
    );
    table.row(
        "but a master of another authority takes the Lease without a role change",
        &me,
        by_lease(&me, &others, sight(0, Known::Absent, 0)),
        "claim",
        "grants",
    );
    table.row(
        "a newer holder is obeyed at once",
        &me,
        by_lease(
            &me,
            &others,
            Sight {
                renewed: renewed(0, 1, 500).renewed,
                ..sight(0, known(says(Some(1), 2)), 0)
            },
        ),
        "fence",
        "newer_grant",
    );
}

fn leading_rows(table: &mut Table) {
    let (me, c) = (master(0), replica(2, 9));
    let ready = |offset| data(1, offset).replica_of(0, LinkState::Up);
    let master = me.clone().server(|s| {
        let (host, port) = target(Ordinal(1));
        s.replicas = vec![ReplicaReport {
            host,
            port,
            state: "online".to_owned(),
            offset: 9,
        }];
    });
    let mut wished = by_lease(&master, &[&ready(9), &c], renewed(0, 1, 100));
    wished.wish = Some(Wish {
        since: now(),
        ..Wish::default()
    });
    table.row(
        "a handover is offered in the Lease",
        &master,
        wished.clone(),
        "claim",
        "handing_over",
    );
    let leads = |to: u32| Leads {
        to: Some((format!("redis-{to}"), epoch(1))),
        answers: true,
        failure: None,
    };
    let with_service = |leads| {
        let mut snapshot = wished.clone();
        let mut sight = renewed(0, 1, 100);
        sight.leads = Some(leads);
        snapshot.authority = Authority::Lease(Box::new(sight.granted()));
        snapshot
    };
    table.row(
        "once the Service leads to the target",
        &master,
        with_service(leads(0)),
        "wait",
        "leading",
    );
    table.row(
        "and the target answers at its address",
        &master,
        with_service(Leads {
            answers: false,
            ..leads(1)
        }),
        "wait",
        "leading",
    );
    table.row(
        "and then it is offered",
        &master,
        with_service(leads(1)),
        "claim",
        "handing_over",
    );
}

fn server_rows(table: &mut Table) {
    let (me, b, c) = (master(0), replica(1, 9), replica(2, 9));
    let others = [&b, &c];
    let dead = gone(me.clone());
    table.row(
        "a holder whose server is gone gives it up",
        &dead,
        by_lease(&dead, &others, renewed(0, 1, 100)),
        "claim",
        "grant_ends",
    );
    table.row(
        "unless nobody else could take it",
        &dead,
        by_lease(&dead, &[], renewed(0, 1, 100)),
        "wait",
        "server_unreachable",
    );
    let hangs = Member {
        local: Local::Unreachable {
            silence: Silence::Hangs,
            why: "no answer".to_owned(),
        },
        ..me.clone()
    };
    table.row(
        "one whose server hangs lets it run out",
        &hangs,
        by_lease(&hangs, &others, renewed(0, 1, 3000)),
        "wait",
        "server_unreachable",
    );
    let hangs = hangs.memory(|m| m.by_lease = true);
    let overdue = by_lease(&hangs, &others, renewed(0, 1, 4000));
    table.row(
        "and is fenced at the deadline, for when it goes on",
        &hangs,
        overdue,
        "fence",
        "lease_lost",
    );
    let refuses = Member {
        local: Local::Unreachable {
            silence: Silence::Refuses,
            why: "BUSY, or WRONGPASS".to_owned(),
        },
        ..me.clone()
    };
    table.row(
        "one that runs a script, or refuses the login, may accept writes: it is renewed for",
        &refuses,
        by_lease(&refuses, &others, renewed(0, 1, 1000)),
        "claim",
        "server_unreachable",
    );
    let never_led = refuses.memory(|m| m.held = None);
    table.row(
        "but not if it never was told to take the role: another takes it",
        &never_led,
        by_lease(&never_led, &others, renewed(0, 1, 1000)),
        "claim",
        "grant_ends",
    );
    table.row(
        "unless nobody else could",
        &never_led,
        by_lease(&never_led, &[], renewed(0, 1, 1000)),
        "claim",
        "server_unreachable",
    );
    let mut elsewhere = renewed(0, 1, 1500);
    elsewhere.leads = Some(Leads {
        failure: Some("403".to_owned()),
        ..Leads::default()
    });
    table.row(
        "what keeps its Service from leading here is told",
        &me,
        by_lease(&me, &others, elsewhere),
        "claim",
        "service_not_led",
    );
    let mut trouble = renewed(0, 1, 1500);
    trouble.refused = Some("500".to_owned());
    table.row(
        "what keeps it from renewing is told",
        &me,
        by_lease(&me, &others, trouble),
        "claim",
        "lease_unwritten",
    );
}
