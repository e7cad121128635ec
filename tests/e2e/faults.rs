//! A handover in which a sidecar dies, or stops for a while, at each step (`src/fault.rs`): one master
//! afterwards, no acknowledged write lost, nothing left behind, and no wrong word to the caller.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use harness::{Manner, Set};

use crate::cluster::Cluster;
use crate::handover::{full_copies, gentle, podzero, writers};
use crate::{is_redis_6, set};

/// What is done to the sidecar, and at which step of whom.
struct Fault {
    what: &'static str,
    of: usize,
    step: &'static str,
    may_miss: bool,
}

/// Waits until a member's sidecar has died, or stopped, at its fault.
pub(crate) fn fault_has_struck(set: &Set, of: usize) -> Result<()> {
    set.wait_for("the fault", || has_struck(set, of))
}

fn has_struck(set: &Set, of: usize) -> Result<()> {
    let sidecar = set.member(of).sidecar()?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", sidecar.pid()));
    let state = stat
        .ok()
        .and_then(|s| s.rsplit_once(") ").map(|(_, s)| s.to_owned()));
    let stopped = state.is_some_and(|s| s.starts_with(['T', 'Z']));
    ensure!(stopped || !sidecar.is_running(), "it goes on");
    Ok(())
}

/// Pod-0 hands over to pod-1 with a fault in between. `then` is done while the sidecar is away.
/// Returns how many full copies were made.
fn hand_over(fault: &Fault, then: impl FnOnce(&mut Set) -> Result<()>) -> Result<u64> {
    hand_over_in(&mut set().env("PODZERO_GRACE", "8s").start()?, fault, then)
}

/// The same in a set that has been started, with pod-0 as its master.
fn hand_over_in(
    set: &mut Set,
    fault: &Fault,
    then: impl FnOnce(&mut Set) -> Result<()>,
) -> Result<u64> {
    let name = format!("{} of redis-{} at {:?}", fault.what, fault.of, fault.step);
    let spec = format!("{}:{}", fault.what, fault.step);
    // The fault is for the handover to come, not for the end of one before.
    set.wait_for("nothing is under way", || {
        for member in set.members() {
            let (own, newest) = (member.status()?.epoch(), member.status()?.newest_epoch());
            ensure!(own == newest, "{}: {own}, {newest}", member.pod());
        }
        Ok(())
    })?;
    set.member_mut(fault.of).kill_sidecar()?;
    set.member_mut(fault.of)
        .start_sidecar_with(&[("PODZERO_FAULT", &spec)])?;
    set.converge()?;
    // Little enough for the backlog, however long the fault takes.
    let small = Manner {
        large: None,
        ..gentle()
    };
    let (observer, writers) = (set.observe(), writers(set, 2, &small));
    let copies = full_copies(set)?;
    let mut caller = set
        .member(0)
        .podzero(&["failover", "--to", "redis-1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut missed = false;
    set.wait_for("the fault", || {
        // With the Lease the others may go on without the one that is slow.
        let ended = caller.try_wait()?.is_some();
        let struck = has_struck(set, fault.of);
        missed = fault.may_miss && ended && struck.is_err();
        if missed { Ok(()) } else { struck }
    })
    .context(name.clone())?;
    if missed {
        set.member_mut(fault.of).kill_sidecar()?;
    } else {
        then(set)?;
    }
    if missed || fault.what == "kill" {
        set.member_mut(fault.of).start_sidecar()?;
    } else {
        set.member(fault.of).sidecar()?.resume()?;
    }
    let caller = caller.wait_with_output()?;
    let master = set.converge().context(name.clone())?;
    let said = String::from_utf8_lossy(&caller.stdout).into_owned();
    let done = caller.status.code() == Some(0);
    // "Done" is said only when it is; anything else may have been done after the caller had gone.
    ensure!(
        !done || master == 1,
        "{name}: done, and redis-{master} is the master: {said}"
    );
    ensure!(
        done == said.contains("with every write"),
        "{name}: {:?} {said}",
        caller.status
    );
    observer.finish().context(name.clone())?;
    writers
        .finish(set.member(master).address())
        .with_context(|| format!("{name} {}", set.describe()))?;
    for member in set.members() {
        let pair: Vec<String> = member.connect()?.ask("CONFIG GET min-replicas-to-write")?;
        ensure!(
            pair[1] == "0",
            "{name}: writes stay stopped at {}",
            member.pod()
        );
    }
    // A server that was started again counts from nothing.
    Ok(full_copies(set)?.saturating_sub(copies))
}

/// The same, where nobody needs a full copy.
fn hand_over_partially(fault: &Fault, then: impl FnOnce(&mut Set) -> Result<()>) -> Result<()> {
    let made = hand_over(fault, then)?;
    ensure!(
        made == 0,
        "{} of redis-{} at {:?}: {made} full copies",
        fault.what,
        fault.of,
        fault.step
    );
    Ok(())
}

/// For longer than the caller waits, where the sidecar only stops.
fn nothing_else(fault: &Fault) -> Result<()> {
    let seconds = if fault.what == "stop" { 6 } else { 0 };
    hand_over_partially(fault, |_| {
        crate::pause(seconds);
        Ok(())
    })
}

fn at(what: &'static str, of: usize, step: &'static str) -> Fault {
    Fault {
        what,
        of,
        step,
        may_miss: false,
    }
}

/// With the Lease: one set for all steps of whoever hands over, or takes over.
fn at_each_step_with_the_lease(
    what: &'static str,
    of: usize,
    steps: &[&'static str],
) -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.env("PODZERO_GRACE", "40s"))?;
    cluster.set.start_all()?;
    for step in steps {
        if cluster.set.converge()? != 0 {
            let master = cluster.set.converge()?;
            let home = ["failover", "--to", "redis-0"];
            let (code, said) = podzero(&cluster.set, master, &home)?;
            ensure!(code == 0, "{code}: {said}\n{}", cluster.set.describe());
            cluster.set.converge()?;
        }
        // Longer than the Lease lasts, where the sidecar only stops.
        let seconds = if what == "stop" { 8 } else { 0 };
        let fault = Fault {
            may_miss: true,
            ..at(what, of, step)
        };
        hand_over_in(&mut cluster.set, &fault, |_| {
            crate::pause(seconds);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn with_the_lease_the_sidecar_that_hands_over_dies_at_each_step() -> Result<()> {
    at_each_step_with_the_lease("kill", 0, &["granted", "counted", "fenced"])
}

#[test]
fn with_the_lease_the_sidecar_that_takes_over_dies_at_each_step() -> Result<()> {
    at_each_step_with_the_lease("kill", 1, &["armed", "promoting", "promoted"])
}

#[test]
fn with_the_lease_the_sidecar_that_hands_over_stops_at_each_step() -> Result<()> {
    at_each_step_with_the_lease("stop", 0, &["granted", "counted", "fenced"])
}

#[test]
fn with_the_lease_the_sidecar_that_takes_over_stops_at_each_step() -> Result<()> {
    at_each_step_with_the_lease("stop", 1, &["armed", "promoting", "promoted"])
}

#[test]
fn the_sidecar_that_hands_over_dies_at_each_step() -> Result<()> {
    let mut steps = vec!["granted", "counted", "fenced"];
    if is_redis_6() {
        steps.extend(["stopping", "stopped"]);
    }
    for step in steps {
        nothing_else(&at("kill", 0, step))?;
    }
    Ok(())
}

#[test]
fn the_sidecar_that_takes_over_dies_at_each_step() -> Result<()> {
    for step in ["armed", "promoting", "promoted"] {
        nothing_else(&at("kill", 1, step))?;
    }
    Ok(())
}

#[test]
fn the_sidecar_that_hands_over_stops_at_each_step() -> Result<()> {
    for step in ["granted", "counted", "fenced"] {
        nothing_else(&at("stop", 0, step))?;
    }
    Ok(())
}

#[test]
fn the_sidecar_that_takes_over_stops_at_each_step() -> Result<()> {
    for step in ["armed", "promoting", "promoted"] {
        nothing_else(&at("stop", 1, step))?;
    }
    Ok(())
}

#[test]
fn the_targets_server_dies_in_the_middle() -> Result<()> {
    for step in ["armed", "promoting"] {
        hand_over(&at("stop", 1, step), |set| {
            set.member_mut(1).kill_server()?;
            set.member_mut(1).start_server()
        })?;
    }
    Ok(())
}

#[test]
fn the_targets_server_stops_in_the_middle() -> Result<()> {
    for step in ["armed", "promoting"] {
        hand_over_partially(&at("stop", 1, step), |set| {
            set.member(1).server()?.pause()?;
            set.member(1).sidecar()?.resume()?;
            crate::pause(6);
            set.member(1).server()?.resume()
        })?;
    }
    Ok(())
}

#[test]
fn the_masters_server_dies_in_the_middle() -> Result<()> {
    for step in ["armed", "promoting"] {
        hand_over(&at("stop", 1, step), |set| {
            set.member_mut(0).kill_server()?;
            crate::pause(1);
            set.member_mut(0).start_server()?;
            crate::pause(1);
            Ok(())
        })?;
    }
    Ok(())
}
