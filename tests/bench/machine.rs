//! When, by which command and on what the figures are measured. What is not known is left empty.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use harness::process::run;

use crate::cluster::part;
use crate::report::{Machine, Run, Versions};

/// Everything that stays as it is while figures are measured.
pub(crate) fn look(command: String, rounds: Option<usize>) -> Run {
    let project = env!("CARGO_MANIFEST_DIR");
    let commit = run(Command::new("git").args(["-C", project]).args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=9",
    ]));
    let server = harness::set::server_binary().and_then(|s| run(Command::new(s).arg("-v")));
    let api = part("kubernetes-1.20", "kube-apiserver");
    let kubernetes = api.and_then(|api| run(Command::new(api).arg("--version")));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Run {
        at: String::new(),
        command,
        rounds,
        load: String::new(),
        machine: Machine {
            processors: available_parallelism().map_or(0, usize::from),
            processor: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            memory: memory().unwrap_or_default(),
            kernel: format!("Linux {}", kernel.trim()),
        },
        versions: Versions {
            podzero: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit.unwrap_or_default().trim().to_owned(),
            server: server
                .ok()
                .and_then(|said| named_version(&said))
                .unwrap_or_default(),
            kubernetes: kubernetes.unwrap_or_default().trim().to_owned(),
        },
    }
}

/// Now, in UTC.
pub(crate) fn date() -> String {
    let date = run(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]));
    date.unwrap_or_default().trim().to_owned()
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Of `Redis server v=7.0.15 sha=...`.
fn named_version(said: &str) -> Option<String> {
    let (name, rest) = said.split_once(" server v=")?;
    let version = rest.split_whitespace().next()?;
    Some(format!("{} {version}", name.to_ascii_lowercase()))
}

/// `8 GiB`.
fn memory() -> Option<String> {
    let text = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kibibytes / f64::from(1 << 20)))
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
