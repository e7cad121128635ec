//! A grant that was published: seen, counted, ended.

use super::*;

pub(super) fn rows(table: &mut Table) {
    let me = granting(grant(2, 1, false));
    table.row(
        "a grant waits to be seen",
        &me,
        sees(&me, &[&data(1, 5), &seen(data(2, 5), 2)]),
        "wait",
        "grant_not_seen",
    );
    table.row(
        "and counts once all have",
        &me,
        sees(&me, &[&seen(data(1, 5), 2), &seen(data(2, 5), 2)]),
        "publish",
        "grant_waits",
    );
    table.row(
        "but not for less data than the latest answers show (I3)",
        &me,
        sees(&me, &[&seen(data(1, 5), 2), &seen(data(2, 9), 2)]),
        "withdraw",
        "grant_ends",
    );
    table.row(
        "nor beside a hand's master",
        &me,
        sees(&me, &[&ungranted(1, 9), &seen(data(2, 5), 2)]),
        "withdraw",
        "grant_ends",
    );
    let ending = Member {
        terminating: true,
        ..seen(Member::empty(0), 1).memory(|m| m.grant = Some(grant(1, 0, false)))
    };
    table.row(
        "nor for a pod-0 that is stopped on its first boot (I7)",
        &ending,
        sees(
            &ending,
            &[&seen(Member::empty(1), 1), &seen(Member::empty(2), 1)],
        ),
        "withdraw",
        "grant_ends",
    );
    let done = Member::with_data(1, 2, 'b', 5).master();
    let me = granting(grant(2, 1, true));
    table.row(
        "and ends when it is done",
        &me,
        sees(&me, &[&done, &seen(data(2, 5), 2)]),
        "withdraw",
        "grant_ends",
    );
}
