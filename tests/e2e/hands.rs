//! What people do by hand: switches, cycles, decisions.

use anyhow::{Result, ensure};
use harness::process::run;

use crate::{all_have, connect, pause, set, write_everywhere};

#[test]
fn s27_a_switch_by_hand_while_the_sidecars_are_away_is_followed() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s27", 50)?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    connect(&set, 1)?.tell("REPLICAOF NO ONE")?;
    let one = set.member(1).address();
    connect(&set, 0)?.tell(&format!("REPLICAOF {one} 6379"))?;
    connect(&set, 1)?.fill("hand", 5)?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_sidecar()?;
    }
    ensure!(set.converge()? == 1, "the hand's choice was undone");
    all_have(&set, "s27", 50)?;
    all_have(&set, "hand", 5)
}

#[test]
fn s5_a_second_master_by_hand_is_fenced() -> Result<()> {
    let set = set().start()?;
    write_everywhere(&set, 0, "s5", 50)?;
    connect(&set, 1)?.tell("REPLICAOF NO ONE")?;
    ensure!(set.converge()? == 0, "the granted master lost its role");
    all_have(&set, "s5", 50)
}

#[test]
fn a_cycle_of_replicas_ends_in_one_master() -> Result<()> {
    let set = set().start()?;
    write_everywhere(&set, 0, "cycle", 50)?;
    let one = set.member(1).address();
    connect(&set, 0)?.tell(&format!("REPLICAOF {one} 6379"))?;
    set.converge()?;
    all_have(&set, "cycle", 50)
}

#[test]
fn a_replica_led_elsewhere_by_hand_is_led_back() -> Result<()> {
    let set = set().start()?;
    write_everywhere(&set, 0, "chain", 50)?;
    let one = set.member(1).address();
    connect(&set, 2)?.tell(&format!("REPLICAOF {one} 6379"))?;
    ensure!(set.converge()? == 0, "the master changed");
    all_have(&set, "chain", 50)
}

#[test]
fn status_shows_the_set_and_resolve_refuses_where_nothing_is_to_decide() -> Result<()> {
    let set = set().start()?;
    let table = run(&mut set.member(1).podzero(&["status"]))?;
    ensure!(
        table.contains("redis-0")
            && table.contains("master")
            && table.lines().all(|l| l.len() <= 80),
        "{table}"
    );
    let refused = set
        .member(1)
        .podzero(&["resolve", "--keep", "redis-1"])
        .output()?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(4) && words.contains("nothing to decide"),
        "{:?} {words}",
        refused.status
    );
    ensure!(set.converge()? == 0, "the master changed");
    Ok(())
}

#[test]
fn resolve_ends_the_wait_for_a_master_that_is_lost() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_PEER_WAIT", "2s").start()?;
    write_everywhere(&set, 0, "keep", 50)?;
    // Pod-1 gets the role (pod-0 lost its data), then pod-1 is gone for good.
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    let master = set.converge()?;
    set.member_mut(master).kill()?;
    set.wait_for("the wait is told in words", || {
        let body = set.member(0).get("/status")?.body;
        ensure!(
            body.contains("waiting_for_master") && body.contains("podzero resolve"),
            "{body}"
        );
        Ok(())
    })?;
    let done = set
        .member(0)
        .podzero(&["resolve", "--keep", "redis-0"])
        .output()?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let others: Vec<usize> = (0..3).filter(|o| *o != master).collect();
    ensure!(set.converge_on(&others)? == 0, "pod-0 does not lead");
    set.member_mut(master).start()?;
    ensure!(set.converge()? == 0, "the master that came back leads");
    all_have(&set, "keep", 50)
}

/// S31: somebody gives FAILOVER while the sidecars run.
#[test]
fn s31_a_failover_by_hand_has_one_winner() -> Result<()> {
    if crate::is_redis_6() {
        // It has no FAILOVER (6.2).
        return Ok(());
    }
    let set = set().start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    for round in 0..6 {
        let master = set.converge()?;
        let target = (master + 1) % 3;
        let to = set.member(target).address();
        connect(&set, master)?.tell(&format!("FAILOVER TO {to} 6379 TIMEOUT 5000"))?;
        let mut acked = 0;
        for step in 0..400 {
            let key = format!("SET round{round}:{step} 1");
            if connect(&set, target)?.tell(&key).is_ok() {
                acked += 1;
            }
            harness::wait::pause(std::time::Duration::from_millis(5));
        }
        let after = set
            .converge()
            .map_err(|e| anyhow::anyhow!("round {round}, {acked} acknowledged: {e:#}"))?;
        let found = connect(&set, after)?.count(&format!("round{round}"))?;
        ensure!(
            found >= acked,
            "round {round}: {acked} acknowledged, {found} found: {}",
            set.describe()
        );
    }
    all_have(&set, "kept", 50)
}

/// S31: the usual switch by hand while the sidecars run.
#[test]
fn s31_a_switch_by_hand_has_one_winner() -> Result<()> {
    let set = set().start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    for _ in 0..6 {
        let master = set.converge()?;
        let target = (master + 1) % 3;
        let to = set.member(target).address();
        connect(&set, target)?.tell("REPLICAOF NO ONE")?;
        connect(&set, master)?.tell(&format!("REPLICAOF {to} 6379"))?;
        pause(1);
        set.converge()?;
    }
    all_have(&set, "kept", 50)
}

/// `ACL LOAD` is how users of an ACL file are changed. It drops the replication user.
#[test]
fn acl_load_on_the_master_does_not_end_replication_for_ever() -> Result<()> {
    let mut set = set().make()?;
    for ordinal in 0..3 {
        let acl = set.member(ordinal).path("data/users.acl");
        // Redis 6.0 has no rules for channels.
        let channels = if crate::is_redis_6() { "" } else { "&* " };
        std::fs::write(&acl, format!("user default on nopass ~* {channels}+@all\n"))?;
        std::fs::write(
            set.member(ordinal).base_conf(),
            format!("repl-diskless-sync-delay 0\naclfile {}\n", acl.display()),
        )?;
    }
    set.start_all()?;
    set.converge()?;
    write_everywhere(&set, 0, "before", 10)?;
    connect(&set, 0)?.tell("ACL LOAD")?;
    pause(5);
    connect(&set, 0)?.fill("after", 10)?;
    all_have(&set, "after", 10)
}
