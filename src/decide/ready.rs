//! Whether probes may call this member ready: one condition after the other. Pure.

use super::{Local, PeerState, Policy, Snapshot, View, handover};
use crate::clock::Time;
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{LinkState, Report};
use crate::state_file::Memory;

/// What readiness remembers between two turns; kept in memory only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadyMemory {
    /// The run of the server and the master for which the first sync was seen to its end.
    synced: Option<(String, String)>,
    /// Since when the link has not been up.
    link_down_at: Option<Time>,
}

/// One condition of readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name in `/readyz?verbose`.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What is not as it should be.
    pub message: String,
}

fn condition(name: &'static str, ok: bool, message: impl Into<String>) -> Condition {
    let message = if ok { String::new() } else { message.into() };
    Condition { name, ok, message }
}

/// The conditions; the member is ready when all hold.
pub fn conditions(view: &View<'_>, memory: &mut ReadyMemory) -> Vec<Condition> {
    let mut all = vec![condition(
        "not-terminating",
        !view.snapshot.terminating,
        "this pod is being stopped",
    )];
    match &view.snapshot.local {
        Local::Unreachable { why, .. } => {
            all.push(condition(
                "server",
                false,
                format!("the local server does not answer: {why}"),
            ));
        }
        Local::Loading { .. } => {
            all.push(condition(
                "server",
                false,
                "the local server is loading its data",
            ));
        }
        Local::Up(server) => {
            all.push(condition("server", true, ""));
            match &server.role {
                ServerRole::Master => {
                    let holds = view.memory.held.is_some() && view.memory.intent.is_none();
                    // The own handover takes nothing away until the target has armed itself, nor
                    // when it was called off.
                    let given = handover::own(view).is_some_and(|(grant, handover)| {
                        let armed = view
                            .report(grant.target)
                            .is_some_and(|t| handover::armed_for(t, grant.epoch));
                        Some(grant.epoch) == view.newest_epoch() && (handover.cancelled || !armed)
                    });
                    let held = view.memory.held.as_ref().map(|h| h.epoch);
                    let newer = !given && view.newest_epoch() > held;
                    all.push(condition(
                        "authority",
                        holds && !newer,
                        "accepts writes, but holds no grant of the newest epoch",
                    ));
                }
                ServerRole::Fenced => {
                    all.push(condition(
                        "role",
                        false,
                        "fenced: accepts no writes and follows nobody",
                    ));
                }
                ServerRole::Replica { host, port, link } => {
                    replica(
                        view,
                        memory,
                        server,
                        &format!("{host}:{port}"),
                        *link,
                        &mut all,
                    );
                }
            }
        }
    }
    all
}

fn replica(
    view: &View<'_>,
    memory: &mut ReadyMemory,
    server: &ServerInfo,
    target: &str,
    link: LinkState,
    all: &mut Vec<Condition>,
) {
    let master = followed(view.snapshot, target);
    let key = (server.run_id.clone(), target.to_owned());
    if link == LinkState::Up {
        memory.link_down_at = None;
        let online = master.is_some_and(|m| {
            m.replication
                .replicas
                .iter()
                .any(|r| r.state == "online" && is_us(view.own, r))
        });
        if online && !view.memory.unfinished {
            memory.synced = Some(key.clone());
        }
    } else if memory.link_down_at.is_none() {
        memory.link_down_at = Some(view.snapshot.started_at);
    }
    if link == LinkState::Syncing || view.memory.unfinished {
        memory.synced = None;
    }
    let synced = memory.synced.as_ref() == Some(&key);
    if let Some(sight) = view.snapshot.authority.lease() {
        let recorded = sight
            .says()
            .is_none_or(|s| s.members.contains(&view.own.pod));
        all.push(condition(
            "recorded",
            recorded,
            "the master has not recorded this member in the Lease yet, so it could not take the role",
        ));
    }
    all.push(condition("first-sync", synced, format!("the first full copy from {target} is not done, or the master has not called this replica online")));
    all.push(condition(
        "link",
        link_holds(view.snapshot, view.policy, memory),
        format!("the link to {target} has been down for longer than the grace"),
    ));
    let told_to_fence = view
        .memory
        .intent
        .as_ref()
        .is_some_and(|i| i.armed.is_none());
    all.push(condition("not-fencing", !told_to_fence, "is being fenced"));
    if let (Some(limit), Some(master)) = (view.policy.max_lag, master) {
        let behind = lag(view.memory, master);
        all.push(condition(
            "lag",
            behind.is_none_or(|b| b <= limit),
            format!(
                "is {} bytes behind its master, more than {limit}",
                behind.unwrap_or(0)
            ),
        ));
    }
}

fn link_holds(snapshot: &Snapshot, policy: &Policy, memory: &ReadyMemory) -> bool {
    memory
        .link_down_at
        .is_none_or(|at| snapshot.started_at.since(at) <= policy.link_grace)
}

/// The report of the member at the address that the server follows.
pub fn followed<'a>(snapshot: &'a Snapshot, target: &str) -> Option<&'a Report> {
    snapshot.peers.values().find_map(|peer| {
        let here = peer
            .target
            .as_ref()
            .is_some_and(|(h, p)| format!("{h}:{p}") == target);
        match &peer.state {
            PeerState::Answered(report) if here => Some(report.as_ref()),
            PeerState::Answered(_)
            | PeerState::ServerOnly(_)
            | PeerState::Missing
            | PeerState::Silent(_) => None,
        }
    })
}

/// Bytes behind what the master last published; none when they are on different histories.
pub fn lag(memory: &Memory, master: &Report) -> Option<u64> {
    (memory.id.is_some() && memory.id == master.replication.id)
        .then(|| master.replication.offset.saturating_sub(memory.offset))
}

fn is_us(own: &Report, replica: &crate::report::ReplicaReport) -> bool {
    own.announced
        .as_ref()
        .is_some_and(|(host, port)| *host == replica.host && *port == replica.port)
}
