//! Members that cannot reach one another: not knowing never promotes.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{all_have, connect, set, write_everywhere};

#[test]
fn nobody_is_promoted_while_the_master_cannot_be_reached() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_PEER_WAIT", "1s").start()?;
    // The role is away from pod-0, which grants it: pod-0 loses its volume.
    write_everywhere(&set, 0, "cut", 50)?;
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    let master = set.converge()?;
    ensure!(master != 0, "the empty member leads");
    let observer = set.observe();
    for other in (0..3).filter(|o| *o != master) {
        set.member(master).cut_from(set.member(other))?;
    }
    set.wait_for("pod-0 waits for the master without limit", || {
        let reasons = set.member(0).status()?.reasons();
        ensure!(reasons.contains("waiting_for_master"), "{reasons}");
        Ok(())
    })?;
    set.stays_as_it_is(Duration::from_secs(4))?;
    // The harness still reaches it: it goes on as the master that it is.
    connect(&set, master)?.fill("meanwhile", 5)?;
    for other in (0..3).filter(|o| *o != master) {
        set.member(master).heal_with(set.member(other))?;
    }
    ensure!(set.converge()? == master, "the master changed");
    all_have(&set, "cut", 50)?;
    all_have(&set, "meanwhile", 5)?;
    observer.finish()
}

#[test]
fn a_replica_that_was_cut_off_comes_back_without_a_hand() -> Result<()> {
    let set = set().base("repl-timeout 5").start()?;
    write_everywhere(&set, 0, "before", 20)?;
    for other in [0, 1] {
        set.member(2).cut_from(set.member(other))?;
    }
    connect(&set, 0)?.fill("during", 20)?;
    set.wait_for("the replica is not ready", || {
        ensure!(set.member(2).get("/readyz")?.code == 503, "it is ready");
        Ok(())
    })?;
    for other in [0, 1] {
        set.member(2).heal_with(set.member(other))?;
    }
    ensure!(set.converge()? == 0, "the master changed");
    all_have(&set, "during", 20)
}
