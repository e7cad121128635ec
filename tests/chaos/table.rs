//! The summary of runs, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::check::Findings;

/// What runs came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sum {
    pub(crate) runs: u64,
    /// How long the clients were at work.
    pub(crate) length: Duration,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) answers: BTreeMap<&'static str, u64>,
    pub(crate) found: Findings,
}

impl Sum {
    /// Adds other runs.
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            runs,
            length,
            faults,
            answers,
            found,
        } = other;
        self.runs += runs;
        self.length += length;
        for (kind, count) in faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (kind, count) in answers {
            *self.answers.entry(kind).or_default() += count;
        }
        let Findings {
            violations,
            acknowledged,
            refused,
            unknown,
            lost_by_handovers,
            lost_by_failovers,
            handovers,
            failovers,
            reads,
            stalest,
            stalest_read,
            stalest_behind,
            gap,
        } = found;
        let sum = &mut self.found;
        sum.violations.extend(violations);
        sum.acknowledged += acknowledged;
        sum.refused += refused;
        sum.unknown += unknown;
        sum.lost_by_handovers += lost_by_handovers;
        sum.lost_by_failovers += lost_by_failovers;
        sum.handovers += handovers;
        sum.failovers += failovers;
        sum.reads += reads;
        if stalest > sum.stalest {
            (sum.stalest, sum.stalest_read) = (stalest, stalest_read);
        }
        sum.stalest_behind = sum.stalest_behind.max(stalest_behind);
        sum.gap = sum.gap.max(gap);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings {
            violations,
            acknowledged,
            refused,
            unknown,
            lost_by_handovers,
            lost_by_failovers,
            handovers,
            failovers,
            reads,
            stalest,
            stalest_read,
            stalest_behind,
            gap,
        } = &self.found;
        let mut row = |what: &str, value: &str| writeln!(f, "{what:<52} {value:>10}");
        let seconds = |length: &Duration| format!("{:.1} s", length.as_secs_f64());
        row("runs", &self.runs.to_string())?;
        row("time with clients", &seconds(&self.length))?;
        let faults: u64 = self.faults.values().sum();
        row("faults", &faults.to_string())?;
        for (kind, count) in &self.faults {
            row(&format!("  {kind}"), &count.to_string())?;
        }
        let answers: u64 = self.answers.values().sum();
        row("commands and hooks", &answers.to_string())?;
        for (kind, count) in &self.answers {
            row(&format!("  {kind}"), &count.to_string())?;
        }
        row("masters by a handover", &handovers.to_string())?;
        row("masters by a failover", &failovers.to_string())?;
        row("writes acknowledged", &acknowledged.to_string())?;
        row(
            "  of them lost by handovers",
            &lost_by_handovers.to_string(),
        )?;
        row(
            "  of them lost by failovers",
            &lost_by_failovers.to_string(),
        )?;
        row("writes refused", &refused.to_string())?;
        row("writes not answered", &unknown.to_string())?;
        row("longest gap of a writer", &seconds(gap))?;
        row("reads from ready replicas", &reads.to_string())?;
        row("  stalest", &seconds(stalest))?;
        row("  the same, of a later master", &seconds(stalest_behind))?;
        row("violations", &violations.len().to_string())?;
        if stalest_read.is_empty() {
            return Ok(());
        }
        writeln!(f, "the stalest {stalest_read}")
    }
}
