//! What comes over a replica's link: when it is whole, and whose it is. Pure.

use super::{begin_history, cap, remember_position, unless_changed};
use crate::decide::{PeerState, Snapshot};
use crate::observe::info::ServerInfo;
use crate::report::{Ancestor, LinkState, Report};
use crate::state_file::Memory;
use crate::topology::{Epoch, Ordinal};

/// The server follows another one.
pub(super) fn as_replica(
    snapshot: &Snapshot,
    memory: &mut Memory,
    server: &ServerInfo,
    host: &str,
    port: u16,
    link: LinkState,
) {
    let source = source(snapshot, host, port, memory);
    if let Some(source) = &source {
        goes_on(memory, server, source);
        copied(memory, server, source);
    }
    let changed = !unless_changed(memory, server);
    match link {
        LinkState::Up => {
            let may_finish = !(memory.unfinished || changed) || !server.aof_rewriting;
            let master = followed_master(snapshot, server, host, port);
            if let Some(master) = master.filter(|_| may_finish) {
                finish(memory, server, master);
            } else if let Some(source) = source.filter(|_| may_finish && !changed) {
                finish_without_report(memory, server, &source);
            }
        }
        LinkState::Syncing => memory.unfinished = true,
        LinkState::Down => {}
    }
}

/// A master, and the epoch that it leads in.
type Source = (Ordinal, Epoch);

/// The one master that this member was told to follow, or was whole with, if the server is pointed at it:
/// what comes over that link is of its epoch, or of a newer one, also when it follows another itself.
fn source(snapshot: &Snapshot, host: &str, port: u16, memory: &Memory) -> Option<Source> {
    let (master, epoch) = match &memory.followed {
        Some(followed) => {
            let only = Some(followed).filter(|f| f.only_source)?;
            (only.master, only.epoch)
        }
        None => (memory.master?, memory.epoch?),
    };
    let (to, at) = snapshot.peers.get(&master)?.target.as_ref()?;
    (to == host && *at == port).then_some((master, epoch))
}

/// The master goes on with this member's own data under another name: the server remembers under which one it
/// had that, which it does not after a full copy.
fn goes_on(memory: &mut Memory, server: &ServerInfo, source: &Source) {
    let known = memory.id.is_some() && memory.alias.is_none() && memory.epoch.is_some();
    if known && memory.id == server.id2 && memory.id != server.id {
        begin_history(memory, server, source.1);
        is_whole(memory, server, Some(source.1), source.0);
    }
}

/// A replica has another ID when a full copy is loaded, and not before: that one is whole, when it is also
/// what a restart would load.
fn copied(memory: &mut Memory, server: &ServerInfo, source: &Source) {
    let restarted = memory.alias.as_ref().is_some_and(|a| a.id == server.id);
    let is_new = server.id.is_some() && server.id != memory.id && !restarted;
    if is_new && !server.aof_rewriting {
        memory.lineage.clear();
        begin_history(memory, server, source.1);
        is_whole(memory, server, Some(source.1), source.0);
    }
}

/// The link is up to where it was made to, with the history that is known.
fn finish_without_report(memory: &mut Memory, server: &ServerInfo, source: &Source) {
    if memory.alias.is_none() {
        begin_history(memory, server, source.1);
        is_whole(memory, server, Some(source.1), source.0);
    }
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
    is_whole(memory, server, master.epoch, master.ordinal);
}

fn is_whole(memory: &mut Memory, server: &ServerInfo, epoch: Option<Epoch>, master: Ordinal) {
    memory.epoch = epoch;
    memory.master = Some(master);
    memory.unfinished = false;
    memory.alias = None;
    memory.followed = None;
    remember_position(memory, server);
}
