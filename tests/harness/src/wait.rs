//! Waiting for conditions. The one place of the harness that reads a clock or sleeps.

use std::time::{Duration, Instant};

use anyhow::{Error, Result};

/// How long tests wait for what should be there soon: generous, the machine may be busy.
pub const SOON: Duration = Duration::from_secs(45);

/// The time between two looks at a condition.
const STEP: Duration = Duration::from_millis(25);

/// A point in time, for limits and for the observer.
#[expect(clippy::disallowed_methods, reason = "the one clock of the harness")]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets some time pass. Never for a result: see [`wait_until`].
#[expect(
    clippy::disallowed_methods,
    reason = "the harness has a thread to block"
)]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Looks until `condition` gives a value. The error names what was awaited and what the last look
/// found.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= limit => {
                return Err(Error::msg(format!(
                    "waited {limit:?} in vain: {what}; at last: {last:#}"
                )));
            }
            Err(_) => pause(STEP),
        }
    }
}

/// Looks for a while at something that must stay as it is; an error ends it at once.
pub fn stays(what: &str, length: Duration, mut claim: impl FnMut() -> Result<()>) -> Result<()> {
    let start = now();
    while start.elapsed() < length {
        claim().map_err(|error| {
            let after = start.elapsed();
            error.context(format!("did not stay so (after {after:?}): {what}"))
        })?;
        pause(STEP);
    }
    Ok(())
}
