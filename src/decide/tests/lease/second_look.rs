//! What a reviewer found: each was so once.

use super::*;
use crate::report::{Armed, Even, Handover};

fn handing() -> Handover {
    offered(2, true).handover.expect("a handover")
}

fn armed_target(even: Option<Even>) -> Member {
    replica(1, 9).replica_of(0, LinkState::Up).memory(|m| {
        m.epoch_seen = Some(epoch(2));
        m.intent = Some(Intent {
            epoch: epoch(2),
            run_id: "run-1".to_owned(),
            armed: Some(Armed {
                from: Ordinal::ZERO,
                handover: handing(),
                even,
            }),
        });
    })
}

fn told(me: &Member, snapshot: &Snapshot) -> String {
    let decision = decided(me, snapshot, &policy());
    format!("{:?} {:?}", decision.action, decision.reasons)
}

/// Promoted by equality, killed before it was saved, started again: the first turn has not read the
/// Lease, or the deadline has passed. The promotion is to be recorded, not undone.
#[test]
fn a_promotion_by_equality_is_confirmed_before_the_lease_is_read() {
    let promoted = armed_target(Some(Even {
        id: id('a'),
        offset: 9,
    }))
    .server(|s| {
        s.role = ServerRole::Master;
        s.id2 = Some(id('a'));
        s.id2_end = Some(9);
        s.id = Some(id('b'));
        s.offset = 15;
    });
    let giver = data(0, 9).memory(|m| m.grant = Some(offered(2, true)));
    let c = replica(2, 9);
    let mut unread = sight(1, Known::Unread, 0);
    unread.renewed = renewed(1, 2, 500).renewed;
    let said = told(&promoted, &by_lease(&promoted, &[&giver, &c], unread));
    assert!(said.starts_with("Confirm"), "{said}");
}

/// What follows: once fenced, the member is unfinished, and the older giver is chosen.
#[test]
fn fenced_again_its_writes_are_not_chosen() {
    let was = armed_target(Some(Even {
        id: id('a'),
        offset: 9,
    }))
    .server(|s| {
        s.role = ServerRole::Fenced;
        s.id2 = Some(id('a'));
        s.id2_end = Some(9);
        s.id = Some(id('b'));
        s.offset = 15;
    });
    let mut snapshot = by_lease(&was, &[], renewed(1, 2, 500));
    snapshot.local = was.local.clone();
    let memory = learn(&snapshot, &was.memory);
    assert!(
        !memory.unfinished,
        "it counts as between two histories: what it acknowledged is dropped"
    );
}

/// Who arms itself looks at its own deadline.
#[test]
fn nobody_arms_itself_past_the_deadline() {
    let me = replica(1, 9)
        .replica_of(0, LinkState::Up)
        .memory(|m| m.epoch_seen = Some(epoch(2)));
    let giver = master(0).memory(|m| m.grant = Some(offered(2, true)));
    let mut late = renewed(1, 2, 5900);
    late.writing = true;
    if let Known::Lease { says, .. } = &mut late.known {
        says.handover = Some(handing());
    }
    let said = told(&me, &by_lease(&me, &[&giver, &replica(2, 9)], late));
    assert!(!said.starts_with("Arm"), "{said}");
}

/// Who declined while the giver still writes gives the Lease back.
#[test]
fn who_declined_gives_the_lease_back() {
    let me = replica(1, 9).replica_of(0, LinkState::Up).memory(|m| {
        m.epoch_seen = Some(epoch(2));
        m.closed = Some(epoch(2));
    });
    let giver = master(0).memory(|m| m.grant = Some(offered(2, true)));
    let mut ours = renewed(1, 2, 1500);
    if let Known::Lease { says, .. } = &mut ours.known {
        says.handover = Some(handing());
    }
    let said = told(&me, &by_lease(&me, &[&giver, &replica(2, 9)], ours));
    assert!(said.starts_with("Claim"), "{said}");
}

/// An armed target does not wait for ever for a giver that fell silent.
#[test]
fn an_armed_target_goes_on_without_a_giver() {
    let me = armed_target(None);
    let c = replica(2, 9);
    let mut snapshot = with(by_lease(&me, &[&c], renewed(1, 2, 100)), 0, silent());
    if let Some(peer) = snapshot.peers.get_mut(&Ordinal(0)) {
        peer.since = Time(Duration::from_secs(1));
    }
    if let Authority::Lease(sight) = &mut snapshot.authority {
        sight.epoch_since = Some(Time(Duration::from_secs(1)));
    }
    let said = told(&me, &snapshot);
    assert!(!said.starts_with("Wait"), "{said}");
}

/// From lease to ordinal and back to lease on the same boot: the note of the first time is old.
#[test]
fn an_old_note_does_not_fence_a_master_of_the_other_authority() {
    let me = master(0).memory(|m| m.by_lease = false);
    let (b, c) = (replica(1, 9), replica(2, 9));
    let mut unread = sight(0, Known::Unread, 0);
    unread.renewed = Some((ago(60_000), epoch(1)));
    let said = told(&me, &by_lease(&me, &[&b, &c], unread));
    assert!(!said.starts_with("Fence"), "{said}");
}

/// A target gives up what was offered; a member that was cut off takes it at once, although the giver
/// Writes until its deadline.
#[test]
fn what_an_offered_target_gives_up_is_not_free_at_once() {
    let me = replica(2, 9).replica_of(0, LinkState::Down);
    let given_up = Says {
        handover: Some(handing()),
        ..says(None, 2)
    };
    let given_up = sight(2, known(given_up), 0);
    let mut snapshot = by_lease(&me, &[], given_up);
    for other in [0, 1] {
        snapshot = with(snapshot, other, silent());
        if let Some(peer) = snapshot.peers.get_mut(&Ordinal(other)) {
            peer.since = Time(Duration::from_secs(1));
        }
    }
    let said = told(&me, &snapshot);
    assert!(!said.starts_with("Claim"), "{said}");
}

/// A person's word is carried out beside a server that hangs, before its holder's time is over.
#[test]
fn a_hanging_master_is_not_seen_to_be_stopped() {
    let me = replica(1, 9).memory(|m| m.epoch_seen = Some(epoch(2)));
    let hangs = Member {
        local: Local::Unreachable {
            silence: Silence::Hangs,
            why: "no answer".to_owned(),
        },
        ..master(0)
    };
    let mut word = renewed(1, 2, 100);
    word.epoch_since = Some(ago(100));
    if let Known::Lease { says, .. } = &mut word.known {
        says.by_hand = true;
    }
    let said = told(&me, &by_lease(&me, &[&hangs, &replica(2, 9)], word));
    assert!(!said.starts_with("Unfence"), "{said}");
}

/// A master that holds the role stops a writable server without a sidecar that comes back in reach.
#[test]
fn a_writable_server_that_comes_back_into_reach_is_fenced() {
    let me = Member::with_data(1, 2, 'b', 30).master().server(|s| {
        s.id2 = Some(id('a'));
        s.id2_end = Some(9);
    });
    let snapshot = with(
        by_lease(&me, &[&replica(2, 9)], renewed(1, 2, 100)),
        0,
        server_only(&master(0)),
    );
    let said = told(&me, &snapshot);
    assert!(said.starts_with("FenceThere"), "{said}");
}
