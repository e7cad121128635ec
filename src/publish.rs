//! What the loop publishes and everybody else only reads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::clock::{self, Time};
use crate::decide::ready::Condition;
use crate::metrics::Metrics;
use crate::report::Report;
use crate::topology::PodName;

/// A turn takes milliseconds, a few seconds when peers and the server do not answer. A loop that has
/// not turned for this long is stuck, and only a restart helps.
pub const TURN_LIMIT: Duration = Duration::from_secs(30);

/// What one turn of the loop found.
#[derive(Debug, Clone)]
pub struct Published {
    /// The `/status` document.
    pub report: Report,
    /// The conditions of readiness.
    pub conditions: Vec<Condition>,
}

/// A request that changes something; answered by the loop.
#[derive(Debug)]
pub enum Request {
    /// `podzero resolve --keep POD`.
    Resolve {
        /// The pod whose data the set keeps.
        keep: PodName,
        /// Done, or why not.
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// `podzero prestop`: this pod is about to be stopped.
    Prestop {
        /// What is told, from the first line on.
        reply: oneshot::Sender<watch::Receiver<Told>>,
    },
    /// `podzero failover [--to POD]`.
    Failover {
        /// The pod that is to be the master; none for whoever is best.
        to: Option<PodName>,
        /// What is told, from the first line on; or why it is not begun.
        reply: oneshot::Sender<Result<watch::Receiver<Told>, String>>,
    },
}

/// What the callers of a handover are told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// A line for each step.
    pub lines: Vec<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// How a handover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The role is where it should be, with every acknowledged write.
    Done,
    /// There was nothing to do.
    Nothing,
    /// It is not done; the last line says why.
    Failed,
    /// Another member is the master, and may lack writes that were acknowledged last.
    PossibleLoss,
}

impl Outcome {
    /// The word in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
            Self::PossibleLoss => "possible_loss",
        }
    }
}

/// One line of the answer to a command that takes its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A step.
    Step(String),
    /// The end.
    Outcome(Outcome),
}

/// What the HTTP servers need.
#[derive(Clone)]
pub struct Shared {
    /// The latest turn; none before the first.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// When the loop turned last.
    pub turned: Turned,
    /// After so long without a turn what was published is out of date: this process was paused, and a
    /// Lease may have run out meanwhile.
    pub valid: Duration,
    /// Requests to the loop.
    pub requests: mpsc::Sender<Request>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Wakes the loop: a peer waits for what this member shows next.
    pub wake: Arc<Notify>,
    /// The file with the token for handovers over TCP, where one was given.
    pub token_file: Option<PathBuf>,
}

/// The time of the loop's last turn, in milliseconds of the boot-time clock.
#[derive(Debug, Clone, Default)]
pub struct Turned(Arc<AtomicU64>);

impl Turned {
    /// The loop turned now.
    pub fn now(&self) {
        let millis = u64::try_from(clock::now().0.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// How long ago the loop turned; none before its first turn.
    pub fn ago(&self) -> Option<Duration> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis > 0).then(|| clock::now().since(Time(Duration::from_millis(millis))))
    }
}
