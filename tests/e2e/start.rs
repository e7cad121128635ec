//! Starting, starting again, joining and leaving.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{all_have, connect, refuses_writes, set, unsaved, write_everywhere};

#[test]
fn core_s1_a_set_starts_while_its_names_are_missing() -> Result<()> {
    let mut set = set().make()?;
    set.names().service_exists(false);
    let observer = set.observe();
    set.start_all()?;
    set.wait_for("the wait is told in words", || {
        let body = set.member(0).get("/readyz")?.body;
        ensure!(body.contains("own name does not resolve"), "{body}");
        Ok(())
    })?;
    ensure!(set.masters().is_empty(), "nobody may lead yet");
    set.names().service_exists(true);
    let master = set.converge()?;
    ensure!(master == 0, "pod-0 leads a first boot");
    write_everywhere(&set, master, "s1", 10)?;
    refuses_writes(set.member(1))?;
    observer.finish()
}

#[test]
fn core_s3_everything_is_killed_and_started_again() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s3", 500)?;
    for ordinal in 0..3 {
        connect(&set, ordinal)?.tell("SAVE")?;
    }
    // The last writes are saved by pod-2 alone.
    write_everywhere(&set, 0, "late", 5)?;
    connect(&set, 2)?.tell("SAVE")?;
    set.kill_all()?;
    set.start_all()?;
    let master = set.converge()?;
    ensure!(
        master == 2,
        "the member with the highest offset leads, not {master}"
    );
    all_have(&set, "s3", 500)?;
    all_have(&set, "late", 5)
}

#[test]
fn s28_all_pods_restart_with_their_volumes_one_after_the_other() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s28", 200)?;
    for ordinal in [2, 1, 0] {
        set.member_mut(ordinal).delete()?;
        crate::start_elsewhere(&mut set, ordinal)?;
        set.converge()?;
    }
    all_have(&set, "s28", 200)
}

#[test]
fn s10_all_sidecars_restart_and_no_role_changes() -> Result<()> {
    let mut set = set().start()?;
    let runs = |set: &harness::Set| -> Result<Vec<String>> {
        set.members()
            .iter()
            .map(|m| Ok(m.info()?.get("master_replid").to_owned()))
            .collect()
    };
    let before = runs(&set)?;
    for _ in 0..3 {
        for ordinal in 0..3 {
            set.member_mut(ordinal).kill_sidecar()?;
        }
        for ordinal in 0..3 {
            set.member_mut(ordinal).start_sidecar()?;
        }
        ensure!(set.converge()? == 0, "the master changed");
    }
    ensure!(runs(&set)? == before, "a history changed");
    Ok(())
}

#[test]
fn s7_health_checks_during_a_switch_restart_nothing() -> Result<()> {
    let mut set = unsaved().start()?;
    write_everywhere(&set, 0, "s7", 50)?;
    let runs: Vec<String> = [1, 2]
        .iter()
        .map(|o| Ok(set.member(*o).info()?.get("run_id").to_owned()))
        .collect::<Result<_>>()?;
    // Its server comes back empty: the role moves.
    set.member_mut(0).kill_server()?;
    let _ = std::fs::remove_file(set.member(0).data().join("dump.rdb"));
    let live = |set: &harness::Set| -> Result<()> {
        for member in set.members() {
            let page = member.get("/livez")?;
            ensure!(page.code == 200, "{} is not live: {page:?}", member.pod());
        }
        Ok(())
    };
    set.wait_for("pod-0's readiness ends", || {
        live(&set)?;
        ensure!(set.member(0).get("/readyz")?.code == 503, "it is ready");
        Ok(())
    })?;
    set.member_mut(0).start_server()?;
    set.wait_for("the role has moved", || {
        let probed = live(&set);
        ensure!(probed.is_ok(), "{probed:?}");
        ensure!(
            set.masters().first().is_some_and(|m| *m != 0),
            "not yet: {:?}",
            set.masters()
        );
        Ok(())
    })?;
    let master = set.converge()?;
    set.stays_as_it_is(Duration::from_secs(2))?;
    ensure!(set.converge()? == master, "a second switch");
    for (ordinal, run) in [1, 2].into_iter().zip(runs) {
        ensure!(
            set.member(ordinal).info()?.get("run_id") == run,
            "a server was restarted"
        );
    }
    all_have(&set, "s7", 50)
}

#[test]
fn a_set_grows_and_shrinks_without_restarts() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "grow", 50)?;
    for _ in 0..2 {
        set.grow()?;
    }
    for ordinal in [3, 4] {
        set.member_mut(ordinal).start()?;
    }
    set.converge()?;
    all_have(&set, "grow", 50)?;
    set.shrink()?;
    set.shrink()?;
    ensure!(set.converge()? == 0, "the master changed");
    set.grow()?;
    set.member_mut(3).start()?;
    set.converge()?;
    all_have(&set, "grow", 50)
}

#[test]
fn a_first_boot_with_nothing_set_but_the_names() -> Result<()> {
    let set = set()
        .without("PODZERO_REPLICAS")
        .without("PODZERO_DISCOVER")
        .without("PODZERO_POD_UID")
        .without("PODZERO_POD_IP")
        .start()?;
    write_everywhere(&set, 0, "bare", 20)
}

#[test]
fn a_member_that_starts_late_is_waited_for() -> Result<()> {
    let mut set = set().make()?;
    for ordinal in [0, 1] {
        set.member_mut(ordinal).start()?;
    }
    // The third member's name is there, so it is waited for.
    set.stays_as_it_is(Duration::from_secs(2))?;
    ensure!(
        set.masters().is_empty(),
        "a member that may have data was not waited for"
    );
    set.member_mut(2).start()?;
    set.converge()?;
    Ok(())
}

#[test]
fn a_member_without_its_sidecar_keeps_its_link() -> Result<()> {
    let mut set = set().start()?;
    set.member_mut(1).kill_sidecar()?;
    write_everywhere(&set, 0, "alone", 20)?;
    ensure!(set.member(1).info()?.has_link(), "the link was cut");
    set.member_mut(2).kill()?;
    set.member_mut(2).start()?;
    set.wait_for("pod-2 is back", || {
        ensure!(set.member(2).get("/readyz")?.code == 200, "not ready");
        Ok(())
    })?;
    set.member_mut(1).start_sidecar()?;
    set.converge()?;
    all_have(&set, "alone", 20)
}

#[test]
fn the_set_with_a_password_of_every_kind_of_character() -> Result<()> {
    let set = set().password("#ai%E Qie!^i'\"\\$é").start()?;
    write_everywhere(&set, 0, "auth", 10)?;
    let open =
        harness::Conn::open(set.member(0).address(), None).and_then(|mut c| c.tell("GET auth:1"));
    ensure!(
        open.is_err(),
        "the server takes commands without the password"
    );
    for member in set.members() {
        for file in ["init", "sidecar", "server"] {
            ensure!(
                !member.log_tail(file, 10_000).contains("#ai%E"),
                "the password is in a log"
            );
        }
        ensure!(
            !member.get("/status")?.body.contains("#ai%E"),
            "the password is in /status"
        );
    }
    Ok(())
}
