//! Which epochs are known in the set. Pure.

use crate::decide::{Local, PeerState, Silence, Snapshot, newest_epoch_of, ordinal_of};
use crate::observe::info::ServerRole;
use crate::report::Report;
use crate::state_file::Memory;
use crate::topology::{Epoch, Ordinal};

/// Takes over the newest epoch that anybody shows, unless a promotion of this member's own could
/// still contradict it: to show an epoch is to promise to obey nothing older.
pub(super) fn learn(snapshot: &Snapshot, memory: &mut Memory) {
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
