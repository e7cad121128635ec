//! A handover in which something dies late: after the promotion was told, beside a full disk, or while a
//! person decides otherwise.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::faults::fault_has_struck;
use crate::handover::{end, podzero, spawn, writers};
use crate::handover_troubles::{arm_fault, fill_disk, small};
use crate::{connect, pause, set};

/// The target's sidecar dies after its server was promoted, and the old master's server is restarted
/// before it is back.
fn promoted_then_restart(what: &str, server_returns: bool) -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "8s").start()?;
    arm_fault(&mut set, 1, &format!("{what}:promoted"))?;
    let writers = writers(&set, 2, &small());
    pause(1);
    let caller = spawn(&set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&set, 1)?;
    pause(1);
    set.member_mut(0).kill_server()?;
    if server_returns {
        set.member_mut(0).start_server()?;
    }
    pause(5);
    if what == "kill" {
        set.member_mut(1).start_sidecar()?;
    } else {
        set.member(1).sidecar()?.resume()?;
    }
    let (code, said) = end(caller)?;
    pause(3);
    if !server_returns {
        ensure!(
            set.masters() == [1],
            "masters {:?}: {}",
            set.masters(),
            set.describe()
        );
        return Ok(());
    }
    let master = set.converge()?;
    writers
        .finish(set.member(master).address())
        .with_context(|| format!("caller was told {code}: {said}"))?;
    Ok(())
}

#[test]
fn promoted_kill_and_the_old_masters_server_restarts() -> Result<()> {
    promoted_then_restart("kill", true)
}

#[test]
fn promoted_stop_and_the_old_masters_server_restarts() -> Result<()> {
    promoted_then_restart("stop", true)
}

#[test]
fn promoted_kill_and_the_old_masters_server_is_gone() -> Result<()> {
    promoted_then_restart("kill", false)
}

/// The target's sidecar dies after its server was promoted, and is back only when the hook's time is
/// over and the old pod was ended and started anew, as the kubelet does. Nobody else fails.
#[test]
fn promoted_and_the_kubelet_goes_on() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    arm_fault(&mut set, 1, "kill:promoted")?;
    let writers = writers(&set, 2, &small());
    pause(1);
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    println!("{code}: {said}");
    let before = writers.take().acknowledged;
    set.member_mut(0).delete()?;
    pause(1);
    println!(
        "{} acknowledged while redis-1 leads alone: {:?}",
        writers.take().acknowledged - before,
        set.masters()
    );
    set.member_mut(1).start_sidecar()?;
    pause(3);
    println!(
        "redis-1's sidecar is back: masters {:?}: {}",
        set.masters(),
        set.member(1).log_tail("sidecar", 4)
    );
    set.member(0).publish_name();
    set.member_mut(0).start()?;
    let master = set.converge()?;
    writers
        .finish(set.member(master).address())
        .with_context(|| format!("master {master}"))?;
    Ok(())
}

/// A person decides while the target's sidecar is paused just before the promotion, which is resumed a
/// second later: there must be no second master.
#[test]
fn resolve_while_the_target_is_paused() -> Result<()> {
    let mut set = set().start()?;
    arm_fault(&mut set, 1, "stop:promoting")?;
    let caller = spawn(&set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&set, 1)?;
    let begun = harness::wait::now();
    let observer = set.observe();
    let writers = writers(&set, 2, &small());
    let (keep, words) = podzero(&set, 0, &["resolve", "--keep", "redis-0"])?;
    set.wait_for("redis-0 leads", || {
        ensure!(set.masters() == [0], "{:?}", set.masters());
        Ok(())
    })?;
    println!(
        "resolve {keep} {words}; leads again after {:?}",
        begun.elapsed()
    );
    harness::wait::pause(Duration::from_millis(300));
    set.member(1).sidecar()?.resume()?;
    pause(4);
    println!(
        "{:?}; {:?}\n{}",
        set.masters(),
        end(caller)?,
        set.member(1).log_tail("sidecar", 8)
    );
    observer.finish()?;
    let master = set.converge()?;
    writers.finish(set.member(master).address())?;
    Ok(())
}

/// The only other member declines once, and is fit again a second later: the budget is not used up.
#[test]
fn the_only_other_member_is_asked_again() -> Result<()> {
    let mut set = set().members(2).env("PODZERO_GRACE", "30s").start()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    let caller = spawn(&set, 0, &["prestop"])?;
    fault_has_struck(&set, 1)?;
    set.member_mut(1).kill_server()?;
    set.member_mut(1).start_server()?;
    set.member(1).sidecar()?.resume()?;
    let (code, said) = end(caller)?;
    let one = set.member(1).info()?;
    ensure!(
        code == 0 && set.masters() == [1],
        "{code}: {said}; masters {:?}; redis-1 has its link: {}",
        set.masters(),
        one.has_link()
    );
    Ok(())
}

/// The target's disk is full from just before its promotion on.
#[test]
fn the_targets_disk_is_full_before_the_promotion() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    arm_fault(&mut set, 1, "stop:promoting")?;
    let caller = spawn(&set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&set, 1)?;
    fill_disk(&set, 1)?;
    pause(6);
    set.member(1).sidecar()?.resume()?;
    let (code, said) = end(caller)?;
    set.wait_for("one master", || {
        ensure!(
            set.masters().len() == 1,
            "{code}: {said}; masters {:?}; {} {}",
            set.masters(),
            set.member(0).status()?.0["reasons"],
            set.member(1).status()?.0["reasons"]
        );
        Ok(())
    })?;
    set.stays_as_it_is(Duration::from_secs(5))
}

/// redis 6.0: writes were stopped by the setting when the disk became full, and the replica is slow.
#[test]
fn the_masters_disk_is_full_while_writes_are_stopped() -> Result<()> {
    if !crate::is_redis_6() {
        // From 7.0 on writes are stopped by the fence alone.
        return Ok(());
    }
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    arm_fault(&mut set, 0, "stop:stopped")?;
    let caller = spawn(&set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&set, 0)?;
    set.member(1).server()?.pause()?;
    // So that the replica lacks something.
    connect(&set, 0)?.tell("PUBLISH news hello")?;
    fill_disk(&set, 0)?;
    set.member(0).sidecar()?.resume()?;
    pause(10);
    set.member(1).server()?.resume()?;
    let (code, said) = end(caller)?;
    set.wait_for("the master accepts writes", || {
        let masters = set.masters();
        let wrote = masters
            .first()
            .map(|m| connect(&set, *m).and_then(|mut c| c.tell("SET a 1")));
        ensure!(
            matches!(wrote, Some(Ok(()))),
            "{code}: {said}; masters {masters:?}: {wrote:?}; {}",
            set.member(0).status()?.0["reasons"]
        );
        Ok(())
    })
}
