//! The decision core: a pure function from a snapshot, what is remembered, and the time, to one
//! action with its reasons.
//!
//! It does no I/O, reads no clock, logs nothing and cannot fail: everything that can fail is data in
//! the [`Snapshot`]. One turn of the loop is [`learn`] (what the snapshot teaches), then [`decide`],
//! then the action, which leaves no choice to make.
//!
//! | file | decides |
//! |---|---|
//! | [`learn`] | which history is loaded, which epoch it belongs to, which epochs are known |
//! | [`history`] | which of two members has the newer or the larger data |
//! | [`choice`] | whose data the set goes on with |
//! | [`grant`] | who may become the master (pod-0, or a person's word) |
//! | [`lease`] | the same with a Kubernetes Lease as the authority |
//! | [`handover`] | how the master hands the role to another member, both sides of it |
//! | [`adopt`] | whether a master that nobody granted becomes one of a new epoch |
//! | [`local`] | what this member's own server is told |
//! | [`own_report`] | what this member publishes of itself |
//! | [`ready`] | whether probes may call this member ready |

mod action;
pub mod adopt;
pub mod choice;
pub mod grant;
pub mod handover;
pub mod history;
pub mod learn;
pub mod lease;
pub mod local;
pub mod own_report;
pub mod ready;
mod reason;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use action::{Action, Decision};
use action::{act, wait};
pub use reason::Reason;

use crate::clock::Time;
use crate::observe::info::ServerInfo;
use crate::report::{Grant, Report, Role};
use crate::state_file::Memory;
use crate::topology::{Epoch, Ordinal, PodName, ServerAt};

/// How long a counted grant that was just read may be acted on. Long enough for a busy machine,
/// short enough that nobody has given up on the target meanwhile: peers are waited for minutes.
pub const GRANT_VALID: Duration = Duration::from_secs(5);

/// The local server at the time of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// It answered, with its data loaded.
    Up(ServerInfo),
    /// It reads its data; takes no commands.
    Loading {
        /// Its run.
        run_id: String,
    },
    /// It did not tell what it is.
    Unreachable {
        /// How far that is known.
        silence: Silence,
        /// In words.
        why: String,
    },
}

/// How the local server does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nothing listens there, and our own connection ended: the process is gone.
    Gone,
    /// It answers, and not what it is asked: it runs a script, or refuses the login or the certificate.
    Refuses,
    /// No answer: it may be anything, writable too.
    Hangs,
}

/// What a peer said, or why it said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerState {
    /// Its sidecar answered.
    Answered(Box<Report>),
    /// Its sidecar did not answer, its server did.
    ServerOnly(Box<ServerInfo>),
    /// Its name does not exist: the cluster's DNS said so.
    Missing,
    /// It could not be asked, or answered nonsense. Not knowing is not a no.
    Silent(String),
}

/// One peer at the time of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it said.
    pub state: PeerState,
    /// Since when it has been in this kind of state (answering, missing, silent).
    pub since: Time,
    /// Where servers are pointed at to follow it: host and port.
    pub target: Option<(String, u16)>,
    /// Where its server is reached.
    pub server: Option<ServerAt>,
    /// Its server's run id as read on its own Redis port in this snapshot, if it is a master there.
    pub verified_run: Option<String>,
    /// Why that could not be read.
    pub unverified: Option<String>,
    /// Its sidecar says that it is the master; its server, asked in this snapshot, says that it is not.
    pub demoted: bool,
}

/// Everything that one turn of the loop knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When looking began.
    pub started_at: Time,
    /// When this sidecar's process started.
    pub process_started_at: Time,
    /// This member.
    pub me: Ordinal,
    /// The local server.
    pub local: Local,
    /// Every other member that is expected or has been seen.
    pub peers: BTreeMap<Ordinal, Peer>,
    /// This pod's own stable name resolves.
    pub own_name_resolves: bool,
    /// DNS said how many members there are: the Service's name and the one after the last member's were
    /// answered, and not with an error.
    pub names_known: bool,
    /// Since when nobody has been seen to be the master.
    pub masterless_since: Time,
    /// Members that were granted the role a moment ago and declined.
    pub declined: BTreeSet<Ordinal>,
    /// This pod is being stopped.
    pub terminating: bool,
    /// A person asks to keep this member's data.
    pub resolve: Option<Ordinal>,
    /// The role is to leave this member.
    pub wish: Option<Wish>,
    /// Who may grant the role.
    pub authority: Authority,
    /// How many pods the set is to have, where Kubernetes said so.
    pub replicas: Option<u32>,
    /// Kubernetes starts the set's pods one after the other, as the `StatefulSet` says.
    pub in_order: bool,
    /// A master that held its grant has been seen since this process began.
    pub had_master: bool,
}

/// Who may grant the role, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// Pod-0, by what it publishes.
    Ordinal,
    /// The holder of the set's Lease.
    Lease(Box<lease::Sight>),
}

impl Authority {
    /// The word in `/status`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ordinal => "ordinal",
            Self::Lease(_) => "lease",
        }
    }

    /// The Lease, where it is the authority.
    pub fn lease(&self) -> Option<&lease::Sight> {
        match self {
            Self::Ordinal => None,
            Self::Lease(sight) => Some(sight),
        }
    }
}

/// A wish to hand the master role over, while its time lasts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// To whom; none for whoever is best.
    pub to: Option<Ordinal>,
    /// Who did not take it.
    pub tried: BTreeSet<Ordinal>,
    /// A person named the target, and the role does not go home from there.
    pub stays: bool,
    /// Since when.
    pub since: Time,
    /// From then on the member that was offered the role in this epoch is given up, if another one can
    /// take it and the server here is not fenced yet.
    pub patience: Option<(Epoch, Time)>,
}

/// The settings that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Members to expect at least, where it was set.
    pub replicas: Option<u32>,
    /// How long a missing name must be missing before a first boot goes on without it.
    pub discover: Duration,
    /// How long members that do not answer are waited for.
    pub peer_wait: Duration,
    /// How long a replica stays ready without its link.
    pub link_grace: Duration,
    /// How far behind a ready replica may be, in bytes.
    pub max_lag: Option<u64>,
    /// The Lease's times.
    pub lease: lease::Times,
}

/// The set as one turn sees it: this member's own report beside those of its peers.
#[derive(Debug)]
pub struct View<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// What is remembered.
    pub memory: &'a Memory,
    /// The settings.
    pub policy: &'a Policy,
    /// This member as the others see it.
    pub own: &'a Report,
}

impl<'a> View<'a> {
    /// The reports of everybody who answered, this member first.
    pub fn reports(&self) -> impl Iterator<Item = &'a Report> + use<'a> {
        let peers = self
            .snapshot
            .peers
            .values()
            .filter_map(|peer| match &peer.state {
                PeerState::Answered(report) => Some(report.as_ref()),
                PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
            });
        std::iter::once(self.own).chain(peers)
    }

    /// The name of one member's pod.
    pub fn pod(&self, ordinal: Ordinal) -> String {
        let set = self.own.pod.rsplit_once('-').map_or("", |(set, _)| set);
        format!("{set}-{ordinal}")
    }

    /// The report of one member.
    pub fn report(&self, ordinal: Ordinal) -> Option<&'a Report> {
        self.reports().find(|report| report.ordinal == ordinal)
    }

    /// The newest epoch that anybody who answered knows of.
    pub fn newest_epoch(&self) -> Option<Epoch> {
        self.reports()
            .filter_map(newest_epoch_of)
            .max()
            .max(self.memory.epoch_seen)
            .max(self.lease_epoch())
    }

    fn lease_epoch(&self) -> Option<Epoch> {
        self.snapshot.authority.lease()?.says()?.epoch
    }

    /// The master that holds the newest grant among those who answered, this member included.
    pub fn granted_master(&self) -> Option<&'a Report> {
        self.reports()
            .filter(|r| r.is_granted_master())
            .max_by_key(|r| r.epoch)
    }

    /// How many pods the set is to have, by the most that anybody says.
    pub fn replicas(&self) -> Option<u32> {
        self.policy.replicas.max(self.snapshot.replicas)
    }

    /// How long a member has been waited for: since it fell silent, and since there is a use for it.
    pub fn waited(&self, since: Time) -> Duration {
        let from = since.max(self.snapshot.masterless_since);
        self.snapshot.started_at.since(from)
    }

    /// The newest grant that anybody publishes.
    pub fn newest_grant(&self) -> Option<&'a Grant> {
        if let Authority::Lease(sight) = &self.snapshot.authority {
            return sight.grant.as_ref();
        }
        self.reports()
            .filter_map(|r| {
                r.authority
                    .grant
                    .as_ref()
                    .filter(|g| g.epoch.granter == r.ordinal)
            })
            .max_by_key(|g| g.epoch)
    }
}

/// The newest epoch that a report mentions.
pub fn newest_epoch_of(report: &Report) -> Option<Epoch> {
    report
        .epoch_seen
        .max(report.epoch)
        .max(report.authority.epoch)
        .max(report.authority.grant.as_ref().map(|g| g.epoch))
}

/// The ordinal in a pod's name; none for a name that is not one.
pub fn ordinal_of(pod: &str) -> Option<Ordinal> {
    pod.parse::<PodName>().ok().map(|pod| pod.ordinal())
}

/// Decides. `view.memory` must already have learnt from the snapshot.
pub fn decide(view: &View<'_>) -> Decision {
    let granting = match &view.snapshot.authority {
        Authority::Ordinal => grant::step(view),
        Authority::Lease(sight) => lease::step(view, sight),
    };
    let mut serving = local::step(view);
    // Fencing comes before everything else, and so does giving back what was raised: it must not wait
    // for a disk that is full. A change of what we publish comes before what rests on it; the own server
    // comes last.
    let fences = matches!(
        serving.action,
        Action::Fence | Action::FenceWhenNear { .. } | Action::FenceWhenEven { .. } | Action::Lower
    );
    let decision = if fences || granting.action == Action::Wait {
        let asked = view.snapshot.resolve.is_some() || view.snapshot.wish.is_some();
        if asked || waits_for_grant(&serving) {
            serving.reasons.splice(0..0, granting.reasons);
        } else {
            serving.reasons.extend(granting.reasons);
        }
        serving
    } else {
        Decision {
            action: granting.action,
            reasons: [granting.reasons, serving.reasons].concat(),
        }
    };
    let mut reasons = decision.reasons;
    let mut seen = Vec::new();
    reasons.retain(|reason| {
        let new = !seen.contains(reason);
        seen.push(reason.clone());
        new
    });
    Decision {
        action: decision.action,
        reasons,
    }
}

/// Whether what the own server waits for is the grant that the authority part speaks of.
fn waits_for_grant(serving: &Decision) -> bool {
    serving
        .reasons
        .iter()
        .all(|reason| matches!(reason, Reason::NoMaster { .. }))
}

/// Whether a role can hold data that is known.
pub(crate) fn answers_for_its_data(role: Role) -> bool {
    match role {
        Role::Master | Role::Replica | Role::Fenced => true,
        Role::Loading | Role::Unreachable => false,
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds;
