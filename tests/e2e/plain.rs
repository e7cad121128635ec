//! `init --without-sidecar`: the plain script, made safe.

use anyhow::{Result, ensure};
use harness::Set;

use crate::set;

fn plain() -> Result<Set> {
    set()
        .env("PODZERO_WITHOUT_SIDECAR", "true")
        .env("PODZERO_TIMEOUT", "30s")
        .make()
}

#[test]
fn without_a_sidecar_pod_0_leads_and_the_others_wait_for_it() -> Result<()> {
    let mut set = plain()?;
    let waits = set.member(1).begin_init()?;
    set.wait_for("pod-1 says what it waits for", || {
        ensure!(waits.log().contains("redis-0"), "{}", waits.log());
        Ok(())
    })?;
    ensure!(waits.is_running(), "pod-1 did not wait: {}", waits.log());
    set.member(0).init()?;
    set.member_mut(0).start_server()?;
    ensure!(
        waits.exit_code(harness::wait::SOON)? == 0,
        "{}",
        waits.log()
    );
    set.member_mut(1).start_server()?;
    set.wait_for("pod-1 has a link to pod-0", || {
        ensure!(
            set.member(1).info()?.has_link() && set.member(0).info()?.is_master(),
            "not yet"
        );
        Ok(())
    })?;
    set.member(0).connect()?.fill("plain", 20)?;
    set.wait_for("pod-1 has the data", || {
        crate::has(set.member(1), "plain", 20)
    })
}

#[test]
fn without_a_sidecar_an_empty_pod_0_does_not_wipe_the_others() -> Result<()> {
    let mut set = set()
        .env("PODZERO_WITHOUT_SIDECAR", "true")
        .env("PODZERO_TIMEOUT", "4s")
        .members(2)
        .make()?;
    // Pod-1 runs with data and follows a pod-0 that lost its volume.
    set.member(1)
        .init()
        .err()
        .ok_or_else(|| anyhow::anyhow!("pod-1 did not wait for pod-0"))?;
    set.member_mut(1)
        .start_server_with(&["--protected-mode", "no", "--port", "6379"])?;
    set.wait_for("pod-1 answers", || set.member(1).info().map(|_| ()))?;
    set.member(1).connect()?.fill("kept", 20)?;
    set.member(1)
        .connect()?
        .tell("REPLICAOF 10.244.1.11 6379")?;
    let init = set.member(0).begin_init()?;
    let code = init.exit_code(harness::wait::SOON)?;
    ensure!(code == 4, "pod-0 ended with {code}: {}", init.log());
    crate::has(set.member(1), "kept", 20)
}
