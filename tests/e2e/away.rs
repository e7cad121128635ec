//! Sidecars, names or pods are away for longer than they are waited for: nothing that anybody can see
//! is wiped, and nobody leads beside a master.

use anyhow::{Result, ensure};
use harness::Set;

use crate::{connect, has, pause, set, unsaved, write_everywhere};

/// The replicas' servers answer pod-0 (role, keys, offset); only their sidecars are away.
#[test]
fn servers_that_show_their_data_are_not_wiped_by_an_empty_pod_0() -> Result<()> {
    let mut set = unsaved().sidecar_env("PODZERO_PEER_WAIT", "3s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    for ordinal in [1, 2] {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    pause(5);
    // The container of the master's server restarts, in the same pod with the same address.
    set.member_mut(0).kill_server()?;
    let _ = std::fs::remove_file(set.member(0).data().join("dump.rdb"));
    set.member_mut(0).start_server()?;
    pause(6);
    for ordinal in [1, 2] {
        has(set.member(ordinal), "kept", 50)
            .map_err(|e| anyhow::anyhow!("{e:#} {}", set.describe()))?;
    }
    Ok(())
}

/// The same with a lost volume instead of a set without persistence.
#[test]
fn servers_that_show_their_data_survive_a_lost_volume_of_pod_0() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_PEER_WAIT", "3s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    for ordinal in [1, 2] {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    pause(8);
    for ordinal in [1, 2] {
        has(set.member(ordinal), "kept", 50)
            .map_err(|e| anyhow::anyhow!("{e:#} {}", set.describe()))?;
    }
    Ok(())
}

/// A crash of the master's server (kill -9, RDB some writes ago) while the sidecars of the replicas,
/// whose servers answer and have everything, have been away for longer than --peer-wait.
#[test]
fn an_older_rdb_does_not_replace_what_visible_servers_have() -> Result<()> {
    let mut set = unsaved().sidecar_env("PODZERO_PEER_WAIT", "3s").start()?;
    write_everywhere(&set, 0, "old", 50)?;
    connect(&set, 0)?.tell("SAVE")?;
    write_everywhere(&set, 0, "new", 500)?;
    for ordinal in [1, 2] {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    pause(5);
    set.member_mut(0).kill_server()?;
    set.member_mut(0).start_server()?;
    pause(6);
    for ordinal in [1, 2] {
        has(set.member(ordinal), "new", 500)?;
    }
    Ok(())
}

/// DNS is away for longer than --peer-wait; then the container of the master's server restarts (a set
/// without persistence). Everybody is reachable where everybody was.
#[test]
fn a_long_dns_outage_and_a_server_restart_wipe_nothing() -> Result<()> {
    let mut set = unsaved().sidecar_env("PODZERO_PEER_WAIT", "3s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    set.names().trouble(harness::names::Trouble {
        servfail: 100,
        ..harness::names::Trouble::default()
    });
    pause(10);
    set.member_mut(0).kill_server()?;
    let _ = std::fs::remove_file(set.member(0).data().join("dump.rdb"));
    set.member_mut(0).start_server()?;
    pause(8);
    for ordinal in [1, 2] {
        has(set.member(ordinal), "kept", 50)
            .map_err(|e| anyhow::anyhow!("{e:#} {}", set.describe()))?;
    }
    Ok(())
}

/// I1: not knowing never promotes. Pod-1 is the master; pod-0 loses its volume once more and comes back
/// while DNS fails. Pod-1 is alive and has clients.
#[test]
fn an_empty_pod_0_that_can_ask_nobody_is_no_second_master() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_PEER_WAIT", "3s").start()?;
    an_empty_pod_0_while_dns_fails(&mut set)
}

/// Pod-0 loses its volume for a second time, after another one took over, and DNS fails.
fn an_empty_pod_0_while_dns_fails(set: &mut Set) -> Result<()> {
    write_everywhere(set, 0, "kept", 50)?;
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    let master = set.converge()?;
    ensure!(master != 0, "the empty member leads");
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.names().trouble(harness::names::Trouble {
        servfail: 100,
        ..harness::names::Trouble::default()
    });
    set.member_mut(0).start()?;
    pause(8);
    let masters = set.masters();
    ensure!(
        masters == [master],
        "masters: {masters:?}; {}",
        set.member(0).log_tail("sidecar", 6)
    );
    Ok(())
}

/// I1, with the default of --replicas (what is seen): everything restarts while DNS fails (a cluster
/// that boots, its DNS is late). Pod-2 alone has the last writes.
#[test]
fn without_replicas_failing_dns_promotes_nobody() -> Result<()> {
    let mut set = set()
        .without("PODZERO_REPLICAS")
        .sidecar_env("PODZERO_DISCOVER", "3s")
        .start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    for ordinal in 0..3 {
        connect(&set, ordinal)?.tell("SAVE")?;
    }
    write_everywhere(&set, 0, "late", 50)?;
    connect(&set, 2)?.tell("SAVE")?;
    set.kill_all()?;
    set.names().trouble(harness::names::Trouble {
        servfail: 100,
        ..harness::names::Trouble::default()
    });
    set.start_all()?;
    pause(8);
    let masters = set.masters();
    let log = set.member(0).log_tail("sidecar", 6);
    set.names().trouble(harness::names::Trouble::default());
    pause(8);
    let late = connect(&set, 2)?.count("late")?;
    ensure!(
        masters.is_empty() && late == 50,
        "masters while DNS failed: {masters:?}; pod-2 has {late} of 50 late keys; {log}"
    );
    Ok(())
}

/// As above, with the default of --replicas: --peer-wait is not even waited for.
#[test]
fn without_replicas_failing_dns_makes_no_second_master() -> Result<()> {
    let mut set = set()
        .without("PODZERO_REPLICAS")
        .sidecar_env("PODZERO_DISCOVER", "3s")
        .start()?;
    an_empty_pod_0_while_dns_fails(&mut set)
}

/// A pod-0 that lost its volume while all others were gone leads
/// an empty set; the others refuse to follow it. `init` does not.
#[test]
fn init_does_not_follow_an_empty_master_of_the_same_epoch() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_DISCOVER", "1s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    for ordinal in 0..3 {
        connect(&set, ordinal)?.tell("SAVE")?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).delete()?;
    }
    set.member(0).delete_data()?;
    set.member(0).publish_name();
    set.member_mut(0).start()?;
    set.wait_for("pod-0 leads alone", || {
        ensure!(set.masters() == [0], "not yet");
        Ok(())
    })?;
    set.member(1).publish_name();
    set.member_mut(1).start()?;
    pause(6);
    has(set.member(1), "kept", 50).map_err(|e| anyhow::anyhow!("{e:#} {}", set.describe()))
}

/// The node of pod-0, the master, is gone. What a person sees at pod-1, and whether resolve helps.
#[test]
fn pod_0_is_gone_the_way_out_is_told() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_PEER_WAIT", "2s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    set.member_mut(0).kill()?;
    pause(8);
    let seen = harness::process::run(&mut set.member(1).podzero(&["status"]))?;
    let done = set
        .member(1)
        .podzero(&["resolve", "--keep", "redis-1"])
        .output()?;
    let words = format!(
        "{} {}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    ensure!(done.status.success(), "{words}");
    ensure!(set.converge_on(&[1, 2])? == 1, "pod-1 does not lead");
    set.member_mut(0).start()?;
    ensure!(set.converge()? == 1, "pod-1 does not lead any more");
    ensure!(
        seen.contains("podzero resolve"),
        "no way out is told: {seen}"
    );
    Ok(())
}

/// The sidecar of the master is away; its server is a writable master that answers everybody.
#[test]
fn resolve_beside_a_writable_server_does_not_make_two_masters() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    set.member_mut(0).kill_sidecar()?;
    pause(3);
    let done = set
        .member(1)
        .podzero(&["resolve", "--keep", "redis-1"])
        .output()?;
    let words = format!(
        "{:?} {} {}",
        done.status.code(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    pause(5);
    let masters = set.masters();
    let zero = connect(&set, 0)?.tell("SET a 1").is_ok();
    let one = connect(&set, 1)?.tell("SET a 2").is_ok();
    ensure!(
        masters.len() == 1 && !(zero && one),
        "masters {masters:?}, pod-0 accepts {zero}, pod-1 accepts {one}; resolve said: {words}; pod-1: {}",
        set.member(1).status()?.0
    );
    Ok(())
}
