//! What a member publishes of itself. Pure.

use super::lease::Sight;
use super::{Local, Silence, Snapshot};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{
    AuthorityReport, LinkState, ReplicationReport, Report, Role, SCHEMA, ServerReport,
};
use crate::state_file::Memory;
use crate::topology::{Identity, Ordinal};

/// A server's role in the set's words.
pub(super) fn role_of(server: &ServerInfo) -> Role {
    match server.role {
        ServerRole::Master => Role::Master,
        ServerRole::Fenced => Role::Fenced,
        ServerRole::Replica { .. } => Role::Replica,
    }
}

/// This member as the others see it. `ready`, `forgets`, `reasons` and `peers` are filled in by the
/// loop.
pub fn own_report(identity: &Identity, snapshot: &Snapshot, memory: &Memory) -> Report {
    let server = match &snapshot.local {
        Local::Up(server) => Some(server),
        Local::Loading { .. } | Local::Unreachable { .. } => None,
    };
    let role = match &snapshot.local {
        Local::Up(server) => role_of(server),
        Local::Loading { .. } => Role::Loading,
        Local::Unreachable { .. } => Role::Unreachable,
    };
    let ungranted = role == Role::Master && memory.held.is_none();
    let name = |ordinal: Ordinal| identity.pod.sibling(ordinal);
    let lease = snapshot.authority.lease();
    Report {
        schema: SCHEMA,
        pod: identity.pod.to_string(),
        uid: identity.uid.clone(),
        namespace: identity.namespace.clone(),
        service: identity.service.clone(),
        ordinal: identity.pod.ordinal(),
        announced: None,
        addresses: Vec::new(),
        role,
        empty: server.is_some_and(|s| s.keys == 0) && memory.last_epoch.is_none(),
        keys: server.map(|s| s.keys),
        unfinished: memory.unfinished,
        forgets: false,
        terminating: snapshot.terminating,
        gone: matches!(
            snapshot.local,
            Local::Unreachable {
                silence: Silence::Gone,
                ..
            }
        ),
        // What was just taken shows at once, before the next look.
        epoch: if role == Role::Master {
            memory.held.as_ref().map(|held| held.epoch)
        } else {
            memory.epoch
        },
        last_epoch: memory.last_epoch,
        epoch_seen: memory.epoch_seen,
        master: memory.master.filter(|_| memory.epoch.is_some()).map(name),
        ready: false,
        reasons: Vec::new(),
        authority: AuthorityReport {
            kind: snapshot.authority.as_str().to_owned(),
            holder: memory.holder.map(name),
            epoch: memory.epoch_seen,
            grant: memory.grant.clone(),
            intent: memory.intent.clone(),
            closed: memory.closed,
            took_over_from: memory.held.as_ref().and_then(|h| h.took_over_from.clone()),
            away_from: memory.held.as_ref().and_then(|h| h.away_from.clone()),
            lease: lease.and_then(Sight::version).cloned(),
            asks: lease.and_then(|sight| sight.promises.asks()),
            promise: lease.and_then(|sight| sight.promises.promise()),
        },
        replication: replication(server, memory, ungranted),
        peers: Vec::new(),
        server: server.map(|s| ServerReport {
            version: s.version.clone(),
            run_id: s.run_id.clone(),
        }),
    }
}

fn replication(server: Option<&ServerInfo>, memory: &Memory, ungranted: bool) -> ReplicationReport {
    let (link, following) = match server.map(|s| &s.role) {
        Some(ServerRole::Replica { host, port, link }) => {
            (Some(*link), Some(format!("{host}:{port}")))
        }
        Some(ServerRole::Fenced) => (Some(LinkState::Down), None),
        Some(ServerRole::Master) | None => (None, None),
    };
    let recorded = memory.alias.is_some() || server.is_none();
    ReplicationReport {
        id: match server {
            Some(server) if ungranted => server.id.clone(),
            _ => memory.id.clone(),
        },
        id2: server.and_then(|s| s.id2.clone()),
        id2_end: server.and_then(|s| s.id2_end),
        offset: match server {
            Some(server) if ungranted => server.offset,
            _ => memory.offset,
        },
        exact: !recorded,
        link,
        lag: None,
        following,
        lineage: memory.lineage.clone(),
        replicas: server.map(|s| s.replicas.clone()).unwrap_or_default(),
    }
}
