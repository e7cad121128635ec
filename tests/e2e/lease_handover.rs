//! Authority `lease`: handovers in which somebody dies, and the way from one authority to the other.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::api_proxy::ApiTrouble;
use crate::cluster::{Cluster, another_master};
use crate::faults::fault_has_struck;
use crate::handover::{podzero, spawn};
use crate::handover_troubles::arm_fault;

/// The target's sidecar dies between its promotion and its note; the API answers its next one a little
/// late. What the new master acknowledged meanwhile must stay.
#[test]
fn a_target_that_is_killed_when_promoted_keeps_what_it_acknowledged() -> Result<()> {
    let mut cluster = Cluster::start()?;
    arm_fault(&mut cluster.set, 1, "kill:promoted")?;
    let _caller = spawn(&cluster.set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&cluster.set, 1)?;
    cluster.set.wait_for("redis-1 accepts writes", || {
        crate::connect(&cluster.set, 1)?.tell("SET kept 1")
    })?;
    cluster.proxy()?.trouble(ApiTrouble {
        delay: Duration::from_millis(300),
        ..ApiTrouble::default()
    });
    cluster.set.member_mut(1).start_sidecar()?;
    let master = cluster.set.converge()?;
    let kept: Option<String> = crate::connect(&cluster.set, master)?.ask("GET kept")?;
    ensure!(
        kept.is_some(),
        "redis-{master} leads without the acknowledged write"
    );
    Ok(())
}

/// The giver's whole machine dies when the target has armed itself.
#[test]
fn the_giver_dies_when_the_target_is_armed() -> Result<()> {
    let mut cluster = Cluster::start()?;
    arm_fault(&mut cluster.set, 1, "stop:armed")?;
    let _caller = spawn(&cluster.set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&cluster.set, 1)?;
    cluster.set.member_mut(0).kill()?;
    cluster.set.member(1).sidecar()?.resume()?;
    another_master(&cluster.set, 0)?;
    Ok(())
}

/// From the Lease to pod-0 and back to the Lease, on one boot: nobody's role changes.
#[test]
fn back_to_the_lease_nobodys_role_changes() -> Result<()> {
    const ORDINAL: [(&str, &str); 1] = [("PODZERO_AUTHORITY", "ordinal")];
    let mut cluster = Cluster::start()?;
    let set = &mut cluster.set;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
        set.member_mut(ordinal).start_sidecar_with(&ORDINAL)?;
        set.converge()?;
    }
    harness::wait::pause(Duration::from_secs(5));
    let before = set.member(0).status()?.epoch();
    for ordinal in [2, 1, 0] {
        set.member_mut(ordinal).kill_sidecar()?;
        set.member_mut(ordinal).start_sidecar()?;
    }
    set.converge()?;
    let after = set.member(0).status()?.epoch();
    ensure!(
        before == after && set.masters() == [0],
        "epoch {before} became {after}, masters {:?}: {}",
        set.masters(),
        set.member(0).log_tail("sidecar", 8)
    );
    let (code, said) = podzero(set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    Ok(())
}
