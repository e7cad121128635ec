//! What the loop publishes and everybody else only reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

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
}

/// What the HTTP servers need.
#[derive(Clone)]
pub struct Shared {
    /// The latest turn; none before the first.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// When the loop turned last.
    pub turned: Turned,
    /// Requests to the loop.
    pub requests: mpsc::Sender<Request>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
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
