//! What was measured again and again, and what is told of it.

use std::time::Duration;

use super::{Spread, Value};

/// More are not kept one by one: their spread says what there is to say.
const FEW: usize = 500;

/// Samples in their row's unit.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// One more, of what is told in milliseconds.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.push(sample.as_secs_f64() * 1000.0);
    }

    /// One more.
    pub(crate) fn push(&mut self, sample: f64) {
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

    /// The smallest sample that so many of a hundred do not exceed (nearest rank). With fewer than a
    /// hundred samples the 99th is the largest.
    pub(crate) fn percentile(&self, of_hundred: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (sorted.len() * of_hundred).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

impl From<&Samples> for Value {
    fn from(samples: &Samples) -> Self {
        let few = samples.0.len() <= FEW;
        let kept = samples.0.iter().filter(|_| few).copied();
        Self::Many(Spread {
            runs: samples.len(),
            p50: rounded(samples.percentile(50)),
            p99: rounded(samples.percentile(99)),
            max: rounded(samples.percentile(100)),
            samples: kept.map(rounded).collect(),
        })
    }
}

/// To a thousandth, a microsecond mostly: more was not measured.
fn rounded(sample: f64) -> f64 {
    (sample * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(all: impl IntoIterator<Item = u32>) -> Samples {
        Samples(all.into_iter().map(f64::from).collect())
    }

    #[test]
    fn percentiles_are_samples_by_the_nearest_rank() {
        for (count, p50, p99, max) in [
            (1, 1.0, 1.0, 1.0),
            (2, 1.0, 2.0, 2.0),
            (3, 2.0, 3.0, 3.0),
            (50, 25.0, 50.0, 50.0),
            (99, 50.0, 99.0, 99.0),
            (100, 50.0, 99.0, 100.0),
            (101, 51.0, 100.0, 101.0),
            (1000, 500.0, 990.0, 1000.0),
        ] {
            // The largest comes first: their order says nothing.
            let samples = samples((1..=count).rev());
            let all = [50, 99, 100].map(|of_hundred| samples.percentile(of_hundred).to_bits());
            assert_eq!(all, [p50, p99, max].map(f64::to_bits), "of {count}");
        }
    }

    #[test]
    fn nothing_measured_is_no_panic() {
        assert_eq!(samples([]).percentile(99).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_duration_is_told_in_milliseconds() {
        let mut samples = Samples::default();
        samples.add(Duration::from_micros(1500));
        let Value::Many(spread) = Value::from(&samples) else {
            panic!("one number");
        };
        assert_eq!(format!("{:?}", spread.samples), "[1.5]");
    }

    #[test]
    fn many_samples_are_not_kept() {
        for (count, kept) in [(FEW, FEW), (FEW + 1, 0)] {
            let all = samples(0..u32::try_from(count).expect("few"));
            let Value::Many(spread) = Value::from(&all) else {
                panic!("one number");
            };
            assert_eq!((spread.runs, spread.samples.len()), (count, kept));
        }
    }
}
