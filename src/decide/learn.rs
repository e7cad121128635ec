//! What a snapshot teaches: which history the server has loaded, what epoch it belongs to, and which
//! epochs are known in the set. Pure; the result is persisted before anything rests on it.

use super::own_report::role_of;
use super::{Local, PeerState, Silence, Snapshot, handover, newest_epoch_of, ordinal_of};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Ancestor, LinkState, Report};
use crate::state_file::{Alias, LINEAGE_KEPT, Memory};
use crate::topology::{Epoch, Ordinal};

/// The memory after this snapshot.
#[must_use]
pub fn learn(snapshot: &Snapshot, memory: &Memory) -> Memory {
    let mut memory = memory.clone();
    match &snapshot.local {
        Local::Up(server) => {
            if memory.run_id.as_deref() != Some(server.run_id.as_str()) {
                new_run(&mut memory, server);
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
    learn_epochs(snapshot, &mut memory);
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

/// The server was started (again): what it loaded decides, not what was remembered.
fn new_run(memory: &mut Memory, server: &ServerInfo) {
    let was_master_without_backlog = memory.held.is_some() && !memory.backlog;
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
    let followed = memory
        .followed
        .clone()
        .filter(|f| f.id.is_some() && f.id == server.id);
    if let Some(at) = known {
        memory.lineage.truncate(at + 1);
        memory.epoch = memory.lineage.last().map(|a| a.epoch);
        remember_position(memory, server);
        memory.unfinished = false;
    } else if let (Some(followed), Some(id)) = (followed, server.id.clone()) {
        // The copy from that master had been saved before its end was seen here.
        memory.epoch = Some(followed.epoch);
        memory.lineage = vec![Ancestor {
            id,
            epoch: followed.epoch,
            end: None,
        }];
        memory.master = Some(followed.master);
        remember_position(memory, server);
        memory.unfinished = false;
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
            close_held(memory);
            unless_changed(memory, server);
        }
        ServerRole::Replica { host, port, link } => {
            close_held(memory);
            let changed = !unless_changed(memory, server);
            match link {
                LinkState::Up => {
                    let may_finish = !(memory.unfinished || changed) || !server.aof_rewriting;
                    if may_finish
                        && let Some(master) = followed_master(snapshot, server, host, *port)
                    {
                        finish(memory, server, master);
                    }
                }
                LinkState::Syncing => memory.unfinished = true,
                LinkState::Down => {}
            }
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

fn as_master(me: Ordinal, memory: &mut Memory, server: &ServerInfo) {
    let Some(mut held) = memory.held.clone() else {
        return;
    };
    if held.id.is_some() && held.id != server.id && server.id2.is_some() && held.id == server.id2 {
        // Only a promotion shifts the ID so: somebody else's hand made it a replica and a master
        // again, and what happened in between is not known.
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
        server.id2.is_some() && ids.contains(&server.id2.as_ref())
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

/// The report of the granted master that the server's link is up to, when both have the same ID.
fn followed_master<'a>(
    snapshot: &'a Snapshot,
    server: &ServerInfo,
    host: &str,
    port: u16,
) -> Option<&'a Report> {
    snapshot.peers.values().find_map(|peer| match &peer.state {
        PeerState::Answered(report)
            if report.is_granted_master()
                && report.replication.id.is_some()
                && report.replication.id == server.id
                && peer
                    .target
                    .as_ref()
                    .is_some_and(|(h, p)| h == host && *p == port) =>
        {
            Some(report.as_ref())
        }
        PeerState::Answered(_)
        | PeerState::ServerOnly(_)
        | PeerState::Missing
        | PeerState::Silent(_) => None,
    })
}

/// The data is the master's.
fn finish(memory: &mut Memory, server: &ServerInfo, master: &Report) {
    memory.epoch = master.epoch;
    memory.master = Some(master.ordinal);
    memory.lineage.clone_from(&master.replication.lineage);
    if let (Some(id), Some(epoch)) = (server.id.clone(), master.epoch)
        && memory.lineage.last().is_none_or(|a| a.id != id)
    {
        memory.lineage.push(Ancestor {
            id,
            epoch,
            end: None,
        });
    }
    cap(&mut memory.lineage);
    memory.unfinished = false;
    memory.alias = None;
    memory.followed = None;
    remember_position(memory, server);
}

/// Takes over the newest epoch that anybody shows, unless a promotion of this member's own could
/// still contradict it: to show an epoch is to promise to obey nothing older.
fn learn_epochs(snapshot: &Snapshot, memory: &mut Memory) {
    let own = memory
        .epoch
        .max(memory.held.as_ref().map(|h| h.epoch))
        .max(memory.last_epoch);
    if own > memory.epoch_seen {
        memory.epoch_seen = own;
        memory.holder = memory.master;
    }
    let reports = snapshot
        .peers
        .values()
        .filter_map(|peer| match &peer.state {
            PeerState::Answered(report) => Some(report.as_ref()),
            PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
        });
    let lease = snapshot.authority.lease();
    let granted = lease.and_then(|sight| sight.grant.as_ref());
    let granted = granted.map(|grant| (grant.epoch, Some(grant.target)));
    let Some((epoch, holder)) = reports
        .filter_map(|r| newest_epoch_of(r).map(|epoch| (epoch, holder_in(r, epoch))))
        .chain(granted)
        .max_by_key(|(epoch, holder)| (*epoch, holder.is_some()))
    else {
        return;
    };
    if Some(epoch) == memory.epoch_seen && memory.holder.is_none() {
        memory.holder = holder;
    }
    if Some(epoch) <= memory.epoch_seen || !may_promise(snapshot, memory, holder) {
        return;
    }
    memory.epoch_seen = Some(epoch);
    memory.holder = holder;
}

/// Who holds an epoch according to a report.
fn holder_in(report: &Report, epoch: Epoch) -> Option<Ordinal> {
    match &report.authority.grant {
        Some(grant) if grant.epoch == epoch => Some(grant.target),
        _ if report.authority.epoch == Some(epoch) => {
            report.authority.holder.as_deref().and_then(ordinal_of)
        }
        _ if report.epoch == Some(epoch) => report.master.as_deref().and_then(ordinal_of),
        _ => None,
    }
}

/// Whether this member can promise to obey nothing older than a newer epoch.
fn may_promise(snapshot: &Snapshot, memory: &Memory, holder: Option<Ordinal>) -> bool {
    if memory.intent.is_some() {
        return false;
    }
    if holder == Some(snapshot.me) {
        return true;
    }
    match &snapshot.local {
        Local::Up(server) => server.role != ServerRole::Master,
        Local::Loading { .. }
        | Local::Unreachable {
            silence: Silence::Gone,
            ..
        } => true,
        // A server that cannot be asked may be writable; it must be fenced, or gone, first.
        Local::Unreachable {
            silence: Silence::Hangs | Silence::Refuses,
            ..
        } => memory.held.is_none(),
    }
}
