//! Samples of a duration, and what is told of them.

use std::time::Duration;

/// What was measured again and again.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// One more.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// All of another measurement of the same.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample, in milliseconds, that so many of a hundred do not exceed (nearest rank).
    pub(crate) fn percentile(&self, of_hundred: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * of_hundred).div_ceil(100);
        let sample = sorted.get(rank.saturating_sub(1)).copied();
        sample.unwrap_or_default().as_secs_f64() * 1000.0
    }

    /// `p50 / p99 / max` in milliseconds.
    pub(crate) fn text(&self) -> String {
        self.text_in(Duration::from_millis(1))
    }

    /// The same in another unit.
    pub(crate) fn text_in(&self, unit: Duration) -> String {
        let unit = unit.as_secs_f64() * 1000.0;
        [50, 99, 100]
            .map(|of_hundred| short(self.percentile(of_hundred) / unit))
            .join(" / ")
    }
}

/// A number with as many decimals as it deserves.
pub(crate) fn short(number: f64) -> String {
    if number >= 100.0 {
        format!("{number:.0}")
    } else if number >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}
