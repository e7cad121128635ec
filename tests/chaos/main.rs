//! Chaos on real servers: random faults for a set time, with clients that remember everything, and a
//! checker that judges it afterwards.
//!
//!     cargo nextest run --test chaos                             two minutes
//!     PODZERO_CHAOS_SECONDS=3600 cargo nextest run --test chaos --profile full
//!     PODZERO_CHAOS_SEED=17 cargo nextest run --test chaos       the plan of a seed again
//!
//! The time is divided into runs, each with a set of its own and the seed after that of the run before;
//! even seeds have the ordinal authority, odd ones the Lease. A seed gives the same faults at the same
//! times, as far as a machine can; what servers and sidecars make of them is up to them.
//!
//! What must not be: an acknowledged write lost by a handover, or without any change of the master; two
//! servers that accept writes in one epoch; a ready replica that shows what is older than [`BOUND`]; a
//! set that does not come back. What a failover loses is counted.
//!
//! | file | is |
//! |---|---|
//! | `plan` | which faults, and when |
//! | `faults` | how they are done |
//! | `clients` | writers and readers |
//! | `watch` | who accepts writes, and what the members tell |
//! | `history` | what is recorded |
//! | `check` | what is judged |
//! | `table` | what is told |
//! | `run` | all of it |

#[path = "../e2e/api_proxy.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod api_proxy;
#[path = "../sim/chance.rs"]
#[allow(dead_code, reason = "the simulation uses the rest")]
mod chance;
mod check;
mod clients;
#[path = "../e2e/cluster.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod cluster;
#[path = "../e2e/epochs.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod epochs;
mod faults;
mod history;
#[path = "../e2e/kube_proxy.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod kube_proxy;
mod plan;
mod run;
mod table;
mod watch;

use std::time::Duration;

use anyhow::Result;
use harness::{Builder, Set};

/// How long a ready replica may not show what was acknowledged on its history: until its server notices
/// that nothing comes any more (`repl-timeout`, 4 s here, looked at once a second), then `--link-grace`
/// (2 s here); and since a sidecar counts in its turns, two of these, in which members that answer nobody
/// are waited for. That makes some 13 s; the rest is for a machine that does other things as well.
const BOUND: Duration = Duration::from_secs(25);

/// The longest run: histories are kept in memory.
const LONGEST: u64 = 180;

/// A set of three members, whose replicas notice within [`BOUND`] that they are cut off.
fn set() -> Builder {
    Set::builder(env!("CARGO_BIN_EXE_podzero"))
        .base("repl-timeout 4\nrepl-ping-replica-period 1")
        .env("PODZERO_GRACE", "20s")
        .sidecar_env("PODZERO_DRAIN", "300ms")
        .sidecar_env("PODZERO_LINK_GRACE", "2s")
        .sidecar_env("PODZERO_MAX_LAG", "65536")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Another one each time.
#[expect(clippy::disallowed_methods, reason = "no clock of podzero's")]
fn any_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs() % 1_000_000 * 100)
}

#[test]
fn random_faults_on_real_servers_break_no_promise() -> Result<()> {
    let seed = number("PODZERO_CHAOS_SEED").unwrap_or_else(any_seed);
    let seconds = number("PODZERO_CHAOS_SECONDS").unwrap_or(120);
    // Both authorities get the same.
    let pairs = seconds.div_ceil(2 * LONGEST).max(1);
    let length = Duration::from_secs(seconds) / u32::try_from(2 * pairs)?;
    println!(
        "PODZERO_CHAOS_SEED={seed}, {} runs of {length:?}",
        2 * pairs
    );
    let mut sum = table::Sum::default();
    for seed in seed..seed + 2 * pairs {
        println!("seed {seed}: {:?}", run::authority(seed));
        match run::run(seed, length) {
            Ok(run) => sum.add(run),
            Err(error) => {
                println!("before that run:\n{sum}");
                return Err(error);
            }
        }
    }
    println!("{sum}");
    Ok(())
}
