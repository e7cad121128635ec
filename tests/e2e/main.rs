//! End-to-end tests: the real binary, real servers, a real DNS server. Each is named after what
//! happened to people; `core_` marks those that run on every server version.

mod api_proxy;
mod away;
mod bad_input;
mod certificates;
mod chart;
mod cluster;
mod compose;
mod data;
mod dns;
mod epochs;
mod faults;
mod handover;
mod handover_callers;
mod handover_crashes;
mod handover_input;
mod handover_sets;
mod handover_slow;
mod handover_troubles;
mod hands;
mod itself;
mod kube_proxy;
mod lease;
mod lease_api;
mod lease_faults;
mod lease_handover;
mod lease_service;
mod migration;
mod model;
mod network;
mod passwords;
mod plain;
mod rendered;
mod secured;
mod start;
mod trouble;

use anyhow::{Result, ensure};
use harness::{Builder, Conn, Member, Set};

/// A set of three members.
fn set() -> Builder {
    Set::builder(env!("CARGO_BIN_EXE_podzero"))
}

/// A set whose servers save nothing by themselves.
fn unsaved() -> Builder {
    set().base("save \"\"")
}

/// Whether the servers are redis 6.0, which lacks some settings.
fn is_redis_6() -> bool {
    std::env::var("PODZERO_TEST_SERVER").is_ok_and(|s| s == "redis-6.0")
}

/// For what must not happen: nothing tells when it has not.
fn pause(seconds: u64) {
    harness::wait::pause(std::time::Duration::from_secs(seconds));
}

/// How often something is repeated: in the quick run, and in the long form (nextest's profile `full`).
fn repetitions(quick: usize, full: usize) -> usize {
    let long = std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| profile == "full");
    if long { full } else { quick }
}

fn connect(set: &Set, ordinal: usize) -> Result<Conn> {
    set.member(ordinal).connect()
}

/// Writes keys at the master and waits until everybody has them.
fn write_everywhere(set: &Set, master: usize, prefix: &str, count: usize) -> Result<()> {
    connect(set, master)?.fill(prefix, count)?;
    all_have(set, prefix, count)
}

/// Waits until every member has these keys.
fn all_have(set: &Set, prefix: &str, count: usize) -> Result<()> {
    for member in set.members() {
        set.wait_for(
            &format!("{} has {count} keys of {prefix}", member.pod()),
            || has(member, prefix, count),
        )?;
    }
    Ok(())
}

/// Starts a pod that was killed or deleted anew, with other addresses.
fn start_elsewhere(set: &mut Set, ordinal: usize) -> Result<()> {
    let addresses = set.new_addresses();
    set.member_mut(ordinal).move_to(addresses)?;
    set.member(ordinal).publish_name();
    set.member_mut(ordinal).start()
}

fn has(member: &Member, prefix: &str, count: usize) -> Result<()> {
    let found = member.connect()?.count(prefix)?;
    ensure!(
        found == count,
        "{} has {found} keys of {prefix}",
        member.pod()
    );
    Ok(())
}

/// The server refuses writes.
fn refuses_writes(member: &Member) -> Result<()> {
    let answer = member.connect()?.tell("SET must-not-be 1");
    let words = answer.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(
        words.contains("read only replica"),
        "{} accepted a write: {words}",
        member.pod()
    );
    Ok(())
}
