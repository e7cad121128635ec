//! `cargo bench`: the figures that podzero promises, each measured beside what people have today.
//!
//! Owns which figures there are, and the command line: `cargo bench -- NAME...` measures some of them,
//! and the word before a dash stands for all that begin with it (`failover`).
//! A figure is a function that gives rows ([`table::Figure`]), in a file of its own. A goal that is
//! missed is shown, not an error; what cannot be measured is one, with the command that helps.
//!
//! Real processes in the harness's network, so: root, and the parts that `tests/run` fetches.

#[path = "../e2e/api_proxy.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod api_proxy;
mod binary;
#[path = "../e2e/cluster.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod cluster;
#[path = "../e2e/epochs.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod epochs;
mod failover;
mod handover;
mod idle;
#[path = "../e2e/kube_proxy.rs"]
#[allow(dead_code, reason = "the tests of the Lease use the rest")]
mod kube_proxy;
mod machine;
mod probes;
mod sentinel;
mod start;
mod stats;
mod table;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use harness::{Builder, Set};
use table::{Figure, note, say};

/// The binary under measurement; see [`build`].
const PODZERO: &str = env!("CARGO_BIN_EXE_podzero");

/// A figure by its name on the command line.
type Named = (&'static str, fn() -> Result<Figure>);

/// All figures, in the table's order.
const FIGURES: [Named; 8] = [
    ("start", start::figure),
    ("handover", handover::figure),
    ("failover-server", failover::figure),
    ("failover-node", failover::node::figure),
    ("failover-requests", failover::requests::figure),
    ("idle", idle::figure),
    ("probes", probes::figure),
    ("binary", binary::figure),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nThe figures cannot be measured: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let wanted = wanted(std::env::args().skip(1))?;
    // What is missing is told before minutes are spent.
    harness::set::server_binary()?;
    build()?;
    let mut lines = vec![machine::describe(), table::head()];
    let outcome = wanted.into_iter().try_for_each(|(_, figure)| {
        lines.push(figure()?.text());
        Ok(())
    });
    // What was measured is shown, whatever became of the rest.
    say(&lines.join("\n"));
    outcome
}

/// The figures that the arguments name; all without any. `cargo bench` adds `--bench`.
fn wanted(arguments: impl Iterator<Item = String>) -> Result<Vec<Named>> {
    let mut wanted = Vec::new();
    for name in arguments.filter(|a| a != "--bench") {
        let is_meant = |known: &str| {
            let rest = known.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let before = wanted.len();
        wanted.extend(FIGURES.iter().filter(|(known, _)| is_meant(known)));
        if wanted.len() == before {
            let known: Vec<_> = FIGURES.iter().map(|(known, _)| *known).collect();
            bail!(
                "no figure is called {name:?}; there are: {}",
                known.join(", ")
            );
        }
    }
    if wanted.is_empty() {
        wanted.extend(FIGURES);
    }
    Ok(wanted)
}

/// A set of three members.
fn set() -> Builder {
    Set::builder(PODZERO)
}

/// How often something is done: so often, or, to try the benchmark out, `PODZERO_BENCH_ROUNDS` times.
fn rounds(usual: usize) -> usize {
    let asked = std::env::var("PODZERO_BENCH_ROUNDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Puts the binary that is shipped in the place of the one that cargo made for the benchmark: that one
/// has the features that the tests' dependencies ask of podzero's, and is larger by them.
fn build() -> Result<()> {
    note("building the release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--release", "--bin", "podzero"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells the benchmark of its package makes the build script of `ring` run again, and
    // most of podzero is compiled anew each time.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if told
            .iter()
            .any(|told| name.to_string_lossy().starts_with(told))
        {
            command.env_remove(name);
        }
    }
    let built = command.status().context("running cargo build")?;
    ensure!(built.success(), "cargo build --release failed");
    Ok(())
}
