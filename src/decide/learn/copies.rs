//! What comes over a replica's link: when it is whole, and whose it is. Pure.

use super::{begin_history, cap, remember_position, unless_changed};
use crate::decide::{PeerState, Snapshot};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Ancestor, LinkState, Report, Role};
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
    let here = format!("{host}:{port}");
    if let Some(followed) = &mut memory.followed
        && memory.pointed_at.as_ref().is_some_and(|at| *at != here)
    {
        // Somebody else pointed it there, and what has come since is not known.
        followed.only_source = false;
    }
    let up = link == LinkState::Up;
    let shown = shown_source(snapshot, &here, memory, server).filter(|_| up);
    let source = shown.or_else(|| source(snapshot, &here, memory));
    if let Some(source) = &source {
        let goes_on = goes_on(memory, server);
        if goes_on || is_a_copy(snapshot, memory, server, source, up) {
            if !goes_on {
                memory.lineage.clear();
            }
            begin_at_least(memory, server, source.1);
            is_whole(memory, server, Some(source.1), source.0);
        }
    }
    let changed = !unless_changed(memory, server);
    match link {
        LinkState::Up => {
            let may_finish = !(memory.unfinished || changed) || !server.aof_rewriting;
            let master = followed_master(snapshot, server, host, port);
            if let Some(master) = master.filter(|_| may_finish) {
                finish(memory, server, master);
                memory.pointed_at = Some(format!("{host}:{port}"));
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

/// The one master that this member was told to follow, or was whole with, if the server is pointed where this
/// sidecar pointed it for that: what comes over that link is of its epoch, or of a newer one.
fn source(snapshot: &Snapshot, here: &str, memory: &Memory) -> Option<Source> {
    let (master, epoch) = match &memory.followed {
        Some(followed) => {
            let only = Some(followed).filter(|f| f.only_source)?;
            (only.master, only.epoch)
        }
        None => (memory.master?, memory.epoch?),
    };
    // An address can be another's by now.
    let peer = snapshot.peers.get(&master);
    let now = peer.and_then(|p| p.target.as_ref());
    let is_its = now.is_none_or(|(host, port)| format!("{host}:{port}") == here);
    let was_pointed = memory.pointed_at.as_deref() == Some(here);
    (is_its && was_pointed && master != snapshot.me).then_some((master, epoch))
}

/// Whom this member was told to follow, where that one's sidecar does not answer, and its server is the master of
/// the same history.
fn shown_source(
    snapshot: &Snapshot,
    here: &str,
    memory: &Memory,
    server: &ServerInfo,
) -> Option<Source> {
    let followed = memory.followed.as_ref()?;
    let PeerState::ServerOnly(there) = &snapshot.peers.get(&followed.master)?.state else {
        return None;
    };
    let same = there.role == ServerRole::Master && there.id.is_some() && there.id == server.id;
    let was_pointed = memory.pointed_at.as_deref() == Some(here);
    (same && was_pointed).then_some((followed.master, followed.epoch))
}

/// Whether the master goes on with this member's own data under another name: the server remembers under which
/// one it had that, which it does not after a full copy.
fn goes_on(memory: &Memory, server: &ServerInfo) -> bool {
    let known = memory.id.is_some() && memory.alias.is_none() && memory.epoch.is_some();
    known && memory.id == server.id2 && memory.id != server.id
}

/// Whether a full copy from there is loaded, and is what a restart would load: a replica's ID changes with that,
/// and not before. Whoever was whole with that one before may have got another's data through it.
fn is_a_copy(
    snapshot: &Snapshot,
    memory: &Memory,
    server: &ServerInfo,
    (master, epoch): &Source,
    up: bool,
) -> bool {
    let restarted = memory.alias.as_ref().is_some_and(|a| a.id == server.id);
    let is_new = server.id.is_some() && server.id != memory.id && !restarted;
    let told = memory.followed.is_some();
    let vouched = match snapshot.peers.get(master).map(|p| &p.state) {
        Some(PeerState::Answered(report)) if told => report.role != Role::Replica,
        Some(PeerState::Answered(report)) => {
            report.replication.id == server.id && !report.unfinished && report.epoch >= Some(*epoch)
        }
        Some(PeerState::ServerOnly(there)) => told || there.id == server.id,
        Some(PeerState::Missing | PeerState::Silent(_)) | None => true,
    };
    is_new && !server.aof_rewriting && (told || up) && vouched
}

/// The link is up to where it was made to, with the history that is known.
fn finish_without_report(memory: &mut Memory, server: &ServerInfo, source: &Source) {
    if memory.alias.is_none() {
        begin_at_least(memory, server, source.1);
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
            at_least: false,
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

/// The epoch of this history is not told by whoever leads in it.
fn begin_at_least(memory: &mut Memory, server: &ServerInfo, epoch: Epoch) {
    let told = memory.lineage.iter().any(|a| {
        let same = Some(&a.id) == server.id.as_ref() && a.epoch == epoch;
        same && !a.at_least
    });
    begin_history(memory, server, epoch);
    if let Some(last) = memory.lineage.last_mut() {
        last.at_least = !told;
    }
}
