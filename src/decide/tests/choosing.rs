//! There is data and no master: whose data the set goes on with, or what is waited for.

use super::*;
use crate::decide::history::{Best, best};

pub(super) fn rows(table: &mut Table) {
    visible(table);
    unable(table);
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

/// What can be seen, or may be, of those who cannot be asked.
fn visible(table: &mut Table) {
    let (me, with_data, fenced2) = (Member::empty(0), data(0, 5), data(2, 5));
    let long = Duration::from_secs(9999);
    for (name, me, other) in [
        (
            "an empty one beside a server that shows data (I3)",
            Member::empty(0),
            data(1, 5),
        ),
        (
            "less of the same history than a server shows (I3)",
            data(0, 5),
            data(1, 6),
        ),
        (
            "a server shows data of a history that is not known here (I3)",
            data(0, 5),
            Member::with_data(1, 2, 'b', 3),
        ),
    ] {
        let world = with(sees(&me, &[&data(2, 5)]), 1, server_only(&other));
        let world = if me.memory.epoch.is_none() {
            with(
                world,
                2,
                PeerState::Answered(Box::new(Member::empty(2).report())),
            )
        } else {
            world
        };
        table.row(name, &me, later(world, long), "wait", "nobody_to_choose");
    }
    let world = with(sees(&with_data, &[&fenced2]), 1, server_only(&data(1, 5)));
    table.row(
        "no more than a server shows, after the wait",
        &with_data,
        later(world, long),
        "publish",
        "grants",
    );
    let world = with(sees(&me, &[&Member::empty(2)]), 1, silent());
    table.row(
        "nobody has data, and somebody cannot be asked (I1)",
        &me,
        later(world, long),
        "wait",
        "nobody_to_choose",
    );
    let behind = seen(data(0, 5), 2);
    let had_more = Member::empty(2).memory(|m| m.last_epoch = Some(epoch(2)));
    table.row(
        "older data, and who may have newer cannot be asked (I3)",
        &behind,
        later(with(sees(&behind, &[&had_more]), 1, silent()), long),
        "wait",
        "nobody_to_choose",
    );
    let mut just_now = with(sees(&with_data, &[&fenced2]), 1, silent());
    just_now = later(just_now, long);
    just_now.masterless_since = just_now.started_at;
    table.row(
        "who has been silent for long is waited for from when there is no master",
        &with_data,
        just_now,
        "wait",
        "waiting_for_members",
    );
}

/// Members that cannot do what they are asked.
fn unable(table: &mut Table) {
    let (me, with_data, fenced2) = (Member::empty(0), data(0, 5), data(2, 5));
    let (long, fenced1) = (Duration::from_secs(9999), data(1, 90));
    let bare = |ordinal| {
        Member::empty(ordinal).memory(|m| {
            m.last_epoch = Some(epoch(1));
            m.epoch_seen = Some(epoch(1));
            m.holder = Some(Ordinal(2));
            m.id = Some(id(['d', 'e', 'f'][ordinal as usize]));
        })
    };
    table.row(
        "all data is gone everywhere: nothing is left to lose",
        &bare(0),
        sees(&bare(0), &[&bare(1), &bare(2)]),
        "publish",
        "grants",
    );
    let mut declined = sees(&me, &[&data(1, 9), &data(2, 5)]);
    declined.declined.insert(Ordinal(1));
    table.row(
        "the best one declined, and nobody has as much",
        &me,
        declined.clone(),
        "wait",
        "declined",
    );
    let even = PeerState::Answered(Box::new(data(2, 9).report()));
    table.row(
        "the best one declined, and another one has as much",
        &me,
        with(declined, 2, even),
        "publish",
        "grants",
    );
    let forgetful = |member: &Member| {
        let mut report = member.report();
        report.forgets = true;
        PeerState::Answered(Box::new(report))
    };
    let world = with(sees(&with_data, &[&fenced2]), 1, forgetful(&data(1, 5)));
    table.row(
        "a member that cannot remember is waited for",
        &with_data,
        world.clone(),
        "wait",
        "waiting_for_members",
    );
    table.row(
        "and then left out",
        &with_data,
        later(world, long),
        "publish",
        "grants",
    );
    let world = with(sees(&with_data, &[&fenced2]), 1, forgetful(&fenced1));
    table.row(
        "but not if it has more (I3)",
        &with_data,
        later(world, long),
        "wait",
        "nobody_to_choose",
    );
}
