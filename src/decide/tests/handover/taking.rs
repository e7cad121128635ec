//! The target's side.

use super::*;

pub(super) fn rows(table: &mut Table) {
    takes_rows(table);
    armed_rows(table);
    promoted_rows(table);
}

fn takes_rows(table: &mut Table) {
    let (me, c) = (seen(replica(1, 9), 2), seen(replica(2, 9), 2));
    let counted = gives(leader(), handover(true, false));
    table.row(
        "the target arms itself",
        &me,
        looks(&me, &[&counted, &c], None),
        "arm",
        "handing_over",
    );
    let offered = gives(leader(), handover(false, false));
    table.row(
        "but not before it counts",
        &me,
        looks(&me, &[&offered, &c], None),
        "wait",
        "handing_over",
    );
    let ending = Member {
        terminating: true,
        ..me.clone()
    };
    table.row(
        "nor while it is being stopped (I7)",
        &ending,
        looks(&ending, &[&counted, &c], None),
        "close",
        "grant_refused",
    );
    let unlinked = seen(data(1, 9).replica_of(0, LinkState::Down), 2);
    table.row(
        "nor without a link",
        &unlinked,
        looks(&unlinked, &[&counted, &c], None),
        "close",
        "grant_refused",
    );
    let called_off = gives(leader(), handover(true, true));
    table.row(
        "nor when it was called off",
        &me,
        looks(&me, &[&called_off, &c], None),
        "close",
        "grant_refused",
    );
    let restarted = counted.clone().server(|s| s.run_id = "run-new".to_owned());
    table.row(
        "nor from a server that was started again",
        &me,
        looks(&me, &[&restarted, &c], None),
        "close",
        "grant_refused",
    );
}

fn armed_rows(table: &mut Table) {
    let c = seen(replica(2, 9), 2);
    let called_off = gives(leader(), handover(true, true));
    let me = armed(replica(1, 9));
    let fenced = gives(data(0, 9), handover(true, false));
    table.row(
        "armed, it takes over",
        &me,
        looks(&me, &[&fenced, &c], None),
        "take_over",
        "handing_over",
    );
    let alone = with(looks(&me, &[&c], None), 0, silent());
    table.row(
        "armed, it waits for who cannot be asked (I1)",
        &me,
        alone.clone(),
        "wait",
        "handing_over",
    );
    let server = server_only(&data(0, 9));
    table.row(
        "a sidecar that is away does not hinder what its server shows",
        &me,
        with(alone, 0, server),
        "take_over",
        "handing_over",
    );
    table.row(
        "armed, it declines what was called off",
        &me,
        looks(&me, &[&called_off, &c], None),
        "close",
        "grant_refused",
    );
    let newer = seen(replica(2, 9), 3);
    table.row(
        "armed, it declines beside a newer epoch (I2)",
        &me,
        looks(&me, &[&fenced, &newer], None),
        "close",
        "grant_refused",
    );
    let gone = Member {
        local: Local::Unreachable {
            silence: Silence::Gone,
            why: "gone".to_owned(),
        },
        ..fenced.clone()
    };
    let left = |member: Member| member.replica_of(0, LinkState::Down);
    let (linked, me, c) = (c.clone(), left(me), left(c));
    table.row(
        "armed, and the other server is gone: it has what that one had",
        &me,
        looks(&me, &[&gone, &c], None),
        "unfence",
        "granted",
    );
    table.row(
        "armed, the other server is gone, and a third still was linked when it looked: it may have received more (I3)",
        &me,
        looks(&me, &[&gone, &linked], None),
        "wait",
        "handing_over",
    );
    let third = left(seen(replica(2, 10), 2));
    table.row(
        "armed, the other server is gone, and a third has more (I3)",
        &me,
        looks(&me, &[&gone, &third], None),
        "close",
        "grant_refused",
    );
    let unfinished = me.clone().memory(|m| m.unfinished = true);
    table.row(
        "armed, the other server is gone, and the data here is not whole (I3)",
        &unfinished,
        looks(&unfinished, &[&gone, &c], None),
        "close",
        "grant_refused",
    );
    let had_more = gone.memory(|m| m.offset = 10);
    table.row(
        "armed, and the other server is gone with more (I3)",
        &me,
        looks(&me, &[&had_more, &c], None),
        "close",
        "grant_refused",
    );
}

fn promoted_rows(table: &mut Table) {
    let c = seen(replica(2, 9), 2);
    let fenced = gives(data(0, 9), handover(true, false));
    let promoted = armed(data(1, 9)).server(|s| s.role = ServerRole::Master);
    table.row(
        "promoted, as nobody knows how: the two servers tell",
        &promoted,
        looks(&promoted, &[&fenced, &c], None),
        "take_over",
        "handing_over",
    );
    let even = |offset| {
        let mut intent = intent();
        intent.armed.as_mut().expect("armed").even = Some(crate::report::Even {
            id: id('a'),
            offset,
        });
        let promoted = data(1, 12).server(|s| {
            s.role = ServerRole::Master;
            s.id2 = s.id.replace(id('b'));
            s.id2_end = Some(9);
        });
        seen(promoted, 2).memory(|m| m.intent = Some(intent))
    };
    let (noted, elsewhere) = (even(9), even(8));
    table.row(
        "promoted from where both were even: it holds the role, whatever becomes of the other one (I4)",
        &noted,
        with(looks(&noted, &[&c], None), 0, silent()),
        "confirm",
        "granted",
    );
    let c3 = seen(replica(2, 9), 3);
    table.row(
        "but not beside a newer epoch (I2)",
        &noted,
        looks(&noted, &[&c3], None),
        "fence",
        "promotion_unknown",
    );
    table.row(
        "nor when it was promoted from elsewhere",
        &elsewhere,
        with(looks(&elsewhere, &[&c], None), 0, silent()),
        "fence",
        "promotion_unknown",
    );
    table.row(
        "promoted, and the other one cannot be asked: undone (I1)",
        &promoted,
        with(looks(&promoted, &[&c], None), 0, silent()),
        "fence",
        "promotion_unknown",
    );
}
