//! The master hands the role over: both sides, and what the others make of it.

use super::*;
use crate::decide::Wish;
use crate::decide::fixture::target as fixture_target;
use crate::decide::handover::{Verdict, is_even, is_near, judge, target};
use crate::observe::info::ServerInfo;
use crate::report::{Armed, Handover, Report};

fn announced(member: &Member) -> Report {
    let (host, port) = fixture_target(member.ordinal);
    Report {
        announced: Some((host, port)),
        ready: true,
        ..member.report()
    }
}

fn answers(member: &Member) -> PeerState {
    PeerState::Answered(Box::new(announced(member)))
}

/// A linked replica of pod-0.
fn replica(ordinal: u32, offset: u64) -> Member {
    data(ordinal, offset).replica_of(0, LinkState::Up)
}

/// Pod-0 as a master to which the others are attached.
fn leader() -> Member {
    master(0).server(|s| {
        s.replicas = (1..4)
            .map(|ordinal| {
                let (host, port) = fixture_target(Ordinal(ordinal));
                ReplicaReport {
                    host,
                    port,
                    state: "online".to_owned(),
                    offset: 9,
                }
            })
            .collect();
    })
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
    gives_rows(table);
    stopped_rows(table);
    declined_rows(table);
    takes_rows(table);
    armed_rows(table);
    others_rows(table);
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

fn stopped_rows(table: &mut Table) {
    let (me, b, c) = (leader(), replica(1, 9), replica(2, 9));
    let raised = me.clone().memory(|m| {
        m.raised = Some(crate::state_file::Raised {
            run_id: "run-0".to_owned(),
            before: "0".to_owned(),
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
            gone: true,
            why: "gone".to_owned(),
        },
        ..fenced.clone()
    };
    table.row(
        "armed, and the other server is gone: it has what that one had",
        &me,
        looks(&me, &[&gone, &c], None),
        "unfence",
        "granted",
    );
    let had_more = gone.memory(|m| m.offset = 10);
    table.row(
        "armed, and the other server is gone with more (I3)",
        &me,
        looks(&me, &[&had_more, &c], None),
        "close",
        "grant_refused",
    );
    let promoted = armed(data(1, 9)).server(|s| s.role = ServerRole::Master);
    table.row(
        "promoted, as nobody knows how: the two servers tell",
        &promoted,
        looks(&promoted, &[&fenced, &c], None),
        "take_over",
        "handing_over",
    );
    table.row(
        "promoted, and the other one cannot be asked: undone (I1)",
        &promoted,
        with(looks(&promoted, &[&c], None), 0, silent()),
        "fence",
        "promotion_unknown",
    );
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
    let (own, policy) = (announced(&me), policy());
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
    assert!(is_even("run-1", &here, &there(0)));
    assert!(!is_even("run-1", &here, &there(1)));
}
