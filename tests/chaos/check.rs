//! Judges a record: what must never be in it, and what is only counted. Pure.
//!
//! | file | says |
//! |---|---|
//! | `masters` | whether two servers accepted writes in one epoch |
//! | `losses` | which acknowledged writes are gone, and whether a failover explains it |
//! | `reads` | how old was what ready replicas showed |

mod losses;
mod masters;
mod reads;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::history::{Outcome, Record, Write};

/// So many of one kind are told in words.
const TOLD: usize = 5;

/// What a record comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What must not be, in words.
    pub(crate) violations: Vec<String>,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Acknowledged writes that are gone without a failover.
    pub(crate) lost_by_handovers: u64,
    /// Those that a failover explains.
    pub(crate) lost_by_failovers: u64,
    /// Masters that took over with every write, and all others but the first and those that went on.
    pub(crate) handovers: u64,
    pub(crate) failovers: u64,
    pub(crate) reads: u64,
    /// For how long at most a write had been acknowledged that a ready replica did not show, on the
    /// history that it had.
    pub(crate) stalest: Duration,
    /// That read.
    pub(crate) stalest_read: String,
    /// The same where the write was acknowledged by a later master.
    pub(crate) stalest_behind: Duration,
    /// The longest time without an acknowledged write of one writer.
    pub(crate) gap: Duration,
}

impl Findings {
    /// At most some of many.
    fn tell(&mut self, what: &str, all: &[String]) {
        let told = all.iter().take(TOLD).map(|one| format!("{what}: {one}"));
        self.violations.extend(told);
        if let Some(more) = all.len().checked_sub(TOLD).filter(|more| *more > 0) {
            self.violations.push(format!("{what}: {more} more"));
        }
    }
}

/// Judges everything. A ready replica may be behind for so long.
pub(crate) fn check(record: &Record, bound: Duration) -> Findings {
    let mut found = Findings::default();
    for write in record.writes.iter().flatten() {
        match &write.outcome {
            Outcome::Acknowledged { .. } => found.acknowledged += 1,
            Outcome::Refused => found.refused += 1,
            Outcome::Unknown => found.unknown += 1,
        }
    }
    // The first master of a set took the role from nobody.
    let reigns: Vec<_> = record.told.reigns.values().collect();
    for pair in reigns.windows(2) {
        if pair[1].took_over_from.is_some() {
            found.handovers += 1;
        } else if pair[1].run != pair[0].run {
            found.failovers += 1;
        }
    }
    found.gap = record
        .writes
        .iter()
        .map(|of| gap(of))
        .max()
        .unwrap_or_default();
    masters::check(record, &mut found);
    losses::check(record, &mut found);
    reads::check(record, bound, &mut found);
    if found.acknowledged == 0 || found.reads == 0 {
        let none = "no write was ever acknowledged, or no replica ever read".to_owned();
        found.violations.push(none);
    }
    found
}

fn is_acknowledged(write: &Write) -> bool {
    matches!(write.outcome, Outcome::Acknowledged { .. })
}

fn gap(writes: &[Write]) -> Duration {
    let acknowledged: Vec<&Write> = writes.iter().filter(|w| is_acknowledged(w)).collect();
    let gaps = acknowledged
        .windows(2)
        .map(|w| w[1].done_at.saturating_sub(w[0].done_at));
    gaps.max().unwrap_or_default()
}
