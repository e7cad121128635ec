//! `cargo bench`: the figures that podzero promises, each measured beside what people have today.
//!
//! Owns which figures there are, and the command line: `cargo bench -- NAME...` measures some of them.
//! A figure is a function that gives rows ([`table::Figure`]), in a file of its own. A goal that is
//! missed is shown, not an error; what cannot be measured is one, with the command that helps.
//!
//! Real processes in the harness's network, so: root, and the parts that `tests/run` fetches.

mod binary;
mod handover;
mod idle;
mod machine;
mod probes;
mod sentinel;
mod start;
mod stats;
mod table;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use table::{Figure, note, say};

/// The binary under measurement; see [`build`].
const PODZERO: &str = env!("CARGO_BIN_EXE_podzero");

/// A figure by its name on the command line.
type Named = (&'static str, fn() -> Result<Figure>);

/// All figures, in the table's order.
const FIGURES: [Named; 5] = [
    ("start", start::figure),
    ("handover", handover::figure),
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
        let Some(figure) = FIGURES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = FIGURES.iter().map(|(known, _)| *known).collect();
            bail!(
                "no figure is called {name:?}; there are: {}",
                known.join(", ")
            );
        };
        wanted.push(*figure);
    }
    if wanted.is_empty() {
        wanted.extend(FIGURES);
    }
    Ok(wanted)
}

/// Puts the binary that is shipped in the place of the one that cargo made for the benchmark: that one
/// has the features that the tests' dependencies ask of podzero's, and is larger by them.
fn build() -> Result<()> {
    note("building the release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--bin", "podzero"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("running cargo build")?;
    ensure!(built.success(), "cargo build --release failed");
    Ok(())
}
