//! The master's side.

use super::*;

pub(super) fn rows(table: &mut Table) {
    gives_rows(table);
    counted_rows(table);
    given_up_rows(table);
    stopped_rows(table);
    declined_rows(table);
}

fn gives_rows(table: &mut Table) {
    let (me, b, c) = (leader(), replica(1, 9), replica(2, 9));
    table.row(
        "a wish becomes a grant",
        &me,
        looks(&me, &[&b, &c], Some(wish())),
        "publish",
        "handing_over",
    );
    let syncing = data(1, 9).replica_of(0, LinkState::Syncing);
    table.row(
        "but to nobody who is not linked",
        &me,
        looks(&me, &[&syncing], Some(wish())),
        "wait",
        "no_target",
    );
    let offered = gives(me.clone(), handover(false, false));
    table.row(
        "the master goes on until everybody has seen it",
        &offered,
        looks(&offered, &[&seen(b.clone(), 2), &c], Some(wish())),
        "wait",
        "handing_over",
    );
    table.row(
        "then it counts",
        &offered,
        looks(
            &offered,
            &[&seen(b.clone(), 2), &seen(c.clone(), 2)],
            Some(wish()),
        ),
        "publish",
        "handing_over",
    );
    table.row(
        "a wish that ended before keeps the role",
        &offered,
        looks(&offered, &[&seen(b.clone(), 2), &seen(c.clone(), 2)], None),
        "adopt",
        "grant_ends",
    );
}

fn counted_rows(table: &mut Table) {
    let (me, b, c) = (leader(), replica(1, 9), replica(2, 9));
    let counted = gives(me.clone(), handover(true, false));
    table.row(
        "the master goes on until the target is armed",
        &counted,
        looks(
            &counted,
            &[&seen(b.clone(), 2), &seen(c.clone(), 2)],
            Some(wish()),
        ),
        "wait",
        "handing_over",
    );
    table.row(
        "and asks for it back when the wish ends before that",
        &counted,
        looks(&counted, &[&seen(b.clone(), 2), &seen(c.clone(), 2)], None),
        "publish",
        "handing_over",
    );
    table.row(
        "an armed target is made room for (I4)",
        &counted,
        looks(
            &counted,
            &[&armed(b.clone()), &seen(c.clone(), 2)],
            Some(wish()),
        ),
        "fence_when_near",
        "handing_over",
    );
    table.row(
        "an armed target that nobody wants any more is called off before writes stop",
        &counted,
        looks(&counted, &[&armed(b.clone()), &seen(c.clone(), 2)], None),
        "publish",
        "handing_over",
    );
    let old = counted
        .clone()
        .server(|s| s.version = "redis 6.0.16".to_owned());
    table.row(
        "below 7.0 only when it has everything",
        &old,
        looks(
            &old,
            &[&armed(b.clone()), &seen(c.clone(), 2)],
            Some(wish()),
        ),
        "fence_when_even",
        "handing_over",
    );
}

/// An armed target that is given up for another one.
fn given_up_rows(table: &mut Table) {
    let (me, b, c) = (leader(), replica(1, 9), replica(2, 9));
    let counted = gives(me, handover(true, false));
    let other = Wish {
        tried: [Ordinal(1)].into(),
        ..Wish::default()
    };
    table.row(
        "so is one that was asked before",
        &counted,
        looks(
            &counted,
            &[&armed(b.clone()), &seen(c.clone(), 2)],
            Some(other),
        ),
        "publish",
        "handing_over",
    );
    let offered = counted.memory.grant.as_ref().expect("a grant").epoch;
    let now = looks(&counted, &[], None).started_at;
    let late = Wish {
        patience: Some((offered, now)),
        ..Wish::default()
    };
    table.row(
        "so is one that takes too long",
        &counted,
        looks(
            &counted,
            &[&armed(b.clone()), &seen(c.clone(), 2)],
            Some(late.clone()),
        ),
        "publish",
        "handing_over",
    );
    table.row(
        "but not when nobody else could take it",
        &counted,
        looks(&counted, &[&armed(b.clone())], Some(late.clone())),
        "fence_when_near",
        "handing_over",
    );
    let before = Wish {
        patience: Some((epoch(1), now)),
        ..Wish::default()
    };
    table.row(
        "nor because the one before it took too long",
        &counted,
        looks(
            &counted,
            &[&armed(b.clone()), &seen(c.clone(), 2)],
            Some(before),
        ),
        "fence_when_near",
        "handing_over",
    );
    let named = Wish {
        to: Some(Ordinal(1)),
        ..late
    };
    table.row(
        "nor when a person named it",
        &counted,
        looks(
            &counted,
            &[&armed(b.clone()), &seen(c.clone(), 2)],
            Some(named),
        ),
        "fence_when_near",
        "handing_over",
    );
}

fn stopped_rows(table: &mut Table) {
    let (me, b, c) = (leader(), replica(1, 9), replica(2, 9));
    let raised = me.clone().memory(|m| {
        m.raised = Some(crate::state_file::Raised {
            run_id: "run-0".to_owned(),
            before: "0".to_owned(),
            max_lag: None,
        });
    });
    table.row(
        "a setting that stopped writes is given back",
        &raised,
        looks(&raised, &[&b, &c], None),
        "lower",
        "lowers",
    );
    let called_off = gives(me.clone(), handover(true, true));
    table.row(
        "what was called off is not carried out",
        &called_off,
        looks(&called_off, &[&armed(b.clone()), &seen(c.clone(), 2)], None),
        "wait",
        "handing_over",
    );
}

fn declined_rows(table: &mut Table) {
    let (me, b, c) = (leader(), replica(1, 9), replica(2, 9));
    let counted = gives(me, handover(true, false));
    let declined = seen(b.clone(), 2).memory(|m| m.closed = Some(epoch(2)));
    table.row(
        "a target that declined is followed by the next",
        &counted,
        looks(&counted, &[&declined, &seen(c.clone(), 2)], Some(wish())),
        "publish",
        "handing_over",
    );
    let hand = ungranted(2, 9);
    table.row(
        "beside a hand's master the role stays where it was granted",
        &counted,
        looks(&counted, &[&declined, &hand], Some(wish())),
        "adopt",
        "grant_ends",
    );
    let fenced = gives(data(0, 9), handover(true, false));
    table.row(
        "and fenced, it is left to the hand's",
        &fenced,
        looks(&fenced, &[&declined, &hand], Some(wish())),
        "withdraw",
        "grant_ends",
    );
    table.row(
        "fenced, it waits for its target alone: nothing is undone (I4)",
        &fenced,
        looks(&fenced, &[&armed(b.clone()), &seen(c.clone(), 2)], None),
        "wait",
        "handing_over",
    );
    table.row(
        "fenced, and the target declined: the role comes back",
        &fenced,
        looks(&fenced, &[&declined, &seen(c.clone(), 2)], None),
        "publish",
        "grant_ends",
    );
    let led = Member::with_data(1, 2, 'b', 9).master();
    table.row(
        "done: the grant is withdrawn",
        &fenced,
        looks(&fenced, &[&led, &seen(c, 2)], Some(wish())),
        "withdraw",
        "grant_ends",
    );
}
