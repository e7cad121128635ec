//! Authority `lease`: who takes it, keeps it, gives it up, and when a server is fenced for it.

mod handing;
mod holding;
mod second_look;
mod vacant;

use super::*;
use crate::authority::Leads;
use crate::authority::lease::{Holder, Says};
use crate::decide::lease::{Known, Promises, Sight, Unchanged};
use crate::decide::{Authority, Wish};
use crate::report::Promise;

fn now() -> Time {
    Time(Duration::from_secs(100))
}

fn ago(millis: u64) -> Time {
    Time(now().0.saturating_sub(Duration::from_millis(millis)))
}

fn holder(ordinal: u32) -> Holder {
    Holder {
        pod: format!("redis-{ordinal}"),
        uid: format!("uid-{ordinal}"),
    }
}

/// A Lease of all three, held by one of them or by nobody.
fn says(by: Option<u32>, counter: u64) -> Says {
    Says {
        holder: by.map(holder),
        epoch: Some(epoch(counter)),
        renewed: by.is_some(),
        members: (0..3).map(|n| format!("redis-{n}")).collect(),
        handover: None,
        by_hand: false,
        duration: None,
    }
}

fn known(says: Says) -> Known {
    Known::Lease {
        version: "7".to_owned(),
        says,
    }
}

/// How a member sees the Lease that has been as it is for so many seconds.
fn sight(me: u32, known: Known, seconds: u64) -> Sight {
    let since = ago(1000 * seconds);
    Sight {
        me: holder(me),
        known,
        unchanged: Some(Unchanged {
            since,
            read_at: now(),
        }),
        failure: None,
        refused: None,
        writing: false,
        claimed: std::collections::BTreeSet::new(),
        renewed: None,
        promises: Promises::default(),
        grant: None,
        leads: None,
        epoch_since: None,
    }
}

/// The holder, who renewed so many milliseconds ago.
fn renewed(me: u32, counter: u64, millis: u64) -> Sight {
    let at = ago(millis);
    Sight {
        renewed: Some((at, epoch(counter))),
        ..sight(me, known(says(Some(me), counter)), 0)
    }
}

/// A snapshot of members that all go by the Lease, and have seen it as it is.
fn by_lease(me: &Member, others: &[&Member], sight: Sight) -> Snapshot {
    let mut snapshot = sees(me, others);
    for peer in snapshot.peers.values_mut() {
        if let PeerState::Answered(report) = &mut peer.state {
            "lease".clone_into(&mut report.authority.kind);
            report.uid = Some(format!("uid-{}", report.ordinal));
            report.authority.lease = Some("7".to_owned());
        }
    }
    snapshot.had_master = true;
    snapshot.authority = Authority::Lease(Box::new(sight.granted()));
    snapshot
}

fn replica(ordinal: u32, offset: u64) -> Member {
    data(ordinal, offset).replica_of(0, LinkState::Down)
}

fn gone(member: Member) -> Member {
    Member {
        local: Local::Unreachable {
            silence: Silence::Gone,
            why: "it is gone".to_owned(),
        },
        ..member
    }
}

pub(super) fn rows(table: &mut Table) {
    holding::rows(table);
    vacant::rows(table);
    taken_rows(table);
    waiting_rows(table);
    handing::rows(table);
}

/// What a master offers to pod-1.
fn offered(counter: u64, counts: bool) -> Grant {
    Grant {
        handover: Some(crate::report::Handover {
            run_id: "run-0".to_owned(),
            cancelled: false,
            away_from: None,
        }),
        ..grant(counter, 1, counts)
    }
}

fn taken_rows(table: &mut Table) {
    let me = replica(1, 9).memory(|m| m.epoch_seen = Some(epoch(2)));
    let (old, other) = (gone(master(0)), replica(2, 5));
    let ours = || renewed(1, 2, 100);
    table.row(
        "who holds it is promoted",
        &me,
        by_lease(&me, &[&old, &other], ours()),
        "unfence",
        "granted",
    );
    let mut late = ours();
    late.renewed = None;
    table.row(
        "not without a renewal of its own",
        &me,
        by_lease(&me, &[&old, &other], late),
        "claim",
        "lease_unread",
    );
    let alive = master(0);
    table.row(
        "a master that still answers stops first",
        &me,
        by_lease(&me, &[&alive, &other], ours()),
        "wait",
        "handing_over",
    );
    table.row(
        "and is stopped when its sidecar is away",
        &me,
        with(by_lease(&me, &[&other], ours()), 0, server_only(&alive)),
        "fence_there",
        "handing_over",
    );
    let linked = me.clone().replica_of(0, LinkState::Up);
    table.row(
        "what it has more is received first (I3)",
        &linked,
        with(
            by_lease(&linked, &[&other], ours()),
            0,
            server_only(&data(0, 12)),
        ),
        "wait",
        "handing_over",
    );
    let given = Sight {
        renewed: None,
        ..sight(
            1,
            known(Says {
                renewed: false,
                ..says(Some(1), 2)
            }),
            0,
        )
    };
    table.row(
        "what another one gave counts once it is written here",
        &me,
        by_lease(&me, &[&old, &other], given),
        "claim",
        "granted",
    );
    let earlier = Says {
        holder: Some(Holder {
            uid: "another".to_owned(),
            ..holder(1)
        }),
        ..says(Some(1), 2)
    };
    table.row(
        "what an earlier pod of this name held is not ours",
        &me,
        by_lease(&me, &[&old, &other], sight(1, known(earlier), 0)),
        "wait",
        "lease_held",
    );
}

fn waiting_rows(table: &mut Table) {
    let me = replica(1, 9);
    let (old, other) = (gone(master(0)), replica(2, 5));
    table.row(
        "before the first read nothing is known",
        &me,
        by_lease(&me, &[&old, &other], sight(1, Known::Unread, 0)),
        "wait",
        "reading_lease",
    );
    table.row(
        "a Lease that was deleted is made anew after its duration",
        &me,
        by_lease(&me, &[&old, &other], sight(1, Known::Absent, 5)),
        "wait",
        "no_lease",
    );
    let boot = Member::empty(0);
    table.row(
        "a first boot makes it at once",
        &boot,
        by_lease(
            &boot,
            &[&Member::empty(1), &Member::empty(2)],
            sight(0, Known::Absent, 0),
        ),
        "claim",
        "grants",
    );
    let mut in_order = with(
        by_lease(&boot, &[], sight(0, Known::Absent, 0)),
        1,
        PeerState::Missing,
    );
    in_order.in_order = true;
    table.row(
        "unless it waits for pods that Kubernetes starts only when it is ready",
        &boot,
        in_order,
        "wait",
        "pods_in_order",
    );
    let second = Member::empty(1);
    table.row(
        "and pod-0 makes it",
        &second,
        by_lease(
            &second,
            &[&boot, &Member::empty(2)],
            sight(1, Known::Absent, 0),
        ),
        "wait",
        "better_candidate",
    );
    let promise = Promise {
        holder: "redis-0".to_owned(),
        epoch: epoch(1),
        number: 1,
    };
    let mut bound = sight(1, known(says(None, 1)), 0);
    let long_ago = ago(6000);
    bound.promises = Promises::given(promise.clone(), now());
    table.row(
        "who promised not to take it does not take it",
        &me,
        by_lease(&me, &[&old, &other], bound.clone()),
        "wait",
        "promised",
    );
    bound.promises = Promises::given(promise, long_ago);
    table.row(
        "for one duration",
        &me,
        by_lease(&me, &[&old, &other], bound),
        "claim",
        "grants",
    );
    let hand = ungranted(1, 9);
    table.row(
        "a hand's master that goes on from the newest takes it",
        &hand,
        by_lease(
            &hand,
            &[&data(0, 5), &other],
            sight(1, known(says(None, 1)), 0),
        ),
        "claim",
        "grants",
    );
    table.row(
        "and waits while another holds it",
        &hand,
        by_lease(
            &hand,
            &[&data(0, 5), &other],
            sight(1, known(says(Some(0), 1)), 1),
        ),
        "wait",
        "ungranted_master",
    );
}
