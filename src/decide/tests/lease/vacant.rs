//! Who takes a Lease that nobody holds.

use super::*;

pub(super) fn rows(table: &mut Table) {
    free_rows(table);
    unsure_rows(table);
    left_alone_rows(table);
}

fn free_rows(table: &mut Table) {
    let old = gone(master(0));
    let (best, other) = (replica(1, 9), replica(2, 5));
    let free = |me| sight(me, known(says(None, 1)), 0);
    table.row(
        "a Lease that was given up goes to the best at once",
        &best,
        by_lease(&best, &[&old, &other], free(1)),
        "claim",
        "grants",
    );
    table.row(
        "not to another (I3)",
        &other,
        by_lease(&other, &[&old, &best], free(2)),
        "wait",
        "better_candidate",
    );
    let equal = replica(2, 9);
    table.row(
        "nor to an equal one that comes later",
        &equal,
        by_lease(&equal, &[&old, &best], free(2)),
        "wait",
        "better_candidate",
    );
    table.row(
        "before the first has had its time",
        &equal,
        by_lease(&equal, &[&old, &best], sight(2, known(says(None, 1)), 5)),
        "claim",
        "grants",
    );
    let held = |seconds| sight(1, known(says(Some(0), 1)), seconds);
    table.row(
        "one that is held is waited for",
        &best,
        with(by_lease(&best, &[&other], held(5)), 0, silent()),
        "wait",
        "lease_held",
    );
    let longer = known(Says {
        duration: Some(Duration::from_secs(15)),
        ..says(Some(0), 1)
    });
    table.row(
        "for as long as its holder goes by",
        &best,
        later(
            with(
                by_lease(&best, &[&other], sight(1, longer, 14)),
                0,
                silent(),
            ),
            Duration::from_secs(14),
        ),
        "wait",
        "lease_held",
    );
    table.row(
        "until this member itself has seen it unchanged for its duration",
        &best,
        later(
            with(by_lease(&best, &[&other], held(6)), 0, silent()),
            Duration::from_secs(6),
        ),
        "claim",
        "grants",
    );
}

fn unsure_rows(table: &mut Table) {
    let old = gone(master(0));
    let (best, other) = (replica(1, 9), replica(2, 5));
    let free = |me| sight(me, known(says(None, 1)), 0);
    let held = |seconds| sight(1, known(says(Some(0), 1)), seconds);
    let mut failing = held(6);
    failing.unchanged = None;
    failing.failure = Some("no answer".to_owned());
    table.row(
        "not knowing promotes nobody (I1)",
        &best,
        with(by_lease(&best, &[&other], failing), 0, silent()),
        "wait",
        "lease_unread",
    );
    let mut stale = by_lease(
        &best,
        &[&old, &replica(2, 5).replica_of(0, LinkState::Up)],
        free(1),
    );
    if let Some(PeerState::Answered(report)) =
        stale.peers.get_mut(&Ordinal(2)).map(|p| &mut p.state)
    {
        report.authority.lease = Some("6".to_owned());
    }
    table.row(
        "what another one said before the master died is not its last word",
        &best,
        stale,
        "wait",
        "waiting_for_members",
    );
    let mut strange = says(None, 1);
    strange.members.remove("redis-1");
    table.row(
        "only recorded members take it",
        &best,
        by_lease(&best, &[&old, &other], sight(1, known(strange), 0)),
        "wait",
        "not_recorded",
    );
    let mut mixed = by_lease(&best, &[&old, &other], free(1));
    if let Some(PeerState::Answered(report)) =
        mixed.peers.get_mut(&Ordinal(2)).map(|p| &mut p.state)
    {
        "ordinal".clone_into(&mut report.authority.kind);
    }
    table.row(
        "nobody is promoted while members go by two authorities",
        &best,
        mixed,
        "wait",
        "other_authority",
    );
    let ending = Member {
        terminating: true,
        ..best.clone()
    };
    table.row(
        "a pod that is being stopped takes nothing (I7)",
        &ending,
        by_lease(&ending, &[&old, &other], free(1)),
        "wait",
        "terminating",
    );
}

fn left_alone_rows(table: &mut Table) {
    let old = gone(master(0));
    let (best, other) = (replica(1, 9), replica(2, 5));
    table.row(
        "a holder that hung before it fell silent is not waited for twice",
        &best,
        with(
            by_lease(&best, &[&other], sight(1, known(says(Some(0), 1)), 6)),
            0,
            silent(),
        ),
        "claim",
        "grants",
    );
    let loads = Member {
        local: Local::Loading {
            run_id: "run-2".to_owned(),
        },
        ..other.clone()
    };
    let free = sight(1, known(says(None, 1)), 5);
    table.row(
        "one that loads is waited for",
        &best,
        by_lease(&best, &[&old, &loads], free.clone()),
        "wait",
        "waiting_for_members",
    );
    table.row(
        "but not for ever",
        &best,
        later(
            by_lease(&best, &[&old, &loads], free),
            Duration::from_secs(6),
        ),
        "claim",
        "grants",
    );
    let writes = with(
        by_lease(&best, &[&other], sight(1, known(says(Some(0), 1)), 6)),
        0,
        server_only(&master(0).server(|s| s.offset = 20)),
    );
    table.row(
        "a master whose sidecar is gone is waited for, while its server has more",
        &best,
        later(writes.clone(), Duration::from_secs(6)),
        "wait",
        "nobody_to_choose",
    );
    let fed = data(1, 9).replica_of(0, LinkState::Up);
    let mut feeds = by_lease(&fed, &[&other], sight(1, known(says(Some(0), 1)), 6));
    feeds.peers.extend(
        writes
            .peers
            .clone()
            .into_iter()
            .filter(|(o, _)| *o == Ordinal(0)),
    );
    table.row(
        "but one that still feeds us is stopped and drained by whoever takes the Lease",
        &fed,
        later(feeds, Duration::from_secs(6)),
        "claim",
        "grants",
    );
    let again = replica(0, 3).memory(|m| m.closed = Some(epoch(1)));
    table.row(
        "a master that was started again with less gives it up",
        &again,
        by_lease(&again, &[&best, &other], renewed(0, 1, 100)),
        "claim",
        "better_candidate",
    );
    let again = replica(0, 9).memory(|m| m.closed = Some(epoch(1)));
    table.row(
        "and with as much takes it again, under a new epoch",
        &again,
        by_lease(&again, &[&best, &other], renewed(0, 1, 100)),
        "claim",
        "grants",
    );
}
