//! What a member tells the others and people: the `/status` document.
//!
//! Owns the schema. The same type is written by a member's sidecar and read by its peers', so two
//! releases can run side by side: fields are only ever added, readers ignore what they do not know,
//! and a [`SCHEMA`] that is newer than the reader's is refused by the reader, never guessed at.

use serde::{Deserialize, Serialize};

use crate::topology::{Epoch, Ordinal, ReplicationId};

/// The version of the `/status` document and of the state file.
pub const SCHEMA: u32 = 1;

/// What a member's server is to the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Accepts writes.
    Master,
    /// Configured to follow a server.
    Replica,
    /// Loaded its data, accepts no write, feeds no replica.
    Fenced,
    /// Reading its data from disk or from a master.
    Loading,
    /// Its sidecar cannot reach it.
    Unreachable,
}

impl Role {
    /// The word in `/status`, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
            Self::Fenced => "fenced",
            Self::Loading => "loading",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The state of a replica's link to its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Connected; the first sync is done.
    Up,
    /// Not connected.
    Down,
    /// Receiving a full copy.
    Syncing,
}

/// Permission for one member to be the master, published by the member that grants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The epoch that begins with it. Its granter is the publisher.
    pub epoch: Epoch,
    /// The ordinal of the member that may become the master.
    pub target: Ordinal,
    /// Whether every member that answers has shown this epoch as `epoch_seen`. The target obeys
    /// only then.
    pub counts: bool,
    /// A person's decision (`podzero resolve`) instead of the authority's own.
    #[serde(default)]
    pub by_hand: bool,
    /// The granter is the master and hands the role over: the target takes it when it has everything.
    #[serde(default)]
    pub handover: Option<Handover>,
}

/// What makes a grant a handover. Its granter is the master that hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The run of the granter's server. Another run has forgotten what it acknowledged last.
    pub run_id: String,
    /// The granter asks for the grant back: a target that can still decline declines.
    #[serde(default)]
    pub cancelled: bool,
    /// A person sent the role away from home: the run of pod-0's server at that time. The role goes
    /// home only when pod-0 has another one.
    #[serde(default)]
    pub away_from: Option<String>,
}

/// A promotion that this member has begun and whose outcome it does not know yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The epoch of the grant that is being carried out.
    pub epoch: Epoch,
    /// The run id of the server that was told.
    pub run_id: String,
    /// Set while the target of a handover waits for its moment: the server was not told yet.
    #[serde(default)]
    pub armed: Option<Armed>,
}

/// A target that is ready to take the role the moment it has everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// The master that hands over.
    pub from: Ordinal,
    /// Its grant's handover.
    pub handover: Handover,
    /// Set just before the server is told: what both servers had then. A server that was promoted
    /// from there has everything, whatever becomes of the other one.
    #[serde(default)]
    pub even: Option<Even>,
}

/// Where two servers had exactly the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Even {
    /// The history's replication ID.
    pub id: ReplicationId,
    /// Its offset.
    pub offset: u64,
}

/// One step in the descent of a member's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The history's replication ID.
    pub id: ReplicationId,
    /// The epoch in which it was written.
    pub epoch: Epoch,
    /// The offset at which the data went on under the next ID; none while it is the current one,
    /// or where nobody saw the change.
    #[serde(default)]
    pub end: Option<u64>,
    /// The epoch is only a lower bound: where this was followed from tells no more, and nobody has said it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
}

/// `authority` of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityReport {
    /// `ordinal` or `lease`.
    pub kind: String,
    /// The pod that holds the newest grant known here.
    pub holder: Option<String>,
    /// The epoch of that grant.
    pub epoch: Option<Epoch>,
    /// The grant that this member publishes.
    #[serde(default)]
    pub grant: Option<Grant>,
    /// The promotion under way here.
    #[serde(default)]
    pub intent: Option<Intent>,
    /// The newest epoch that was granted to this member and that it will not carry out (again).
    #[serde(default)]
    pub closed: Option<Epoch>,
    /// On a master that took the role in a handover, with everything that the master before it had:
    /// the run of that one's server.
    #[serde(default)]
    pub took_over_from: Option<String>,
    /// On a master: the run of pod-0's server for which the role does not go home.
    #[serde(default)]
    pub away_from: Option<String>,
    /// The version of the Lease as it was last read here.
    #[serde(default)]
    pub lease: Option<String>,
    /// What the holder asks while it cannot renew the Lease.
    #[serde(default)]
    pub asks: Option<Asks>,
    /// What this member promised.
    #[serde(default)]
    pub promise: Option<Promise>,
}

/// A question of the holder of the Lease in an outage of the Kubernetes API: whether the others promise
/// not to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// Grows with each question.
    pub number: u64,
}

/// This member neither takes the Lease nor follows another for one duration from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// To whom.
    pub holder: String,
    /// The epoch that it holds.
    pub epoch: Epoch,
    /// The question that is answered.
    pub number: u64,
}

/// One replica as its master sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The announced address.
    pub host: String,
    /// The announced port.
    pub port: u16,
    /// `wait_bgsave`, `send_bulk`, `online` and the like, as the server says.
    pub state: String,
    /// The offset that the replica acknowledged.
    pub offset: u64,
}

/// `replication` of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationReport {
    /// The replication ID of the data. After a restart with AOF, which does not keep the ID, the one
    /// recorded before it.
    pub id: Option<ReplicationId>,
    /// The ID before the last promotion.
    pub id2: Option<ReplicationId>,
    /// The offset up to which `id2` is a prefix of `id`.
    #[serde(default)]
    pub id2_end: Option<u64>,
    /// Bytes of the replication stream in the data. Comparable only under the same `id`.
    pub offset: u64,
    /// False when `id` and `offset` come from the state file (AOF): the offset is a lower bound.
    #[serde(default = "yes")]
    pub exact: bool,
    /// The link to the master; none on a master.
    pub link: Option<LinkState>,
    /// Bytes behind what the master last published; none when that is unknown.
    pub lag: Option<u64>,
    /// The address that the server follows, as it says.
    #[serde(default)]
    pub following: Option<String>,
    /// The histories of which the data is made, oldest first.
    #[serde(default)]
    pub lineage: Vec<Ancestor>,
    /// The replicas that are attached.
    #[serde(default)]
    pub replicas: Vec<ReplicaReport>,
}

fn yes() -> bool {
    true
}

/// `server` of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// `redis 7.0.15`, `valkey 8.1.1`.
    pub version: String,
    /// Changes with each start of the server.
    pub run_id: String,
}

/// One peer as this member sees it: `peers` of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The peer's pod name.
    pub pod: String,
    /// Its role, when it answered.
    pub role: Option<Role>,
    /// Its epoch, when it answered.
    pub epoch: Option<Epoch>,
    /// Its offset, when it answered.
    pub offset: Option<u64>,
    /// When it last answered, in seconds since 1970.
    pub answered_at: Option<u64>,
    /// Why it does not answer now.
    pub failure: Option<String>,
}

/// Why something waits or is refused, in the same words everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonReport {
    /// A stable word for machines: the metric's label.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// The `/status` document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The pod's name.
    pub pod: String,
    /// Its UID, where known.
    pub uid: Option<String>,
    /// Its namespace: pods of other namespaces may have the same name.
    pub namespace: String,
    /// The headless Service of its set.
    pub service: String,
    /// Its ordinal.
    pub ordinal: Ordinal,
    /// The address and port that its server announces to its master.
    #[serde(default)]
    pub announced: Option<(String, u16)>,
    /// The pod's addresses.
    #[serde(default)]
    pub addresses: Vec<std::net::IpAddr>,
    /// What its server is.
    pub role: Role,
    /// No keys and no history.
    pub empty: bool,
    /// Keys in all databases of its server; none while that cannot be asked.
    #[serde(default)]
    pub keys: Option<u64>,
    /// Its data is between two histories: not a candidate.
    pub unfinished: bool,
    /// It cannot write its state file: it promises nothing, and is promoted and pointed nowhere.
    #[serde(default)]
    pub forgets: bool,
    /// It is being stopped: refuses promotion.
    pub terminating: bool,
    /// Its server's process is gone: nothing listens there, and its connection to the sidecar ended.
    #[serde(default)]
    pub gone: bool,
    /// The epoch of the history that its server has loaded.
    pub epoch: Option<Epoch>,
    /// The newest epoch of any history that was whole here, also when that data is gone.
    #[serde(default)]
    pub last_epoch: Option<Epoch>,
    /// The newest epoch that it knows of. It obeys nothing older.
    pub epoch_seen: Option<Epoch>,
    /// The pod that it takes for the master.
    pub master: Option<String>,
    /// What `/readyz` answers.
    pub ready: bool,
    /// What it waits for or refuses, and why it is not ready.
    pub reasons: Vec<ReasonReport>,
    /// Who may be the master.
    pub authority: AuthorityReport,
    /// The data and its link.
    pub replication: ReplicationReport,
    /// The other members.
    pub peers: Vec<PeerReport>,
    /// The server, when it has been reached.
    pub server: Option<ServerReport>,
}

impl Report {
    /// Its server has loaded what there is, and there is nothing: no key, and no history that is known.
    pub fn is_bare(&self) -> bool {
        self.keys == Some(0) && self.epoch.is_none() && !self.unfinished
    }

    /// Whether it accepts writes, and nobody granted that: its own sidecar shows no epoch then.
    pub fn is_hands_master(&self) -> bool {
        self.role == Role::Master && self.epoch.is_none()
    }

    /// Whether the member is a master that holds the grant of its epoch.
    pub fn is_granted_master(&self) -> bool {
        self.role == Role::Master
            && self.epoch.is_some()
            && self.authority.epoch == self.epoch
            && self.authority.holder.as_deref() == Some(self.pod.as_str())
    }
}
