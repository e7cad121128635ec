//! A master is there: whom a member follows, and whom it does not.

use super::*;

pub(super) fn rows(table: &mut Table) {
    let me = data(1, 5);
    let me_new = Member::empty(1);
    table.row(
        "an empty member follows",
        &me_new,
        sees(&me_new, &[&master(0)]),
        "follow",
        "follows",
    );
    table.row(
        "a member of the same history follows",
        &me,
        sees(&me, &[&master(0)]),
        "follow",
        "follows",
    );
    let me_up = data(1, 5).replica_of(0, LinkState::Up);
    table.row(
        "a replica",
        &me_up,
        sees(&me_up, &[&master(0)]),
        "wait",
        "following",
    );
    let me_syncing = data(1, 5).replica_of(0, LinkState::Syncing);
    table.row(
        "a first copy",
        &me_syncing,
        sees(&me_syncing, &[&master(0)]),
        "wait",
        "first_sync",
    );
    let me_down = data(1, 5).replica_of(0, LinkState::Down);
    table.row(
        "a link that is down",
        &me_down,
        sees(&me_down, &[&master(0)]),
        "wait",
        "link_down",
    );
    let me_chained = data(1, 5).replica_of(2, LinkState::Up);
    table.row(
        "a chain, or a cycle, is led to the master",
        &me_chained,
        sees(&me_chained, &[&master(0)]),
        "follow",
        "follows",
    );
    refusals(table, &me);
}

fn refusals(table: &mut Table, me: &Member) {
    let me_newer = Member::with_data(1, 3, 'b', 3);
    let behind = Member::with_data(0, 1, 'a', 9).master();
    table.row(
        "an older master is not followed (I3)",
        &me_newer,
        sees(&me_newer, &[&behind]),
        "wait",
        "obeys_newer",
    );
    let me_newer = Member::with_data(1, 3, 'b', 3).memory(|m| m.epoch_seen = Some(epoch(1)));
    table.row(
        "nor when its epoch was never seen",
        &me_newer,
        sees(&me_newer, &[&behind]),
        "wait",
        "master_is_older",
    );
    let me_apart = Member::with_data(1, 1, 'd', 5);
    table.row(
        "two histories of one epoch",
        &me_apart,
        sees(&me_apart, &[&master(0)]),
        "wait",
        "two_histories",
    );
    let mut strange = sees(me, &[&master(0)]);
    if let Some(peer) = strange.peers.get_mut(&Ordinal::ZERO) {
        peer.verified_run = Some("another".to_owned());
    }
    table.row(
        "another server at the master's address (I9)",
        me,
        strange,
        "wait",
        "master_unverified",
    );
    let Local::Up(server) = master(0).local else {
        panic!("up")
    };
    let only = with(me.alone(), 0, PeerState::ServerOnly(Box::new(server)));
    table.row(
        "a master without its sidecar",
        me,
        only,
        "wait",
        "master_without_sidecar",
    );
    table.row(
        "nobody to follow",
        me,
        sees(me, &[&data(0, 5), &data(2, 5)]),
        "wait",
        "no_master",
    );
}
