//! Handovers that cannot go as they should: nobody is told "done" that is not, writes are stopped for no
//! longer than the rest needs, and nobody else is hindered.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Manner, Set};

use crate::faults::fault_has_struck;
use crate::handover::{end, gentle, podzero, spawn};
use crate::{pause, set};

pub(crate) fn small() -> Manner {
    Manner {
        large: None,
        ..gentle()
    }
}

/// Starts a member's sidecar anew with a fault.
pub(crate) fn arm_fault(set: &mut Set, of: usize, fault: &str) -> Result<()> {
    set.member_mut(of).kill_sidecar()?;
    set.member_mut(of)
        .start_sidecar_with(&[("PODZERO_FAULT", fault)])?;
    set.converge()?;
    Ok(())
}

/// From now on a member cannot write its state file.
pub(crate) fn fill_disk(set: &Set, of: usize) -> Result<()> {
    std::fs::create_dir(set.member(of).data().join("podzero-state.json.new"))?;
    Ok(())
}

/// The same, and its sidecar has noticed.
fn fill_disk_of_a_running(set: &Set, of: usize) -> Result<()> {
    fill_disk(set, of)?;
    set.wait_for("its sidecar notices", || {
        let status = set.member(of).status()?.0;
        ensure!(status["forgets"] == true, "{status}");
        Ok(())
    })
}

/// A replica with a full disk is not the one that is chosen, and does not keep the hook from handing
/// over to the other one, whichever of the two it is.
#[test]
fn a_full_disk_of_one_replica_does_not_stop_prestop() -> Result<()> {
    for full in [1, 2] {
        let set = set().start()?;
        fill_disk_of_a_running(&set, full)?;
        let (code, said) = podzero(&set, 0, &["prestop"])?;
        ensure!(code == 0, "{full}: {code}: {said}\n{}", set.describe());
        ensure!(set.masters() == [3 - full], "{full}: {:?}", set.masters());
    }
    Ok(())
}

/// The rights of the README's table are enough for what the README says of a handover.
#[test]
fn the_readmes_rights_are_enough_to_close_clients() -> Result<()> {
    let rights = if crate::is_redis_6() {
        "+info +replicaof +config|get +config|set +acl|setuser +client|kill"
    } else {
        "&* +info +replicaof +config|get +config|set +acl|setuser +client|kill"
    };
    let set = set()
        .password("secret")
        .env("PODZERO_USERNAME", "keeper")
        .base(&format!(
            "requirepass secret\nuser keeper on >secret {rights}"
        ))
        .start()?;
    let mut idle = set.member(0).connect()?;
    idle.tell("SET a 1")?;
    let (code, said) = podzero(&set, 0, &["failover"])?;
    let answer = idle.tell("SET a 2").err().map(|e| format!("{e:#}"));
    let answer = answer.unwrap_or_default();
    ensure!(
        code == 0 && !answer.contains("READONLY") && !answer.contains("read only"),
        "{code} {said}: still connected: {answer:?}; log: {}",
        set.member(0).log_tail("sidecar", 8)
    );
    Ok(())
}

/// A client is closed after the demotion also when the sidecar died just after the fence.
#[test]
fn clients_are_closed_after_the_sidecar_died_at_the_fence() -> Result<()> {
    let mut set = set().start()?;
    arm_fault(&mut set, 0, "kill:fenced")?;
    let mut idle = set.member(0).connect()?;
    idle.tell("SET a 1")?;
    let mut caller = set
        .member(0)
        .podzero(&["failover", "--to", "redis-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    fault_has_struck(&set, 0)?;
    caller.wait()?;
    set.member_mut(0).start_sidecar()?;
    set.converge()?;
    set.wait_for("the client of the old master is closed", || {
        let answer = idle.tell("SET a 2").err().map(|e| format!("{e:#}"));
        let answer = answer.unwrap_or_default();
        ensure!(!answer.contains("read only"), "{answer:?}");
        Ok(())
    })
}

/// "With `--to` the role stays there until failover --to pod-0 or pod-0 restarts": also when a later
/// handover from there came to nothing.
#[test]
fn a_role_that_was_sent_away_stays_after_a_handover_that_failed() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-2"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    // What is armed is not shown: the giver calls it off in time.
    let (code, said) = podzero(&set, 2, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "{code}: {said}");
    ensure!(set.masters() == [2], "{:?}: {said}", set.masters());
    pause(1);
    set.member(1).sidecar()?.resume()?;
    ensure!(set.converge()? == 2, "moved at once");
    set.stays_as_it_is(Duration::from_secs(14))
}

/// The target's pod vanishes for good after the grant to it counted: the master goes on, and only a
/// person can end what only the target could.
fn a_target_that_vanishes(check: impl FnOnce(&mut Set) -> Result<()>) -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "{code}: {said}");
    set.member_mut(1).kill()?;
    set.names().withdraw("redis-1");
    pause(2);
    ensure!(set.masters() == [0], "{:?}", set.masters());
    check(&mut set)
}

#[test]
fn a_target_that_vanishes_is_told_with_the_way_out() -> Result<()> {
    a_target_that_vanishes(|set| {
        for words in [&["failover", "--to", "redis-2"][..], &["prestop"]] {
            let (code, said) = podzero(set, 0, words)?;
            ensure!(
                code == 3 && said.contains("podzero resolve --keep redis-0"),
                "{words:?}: {code}: {said}"
            );
            ensure!(set.masters() == [0], "{words:?}: {:?}", set.masters());
        }
        Ok(())
    })
}

#[test]
fn a_target_that_vanishes_and_a_persons_word() -> Result<()> {
    a_target_that_vanishes(|set| {
        let observer = set.observe();
        let (keep, words) = podzero(set, 0, &["resolve", "--keep", "redis-0"])?;
        set.wait_for("the person's word counts", || {
            let status = set.member(0).status()?;
            ensure!(status.ready() && status.epoch() == 3, "{}", status.0);
            Ok(())
        })?;
        let masters = set.masters();
        let (code, said) = podzero(set, 0, &["failover", "--to", "redis-2"])?;
        println!("{keep} {words} {masters:?} {code} {said}");
        ensure!(
            keep == 0 && code == 0 && masters == [0],
            "resolve: {keep}: {words}; masters {masters:?}; failover: {code}: {said}"
        );
        observer.finish()
    })
}

/// How often a sidecar's loop turned.
pub(crate) fn turns(set: &Set, ordinal: usize) -> Result<u64> {
    let text = set.member(ordinal).get("/metrics")?.body;
    let line = text.lines().find(|l| l.contains("turns_total"));
    let number = line
        .and_then(|l| l.rsplit_once(' '))
        .and_then(|(_, n)| n.parse().ok());
    number.ok_or_else(|| anyhow::anyhow!("no turns: {line:?}"))
}

#[test]
fn a_target_that_vanishes_makes_nobody_spin() -> Result<()> {
    a_target_that_vanishes(|set| {
        pause(10);
        let before = (turns(set, 0)?, turns(set, 2)?);
        pause(5);
        let (a, c) = (turns(set, 0)? - before.0, turns(set, 2)? - before.1);
        ensure!(
            a < 400 && c < 400,
            "in 5 s redis-0 turned {a} times, redis-2 {c} times"
        );
        Ok(())
    })
}

/// The replica's name is away for a moment, its link is up: the hook must not give up at once.
#[test]
fn a_name_that_is_away_for_a_moment_is_not_nobody() -> Result<()> {
    let set = set().members(2).start()?;
    set.names().withdraw("redis-1");
    set.wait_for("the name is missed", || {
        let text = set.member(0).status()?.0.to_string();
        ensure!(text.contains("does not exist"), "{text}");
        Ok(())
    })?;
    let online = set.member(0).info()?.online_replicas();
    let hook = set
        .member(0)
        .podzero(&["prestop"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    pause(1);
    set.member(1).publish_name();
    let done = hook.wait_with_output()?;
    ensure!(
        set.masters() == [1],
        "{:?} with {online} replica online: {}",
        done.status.code(),
        String::from_utf8_lossy(&done.stdout)
    );
    Ok(())
}

/// "With --to the role stays there until failover --to pod-0 or pod-0 restarts": also when pod-0's
/// sidecar is away for a moment while the person says so.
#[test]
fn away_is_kept_while_pod_0s_sidecar_is_away() -> Result<()> {
    let mut set = set().start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    set.member_mut(0).kill_sidecar()?;
    let (code, said) = podzero(&set, 1, &["failover", "--to", "redis-2"])?;
    ensure!(code == 0, "{code}: {said}");
    set.member_mut(0).start_sidecar()?;
    ensure!(set.converge()? == 2, "not at 2");
    println!(
        "away_from: {}",
        set.member(2).status()?.0["authority"]["away_from"]
    );
    set.stays_as_it_is(Duration::from_secs(16))
}

/// A target that takes too long is given up for another one, which then has its own time.
#[test]
fn a_target_that_takes_too_long_is_given_up_for_another() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "20s").start()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    let caller = spawn(&set, 0, &["prestop"])?;
    fault_has_struck(&set, 1)?;
    set.wait_for("it is called off", || {
        let grant = set.member(0).status()?.0["authority"]["grant"].clone();
        ensure!(grant["handover"]["cancelled"] == true, "{grant}");
        Ok(())
    })?;
    set.member(1).sidecar()?.resume()?;
    let (code, said) = end(caller)?;
    ensure!(code == 0 && set.masters() == [2], "{code}: {said}");
    let offers = said.matches("offers the role").count();
    ensure!(offers == 2, "{offers} offers: {said}");
    Ok(())
}
