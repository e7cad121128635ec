//! The master hands the role over: both sides, and what the others make of it.

mod giving;
mod taking;

use super::*;
use crate::decide::Wish;
use crate::decide::fixture::target as fixture_target;
use crate::decide::handover::{Verdict, is_even, is_near, judge, target};
use crate::observe::info::ServerInfo;
use crate::report::{Armed, Handover, Report};

fn answers(member: &Member) -> PeerState {
    PeerState::Answered(Box::new(Report {
        ready: true,
        ..member.report()
    }))
}

/// A linked replica of pod-0.
fn replica(ordinal: u32, offset: u64) -> Member {
    data(ordinal, offset).replica_of(0, LinkState::Up)
}

/// Pod-0 as a master to which the others are attached.
fn leader() -> Member {
    attached(master(0))
}

/// Everybody else is attached to it.
fn attached(master: Member) -> Member {
    let me = master.ordinal;
    let others = (0..4).map(Ordinal).filter(|o| *o != me);
    let replicas = others.map(|ordinal| {
        let (host, port) = fixture_target(ordinal);
        ReplicaReport {
            host,
            port,
            state: "online".to_owned(),
            offset: 9,
        }
    });
    let replicas = replicas.collect();
    master.server(|s| s.replicas = replicas)
}

fn handover(counts: bool, cancelled: bool) -> Grant {
    Grant {
        handover: Some(Handover {
            run_id: "run-0".to_owned(),
            cancelled,
            away_from: None,
        }),
        ..grant(2, 1, counts)
    }
}

fn gives(member: Member, grant: Grant) -> Member {
    member.memory(|m| {
        m.epoch_seen = Some(grant.epoch);
        m.holder = Some(grant.target);
        m.grant = Some(grant);
    })
}

fn armed(member: Member) -> Member {
    let intent = intent();
    seen(member, 2).memory(|m| m.intent = Some(intent))
}

fn intent() -> Intent {
    Intent {
        epoch: epoch(2),
        run_id: "run-1".to_owned(),
        armed: Some(Armed {
            from: Ordinal(0),
            handover: handover(true, false).handover.expect("a handover"),
            even: None,
        }),
    }
}

fn wish() -> Wish {
    Wish::default()
}

/// What a member sees, with a wish or without.
fn looks(me: &Member, others: &[&Member], wish: Option<Wish>) -> Snapshot {
    let mut snapshot = me.alone();
    for other in others {
        snapshot = with(snapshot, other.ordinal.0, answers(other));
    }
    snapshot.wish = wish;
    snapshot
}

pub(super) fn rows(table: &mut Table) {
    giving::rows(table);
    taking::rows(table);
    others_rows(table);
}

fn others_rows(table: &mut Table) {
    let from_1 = Grant {
        epoch: Epoch {
            counter: 2,
            granter: Ordinal(1),
        },
        target: Ordinal(2),
        ..handover(true, false)
    };
    let seen_by = |member: Member| member.memory(|m| m.epoch_seen = Some(from_1.epoch));
    let gives = gives(data(1, 9), from_1.clone());
    let me = seen_by(data(0, 9));
    let target = seen_by(data(2, 9));
    table.row(
        "pod-0 does not choose beside a handover that is under way",
        &me,
        looks(&me, &[&gives, &target], None),
        "wait",
        "handing_over",
    );
    let hand = ungranted(3, 9);
    table.row(
        "a hand's master waits for what becomes of a handover",
        &hand,
        looks(&hand, &[&me, &gives, &target], None),
        "wait",
        "ungranted_master",
    );
    let leads = gives.clone().server(|s| s.role = ServerRole::Master);
    table.row(
        "nor says that the master which hands over has no grant",
        &me,
        looks(&me, &[&leads, &target], None),
        "wait",
        "handing_over",
    );
    let declined = target.memory(|m| m.closed = Some(from_1.epoch));
    table.row(
        "but does when it was declined",
        &me,
        looks(&me, &[&gives, &declined], None),
        "publish",
        "grants",
    );
}

fn chosen(others: &[&Member], wish: &Wish) -> Result<Ordinal, String> {
    let me = leader();
    let snapshot = looks(&me, others, None);
    let (own, policy) = (me.report(), policy());
    let view = View {
        snapshot: &snapshot,
        memory: &me.memory,
        policy: &policy,
        own: &own,
    };
    target(&view, wish, None)
}

#[test]
fn the_best_target_is_chosen() {
    let any = Wish::default();
    let version = |member: Member, version: &str| {
        let version = format!("redis {version}");
        member.server(|s| s.version = version)
    };
    let ending = |member: Member| Member {
        terminating: true,
        ..member
    };
    let (b, c) = (replica(1, 5), replica(2, 9));
    assert_eq!(chosen(&[&b, &c], &any), Ok(Ordinal(2)), "the most");
    let far = data(2, 5 << 20).replica_of(0, LinkState::Up);
    assert_eq!(chosen(&[&b, &far], &any), Ok(Ordinal(2)), "by far");
    let newer = version(replica(1, 9), "8.0.2");
    assert_eq!(
        chosen(&[&newer, &replica(2, 5)], &any),
        Ok(Ordinal(2)),
        "whom all can read"
    );
    assert_eq!(
        chosen(&[&newer, &ending(replica(2, 5))], &any),
        Ok(Ordinal(1)),
        "one that is being stopped needs to read nobody"
    );
    let tried = Wish {
        tried: [Ordinal(1)].into(),
        ..Wish::default()
    };
    assert_eq!(
        chosen(&[&replica(1, 9), &c], &tried),
        Ok(Ordinal(2)),
        "not again"
    );
    let words = chosen(&[&replica(1, 9)], &tried).expect_err("nobody");
    assert!(words.contains("did not take it"), "{words}");
    let named = Wish {
        to: Some(Ordinal(2)),
        ..Wish::default()
    };
    assert_eq!(chosen(&[&replica(1, 9), &b, &c], &named), Ok(Ordinal(2)));
    let words = chosen(&[&b, &ending(c)], &named).expect_err("nobody");
    assert!(words.contains("redis-2 is being stopped"), "{words}");
}

fn info(member: Member) -> ServerInfo {
    let Local::Up(server) = member.local else {
        panic!("up")
    };
    server
}

#[test]
fn it_is_promoted_at_equality_and_never_else() {
    let armed = intent().armed.expect("armed");
    let judged = |there: &ServerInfo, here: &ServerInfo| judge(&intent(), &armed, there, here);
    let fenced = |offset| info(data(0, offset));
    let linked = |offset| info(replica(1, offset));
    let down = |offset| info(data(1, offset).replica_of(0, LinkState::Down));
    assert_eq!(judged(&info(master(0)), &linked(9)), Verdict::Wait);
    assert_eq!(judged(&fenced(9), &linked(8)), Verdict::Wait);
    assert_eq!(judged(&fenced(9), &linked(9)), Verdict::Promote);
    assert_eq!(judged(&fenced(9), &down(9)), Verdict::Promote);
    let declines = |there: &ServerInfo, here: &ServerInfo| {
        let verdict = judged(there, here);
        assert!(matches!(verdict, Verdict::Decline(_)), "{verdict:?}");
    };
    declines(&fenced(9), &down(8));
    declines(&fenced(9), &linked(10));
    declines(
        &fenced(9),
        &info(Member::with_data(1, 1, 'b', 9).replica_of(0, LinkState::Up)),
    );
    declines(&info(Member::empty(0)), &info(Member::empty(1)));
    declines(&info(replica(0, 9)), &linked(9));
    let again = info(data(0, 9).server(|s| s.run_id = "run-new".to_owned()));
    declines(&again, &linked(9));
    let again = info(replica(1, 9).server(|s| s.run_id = "run-new".to_owned()));
    declines(&fenced(9), &again);
    // Its own promotion, of which it does not know whether it happened.
    let promoted = |end| {
        info(data(1, 12).server(|s| {
            s.role = ServerRole::Master;
            s.id2 = s.id.replace(id('b'));
            s.id2_end = Some(end);
        }))
    };
    assert_eq!(judged(&fenced(9), &promoted(9)), Verdict::Promoted);
    declines(&fenced(9), &promoted(8));
    declines(&info(master(0)), &promoted(9));
}

#[test]
fn writes_stop_only_for_a_replica_that_is_close_behind() {
    let here = info(data(0, 1 << 20).master());
    let there = |behind: u64| info(replica(1, (1 << 20) - behind));
    assert!(is_near("run-1", &here, &there(64 << 10)));
    assert!(!is_near("run-1", &here, &there((64 << 10) + 1)));
    assert!(!is_near("run-2", &here, &there(0)), "another run of it");
    let other = info(Member::with_data(1, 1, 'b', 1 << 20));
    assert!(!is_near("run-1", &here, &other), "another history");
    let nothing = (info(Member::empty(0)), info(Member::empty(1)));
    assert!(!is_near("run-1", &nothing.0, &nothing.1), "no history");
    let by_hand = info(data(0, 1 << 20).replica_of(2, LinkState::Up));
    assert!(
        !is_near("run-1", &by_hand, &there(0)),
        "a hand has made another one the master meanwhile"
    );
    assert!(is_even("run-1", &here, &there(0)));
    assert!(!is_even("run-1", &here, &there(1)));
}

/// The `away_from` of the handover that is published.
fn published_away(me: &Member, snapshot: &Snapshot) -> (Ordinal, Option<String>) {
    let decision = decided(me, snapshot, &policy());
    let Action::Publish(grant) = decision.action else {
        panic!("publishes: {decision:?}")
    };
    (
        grant.target,
        grant.handover.and_then(|handover| handover.away_from),
    )
}

#[test]
fn sent_away_from_home_it_stays_away_wherever_it_goes() {
    let run_0 = Some("run-0".to_owned());
    let replica = |ordinal, offset| data(ordinal, offset).replica_of(1, LinkState::Up);
    let (pod0, c) = (replica(0, 9), replica(2, 5));
    let me = attached(master(1)).memory(|m| {
        m.held.as_mut().expect("held").away_from = run_0.clone();
    });
    let looked = |me: &Member, others: &[&Member]| looks(me, others, Some(wish()));
    let (two, one, zero) = (Ordinal(2), Ordinal(1), Ordinal(0));
    let sees = looked(&me, &[&pod0, &c]);
    assert_eq!(published_away(&me, &sees), (two, run_0.clone()), "not home");
    let sees = looked(&me, &[&pod0]);
    assert_eq!(
        published_away(&me, &sees),
        (zero, None),
        "for want of others"
    );
    let again = pod0.clone().server(|s| s.run_id = "run-new".to_owned());
    let sees = looked(&me, &[&again, &c]);
    assert_eq!(published_away(&me, &sees).0, zero, "home is another now");
    // Fenced, and the target declines: the role comes back, and still stays away.
    let offer = Grant {
        epoch: Epoch {
            counter: 2,
            granter: Ordinal(1),
        },
        target: Ordinal(2),
        handover: Some(Handover {
            run_id: "run-1".to_owned(),
            cancelled: false,
            away_from: run_0.clone(),
        }),
        ..handover(true, false)
    };
    let fenced = gives(data(1, 9), offer.clone());
    let declined = c.memory(|m| m.closed = Some(offer.epoch));
    let sees = looks(&fenced, &[&declined, &pod0], None);
    assert_eq!(published_away(&fenced, &sees), (one, run_0));
}
