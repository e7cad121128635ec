//! How long to wait before asking again.
//!
//! The one file that imports `backoff`, which is no longer maintained: replacing it is a change of
//! this file alone. Owns delays, and neither sleeps nor asks.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// The longest delay while a name does not resolve: the cluster's DNS is shared by everybody.
pub const UNRESOLVED_CAP: Duration = Duration::from_secs(1);
/// The longest delay once it does: from here on only the member itself is asked.
pub const RESOLVED_CAP: Duration = Duration::from_millis(100);

/// Up to how much of an interval is added to it or taken from it. Half spreads members that were
/// started at the same moment without making one of them slow.
const JITTER: f64 = 0.5;

/// Growing, jittered delays without an end.
///
/// ```
/// use podzero::retry::Retry;
/// use std::time::Duration;
/// let mut retry = Retry::new(Duration::from_millis(10), Duration::from_millis(100));
/// assert!((0..50).all(|_| retry.next_delay() <= Duration::from_millis(100)));
/// ```
#[derive(Debug)]
pub struct Retry {
    backoff: ExponentialBackoff,
    cap: Duration,
}

impl Retry {
    /// Delays that begin near `initial` and never exceed `cap`.
    pub fn new(initial: Duration, cap: Duration) -> Self {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial)
            .with_randomization_factor(JITTER)
            .with_max_interval(below(cap))
            // By default it gives up after 15 minutes; when to stop is the caller's to say.
            .with_max_elapsed_time(None)
            .build();
        Self { backoff, cap }
    }

    /// The next delay, at most the cap: `backoff` adds its jitter after its own limit.
    pub fn next_delay(&mut self) -> Duration {
        self.backoff
            .next_backoff()
            .unwrap_or(self.cap)
            .min(self.cap)
    }

    /// Begins again with the first delay: something has changed.
    pub fn reset(&mut self) {
        self.backoff.reset();
    }

    /// Changes the longest delay, from the next one on.
    pub fn set_cap(&mut self, cap: Duration) {
        self.cap = cap;
        self.backoff.max_interval = below(cap);
        self.backoff.current_interval = self.backoff.current_interval.min(below(cap));
    }
}

/// The interval whose longest jittered delay is the cap. With the cap itself, half of all delays
/// would be cut to exactly the cap and members would fall into step.
fn below(cap: Duration) -> Duration {
    cap.div_f64(1.0 + JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn delays_grow_to_the_cap_and_never_past_it() {
        let mut retry = Retry::new(MS(10), MS(1000));
        assert!(retry.next_delay() <= MS(15));
        let delays: Vec<_> = (0..200).map(|_| retry.next_delay()).collect();
        assert!(delays.iter().all(|d| *d <= MS(1000)));
        assert!(
            delays[100..].iter().any(|d| *d > MS(700)),
            "{:?}",
            &delays[100..]
        );
        assert!(delays[100..].iter().any(|d| *d < MS(600)), "no jitter");
    }

    #[test]
    fn a_lower_cap_holds_at_once_and_a_reset_begins_again() {
        let mut retry = Retry::new(MS(10), MS(1000));
        for _ in 0..50 {
            retry.next_delay();
        }
        retry.set_cap(MS(100));
        assert!((0..50).all(|_| retry.next_delay() <= MS(100)));
        retry.reset();
        assert!(retry.next_delay() <= MS(15));
    }
}
