//! A master made by hand: taken over, waited with, or fenced.

use super::*;

pub(super) fn rows(table: &mut Table) {
    let fenced2 = data(2, 5);
    let me = ungranted(1, 9);
    let fenced0 = data(0, 9);
    table.row(
        "a hand's master that goes on from the newest",
        &me,
        sees(&me, &[&fenced0, &fenced2]),
        "adopt",
        "adopted",
    );
    table.row(
        "a hand's master while somebody is silent",
        &me,
        with(sees(&me, &[&fenced0]), 2, silent()),
        "wait",
        "ungranted_master",
    );
    let cut = me.clone().memory(|m| m.unfinished = true);
    table.row(
        "a hand's master that was made one in the middle of a copy (I3)",
        &cut,
        sees(&cut, &[&fenced0, &fenced2]),
        "wait",
        "ungranted_master",
    );
    let more = data(0, 99);
    table.row(
        "a hand's master that lacks data",
        &me,
        sees(&me, &[&more, &fenced2]),
        "wait",
        "ungranted_master",
    );
    table.row(
        "two masters by hand",
        &me,
        sees(&me, &[&ungranted(0, 9), &fenced2]),
        "wait",
        "ungranted_master",
    );
    let me = data(1, 5);
    table.row(
        "a peer made master by hand",
        &me,
        sees(&me, &[&ungranted(0, 9)]),
        "wait",
        "ungranted_peer",
    );
}
