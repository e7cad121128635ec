//! A grant to this member: obeyed, or refused.

use super::*;
use crate::report::Ancestor;

pub(super) fn rows(table: &mut Table) {
    let granted = granting(grant(2, 1, true));
    let me = seen(data(1, 5), 2);
    table.row(
        "a grant that counts is obeyed",
        &me,
        sees(&me, &[&granted, &seen(data(2, 5), 2)]),
        "unfence",
        "granted",
    );
    table.row(
        "one that does not count is not",
        &me,
        sees(&me, &[&granting(grant(2, 1, false))]),
        "wait",
        "no_master",
    );
    table.row(
        "somebody has more",
        &me,
        sees(&me, &[&granted, &seen(data(2, 9), 2)]),
        "close",
        "grant_refused",
    );
    let back = seen(Member::with_data(2, 2, 'b', 3), 2);
    table.row(
        "newer data came back after the grant (I3)",
        &seen(me.clone(), 3),
        sees(&seen(me.clone(), 3), &[&granting(grant(3, 1, true)), &back]),
        "close",
        "grant_refused",
    );
    let me_empty = seen(Member::empty(1), 2);
    let bare = seen(Member::empty(0), 2).memory(|m| {
        m.last_epoch = Some(epoch(1));
        m.grant = Some(grant(2, 1, true));
    });
    let flushed = seen(data(2, 9), 2)
        .memory(|m| m.epoch = None)
        .server(|s| s.keys = 0);
    table.row(
        "somebody has more, and no key in it: they were flushed (I3)",
        &me,
        sees(&me, &[&granted, &flushed]),
        "close",
        "grant_refused",
    );
    table.row(
        "a member that had data once and has none is nobody to lose",
        &me_empty,
        sees(&me_empty, &[&bare]),
        "unfence",
        "granted",
    );
    table.row(
        "data came to a member that was granted a first boot (I3)",
        &me_empty,
        sees(&me_empty, &[&granting(grant(2, 1, true))]),
        "close",
        "grant_refused",
    );
    let bound = seen(at_least(data(2, 9)), 2);
    table.row(
        "somebody has at least so much more",
        &me,
        sees(&me, &[&granted, &bound]),
        "close",
        "grant_refused",
    );
    let me_unfinished = seen(data(1, 5), 2).memory(|m| m.unfinished = true);
    table.row(
        "unfinished data is not promoted",
        &me_unfinished,
        sees(&me_unfinished, &[&granted]),
        "close",
        "grant_refused",
    );
    let me_ending = Member {
        terminating: true,
        ..seen(data(1, 5), 2)
    };
    table.row(
        "a pod that is stopped refuses (I7)",
        &me_ending,
        sees(&me_ending, &[&granted]),
        "close",
        "grant_refused",
    );
    let me_closed = seen(data(1, 5), 2).memory(|m| m.closed = Some(epoch(2)));
    table.row(
        "a used grant is not obeyed again",
        &me_closed,
        sees(&me_closed, &[&granted]),
        "wait",
        "no_master",
    );
}

/// Others that have more of the same history under another name.
pub(super) fn went_on_rows(table: &mut Table) {
    let granted = granting(grant(2, 1, true));
    let me = seen(data(1, 5), 2);
    let went_on = |end| {
        seen(Member::with_data(2, 1, 'b', 9), 2).memory(|m| {
            m.lineage.insert(
                0,
                Ancestor {
                    id: id('a'),
                    epoch: epoch(1),
                    end: Some(end),
                    at_least: false,
                },
            );
        })
    };
    table.row(
        "somebody went on from there under another name (I3)",
        &me,
        sees(&me, &[&granted, &went_on(5)]),
        "close",
        "grant_refused",
    );
    table.row(
        "somebody went on from before that: neither has all, and the grant decides",
        &me,
        sees(&me, &[&granted, &went_on(4)]),
        "unfence",
        "granted",
    );
}
