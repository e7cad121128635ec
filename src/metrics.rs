//! The metrics, in `OpenMetrics` text: the one user of prometheus-client. No label has values that
//! grow without bound, and none is a secret.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::publish::{Outcome, Published};
use crate::report::{LinkState, Role};

type Labels = Vec<(&'static str, String)>;
type Unsigned = Gauge<i64>;

/// Everything that is counted and measured.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    role: Family<Labels, Unsigned>,
    ready: Unsigned,
    epoch: Unsigned,
    epoch_seen: Unsigned,
    reason: Family<Labels, Unsigned>,
    offset: Unsigned,
    lag: Unsigned,
    link_up: Unsigned,
    peer_up: Family<Labels, Unsigned>,
    /// Actions carried out, by their word.
    pub actions: Family<Labels, Counter<u64, AtomicU64>>,
    /// Actions that failed, by their word.
    pub action_errors: Family<Labels, Counter<u64, AtomicU64>>,
    /// Bytes of acknowledged writes that were given up to follow a newer history.
    pub lost_tail: Counter<u64, AtomicU64>,
    /// Handovers that ended, by how.
    handovers: Family<Labels, Counter<u64, AtomicU64>>,
    /// Until when certificates are valid, in seconds since 1970.
    certificates: Family<Labels, Unsigned>,
    /// State files that could not be written.
    pub state_file_errors: Counter<u64, AtomicU64>,
    /// Turns of the loop.
    pub turns: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("podzero");
        let metrics = Self {
            registry: Mutex::default(),
            role: Family::default(),
            ready: Gauge::default(),
            epoch: Gauge::default(),
            epoch_seen: Gauge::default(),
            reason: Family::default(),
            offset: Gauge::default(),
            lag: Gauge::default(),
            link_up: Gauge::default(),
            peer_up: Family::default(),
            actions: Family::default(),
            action_errors: Family::default(),
            lost_tail: Counter::default(),
            handovers: Family::default(),
            certificates: Family::default(),
            state_file_errors: Counter::default(),
            turns: Counter::default(),
        };
        registry.register(
            "role",
            "1 for the role that the local server has",
            metrics.role.clone(),
        );
        registry.register("ready", "1 when /readyz says ready", metrics.ready.clone());
        registry.register(
            "epoch_counter",
            "Counter of the epoch of the loaded history, 0 for none",
            metrics.epoch.clone(),
        );
        registry.register(
            "epoch_seen_counter",
            "Counter of the newest epoch known of, 0 for none",
            metrics.epoch_seen.clone(),
        );
        registry.register(
            "reason",
            "1 for each reason that holds now",
            metrics.reason.clone(),
        );
        registry.register(
            "replication_offset_bytes",
            "Replication offset of the local server",
            metrics.offset.clone(),
        );
        registry.register(
            "replication_lag_bytes",
            "Bytes behind what the master last published",
            metrics.lag.clone(),
        );
        registry.register(
            "link_up",
            "1 while the link to the master is up",
            metrics.link_up.clone(),
        );
        registry.register(
            "peer_up",
            "1 for each peer whose sidecar answers",
            metrics.peer_up.clone(),
        );
        registry.register("actions", "Actions carried out", metrics.actions.clone());
        registry.register(
            "action_errors",
            "Actions that failed",
            metrics.action_errors.clone(),
        );
        registry.register(
            "handovers",
            "Handovers from this member that ended, by their outcome",
            metrics.handovers.clone(),
        );
        registry.register(
            "lost_tail_bytes",
            "Bytes of writes given up to follow a newer history",
            metrics.lost_tail.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends: of the authority, podzero's own, and the one that the local server shows",
            metrics.certificates.clone(),
        );
        registry.register(
            "state_file_errors",
            "State files that could not be written",
            metrics.state_file_errors.clone(),
        );
        registry.register(
            "loop_turns",
            "Turns of the observe, decide, act loop",
            metrics.turns.clone(),
        );
        *metrics
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = registry;
        metrics
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Takes over what a turn published.
    pub fn observe(&self, published: &Published) {
        let report = &published.report;
        for role in [
            Role::Master,
            Role::Replica,
            Role::Fenced,
            Role::Loading,
            Role::Unreachable,
        ] {
            let labels = vec![("role", role.as_str().to_owned())];
            self.role
                .get_or_create(&labels)
                .set(i64::from(role == report.role));
        }
        self.ready.set(i64::from(report.ready));
        self.epoch
            .set(report.epoch.map_or(0, |e| number(e.counter)));
        self.epoch_seen
            .set(report.epoch_seen.map_or(0, |e| number(e.counter)));
        self.reason.clear();
        for reason in &report.reasons {
            self.reason
                .get_or_create(&vec![("code", reason.code.clone())])
                .set(1);
        }
        self.offset.set(number(report.replication.offset));
        self.lag.set(report.replication.lag.map_or(0, number));
        self.link_up
            .set(i64::from(report.replication.link == Some(LinkState::Up)));
        self.peer_up.clear();
        for peer in &report.peers {
            self.peer_up
                .get_or_create(&vec![("pod", peer.pod.clone())])
                .set(i64::from(peer.failure.is_none()));
        }
    }

    /// The text that `/metrics` answers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }

    /// A certificate, and until when it is valid.
    pub fn certificate(&self, of: &'static str, until: u64) {
        self.certificates
            .get_or_create(&vec![("of", of.to_owned())])
            .set(number(until));
    }

    /// A handover ended.
    pub fn handed_over(&self, outcome: Outcome) {
        self.handovers
            .get_or_create(&vec![("outcome", outcome.as_str().to_owned())])
            .inc();
    }

    /// An action was carried out, or failed.
    pub fn acted(&self, action: &str, done: bool) {
        let family = if done {
            &self.actions
        } else {
            &self.action_errors
        };
        family
            .get_or_create(&vec![("action", action.to_owned())])
            .inc();
    }
}
