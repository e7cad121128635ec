//! The server was started again, or for the first time: what its data is. Pure.

use super::{begin_history, close_held, close_intent, leads, remember_position};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Ancestor, Even};
use crate::state_file::{Alias, Followed, Memory};
use crate::topology::{Epoch, Ordinal};

/// What it loaded decides, not what was remembered.
pub(super) fn new_run(me: Ordinal, memory: &mut Memory, server: &ServerInfo) {
    let was_master_without_backlog = memory.held.is_some() && !memory.backlog;
    let unseen = unseen_promotion(memory, server);
    close_held(memory);
    if memory
        .intent
        .as_ref()
        .is_some_and(|i| i.run_id != server.run_id)
    {
        close_intent(memory);
    }
    if memory
        .raised
        .as_ref()
        .is_some_and(|r| r.run_id != server.run_id)
    {
        memory.raised = None;
    }
    memory.alias = None;
    memory.run_id = Some(server.run_id.clone());
    let known = memory
        .lineage
        .iter()
        .position(|a| Some(&a.id) == server.id.as_ref());
    let followed = memory.followed.clone();
    let named = followed
        .clone()
        .filter(|f| f.id.is_some() && f.id == server.id);
    // The only one from whom a history that nobody remembers can have come.
    let alone = followed.filter(|f| f.only_source && goes_on(memory, server));
    if let Some(at) = known {
        memory.lineage.truncate(at + 1);
        memory.epoch = memory.lineage.last().map(|a| a.epoch);
        remember_position(memory, server);
        memory.unfinished = false;
    } else if let Some(named) = named {
        is_the_copy_from(&named, memory, server);
    } else if let Some((epoch, even)) = unseen {
        memory.was_even(even.as_ref());
        begin_history(memory, server, epoch);
        leads(me, memory, server, epoch);
    } else if let Some(alone) = alone {
        is_the_copy_from(&alone, memory, server);
    } else if (server.aof || was_master_without_backlog)
        && server.keys > 0
        && memory.epoch.is_some()
        && !memory.unfinished
    {
        // Neither AOF nor an RDB that was written without a backlog keeps the ID. The state file
        // lies beside the data and vouches for it; its offset is a lower bound.
        memory.alias = Some(Alias {
            run_id: server.run_id.clone(),
            id: server.id.clone(),
        });
    } else {
        memory.epoch = None;
        memory.lineage.clear();
        remember_position(memory, server);
        // An RDB is loaded whole or not at all. An AOF may be the one from before a copy that was
        // cut off, and nothing in it says so.
        memory.unfinished = memory.unfinished && server.aof && server.keys > 0;
        // What may be coming over a link already did not begin with this.
        if let Some(followed) = &mut memory.followed {
            followed.only_source = false;
        }
    }
    if server.role == ServerRole::Fenced {
        memory.followed = None;
    }
}

/// Whether a history that is not in the lineage can be one that came after it: it has a stream (a name that
/// the server made up at its start has none) that is no shorter than the recorded one. A file of long ago has
/// a shorter one. Streams of two histories need not compare; in doubt the history counts as unknown.
fn goes_on(memory: &Memory, server: &ServerInfo) -> bool {
    let is_new = memory.id != server.id && memory.epoch.is_none();
    !server.aof && server.offset > 0 && (is_new || server.offset >= memory.offset)
}

/// The copy had been saved before its end was seen here.
fn is_the_copy_from(followed: &Followed, memory: &mut Memory, server: &ServerInfo) {
    memory.epoch = Some(followed.epoch);
    memory.lineage.clear();
    memory.lineage.extend(server.id.clone().map(|id| Ancestor {
        id,
        epoch: followed.epoch,
        end: None,
        at_least: followed.id != server.id,
    }));
    memory.master = Some(followed.master);
    remember_position(memory, server);
    memory.unfinished = false;
}

/// A promotion of the run before that was done, or may have been, and of which nobody has seen what it made
/// of the data that is here now: AOF keeps every write and no ID, and an RDB may have been saved since. With
/// it, where both servers of a handover had the same.
fn unseen_promotion(memory: &Memory, server: &ServerInfo) -> Option<(Epoch, Option<Even>)> {
    let can_be_seen = server.aof || goes_on(memory, server);
    // One that follows somebody already may have that one's data.
    if server.keys == 0 || !can_be_seen || server.role != ServerRole::Fenced {
        return None;
    }
    if let Some(intent) = memory.intent.as_ref().filter(|i| i.run_id != server.run_id) {
        return match &intent.armed {
            None => Some((intent.epoch, None)),
            // A target that is not even yet has told its server nothing.
            Some(armed) => Some((intent.epoch, Some(armed.even.clone()?))),
        };
    }
    let held = memory.held.as_ref()?;
    let is_new = held.id.is_none() && Some(held.epoch) > memory.epoch;
    // A master that begins to feed replicas gives its history another name, too.
    (is_new || !server.aof && !memory.backlog).then_some((held.epoch, None))
}
