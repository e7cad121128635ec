//! What is recorded of a run: every write and read of the clients, who accepted writes, and what the
//! members told of their epochs. Plain data; all times count from the beginning of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An epoch, in the order in which epochs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch {
    pub(crate) counter: u64,
    pub(crate) granter: u64,
}

impl fmt::Display for Epoch {
    /// As podzero writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.counter, self.granter)
    }
}

/// One run of one member's server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    pub(crate) ordinal: usize,
    /// Its address, for people.
    pub(crate) address: String,
    /// Its `run_id`, which no other start of a server has.
    pub(crate) run: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.run.get(..6).unwrap_or(&self.run);
        write!(f, "redis-{} ({}, run {run})", self.ordinal, self.address)
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server said that it is done.
    Acknowledged {
        server: Arc<Server>,
        /// The replication ID under which it was written.
        history: Arc<str>,
        /// The value that was the last of the writer's log just before; 0 for none.
        before: u64,
    },
    /// The server said that it is not done.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One write: the next number, at the end of the writer's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// Larger than all that this writer wrote before.
    pub(crate) value: u64,
    pub(crate) sent_at: Duration,
    pub(crate) done_at: Duration,
    pub(crate) outcome: Outcome,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, .. } = self;
        let (sent, done) = (self.sent_at.as_secs_f64(), self.done_at.as_secs_f64());
        write!(f, "{value}, sent at {sent:.3} s, at {done:.3} s ")?;
        match &self.outcome {
            Outcome::Acknowledged {
                server,
                history,
                before,
            } => {
                let history = history.get(..6).unwrap_or(history);
                write!(
                    f,
                    "acknowledged after {before} by {server} in history {history}"
                )
            }
            Outcome::Refused => write!(f, "refused"),
            Outcome::Unknown => write!(f, "not answered"),
        }
    }
}

/// One look at the ends of all logs, at a replica that had said that it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// Before the replica was asked whether it is ready.
    pub(crate) asked_at: Duration,
    pub(crate) done_at: Duration,
    pub(crate) server: Arc<Server>,
    /// The replication ID of its data.
    pub(crate) history: Arc<str>,
    /// What its server said of its link to the master.
    pub(crate) link: String,
    /// The last value of each writer's log; 0 for none.
    pub(crate) values: Vec<u64>,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, done) = (self.asked_at.as_secs_f64(), self.done_at.as_secs_f64());
        let history = self.history.get(..6).unwrap_or(&self.history);
        write!(
            f,
            "read from {} in history {history}, asked at {asked:.3} s, answered at {done:.3} s, link {}: {:?}",
            self.server, self.link, self.values
        )
    }
}

/// A server that accepted writes of one history: from the answer to the first one to the sending of
/// the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) server: Arc<Server>,
    pub(crate) history: Arc<str>,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.as_secs_f64(), self.to.as_secs_f64());
        let history = self.history.get(..6).unwrap_or(&self.history);
        write!(
            f,
            "{} in history {history} from {from:.3} s to {to:.3} s",
            self.server
        )
    }
}

impl Accepted {
    /// Whether both servers surely accepted writes at one moment.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.server.run != other.server.run && self.from.max(other.from) < self.to.min(other.to)
    }
}

/// A master as its own sidecar told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) pod: String,
    /// The run of its server.
    pub(crate) run: String,
    /// The run of the master that handed over to it with every write; none after a failover.
    pub(crate) took_over_from: Option<String>,
}

/// What members told in `/status`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Of which epochs a history is.
    pub(crate) epochs: BTreeMap<String, BTreeSet<Epoch>>,
    /// The master of each epoch.
    pub(crate) reigns: BTreeMap<Epoch, Reign>,
}

impl Told {
    /// In which epoch a history was written; none when nobody lived to tell.
    pub(crate) fn epoch(&self, history: &str) -> Option<Epoch> {
        self.epochs.get(history)?.first().copied()
    }
}

/// A handover of which its caller was told that it was done with every write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The run of the master that handed over.
    pub(crate) from: String,
    /// The new master's epoch, as podzero writes it.
    pub(crate) epoch: String,
}

/// What the master has when all is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Last {
    /// The replication ID.
    pub(crate) history: String,
    /// The histories that its data is made of.
    pub(crate) lineage: BTreeSet<String>,
    /// Each writer's log.
    pub(crate) logs: Vec<Vec<u64>>,
}

/// Everything of a run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Each writer's writes, in their order.
    pub(crate) writes: Vec<Vec<Write>>,
    pub(crate) reads: Vec<Read>,
    /// Whom the probes found accepting.
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) told: Told,
    pub(crate) claims: Vec<Claim>,
    pub(crate) last: Last,
}
