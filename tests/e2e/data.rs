//! Lost volumes, old files, restarts of servers alone: what could wipe a set.

use anyhow::{Result, ensure};

use crate::{all_have, connect, has, refuses_writes, set, unsaved, write_everywhere};

#[test]
fn core_s24_a_lost_volume_joins_the_data() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s24", 500)?;
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    let master = set.converge()?;
    ensure!(master != 0, "the empty member leads");
    all_have(&set, "s24", 500)
}

#[test]
fn core_s25_a_server_without_persistence_restarts_alone() -> Result<()> {
    let mut set = unsaved().start()?;
    write_everywhere(&set, 0, "s25", 500)?;
    let observer = set.observe();
    for _ in 0..3 {
        let master = set.converge()?;
        set.member_mut(master).kill_server()?;
        // A copy received or sent may have left a file; this set persists nothing.
        let _ = std::fs::remove_file(set.member(master).data().join("dump.rdb"));
        set.member_mut(master).start_server()?;
        let next = set.converge()?;
        ensure!(next != master, "the empty server leads: {}", set.describe());
        all_have(&set, "s25", 500)?;
    }
    observer.finish()
}

#[test]
fn a_master_back_from_an_older_rdb_lets_the_replica_lead() -> Result<()> {
    let mut set = unsaved().start()?;
    write_everywhere(&set, 0, "old", 100)?;
    connect(&set, 0)?.tell("SAVE")?;
    write_everywhere(&set, 0, "new", 400)?;
    set.member_mut(0).kill_server()?;
    set.member_mut(0).start_server()?;
    let master = set.converge()?;
    ensure!(master != 0, "the member with less data leads");
    all_have(&set, "old", 100)?;
    all_have(&set, "new", 400)
}

#[test]
fn a_master_back_from_an_older_aof_lets_the_replica_lead() -> Result<()> {
    let mut set = unsaved().base("appendonly yes").start()?;
    write_everywhere(&set, 0, "old", 100)?;
    let folder = set.member(0).data();
    let kept = tempfile::tempdir()?;
    let copy = |from: &std::path::Path, to: &std::path::Path| -> Result<()> {
        let done = std::process::Command::new("cp")
            .arg("-a")
            .arg(from)
            .arg(to)
            .status()?;
        ensure!(done.success(), "cp failed");
        Ok(())
    };
    copy(&folder, &kept.path().join("data"))?;
    write_everywhere(&set, 0, "new", 400)?;
    // The state file is written some seconds apart; the older volume has an older one.
    set.member_mut(0).kill()?;
    std::fs::remove_dir_all(&folder)?;
    copy(&kept.path().join("data"), &folder)?;
    set.member_mut(0).start()?;
    let master = set.converge()?;
    ensure!(
        master != 0,
        "the member with less data leads: {}",
        set.describe()
    );
    all_have(&set, "old", 100)?;
    all_have(&set, "new", 400)
}

#[test]
fn with_aof_everything_restarts_and_the_master_leads_again() -> Result<()> {
    let mut set = unsaved().base("appendonly yes").start()?;
    write_everywhere(&set, 0, "aof", 300)?;
    set.kill_all()?;
    set.start_all()?;
    ensure!(
        set.converge()? == 0,
        "another than the recorded master leads"
    );
    all_have(&set, "aof", 300)
}

#[test]
fn s2_the_old_master_comes_back_as_a_replica() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s2", 100)?;
    connect(&set, 0)?.tell("SAVE")?;
    set.member_mut(0).kill_server()?;
    // The other takes over by hand; pod-0's sidecar is there and sees it.
    connect(&set, 1)?.tell("REPLICAOF NO ONE")?;
    connect(&set, 1)?.fill("after", 10)?;
    set.wait_for("pod-1 says that it is a master without a grant", || {
        let status = set.member(1).status()?;
        ensure!(
            status.role() == "master" && status.reasons().contains("without a grant"),
            "{}",
            status.0
        );
        Ok(())
    })?;
    let observer = set.observe();
    set.member_mut(0).start_server()?;
    set.wait_for("the old master answers", || {
        set.member(0).info().map(|_| ())
    })?;
    refuses_writes(set.member(0))?;
    let master = set.converge()?;
    ensure!(master == 1, "the hand's choice was undone: {master} leads");
    all_have(&set, "s2", 100)?;
    all_have(&set, "after", 10)?;
    observer.finish()
}

#[test]
fn s9_members_that_follow_a_dead_address_find_the_best() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s9", 50)?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    for ordinal in 0..3 {
        connect(&set, ordinal)?.tell("REPLICAOF 10.244.9.9 6379")?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_sidecar()?;
    }
    set.converge()?;
    all_have(&set, "s9", 50)
}

#[test]
fn members_paused_and_resumed_leave_one_master() -> Result<()> {
    let set = set().start()?;
    write_everywhere(&set, 0, "pause", 50)?;
    let observer = set.observe();
    for ordinal in [0, 1] {
        set.member(ordinal).server()?.pause()?;
        set.member(ordinal).sidecar()?.pause()?;
    }
    set.stays_as_it_is(std::time::Duration::from_secs(3))
        .or_else(|_| anyhow::Ok(()))?;
    for ordinal in [0, 1] {
        set.member(ordinal).server()?.resume()?;
        set.member(ordinal).sidecar()?.resume()?;
    }
    set.converge()?;
    all_have(&set, "pause", 50)?;
    observer.finish()
}

#[test]
fn s48_a_long_load_is_alive_and_not_ready() -> Result<()> {
    let mut set = set().start()?;
    connect(&set, 0)?.fill("s48", 3000)?;
    connect(&set, 0)?.tell("SAVE")?;
    set.member_mut(0).kill_server()?;
    // Each key takes time to load. The server answers LOADING after each kilobyte; redis 6.0, where
    // that cannot be set, does not answer before it is done.
    let slow = [
        "--key-load-delay",
        "1500",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let (slow, told) = if crate::is_redis_6() {
        (&slow[..2], "did not answer")
    } else {
        (&slow[..], "loading")
    };
    set.member_mut(0)
        .start_server_with(&[&["/run/podzero/conf/redis.conf"], slow].concat())?;
    set.wait_for("the load is told", || {
        let page = set.member(0).get("/readyz")?;
        ensure!(page.code == 503 && page.body.contains(told), "{page:?}");
        Ok(())
    })?;
    ensure!(
        set.member(0).get("/livez")?.code == 200,
        "a loading server's sidecar is not live"
    );
    set.converge()?;
    all_have(&set, "s48", 3000)
}

/// A set in which a full copy to pod-1 is under way and takes long: the master waits after each key.
fn copying() -> Result<harness::Set> {
    let mut set = unsaved()
        .base("repl-diskless-sync yes")
        .base("rdb-key-save-delay 2000")
        .start()?;
    for part in 0..10 {
        connect(&set, 0)?.fill(&format!("big{part}"), 500)?;
    }
    all_have(&set, "big9", 500)?;
    set.member_mut(1).kill()?;
    set.member(1).delete_data()?;
    set.member_mut(1).start()?;
    set.wait_for("pod-1 receives a copy", || {
        let info = set.member(1).info()?;
        let status = set.member(1).status()?;
        ensure!(
            info.get("master_sync_in_progress") == "1"
                && status.unfinished()
                && status.reasons().contains("first_sync"),
            "not yet: {}",
            status.0
        );
        Ok(())
    })?;
    Ok(set)
}

fn all_copied(set: &harness::Set) -> Result<()> {
    (0..10).try_for_each(|part| all_have(set, &format!("big{part}"), 500))
}

#[test]
fn a_copy_that_is_cut_half_way_is_not_taken_for_data() -> Result<()> {
    let mut set = copying()?;
    // The master goes in the middle of the copy and comes back without anything.
    set.member_mut(0).kill_server()?;
    let _ = std::fs::remove_file(set.member(0).data().join("dump.rdb"));
    set.member_mut(0).start_server()?;
    let master = set.converge()?;
    ensure!(
        master == 2,
        "the one who has everything does not lead, but {master}"
    );
    all_copied(&set)
}

#[test]
fn a_member_whose_copy_was_cut_is_never_the_only_choice() -> Result<()> {
    let mut set = copying()?;
    set.member_mut(2).kill()?;
    set.member_mut(0).kill()?;
    set.wait_for("pod-1 has lost its master", || {
        ensure!(!set.member(1).info()?.has_link(), "not yet");
        Ok(())
    })?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    set.wait_for("pod-0, empty, waits in words", || {
        let body = set.member(0).get("/readyz")?.body;
        ensure!(body.contains("redis-2"), "{body}");
        Ok(())
    })?;
    ensure!(
        set.masters().is_empty(),
        "somebody leads: {:?}",
        set.masters()
    );
    Ok(())
}

#[test]
fn s50_a_long_full_sync_and_a_long_command_restart_nothing() -> Result<()> {
    let set = copying()?;
    let live = || -> Result<()> {
        for member in set.members() {
            let page = member.get("/livez")?;
            ensure!(page.code == 200, "{} is not live: {page:?}", member.pod());
        }
        Ok(())
    };
    let mut looks = 0;
    set.wait_for("the copy is done", || {
        let probed = live();
        looks += 1;
        ensure!(
            probed.is_err() || set.member(1).info()?.has_link(),
            "not yet"
        );
        probed
    })?;
    ensure!(looks > 1, "the copy was over before it was looked at");
    set.converge()?;
    // A server that is busy for longer than any answer may take, as with a flush of millions of keys.
    let run = set.member(0).info()?.get("run_id").to_owned();
    let address = set.member(0).address();
    let mut seen = false;
    std::thread::scope(|scope| {
        let busy = scope.spawn(move || harness::Conn::open(address, None)?.keep_busy(6));
        while !busy.is_finished() {
            live()?;
            seen |= set.member(0).status().is_ok_and(|s| !s.ready());
            harness::wait::pause(std::time::Duration::from_millis(20));
        }
        busy.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    })?;
    ensure!(seen, "nobody noticed that the server was busy");
    ensure!(set.converge()? == 0, "the role moved");
    ensure!(
        set.member(0).info()?.get("run_id") == run,
        "the server was restarted"
    );
    all_copied(&set)
}

#[test]
fn s9_a_recycled_address_takes_and_gives_nothing() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s9", 50)?;
    let old = set.member(0).addresses().to_vec();
    set.member_mut(0).delete()?;
    // A stranger with other data gets the address; DNS is late.
    set.grow()?;
    set.names().withdraw("redis-3");
    set.names().lie("redis-0", Some(&old));
    set.member_mut(3).move_to(old.clone())?;
    set.member_mut(3)
        .start_server_with(&["--protected-mode", "no"])?;
    set.wait_for("the stranger answers", || {
        set.member(3).connect()?.fill("stranger", 3)
    })?;
    for ordinal in [1, 2] {
        connect(&set, ordinal)?.tell(&format!("REPLICAOF {} 6379", old[0]))?;
    }
    set.stays_as_it_is(std::time::Duration::from_secs(2))?;
    for ordinal in [1, 2] {
        has(set.member(ordinal), "s9", 50)?;
        has(set.member(ordinal), "stranger", 0)?;
    }
    set.names().lie("redis-0", None);
    crate::start_elsewhere(&mut set, 0)?;
    set.converge_on(&[0, 1, 2])?;
    for ordinal in 0..3 {
        has(set.member(ordinal), "s9", 50)?;
        has(set.member(ordinal), "stranger", 0)?;
    }
    has(set.member(3), "s9", 0)
}

/// A set that has no keys yet, with AOF, is restarted.
#[test]
fn an_empty_set_with_aof_restarts() -> Result<()> {
    let mut set = set().base("appendonly yes").start()?;
    set.kill_all()?;
    set.start_all()?;
    set.converge().map(|_| ())
}

/// A set that persists nothing (a cache), whose servers all restart in their pods.
#[test]
fn a_set_without_persistence_restarts() -> Result<()> {
    let mut set = unsaved().base("rdb-del-sync-files yes").start()?;
    write_everywhere(&set, 0, "kept", 10)?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_server()?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_server()?;
    }
    set.converge().map(|_| ())
}
