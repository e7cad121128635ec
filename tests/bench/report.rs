//! What the benchmark writes: the figures as data, as Markdown, as JSON and as plots. Measures nothing.
//!
//! `figures.json` is this data as it stands ([`File`]). A reader finds there
//!
//! ```text
//! {"schema": 1,
//!  "figures": [{
//!    "name": "start", "title": "...",            cargo bench -- NAME
//!    "run": {"at", "command", "rounds", "load",  UTC; `rounds` when it was only tried out
//!            "machine": {"processors", "processor", "memory", "kernel"},
//!            "versions": {"podzero", "commit", "server", "kubernetes"}},
//!    "rows": [{
//!      "what": "...", "unit": "ms",              empty for counts and ratios
//!      "ways": [{"who": "podzero", "goal": 20.0, the most; absent where nothing is promised
//!                "runs", "p50", "p99", "max", "samples"   the samples where they are few
//!                                                or, of what is one number, "value"
//!      }]}],
//!    "remarks": ["..."]}]}
//! ```
//!
//! A figure has its own run: the table can be measured in pieces, and a newer figure takes the place of
//! the older one of its name.

pub(crate) mod file;
mod markdown;
mod plot;
mod samples;
mod scale;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use samples::Samples;

/// Everything that was measured, each figure the last time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct File {
    /// [`file::SCHEMA`].
    pub(crate) schema: u32,
    /// In the table's order.
    pub(crate) figures: Vec<Measured>,
}

/// A figure and the run that it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// As on the command line.
    pub(crate) name: String,
    /// How it was measured.
    pub(crate) run: Run,
    /// What was measured.
    #[serde(flatten)]
    pub(crate) figure: Figure,
}

/// When, how and on what.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When the figure was done, in UTC.
    pub(crate) at: String,
    /// The command.
    pub(crate) command: String,
    /// How often at most each thing was done, when the benchmark was only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rounds: Option<usize>,
    /// The machine's load average when the figure was begun: what else went on there.
    pub(crate) load: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// What ran there.
    pub(crate) versions: Versions,
}

/// On what the figures were measured: without it they mean nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// How many processors there are.
    pub(crate) processors: usize,
    /// Their name.
    pub(crate) processor: String,
    /// `8 GiB`.
    pub(crate) memory: String,
    /// `Linux 6.18`.
    pub(crate) kernel: String,
}

/// The programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// podzero's.
    pub(crate) podzero: String,
    /// The commit that it was built from; `-dirty` when there was more than that.
    pub(crate) commit: String,
    /// The servers', which is Sentinel's too.
    pub(crate) server: String,
    /// The API server's, where there is a Lease.
    pub(crate) kubernetes: String,
}

/// What is measured, and what that is compared with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// One line: the subject, and how it is measured.
    pub(crate) title: String,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// What else is to be known; a sentence each.
    pub(crate) remarks: Vec<String>,
}

/// One thing, done in ways that are set side by side.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// Of all its numbers. Empty for counts and ratios; the others are plotted.
    pub(crate) unit: String,
    /// podzero comes first.
    pub(crate) ways: Vec<Way>,
}

/// Who did it, and how that went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Way {
    /// podzero, or what people have today.
    pub(crate) who: String,
    /// The measured value.
    #[serde(flatten)]
    pub(crate) value: Value,
    /// The most that was promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<f64>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// Again and again.
    Many(Spread),
    /// Once, or over the whole time.
    One {
        /// The number.
        value: f64,
    },
}

/// What many samples say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// How many there were.
    pub(crate) runs: usize,
    /// The median.
    pub(crate) p50: f64,
    /// See [`Samples::percentile`].
    pub(crate) p99: f64,
    /// The largest.
    pub(crate) max: f64,
    /// In the order in which they were measured; none where there are too many to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<f64>,
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::One { value }
    }
}

impl Row {
    /// A row without ways.
    pub(crate) fn new(what: impl Into<String>, unit: &str) -> Self {
        Self {
            what: what.into(),
            unit: unit.to_owned(),
            ways: Vec::new(),
        }
    }

    /// All ways of the same; the goal is podzero's, who comes first.
    pub(crate) fn of<T>(
        what: impl Into<String>,
        unit: &str,
        ways: &[(&str, T)],
        goal: Option<f64>,
        value: impl Fn(&T) -> Value,
    ) -> Self {
        let mut row = Self::new(what, unit);
        for (who, measured) in ways {
            row = row.way(who, value(measured));
        }
        if let Some(first) = row.ways.first_mut() {
            first.goal = goal;
        }
        row
    }

    /// One more way, of which nothing is promised.
    pub(crate) fn way(mut self, who: &str, value: impl Into<Value>) -> Self {
        self.ways.push(Way {
            who: who.to_owned(),
            value: value.into(),
            goal: None,
        });
        self
    }

    /// One more way, for which so much was promised at most.
    pub(crate) fn promised(self, who: &str, value: impl Into<Value>, most: f64) -> Self {
        let mut row = self.way(who, value);
        if let Some(way) = row.ways.last_mut() {
            way.goal = Some(most);
        }
        row
    }
}

impl Way {
    /// Whether the promise is kept: by the 99th percentile, or by the one number.
    fn is_met(&self) -> Option<bool> {
        let is = match &self.value {
            Value::Many(spread) => spread.p99,
            Value::One { value } => *value,
        };
        self.goal.map(|most| is <= most)
    }
}

/// A number with as many decimals as it deserves.
fn short(number: f64) -> String {
    if number >= 100.0 || number.fract() == 0.0 {
        format!("{number:.0}")
    } else if number >= 10.0 {
        format!("{number:.1}")
    } else if number >= 0.1 {
        format!("{number:.2}")
    } else {
        format!("{number:.3}")
    }
}
