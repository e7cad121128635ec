//! Authority `lease`: the master dies and nobody is there to ask.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::{Cluster, another_master};
use crate::handover::{full_copies, gentle, podzero, writers};
use crate::handover_troubles::small;

#[test]
fn a_set_starts_and_holds_the_lease() -> Result<()> {
    let cluster = Cluster::start()?;
    ensure!(cluster.set.masters() == [0], "{:?}", cluster.set.masters());
    ensure!(cluster.holder()? == "redis-0", "{}", cluster.lease()?);
    Ok(())
}

/// The master's server dies: another one takes over, and the old one follows it.
#[test]
fn s41_the_masters_server_is_killed() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let writers = writers(&cluster.set, 2, &small());
    let mut gaps = Vec::new();
    for round in 0..crate::repetitions(4, 50) {
        let set = &mut cluster.set;
        let master = set.converge()?;
        writers.take();
        set.member_mut(master).kill_server()?;
        let new = another_master(set, master)?;
        set.member_mut(master).start_server()?;
        let settled = set.converge()?;
        gaps.push(writers.take().gap);
        ensure!(settled == new, "{round}: {new} and then {settled}");
        ensure!(
            cluster.holder()? == format!("redis-{new}"),
            "{}",
            cluster.lease()?
        );
    }
    gaps.sort();
    let master = cluster.set.converge()?;
    let written = writers.end(cluster.set.member(master).address())?;
    println!("gaps {gaps:?}; {written:?}");
    Ok(())
}

/// S43: the sidecar and the server of the master stop answering for good, and come back later.
#[test]
fn s43_a_whole_member_stops_and_comes_back() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let set = &mut cluster.set;
    set.member(0).server()?.pause()?;
    set.member(0).sidecar()?.pause()?;
    let new = set.wait_for("another master", || {
        let status = set.member(1).status()?;
        let other = set.member(2).status()?;
        ensure!(
            status.role() == "master" || other.role() == "master",
            "{} {}",
            status.0,
            other.0
        );
        Ok(if status.role() == "master" { 1 } else { 2 })
    })?;
    set.converge_on(&[1, 2])?;
    // Resumed with its old role: it stops before anything else.
    set.member(0).sidecar()?.resume()?;
    set.member(0).server()?.resume()?;
    let settled = set.converge()?;
    ensure!(settled == new, "{new} and then {settled}");
    Ok(())
}

/// S10: every sidecar is started again at once.
#[test]
fn s10_sidecars_restart_without_a_role_change() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let set = &mut cluster.set;
    let observer = set.observe();
    let before = set.member(0).status()?.epoch();
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_sidecar()?;
    }
    ensure!(set.converge()? == 0, "another master");
    set.stays_as_it_is(Duration::from_secs(8))?;
    let after = set.member(0).status()?.epoch();
    ensure!(before == after, "epoch {before:?} became {after:?}");
    observer.finish()?;
    Ok(())
}

/// S3: everything is killed and started again.
#[test]
fn s3_everything_is_killed_and_started_again_with_the_lease() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.base("appendonly yes"))?;
    let set = &mut cluster.set;
    set.start_all()?;
    set.converge()?;
    crate::write_everywhere(set, 0, "kept", 50)?;
    set.kill_all()?;
    set.start_all()?;
    set.converge()?;
    crate::all_have(set, "kept", 50)
}

/// A planned switch loses nothing and is told so.
#[test]
fn s30_handovers_with_the_lease_lose_nothing() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let (observer, writers) = (set.observe(), writers(set, 4, &gentle()));
    let copies = full_copies(set)?;
    for round in 0..crate::repetitions(5, 50) {
        let master = set.converge()?;
        let to = format!("redis-{}", (master + 1) % 3);
        let (code, said) = podzero(set, master, &["failover", "--to", &to])?;
        ensure!(
            code == 0,
            "round {round}: {code}: {said}\n{}",
            set.describe()
        );
        ensure!(said.contains("with every write"), "{said}");
        ensure!(cluster.holder()? == to, "{}", cluster.lease()?);
    }
    let master = set.converge()?;
    observer.finish()?;
    let written = writers.finish(set.member(master).address())?;
    println!("{written:?}");
    ensure!(full_copies(set)? == copies, "{}", set.describe());
    Ok(())
}

/// A running set goes from one authority to the other and back: nobody's role changes, and epochs go on.
#[test]
fn a_running_set_changes_its_authority() -> Result<()> {
    const ORDINAL: [(&str, &str); 1] = [("PODZERO_AUTHORITY", "ordinal")];
    let mut cluster = Cluster::make(|builder| builder)?;
    let set = &mut cluster.set;
    for ordinal in 0..3 {
        set.member(ordinal).init()?;
        set.member_mut(ordinal).start_sidecar_with(&ORDINAL)?;
    }
    for ordinal in 0..3 {
        set.member(ordinal).sidecar_is_started()?;
        set.member_mut(ordinal).start_server()?;
    }
    set.converge()?;
    let writers = writers(set, 2, &gentle());
    let copies = full_copies(set)?;
    let first = set.member(0).status()?.epoch();
    for ordinal in [2, 1, 0] {
        set.member_mut(ordinal).kill_sidecar()?;
        set.member_mut(ordinal).start_sidecar()?;
        set.converge()?;
    }
    set.stays_as_it_is(Duration::from_secs(8))?;
    let second = set.member(0).status()?.epoch();
    ensure!(first == second, "epoch {first} became {second}");
    let (code, said) = podzero(set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.converge()? == 1, "{:?}", set.masters());
    let third = set.member(1).status()?.epoch();
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
        set.member_mut(ordinal).start_sidecar_with(&ORDINAL)?;
        set.converge()?;
    }
    ensure!(set.masters() == [1], "{:?}", set.masters());
    let fourth = set.member(1).status()?.epoch();
    ensure!(third == fourth, "epoch {third} became {fourth}");
    let written = writers.finish(set.member(1).address())?;
    ensure!(full_copies(set)? == copies, "{written:?}");
    Ok(())
}

/// S2: another one has taken over when the old master comes back with its old data.
#[test]
fn s2_an_old_master_comes_back_as_a_replica() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let set = &mut cluster.set;
    let observer = set.observe();
    set.member_mut(0).kill()?;
    let new = another_master(set, 0)?;
    crate::connect(set, new)?.tell("SET after 1")?;
    set.member_mut(0).start()?;
    let settled = set.converge()?;
    ensure!(settled == new, "{new} and then {settled}");
    observer.finish()?;
    Ok(())
}

/// S18: the master's pod and its name vanish and do not come back.
#[test]
fn s18_the_masters_name_vanishes_for_good() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let set = &mut cluster.set;
    set.names().withdraw("redis-0");
    set.member_mut(0).kill()?;
    set.converge_on(&[1, 2])?;
    Ok(())
}

/// S5: a hand makes a second master.
#[test]
fn s5_a_second_master_is_resolved_without_a_hand() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.masters_are_made_by_hand();
    let set = &cluster.set;
    crate::connect(set, 1)?.tell("REPLICAOF NO ONE")?;
    ensure!(set.converge()? == 0, "{:?}", set.masters());
    Ok(())
}

/// A person switches by hand: the set goes on with that one, and its Lease with it.
#[test]
fn s31_a_switch_by_hand_is_followed() -> Result<()> {
    if crate::is_redis_6() {
        // It has no FAILOVER (6.2).
        return Ok(());
    }
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let writers = writers(set, 2, &gentle());
    let to = set.member(2).address();
    crate::connect(set, 0)?.tell(&format!("FAILOVER TO {to} 6379 TIMEOUT 5000"))?;
    set.wait_for("the Lease goes with the master", || {
        let masters = set.masters();
        ensure!(masters.len() == 1, "{masters:?}");
        let holder = cluster.holder()?;
        ensure!(
            holder == format!("redis-{}", masters[0]) && masters[0] == 2,
            "{holder} {masters:?}"
        );
        Ok(())
    })?;
    set.converge()?;
    writers.finish(set.member(2).address())?;
    Ok(())
}

/// A replicated set that knows nothing of podzero, its master on any ordinal.
#[test]
fn a_set_of_others_is_adopted_without_a_copy() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder)?;
    cluster.masters_are_made_by_hand();
    let set = &mut cluster.set;
    for ordinal in 0..3 {
        let base = set.member(ordinal).base_conf();
        set.member_mut(ordinal).start_server_with(&[
            &base.to_string_lossy(),
            "--protected-mode",
            "no",
        ])?;
    }
    let master = set.member(2).address();
    for ordinal in [0, 1] {
        let conn = || crate::connect(set, ordinal);
        set.wait_for("it follows", || {
            conn()?.tell(&format!("REPLICAOF {master} 6379"))
        })?;
    }
    crate::connect(set, 2)?.tell("SET kept 1")?;
    set.wait_for("links", || {
        ensure!(set.member(2).info()?.online_replicas() == 2, "not yet");
        Ok(())
    })?;
    let copies = full_copies(set)?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_sidecar()?;
    }
    ensure!(set.converge()? == 2, "{:?}", set.masters());
    ensure!(full_copies(set)? == copies, "{}", set.describe());
    ensure!(cluster.holder()? == "redis-2", "{}", cluster.lease()?);
    Ok(())
}

/// The sidecar of the master is paused past its Lease, and its server is not: whoever takes the role stops
/// that server first, and loses nothing. Resumed, the old one follows.
#[test]
fn a_sidecar_that_is_paused_past_its_lease_is_no_second_master() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let (observer, writers) = (set.observe(), writers(set, 2, &gentle()));
    set.member(0).sidecar()?.pause()?;
    let new = another_master(set, 0)?;
    set.member(0).sidecar()?.resume()?;
    let settled = set.converge()?;
    ensure!(settled == new, "{new} and then {settled}");
    observer.finish()?;
    let written = writers.finish(set.member(new).address())?;
    println!("{written:?}");
    Ok(())
}

/// The master's server hangs past its Lease and goes on when its sidecar is paused: it finds a fence.
#[test]
fn a_server_that_hung_past_its_lease_goes_on_fenced() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let observer = set.observe();
    set.member(0).server()?.pause()?;
    let new = another_master(set, 0)?;
    set.member(0).sidecar()?.pause()?;
    set.member(0).server()?.resume()?;
    set.wait_for("it answers", || set.member(0).connect()?.tell("GET a"))?;
    crate::refuses_writes(set.member(0))?;
    set.member(0).sidecar()?.resume()?;
    let settled = set.converge()?;
    ensure!(settled == new, "{new} and then {settled}");
    observer.finish()?;
    Ok(())
}

/// A script that runs on and on: the server says so, and the role stays where it is.
#[test]
fn a_server_that_runs_a_script_keeps_the_role() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.base("lua-time-limit 100"))?;
    cluster.set.start_all()?;
    ensure!(cluster.set.converge()? == 0, "{:?}", cluster.set.masters());
    let set = &cluster.set;
    let before = set.member(0).status()?.epoch();
    let mut runs = set.member(0).connect()?;
    let script = std::thread::spawn(move || runs.keep_busy(12));
    set.wait_for("it runs", || {
        let answer = set.member(0).connect()?.tell("GET a");
        let words = answer.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(words.contains("BUSY"), "{words}");
        Ok(())
    })?;
    set.wait_for("it is over", || {
        ensure!(cluster.holder()? == "redis-0", "{}", cluster.lease()?);
        set.member(0).connect()?.tell("GET a")
    })?;
    let _ = script.join();
    ensure!(set.converge()? == 0, "{:?}", set.masters());
    let after = set.member(0).status()?.epoch();
    ensure!(before == after, "epoch {before} became {after}");
    Ok(())
}

/// Somebody changes the server's password, and the sidecar is started again: it can neither ask the
/// master nor stop it. Nobody is promoted beside it, and the way out is said.
#[test]
fn a_master_that_refuses_its_sidecar_keeps_the_role() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.password("of-the-set"))?;
    let set = &mut cluster.set;
    set.start_all()?;
    ensure!(set.converge()? == 0, "{:?}", set.masters());
    let observer = set.observe();
    let mut app = set.member(0).connect()?;
    app.tell("CONFIG SET requirepass somebody-elses")?;
    set.member_mut(0).kill_sidecar()?;
    set.member_mut(0).start_sidecar()?;
    set.wait_for("it is said", || {
        let reasons = set.member(0).status()?.reasons();
        ensure!(reasons.contains("refuses the login"), "{reasons}");
        ensure!(reasons.contains("--password-file"), "{reasons}");
        Ok(())
    })?;
    harness::wait::stays("redis-0 leads", Duration::from_secs(10), || {
        ensure!(cluster.holder()? == "redis-0", "{}", cluster.lease()?);
        app.tell("SET a 1")
    })?;
    app.tell("CONFIG SET requirepass of-the-set")?;
    let settled = cluster.set.converge()?;
    ensure!(settled == 0, "redis-{settled} leads");
    observer.finish()
}

/// S9: everybody follows an address at which nobody is any more: whoever has most leads.
#[test]
fn s9_members_that_follow_a_dead_address_find_the_best_by_the_lease() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let set = &mut cluster.set;
    crate::write_everywhere(set, 0, "s9", 50)?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    for ordinal in 0..3 {
        crate::connect(set, ordinal)?.tell("REPLICAOF 10.244.9.9 6379")?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_sidecar()?;
    }
    set.converge()?;
    crate::all_have(set, "s9", 50)?;
    Ok(())
}

/// S46: the master wants one replica, and one is left after it died.
#[test]
fn s46_min_replicas_goes_on_after_a_failover() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.base("min-replicas-to-write 1"))?;
    let set = &mut cluster.set;
    set.start_all()?;
    set.converge()?;
    set.member_mut(0).kill()?;
    let new = set.converge_on(&[1, 2])?;
    set.wait_for("writes go on", || crate::connect(set, new)?.tell("SET a 1"))?;
    let other = 3 - new;
    set.member_mut(other).kill()?;
    set.wait_for("writes are refused without a replica", || {
        let refused = crate::connect(set, new)?.tell("SET a 2");
        ensure!(refused.is_err(), "accepted");
        Ok(())
    })?;
    let pair: Vec<String> = crate::connect(set, new)?.ask("CONFIG GET min-replicas-to-write")?;
    ensure!(pair.get(1).is_some_and(|n| n == "1"), "{pair:?}");
    Ok(())
}
