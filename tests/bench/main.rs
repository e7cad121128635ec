//! `cargo bench`: the figures that podzero promises, each measured beside what people have today.
//!
//! Owns which figures there are, and the command line: `cargo bench -- NAME...` measures some of them,
//! and the word before a dash stands for all that begin with it (`failover`). Prints the whole table, and
//! writes it to `target/bench/` as `figures.md` and `figures.json`, with plots; figures that are not
//! measured now stay there as they were, each with its own date and commit.
//! A figure is a function that gives rows ([`report::Figure`]), in a file of its own. A goal that is
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
#[cfg_attr(
    test,
    allow(dead_code, unused_imports, reason = "its tests run in unit.rs")
)]
mod report;
mod sentinel;
mod start;
mod tell;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use harness::{Builder, Set};
use report::{Figure, File, Measured, Run};
use rustix::process::getpriority_process;
use tell::{note, say};

/// The binary under measurement; see [`build`].
const PODZERO: &str = env!("CARGO_BIN_EXE_podzero");

/// A figure by its name on the command line.
type Named = (&'static str, fn() -> Result<Figure>);

/// All figures, in the table's order.
const FIGURES: [Named; 10] = [
    ("start", start::figure),
    ("handover-one", handover::one),
    ("handover-eight", handover::eight),
    ("handover-service", handover::service::figure),
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = wanted(&arguments)?;
    let names = FIGURES.map(|(name, _)| name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    // What is missing is told before minutes are spent.
    harness::set::server_binary()?;
    let mut file = File::read(&folder)?;
    let run = machine::look(command(&arguments), asked_rounds());
    build()?;
    let outcome = wanted.into_iter().try_for_each(|(name, figure)| {
        let load = machine::load();
        let measured = Measured {
            name: name.to_owned(),
            figure: figure().with_context(|| format!("measuring {name}"))?,
            run: Run {
                at: machine::date(),
                load,
                ..run.clone()
            },
        };
        // What was measured is kept, whatever becomes of the rest.
        file.put(measured, &names);
        file.write(&folder, &run.versions, &names)
    });
    say(&file.text(&run.versions, &names));
    say(&format!("In {}.", folder.display()));
    outcome
}

/// The command that does the same again, at this priority. `cargo bench` adds `--bench`.
fn command(arguments: &[String]) -> String {
    let tried = asked_rounds().map(|rounds| format!("PODZERO_BENCH_ROUNDS={rounds} "));
    let names: Vec<_> = names(arguments).collect();
    let dashes = if names.is_empty() { "" } else { " -- " };
    let nice = getpriority_process(None).ok().filter(|nice| *nice != 0);
    let nice = nice.map(|nice| format!("nice -n {nice} "));
    let (tried, nice) = (tried.unwrap_or_default(), nice.unwrap_or_default());
    format!("{tried}{nice}cargo bench{dashes}{}", names.join(" "))
}

fn names(arguments: &[String]) -> impl Iterator<Item = &str> {
    arguments
        .iter()
        .map(String::as_str)
        .filter(|a| *a != "--bench")
}

/// The figures that the arguments name; all without any.
fn wanted(arguments: &[String]) -> Result<Vec<Named>> {
    let mut wanted = Vec::new();
    for name in names(arguments) {
        let is_meant = |known: &str| {
            let rest = known.strip_prefix(name);
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
    asked_rounds().map_or(usual, |asked| asked.min(usual))
}

fn asked_rounds() -> Option<usize> {
    let asked = std::env::var("PODZERO_BENCH_ROUNDS").ok();
    asked.and_then(|n| n.parse().ok()).filter(|n| *n > 0)
}

/// As for the image: see `docker/Dockerfile` and `tests/chart/image`, whose folder it shares.
const FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// Puts the binary that is shipped in the place of the one that cargo made for the benchmark: that one
/// has the features that the tests' dependencies ask of podzero's, and needs the system's libraries.
fn build() -> Result<()> {
    note("building what is shipped");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--release", "--locked"])
        .args(["--package", "podzero", "--bin", "podzero"])
        .args(["--target", &target, "--target-dir", "target/image"])
        .env("RUSTFLAGS", FLAGS)
        .current_dir(project);
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
    let shipped = project
        .join("target/image")
        .join(target)
        .join("release/podzero");
    // Not written over: cargo has another link to it.
    fs::remove_file(PODZERO).context("removing the benchmark's own podzero")?;
    fs::copy(shipped, PODZERO).context("copying podzero")?;
    Ok(())
}
