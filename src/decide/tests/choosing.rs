//! There is data and no master: whose data the set goes on with, or what is waited for.

use super::*;
use crate::decide::history::{Best, best};

pub(super) fn rows(table: &mut Table) {
    let fenced2 = data(2, 5);
    let me = Member::empty(0);
    let with_data = data(0, 5);
    let missing = with(
        with(with_data.alone(), 1, PeerState::Missing),
        2,
        PeerState::Missing,
    );
    table.row(
        "with data a missing name is not an absence",
        &with_data,
        later(missing, Duration::from_secs(31)),
        "wait",
        "waiting_for_members",
    );
    table.row(
        "an empty pod-0 lets the data lead",
        &me,
        sees(&me, &[&data(1, 5), &Member::empty(2)]),
        "publish",
        "grants",
    );
    let me_ending = Member {
        terminating: true,
        ..data(0, 5)
    };
    table.row(
        "a pod-0 that is stopped grants nothing",
        &me_ending,
        sees(&me_ending, &[&data(1, 5), &fenced2]),
        "wait",
        "terminating",
    );
    let knows = data(0, 5).memory(|m| m.holder = Some(Ordinal(1)));
    let lost = with(sees(&knows, &[&fenced2]), 1, silent());
    table.row(
        "the newest master is waited for without limit",
        &knows,
        later(lost, Duration::from_secs(9999)),
        "wait",
        "waiting_for_master",
    );
    table.row(
        "two histories that nobody can order",
        &me,
        sees(
            &me,
            &[
                &Member::with_data(1, 1, 'a', 5),
                &Member::with_data(2, 1, 'b', 5),
            ],
        ),
        "wait",
        "two_histories",
    );
    let apart = Member::with_data(0, 2, 'd', 5);
    let old_label = Member::with_data(1, 2, 'b', 5).memory(|m| m.epoch = Some(epoch(1)));
    let knows = Member::with_data(2, 2, 'b', 3).memory(|m| m.unfinished = true);
    table.row(
        "an old state file does not make data older, where anybody knows better (I3)",
        &apart,
        sees(&apart, &[&old_label, &knows]),
        "wait",
        "two_histories",
    );
    let led_by_0 = |member: Member| member.memory(|m| m.master = Some(Ordinal::ZERO));
    let (bound, more) = (
        led_by_0(at_least(data(0, 5))),
        led_by_0(at_least(data(1, 90))),
    );
    table.row(
        "lower bounds that nobody can order (I3)",
        &bound,
        sees(&bound, &[&more, &led_by_0(data(2, 50))]),
        "wait",
        "two_histories",
    );
    let cut = data(1, 5).memory(|m| m.unfinished = true);
    table.row(
        "only a cut copy is left",
        &me,
        sees(&me, &[&cut, &Member::empty(2)]),
        "wait",
        "nobody_to_choose",
    );
}

#[test]
fn a_tie_goes_to_the_recorded_master() {
    let report = |m: &Member| m.report();
    let (a, b) = (
        Member::with_data(1, 1, 'a', 5),
        Member::with_data(2, 1, 'a', 5),
    );
    let (a, b) = (report(&a), report(&b));
    let both = [&a, &b];
    let chosen = |master: Option<u32>| best(&both, &both, |_| master.map(Ordinal));
    assert_eq!(chosen(Some(2)), Best::Member(Ordinal(2)));
    assert_eq!(chosen(None), Best::Member(Ordinal(1)));
    let e = Epoch {
        counter: 1,
        granter: Ordinal(3),
    };
    assert!(e > epoch(1));
}
