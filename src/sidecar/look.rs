//! One look at everything, and what is said of the peers in `/status`.

use super::Sidecar;
use super::lease::LeaseOfSet;
use crate::clock;
use crate::decide::ready::{followed, lag};
use crate::decide::{Authority, Local, PeerState, Snapshot};
use crate::observe::info::ServerRole;
use crate::report::{LinkState, PeerReport};

impl Sidecar {
    pub(super) async fn observe(&mut self, terminating: bool) -> Snapshot {
        let started_at = clock::now();
        let pointed_at = self.pointed_at.clone();
        let pace = self.pace();
        let (local, seen) = tokio::join!(
            self.server.look(),
            self.members
                .look(&self.ask, self.policy.replicas, pointed_at.as_deref(), pace)
        );
        self.pointed_at = match &local {
            Local::Up(server) => match &server.role {
                ServerRole::Replica { host, port, .. } => Some(format!("{host}:{port}")),
                ServerRole::Fenced | ServerRole::Master => None,
            },
            Local::Loading { .. } | Local::Unreachable { .. } => None,
        };
        Snapshot {
            started_at,
            process_started_at: self.started_at,
            me: self.ask.identity.pod.ordinal(),
            local,
            peers: seen.peers,
            own_name_resolves: seen.own_name_resolves,
            names_known: seen.names_known,
            masterless_since: self.masterless_since,
            declined: self.declined(started_at),
            terminating,
            resolve: self.resolve.as_ref().map(|(keep, _)| *keep),
            wish: self.run.as_ref().and_then(|run| run.wish(started_at)),
            authority: match &mut self.lease {
                Some(lease) => Authority::Lease(Box::new(lease.sight())),
                None => Authority::Ordinal,
            },
            replicas: self.lease.as_ref().and_then(LeaseOfSet::replicas),
            in_order: self.lease.as_ref().is_some_and(LeaseOfSet::is_in_order),
            had_master: self.had_master,
        }
    }

    /// How much of the master's history a replica lacks.
    pub(super) fn lag(&self, snapshot: &Snapshot) -> Option<u64> {
        match &snapshot.local {
            Local::Up(server) => match &server.role {
                ServerRole::Replica {
                    host,
                    port,
                    link: LinkState::Up,
                } => {
                    followed(snapshot, &format!("{host}:{port}")).and_then(|m| lag(&self.memory, m))
                }
                ServerRole::Replica { .. } | ServerRole::Fenced | ServerRole::Master => None,
            },
            Local::Loading { .. } | Local::Unreachable { .. } => None,
        }
    }

    pub(super) fn peers(&mut self, snapshot: &Snapshot) -> Vec<PeerReport> {
        let now = clock::unix_seconds();
        snapshot
            .peers
            .iter()
            .map(|(ordinal, peer)| {
                let report = match &peer.state {
                    PeerState::Answered(report) => Some(report),
                    PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
                };
                if report.is_some() {
                    self.answered_at.insert(*ordinal, now);
                }
                PeerReport {
                    pod: self.ask.identity.pod.sibling(*ordinal),
                    role: report.map(|r| r.role),
                    epoch: report.and_then(|r| r.epoch),
                    offset: report.map(|r| r.replication.offset),
                    answered_at: self.answered_at.get(ordinal).copied(),
                    failure: match &peer.state {
                        PeerState::Answered(_) => None,
                        PeerState::ServerOnly(server) => Some(format!(
                            "its sidecar does not answer; its server ({}) does",
                            server.version
                        )),
                        PeerState::Missing => Some("its name does not exist".to_owned()),
                        PeerState::Silent(why) => Some(why.clone()),
                    },
                }
            })
            .collect()
    }
}
