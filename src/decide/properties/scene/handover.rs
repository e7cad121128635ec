//! A handover at some point of its way: how far each side has got, and what went wrong meanwhile.

use proptest::prelude::*;
use proptest::sample::select;

use super::{demote, led_data, newest};
use crate::decide::fixture::{Member, id, target};
use crate::decide::properties::past::rarely;
use crate::decide::{Local, Silence};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{self, Armed, Grant, Intent, LinkState, ReplicaReport};
use crate::state_file::{Memory, Raised};
use crate::topology::{Epoch, Ordinal};

/// How far it has got. Masks have a bit for each member.
#[derive(Debug, Clone)]
pub(in crate::decide::properties) struct Handover {
    eye: Eye,
    from: u32,
    to: u32,
    giving: Giving,
    taking: Taking,
    /// The giver's server is fenced.
    stopped: bool,
    /// The target noted that it had everything.
    even: bool,
    /// It stops feeding its replicas when it is fenced.
    old: bool,
    /// `min-replicas-to-write` is raised there.
    raised: bool,
    /// The giver's server was started again since.
    again: bool,
    /// The giver's server is gone.
    gone: bool,
    /// What the target lacks, in bytes, and what the other replicas lack.
    behind: (u64, u64),
    linked: u8,
    seen: u8,
}

/// Which side the observer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eye {
    Giver,
    Taker,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giving {
    Nothing,
    Offers,
    Counts,
    CalledOff,
    /// Takes back what was declined.
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    Follows,
    Armed,
    /// Promoted, and does not know it.
    Promoted,
    Leads,
    Declined,
}

pub(super) fn handover() -> impl Strategy<Value = Handover> {
    use Giving::{Back, CalledOff, Counts, Nothing, Offers};
    use Taking::{Armed, Declined, Follows, Leads, Promoted};
    let steps = (
        select(vec![
            Nothing, Nothing, Offers, Offers, Counts, Counts, Counts, CalledOff, Back,
        ]),
        select(vec![
            Follows, Follows, Armed, Armed, Promoted, Leads, Declined,
        ]),
    );
    let giver = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        rarely(),
        rarely(),
        rarely(),
    );
    let masks = (
        (
            prop_oneof![2 => Just(0), 1 => 0..4_u64],
            prop_oneof![2 => Just(0), 1 => 0..4_u64],
        ),
        prop_oneof![2 => Just(u8::MAX), 1 => any::<u8>()],
        prop_oneof![3 => Just(u8::MAX), 1 => any::<u8>()],
    );
    let eye = select(vec![Eye::Giver, Eye::Giver, Eye::Taker, Eye::Any]);
    (eye, (0..5_u32, 0..4_u32), steps, giver, masks).prop_map(
        |(
            eye,
            (from, to),
            (giving, taking),
            (stopped, old, even, raised, again, gone),
            (behind, linked, seen),
        )| {
            Handover {
                eye,
                from,
                to,
                giving,
                taking,
                stopped,
                even,
                old,
                raised,
                again,
                gone,
                behind,
                linked,
                seen,
            }
        },
    )
}

pub(super) fn hand_over(handover: &Handover, members: &mut [Member], me: usize) {
    let size = members.len();
    let other = |of: usize, which: u32| (of + 1 + which as usize % (size - 1)) % size;
    let (from, to) = match handover.eye {
        Eye::Giver => (me, other(me, handover.to)),
        Eye::Taker => (other(me, handover.from), me),
        Eye::Any => {
            let from = handover.from as usize % size;
            (from, other(from, handover.to))
        }
    };
    let (giver, taker) = (members[from].ordinal, members[to].ordinal);
    let before = led_data(from, newest(members))
        .memory
        .epoch
        .max(newest(members));
    let run_id = format!("run-{giver}");
    let mut offered = Grant {
        epoch: Epoch::after(before, giver),
        target: taker,
        counts: handover.giving != Giving::Offers,
        by_hand: false,
        handover: Some(report::Handover {
            run_id: run_id.clone(),
            cancelled: handover.giving == Giving::CalledOff,
            away_from: None,
        }),
    };
    let epoch = offered.epoch;
    let replicas = attach(handover, members, giver, taker, before);
    if handover.giving != Giving::Nothing {
        let seen = members.iter_mut().filter(|m| has(handover.seen, m));
        seen.for_each(|member| show(member, epoch, taker));
    }
    let terminating = members[from].terminating;
    let led = led_data(from, before).server(|s| s.replicas = replicas);
    let stopped = handover.stopped || handover.giving == Giving::Back;
    let led = if stopped { led } else { led.master() };
    members[from] = led.memory(|m| {
        m.epoch_seen = m.epoch_seen.max(before);
        if handover.raised {
            m.raised = Some(Raised {
                run_id: run_id.clone(),
                before: "1".to_owned(),
                max_lag: None,
            });
        }
    });
    members[from].terminating = terminating;
    if handover.old {
        members[from] = members[from]
            .clone()
            .server(|s| s.version = "redis 6.0.16".to_owned());
    }
    if handover.giving == Giving::Nothing {
        return;
    }
    members[to] = take(handover, &offered, members[to].clone());
    if handover.giving == Giving::Back {
        let declined = members[to].memory.closed.max(Some(epoch));
        members[to].memory.closed = declined;
        offered.epoch = Epoch::after(Some(epoch), giver);
        offered.target = giver;
        offered.counts = handover.behind.0 == 0;
        let seen = members.iter_mut().filter(|m| has(handover.seen, m));
        seen.for_each(|member| show(member, offered.epoch, giver));
    }
    let giver = &mut members[from];
    show(giver, offered.epoch, offered.target);
    giver.memory.grant = Some(offered);
    if handover.again {
        *giver = giver.clone().server(|s| s.run_id += "-again");
    }
    if handover.gone {
        giver.local = Local::Unreachable {
            silence: Silence::Gone,
            why: "is gone".to_owned(),
        };
    }
}

fn has(mask: u8, member: &Member) -> bool {
    mask >> member.ordinal.0 & 1 == 1
}

/// A member that has seen an epoch.
fn show(member: &mut Member, epoch: Epoch, holder: Ordinal) {
    member.memory.epoch_seen = Some(epoch);
    member.memory.holder = Some(holder);
}

/// The target and whoever else is linked follow the giver: how its server sees them.
fn attach(
    handover: &Handover,
    members: &mut [Member],
    giver: Ordinal,
    taker: Ordinal,
    before: Option<Epoch>,
) -> Vec<ReplicaReport> {
    let mut replicas = Vec::new();
    for member in members.iter_mut() {
        demote(member);
        if has(handover.linked, member) || member.ordinal == taker {
            let past = member.clone();
            let behind = if past.ordinal == taker {
                handover.behind.0
            } else {
                handover.behind.1
            };
            *member = led_data(past.ordinal.0 as usize, before)
                .replica_of(giver.0, LinkState::Up)
                .server(|s| s.offset -= behind);
            member.memory.offset -= behind;
            member.memory.unfinished = past.memory.unfinished;
            member.terminating = past.terminating;
            let (host, port) = target(member.ordinal);
            replicas.push(ReplicaReport {
                host,
                port,
                state: "online".to_owned(),
                offset: 8,
            });
        }
    }
    replicas
}

/// The target of a handover at some point of its way.
fn take(handover: &Handover, grant: &Grant, member: Member) -> Member {
    let run_id = member.memory.run_id.clone().expect("a run");
    let Local::Up(server) = &member.local else {
        panic!("a replica is up")
    };
    let even = server.id.clone().filter(|_| handover.even);
    let even = even.map(|id| report::Even {
        id,
        offset: server.offset,
    });
    let armed = |m: &mut Memory| {
        m.intent = Some(Intent {
            epoch: grant.epoch,
            run_id: run_id.clone(),
            armed: Some(Armed {
                from: grant.epoch.granter,
                handover: grant.handover.clone().expect("a handover"),
                even: even.clone(),
            }),
        });
    };
    let promoted = |s: &mut ServerInfo| {
        s.role = ServerRole::Master;
        s.id2 = s.id.replace(id('e'));
        s.id2_end = Some(s.offset);
    };
    let mut member = member;
    show(&mut member, grant.epoch, grant.target);
    let taking = if grant.counts {
        handover.taking
    } else {
        Taking::Follows
    };
    match taking {
        Taking::Follows => member,
        Taking::Declined => member.memory(|m| m.closed = Some(grant.epoch)),
        Taking::Armed => member.memory(armed),
        Taking::Promoted => member.memory(armed).server(promoted),
        Taking::Leads => {
            let led = member.memory(|m| m.epoch = Some(grant.epoch)).master();
            let run = grant.handover.as_ref().map(|h| h.run_id.clone());
            led.server(promoted).memory(|m| {
                let held = m.held.as_mut().expect("held");
                held.took_over_from = run;
                held.id = None;
            })
        }
    }
}
