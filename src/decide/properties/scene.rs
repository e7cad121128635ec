//! What makes a random world worth looking at: what its members have gone through together.

mod handover;

use proptest::prelude::*;

use handover::{Handover, hand_over, handover};

use super::past::{rarely, with_aof};
use crate::decide::Local;
use crate::decide::fixture::{Member, epoch, id};
use crate::observe::info::ServerRole;
use crate::report::{Ancestor, Grant};
use crate::state_file::Memory;
use crate::topology::{Epoch, Ordinal};

/// What makes a world worth looking at.
#[derive(Debug, Clone)]
pub(super) enum Scene {
    Whatever,
    /// Nobody has data.
    FirstBoot,
    /// Nobody leads, nothing is granted: somebody has to be chosen.
    Masterless,
    /// The same, and all data is of one history, led by pod-0: more and less of it. A bit for each
    /// member that knows a lower bound only.
    OneHistory(u8),
    /// A grant that everybody has seen.
    Granted {
        granter: u32,
        target: u32,
        counts: bool,
        by_hand: bool,
    },
    /// A master that everybody knows.
    Led(u32),
    /// The observer was made master by hand, and goes on from what the others have.
    Hand,
    /// A master hands its role over.
    Handover(Handover),
}

pub(super) fn scene() -> impl Strategy<Value = Scene> {
    let granted = (
        prop_oneof![4 => Just(0), 1 => 0..5_u32],
        0..5_u32,
        any::<bool>(),
        rarely(),
    );
    prop_oneof![
        3 => Just(Scene::Whatever),
        1 => Just(Scene::FirstBoot),
        3 => Just(Scene::Masterless),
        2 => any::<u8>().prop_map(Scene::OneHistory),
        4 => granted.prop_map(|(granter, target, counts, by_hand)| Scene::Granted { granter, target, counts, by_hand }),
        3 => (0..5_u32).prop_map(Scene::Led),
        1 => Just(Scene::Hand),
        20 => handover().prop_map(Scene::Handover),
    ]
}

fn newest(members: &[Member]) -> Option<Epoch> {
    let of = |m: &Memory| m.epoch_seen.max(m.epoch).max(m.last_epoch);
    members.iter().map(|m| of(&m.memory)).max().flatten()
}

/// Nobody has the role, and nobody grants it.
fn demote(member: &mut Member) {
    member.memory.grant = None;
    member.memory.intent = None;
    member.memory.held = None;
    if let Local::Up(server) = &mut member.local
        && server.role == ServerRole::Master
    {
        server.role = ServerRole::Fenced;
    }
}

pub(super) fn play(scene: &Scene, members: &mut [Member], me: u32) {
    let size = members.len();
    let pick = |ordinal: u32| ordinal as usize % size;
    match scene {
        Scene::Handover(handover) if size > 1 => hand_over(handover, members, me as usize),
        Scene::Whatever | Scene::Handover(_) => {}
        Scene::FirstBoot => {
            for member in members {
                let terminating = member.terminating;
                *member = Member::empty(member.ordinal.0);
                member.terminating = terminating;
            }
        }
        Scene::Masterless => members.iter_mut().for_each(demote),
        Scene::OneHistory(bounds) => members.iter_mut().for_each(|member| {
            demote(member);
            let ordinal = member.ordinal.0;
            let one = Member::with_data(ordinal, 1, 'a', member.memory.offset);
            *member = one.memory(|m| m.master = Some(Ordinal::ZERO));
            if bounds >> ordinal & 1 == 1 {
                *member = with_aof(member.clone());
            }
        }),
        Scene::Granted {
            granter,
            target,
            counts,
            by_hand,
        } => {
            let granter = pick(*granter);
            let epoch = Epoch::after(
                newest(members),
                Ordinal(u32::try_from(granter).expect("few")),
            );
            let target = members[pick(*target)].ordinal;
            for member in members.iter_mut() {
                demote(member);
                member.memory.epoch_seen = Some(epoch);
                member.memory.holder = Some(target);
            }
            members[granter].memory.grant = Some(Grant {
                epoch,
                target,
                counts: *counts,
                by_hand: *by_hand,
                handover: None,
            });
        }
        Scene::Led(master) => {
            let led = led_data(pick(*master), newest(members));
            members.iter_mut().for_each(demote);
            members[pick(*master)] = led.master();
        }
        Scene::Hand => {
            let offset = 8;
            let mine = Member::with_data(me, 1, 'a', offset).server(|s| {
                s.role = ServerRole::Master;
                s.id2 = s.id.clone();
                s.id2_end = Some(offset);
                s.id = Some(id('e'));
            });
            let past = members[me as usize].memory.clone();
            members.iter_mut().for_each(demote);
            members[me as usize] = mine.memory(|m| m.unfinished = past.unfinished);
        }
    }
}

/// Data of the newest epoch.
fn led_data(ordinal: usize, newest: Option<Epoch>) -> Member {
    let counter = newest.map_or(1, |e| e.counter.max(1));
    let (letter, before) = match counter {
        1 => ('a', None),
        2 => ('b', Some('a')),
        _ => ('c', Some('b')),
    };
    let ordinal = u32::try_from(ordinal).expect("few");
    let mut member = Member::with_data(ordinal, counter, letter, 8);
    if let Some(before) = before {
        member.memory.lineage.insert(
            0,
            Ancestor {
                id: id(before),
                epoch: epoch(counter - 1),
                end: Some(6),
                at_least: false,
            },
        );
    }
    member
}
