//! What a snapshot teaches: which history the server has loaded, what epoch it belongs to, and which
//! epochs are known in the set. Pure; the result is persisted before anything rests on it.

mod copies;
mod epochs;
mod restart;

use super::own_report::role_of;
use super::{Local, Snapshot, handover};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::Ancestor;
use crate::state_file::{Held, LINEAGE_KEPT, Memory};
use crate::topology::{Epoch, Ordinal};

/// The memory after this snapshot.
#[must_use]
pub fn learn(snapshot: &Snapshot, memory: &Memory) -> Memory {
    let mut memory = memory.clone();
    match &snapshot.local {
        Local::Up(server) => {
            if memory.run_id.as_deref() != Some(server.run_id.as_str()) {
                restart::new_run(snapshot.me, &mut memory, server);
            }
            learn_promotion(snapshot.me, &mut memory, server);
            since_then(snapshot, &mut memory, server);
            // The connection of a command whose outcome is unknown is dropped, and a server answers a
            // new connection only after it has read what lay ready on the old one. So a server that
            // is no master now will not become one by that command.
            if server.role != ServerRole::Master {
                close_told(&mut memory);
            }
            memory.role = Some(role_of(server));
            memory.backlog = server.backlog;
        }
        Local::Loading { run_id } => {
            // Loading in a run that was already up means that a full copy arrived.
            if memory.run_id.as_deref() == Some(run_id.as_str()) {
                memory.unfinished = true;
            }
        }
        Local::Unreachable { .. } => {}
    }
    memory.by_lease = match snapshot.authority.lease() {
        Some(sight) => memory.by_lease || sight.is_ours() && sight.renewed.is_some(),
        None => false,
    };
    memory.last_epoch = memory.last_epoch.max(memory.epoch);
    epochs::learn(snapshot, &mut memory);
    memory
}

/// What was told to a server and is not so now will not come. A target that is only armed has told it
/// nothing yet.
fn close_told(memory: &mut Memory) {
    if memory.intent.as_ref().is_some_and(|i| i.armed.is_none()) {
        close_intent(memory);
    }
}

fn close_intent(memory: &mut Memory) {
    if let Some(intent) = memory.intent.take() {
        memory.closed = memory.closed.max(Some(intent.epoch));
    }
}

fn close_held(memory: &mut Memory) {
    if let Some(held) = memory.held.take() {
        memory.closed = memory.closed.max(Some(held.epoch));
    }
}

fn remember_position(memory: &mut Memory, server: &ServerInfo) {
    memory.id.clone_from(&server.id);
    memory.offset = server.offset;
}

/// What the server has done in this run.
fn since_then(snapshot: &Snapshot, memory: &mut Memory, server: &ServerInfo) {
    match &server.role {
        ServerRole::Master => as_master(snapshot.me, memory, server),
        ServerRole::Fenced => {
            led_until_now(snapshot.me, memory, server);
            close_held(memory);
            unless_changed(memory, server);
        }
        ServerRole::Replica { host, port, link } => {
            close_held(memory);
            copies::as_replica(snapshot, memory, server, host, *port, *link);
        }
    }
}

/// Keeps the position while the ID is the known one; says whether it is. A changed ID means that the
/// data is, or is about to be, another history's.
fn unless_changed(memory: &mut Memory, server: &ServerInfo) -> bool {
    let alias_holds = memory.alias.as_ref().is_some_and(|a| a.id == server.id);
    if alias_holds {
        return true;
    }
    if memory.id == server.id {
        // A link that was cut during a full copy leaves the offset of nothing (0).
        if server.offset > 0 || !memory.unfinished {
            memory.offset = server.offset;
        }
        return true;
    }
    memory.unfinished = true;
    false
}

/// It was stopped before anybody had looked at what it led with: that is of its epoch.
fn led_until_now(me: Ordinal, memory: &mut Memory, server: &ServerInfo) {
    let Some(held) = memory.held.clone() else {
        return;
    };
    // A master gives its history another name when its first replica comes, and not again.
    let copied = held.id.is_some() && held.id != server.id && memory.backlog;
    if copied || is_promoted_again(&held, server) {
        return;
    }
    if held.id != server.id {
        begin_history(memory, server, held.epoch);
    }
    leads(me, memory, server, held.epoch);
}

/// Only a promotion shifts the ID so: somebody else's hand made it a replica and a master again, and what
/// happened in between is not known.
fn is_promoted_again(held: &Held, server: &ServerInfo) -> bool {
    held.id.is_some() && held.id != server.id && held.id == server.id2
}

fn as_master(me: Ordinal, memory: &mut Memory, server: &ServerInfo) {
    let Some(mut held) = memory.held.clone() else {
        return;
    };
    if is_promoted_again(&held, server) {
        close_held(memory);
        return;
    }
    if held.id != server.id {
        held.id.clone_from(&server.id);
        begin_history(memory, server, held.epoch);
    }
    leads(me, memory, server, held.epoch);
    memory.held = Some(held);
}

/// A promotion that this member told and that was done, in time or not: what the server has written since
/// is of that epoch, also when it was stopped again. It is nobody else's to throw away.
fn learn_promotion(me: Ordinal, memory: &mut Memory, server: &ServerInfo) {
    let told = memory.intent.as_ref().filter(|_| memory.held.is_none());
    let Some(intent) = told.filter(|i| i.run_id == server.run_id) else {
        return;
    };
    let from_here = if let Some(armed) = &intent.armed {
        handover::was_promoted(intent, armed, server)
    } else {
        let alias = memory.alias.as_ref().and_then(|a| a.id.as_ref());
        let ids = [memory.id.as_ref(), alias];
        match &server.id2 {
            Some(id2) => ids.contains(&Some(id2)),
            // The first replica of a server without a backlog makes it forget that one.
            None => !matches!(server.role, ServerRole::Replica { .. }),
        }
    };
    let whole = !memory.unfinished && memory.epoch.is_some();
    let begun = server.id.is_some() && server.id != memory.id;
    if from_here && whole && begun {
        let epoch = intent.epoch;
        begin_history(memory, server, epoch);
        leads(me, memory, server, epoch);
    }
}

/// The server was promoted: its history goes on under another ID.
fn begin_history(memory: &mut Memory, server: &ServerInfo, epoch: Epoch) {
    if let Some(last) = memory.lineage.last_mut() {
        last.end = if Some(&last.id) == server.id2.as_ref() {
            server.id2_end
        } else {
            Some(memory.offset)
        };
    }
    if let Some(id) = server.id.clone() {
        memory.lineage.retain(|a| a.id != id);
        memory.lineage.push(Ancestor {
            id,
            epoch,
            end: None,
            at_least: false,
        });
    }
    cap(&mut memory.lineage);
}

fn leads(me: Ordinal, memory: &mut Memory, server: &ServerInfo, epoch: Epoch) {
    memory.epoch = Some(epoch);
    memory.master = Some(me);
    memory.unfinished = false;
    memory.alias = None;
    remember_position(memory, server);
}

fn cap(lineage: &mut Vec<Ancestor>) {
    let surplus = lineage.len().saturating_sub(LINEAGE_KEPT);
    lineage.drain(..surplus);
}
