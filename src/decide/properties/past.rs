//! What happened to one member of a random world.

use proptest::prelude::*;
use proptest::sample::select;

use crate::decide::fixture::{Member, epoch, id};
use crate::decide::{Local, Silence};
use crate::observe::info::ServerRole;
use crate::report::{Ancestor, Grant, Intent, LinkState};
use crate::state_file::{Alias, Followed, Memory};
use crate::topology::{Epoch, Ordinal};

/// What data a server has.
#[derive(Debug, Clone)]
enum Data {
    None,
    /// Of an epoch, under an ID, up to an offset; with the end of the history before it.
    Some(u64, char, u64, Option<End>),
}

/// Where the history before this one ended, if that is known.
#[derive(Debug, Clone, Copy)]
struct End(Option<u64>);

/// What a server does.
#[derive(Debug, Clone)]
enum Doing {
    Fenced,
    Follows(u32, LinkState),
    Leads,
    AcceptsWrites,
    Loads,
    Unanswered(Silence),
}

/// What happened to a state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Whole,
    Lost,
    /// Somebody's old one: the data is labelled with an older epoch.
    Old,
}

/// A member's past.
#[derive(Debug, Clone)]
pub(super) struct Past {
    data: Data,
    doing: Doing,
    file: File,
    restarted: bool,
    only_source: bool,
    aof: bool,
    unfinished: bool,
    terminating: bool,
    seen_more: u64,
    holder: Option<u32>,
    closed: Option<u64>,
    intent: Option<u64>,
    grant: Option<(u64, u32, bool, bool)>,
}

fn data() -> impl Strategy<Value = Data> {
    let some = (
        1..4_u64,
        any::<bool>(),
        0..9_u64,
        proptest::option::of(proptest::option::of(0..9_u64).prop_map(End)),
    )
        .prop_map(|(counter, apart, offset, before)| {
            let letter = match (apart, counter) {
                (true, 2) => 'd',
                (_, 1) => 'a',
                (_, 2) => 'b',
                _ => 'c',
            };
            Data::Some(counter, letter, offset, before)
        });
    prop_oneof![1 => Just(Data::None), 5 => some]
}

fn doing() -> impl Strategy<Value = Doing> {
    let link = select(vec![LinkState::Up, LinkState::Down, LinkState::Syncing]);
    prop_oneof![
        6 => Just(Doing::Fenced),
        3 => (0..5_u32, link).prop_map(|(of, link)| Doing::Follows(of, link)),
        1 => Just(Doing::Leads),
        1 => Just(Doing::AcceptsWrites),
        1 => Just(Doing::Loads),
        1 => select(vec![Silence::Gone, Silence::Refuses, Silence::Hangs]).prop_map(Doing::Unanswered),
    ]
}

pub(super) fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

pub(super) fn past() -> impl Strategy<Value = Past> {
    let file = prop_oneof![8 => Just(File::Whole), 1 => Just(File::Lost), 1 => Just(File::Old)];
    let body = (
        data(),
        doing(),
        file,
        rarely(),
        proptest::bool::weighted(0.2),
        rarely(),
        rarely(),
        any::<bool>(),
    );
    let marks = (
        prop_oneof![4 => Just(0), 1 => 1..3_u64],
        proptest::option::of(0..5_u32),
        proptest::option::weighted(0.2, 0..6_u64),
        proptest::option::weighted(0.1, 0..6_u64),
        proptest::option::weighted(0.1, (1..6_u64, 0..5_u32, any::<bool>(), rarely())),
    );
    (body, marks).prop_map(
        |(
            (data, doing, file, restarted, aof, unfinished, terminating, only_source),
            (seen_more, holder, closed, intent, grant),
        )| Past {
            data,
            doing,
            file,
            restarted,
            only_source,
            aof,
            unfinished,
            terminating,
            seen_more,
            holder,
            closed,
            intent,
            grant,
        },
    )
}

pub(super) fn build(ordinal: u32, past: &Past) -> Member {
    let mut member = match past.data {
        Data::None => Member::empty(ordinal),
        Data::Some(counter, letter, offset, before) => {
            let member = Member::with_data(ordinal, counter, letter, offset);
            match before {
                Some(End(end)) if counter > 1 => descended(member, counter, end),
                Some(_) | None => member,
            }
        }
    };
    let has_data = member.memory.epoch.is_some();
    member = match past.doing {
        Doing::Leads if has_data => member.master(),
        Doing::Fenced | Doing::Leads | Doing::Loads | Doing::Unanswered(_) => member,
        Doing::Follows(of, link) => member.replica_of(of, link),
        Doing::AcceptsWrites => member.server(|s| s.role = ServerRole::Master),
    };
    member.terminating = past.terminating;
    let run = run_of(&member);
    let memory = &mut member.memory;
    memory.unfinished = past.unfinished;
    memory.epoch_seen = later(memory.epoch_seen, past.seen_more);
    memory.holder = past.holder.map(Ordinal).or(memory.holder);
    memory.closed = past.closed.map(epoch);
    memory.intent = past.intent.zip(run).map(|(counter, run_id)| Intent {
        epoch: epoch(counter),
        run_id,
        armed: None,
    });
    memory.grant = past.grant.map(|(counter, target, counts, by_hand)| Grant {
        epoch: Epoch {
            counter,
            granter: Ordinal(ordinal),
        },
        target: Ordinal(target),
        counts,
        by_hand,
        handover: None,
    });
    if past.aof && has_data && memory.held.is_none() {
        member = with_aof(member);
    }
    match past.file {
        File::Whole => {}
        File::Old => member.memory.epoch = member.memory.epoch.map(|_| epoch(1)),
        File::Lost => member.memory = Memory::default(),
    }
    if past.restarted {
        member.memory.followed = member.memory.epoch.map(|epoch| Followed {
            master: Ordinal::ZERO,
            epoch,
            id: Some(id('c')),
            only_source: past.only_source,
        });
        member = member.server(|s| s.run_id = format!("{}-again", s.run_id));
    }
    match past.doing {
        Doing::Loads => {
            member.local = Local::Loading {
                run_id: format!("run-{ordinal}"),
            };
        }
        Doing::Unanswered(silence) => {
            member.local = Local::Unreachable {
                silence,
                why: "does not answer".to_owned(),
            };
        }
        Doing::Fenced | Doing::Follows(..) | Doing::Leads | Doing::AcceptsWrites => {}
    }
    member
}

/// A server with AOF that was started again: its ID is a fresh one, the state file vouches.
pub(super) fn with_aof(mut member: Member) -> Member {
    let fresh = Some(id('f'));
    member.memory.alias = Some(Alias {
        run_id: format!("run-{}", member.ordinal),
        id: fresh.clone(),
    });
    member.server(|s| {
        s.aof = true;
        s.id = fresh;
        s.offset = 0;
    })
}

/// Data that went on from the epoch before it.
fn descended(member: Member, counter: u64, end: Option<u64>) -> Member {
    let before = if counter == 2 { 'a' } else { 'b' };
    member
        .memory(|m| {
            m.lineage.insert(
                0,
                Ancestor {
                    id: id(before),
                    epoch: epoch(counter - 1),
                    end,
                    at_least: false,
                },
            );
        })
        .server(|s| {
            s.id2 = Some(id(before));
            s.id2_end = end;
        })
}

fn later(epoch: Option<Epoch>, more: u64) -> Option<Epoch> {
    match (epoch, more) {
        (epoch, 0) => epoch,
        (epoch, more) => Some(Epoch {
            counter: epoch.map_or(0, |e| e.counter) + more,
            granter: Ordinal::ZERO,
        }),
    }
}

/// The server's run, whatever its state.
pub(super) fn run_of(member: &Member) -> Option<String> {
    match &member.local {
        Local::Up(server) => Some(server.run_id.clone()),
        Local::Loading { .. } | Local::Unreachable { .. } => None,
    }
}
