//! Nobody has data.

use super::*;

pub(super) fn rows(table: &mut Table) {
    let me = Member::empty(0);
    table.row(
        "a first boot",
        &me,
        sees(&me, &[&Member::empty(1), &Member::empty(2)]),
        "publish",
        "grants",
    );
    let missing = with(
        with(me.alone(), 1, PeerState::Missing),
        2,
        PeerState::Missing,
    );
    table.row(
        "a first boot waits for names",
        &me,
        missing.clone(),
        "wait",
        "waiting_for_members",
    );
    table.row(
        "and goes on after the discovery limit",
        &me,
        later(missing.clone(), Duration::from_secs(31)),
        "publish",
        "grants",
    );
    let mut unnamed = later(missing.clone(), Duration::from_secs(31));
    unnamed.own_name_resolves = false;
    table.row(
        "but not while its own name is missing",
        &me,
        unnamed,
        "wait",
        "own_name_missing",
    );
    let quiet = with(with(me.alone(), 1, silent()), 2, silent());
    table.row(
        "silence is no absence (I1)",
        &me,
        later(quiet, Duration::from_secs(31)),
        "wait",
        "waiting_for_members",
    );
    table
        .row(
            "a set of unknown size waits for names to appear",
            &me,
            me.alone(),
            "wait",
            "discovering",
        )
        .policy
        .replicas = None;
    table
        .row(
            "and goes on alone when none does",
            &me,
            later(me.alone(), Duration::from_secs(31)),
            "publish",
            "grants",
        )
        .policy
        .replicas = None;
}
