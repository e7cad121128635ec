//! On what the figures were measured: without it they mean nothing.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use harness::process::run;

/// Three lines: podzero with its commit, the server, the machine. What is not known is left out.
pub(crate) fn describe() -> String {
    let project = env!("CARGO_MANIFEST_DIR");
    let commit = run(Command::new("git").args(["-C", project]).args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=9",
    ]));
    let server = harness::set::server_binary().and_then(|s| run(Command::new(s).arg("-v")));
    let server = server.unwrap_or_default();
    format!(
        "podzero {} {}\n{}\n{} x {}, Linux {}",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or_default().trim(),
        server.split(" sha=").next().unwrap_or_default(),
        available_parallelism().map_or(0, usize::from),
        processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
    )
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
