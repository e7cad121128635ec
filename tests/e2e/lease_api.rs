//! Authority `lease`: what goes wrong with the Kubernetes API, and with the Lease itself.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::api_proxy::{ApiRequest, ApiTrouble};
use crate::cluster::{Cluster, another_master};
use crate::handover::{gentle, podzero, writers};

/// At rest the holder alone writes, and the Lease alone; the others hardly read.
#[test]
fn a_set_at_rest_asks_little_of_the_api() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.set.stays_as_it_is(Duration::from_secs(2))?;
    cluster.proxy()?.take_requests();
    let mut seen = Vec::new();
    cluster.set.wait_for("a few renewals", || {
        seen.extend(cluster.proxy()?.take_requests());
        let renewals = seen.iter().filter(|r| r.method == "PUT").count();
        ensure!(renewals >= 5, "{renewals}");
        Ok(())
    })?;
    let (renewals, others): (Vec<_>, Vec<_>) = seen
        .into_iter()
        .partition(|r| r.method == "PUT" && r.path.contains("/leases/redis"));
    ensure!(!others.iter().any(ApiRequest::is_write), "{others:?}");
    ensure!(others.len() <= 2 * renewals.len(), "{others:?}");
    Ok(())
}

/// The API server is away for longer than the Lease lasts: everybody promises, and nothing changes.
#[test]
fn an_outage_of_the_api_alone_changes_nothing() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let writers = writers(set, 2, &gentle());
    let before = set.member(0).status()?.epoch();
    cluster.apiserver().pause()?;
    set.stays_as_it_is(Duration::from_secs(if crate::repetitions(0, 1) == 1 {
        60
    } else {
        20
    }))?;
    cluster.apiserver().resume()?;
    ensure!(set.converge()? == 0, "another master");
    let after = set.member(0).status()?.epoch();
    ensure!(before == after, "epoch {before:?} became {after:?}");
    set.stays_as_it_is(Duration::from_secs(8))?;
    let written = writers.finish(set.member(0).address())?;
    println!("{written:?}");
    ensure!(written.errors == 0, "{written:?}");
    Ok(())
}

/// The Lease is deleted: the master makes it anew, in its epoch.
#[test]
fn a_lease_that_is_deleted_is_made_anew() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let before = set.member(0).status()?.epoch();
    cluster.kubectl(&["delete", "lease", "redis", "-n", "shop"], None)?;
    set.wait_for("the Lease is back", || {
        ensure!(cluster.holder()? == "redis-0", "{}", cluster.lease()?);
        Ok(())
    })?;
    set.stays_as_it_is(Duration::from_secs(8))?;
    let after = set.member(0).status()?.epoch();
    ensure!(before == after, "epoch {before:?} became {after:?}");
    Ok(())
}

/// The master alone cannot reach the API server: it stops before another one begins.
#[test]
fn a_master_that_is_cut_off_from_the_api_stops_first() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let (observer, writers) = (set.observe(), writers(set, 2, &gentle()));
    set.member(0).cut_from_api()?;
    let new = another_master(set, 0)?;
    set.member(0).heal_with_api()?;
    let settled = set.converge()?;
    ensure!(settled == new, "{new} and then {settled}");
    observer.finish()?;
    let written = writers.end(set.member(new).address())?;
    println!("{written:?}");
    ensure!(written.lost_count == 0, "{written:?}");
    Ok(())
}

/// Somebody edits the Lease so that a stranger holds it.
#[test]
fn a_lease_that_a_stranger_holds_is_taken_when_it_runs_out() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let observer = set.observe();
    let patch = r#"{"spec":{"holderIdentity":"somebody-else"}}"#;
    cluster.patch("lease/redis", patch)?;
    set.wait_for("the Lease is one of ours again", || {
        ensure!(
            cluster.holder()?.starts_with("redis-"),
            "{}",
            cluster.lease()?
        );
        Ok(())
    })?;
    set.converge()?;
    observer.finish()
}

/// What is wrong with the API for a while, with every request of every pod.
fn with_trouble(trouble: ApiTrouble, length: u64) -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let (observer, writers) = (set.observe(), writers(set, 2, &gentle()));
    let before = set.member(0).status()?.epoch();
    cluster.proxy()?.trouble(trouble);
    set.stays_as_it_is(Duration::from_secs(length))?;
    cluster.proxy()?.trouble(ApiTrouble::default());
    set.stays_as_it_is(Duration::from_secs(8))?;
    let after = set.member(0).status()?.epoch();
    ensure!(before == after, "epoch {before:?} became {after:?}");
    observer.finish()?;
    let written = writers.finish(set.member(0).address())?;
    ensure!(written.errors == 0, "{written:?}");
    Ok(())
}

#[test]
fn an_api_that_answers_errors_changes_nothing() -> Result<()> {
    for code in [409, 429, 500] {
        let code = Some(code);
        with_trouble(
            ApiTrouble {
                code,
                ..ApiTrouble::default()
            },
            12,
        )?;
    }
    Ok(())
}

#[test]
fn an_api_that_is_slow_changes_nothing() -> Result<()> {
    let delay = Duration::from_secs(2);
    with_trouble(
        ApiTrouble {
            delay,
            ..ApiTrouble::default()
        },
        20,
    )
}

#[test]
fn answers_that_are_lost_change_nothing() -> Result<()> {
    with_trouble(
        ApiTrouble {
            lose_answer: true,
            only_writes: true,
            ..ApiTrouble::default()
        },
        20,
    )
}

/// A write of the master's own goes wrong while all others can read: it stops in time.
#[test]
fn a_master_whose_writes_are_refused_stops_first() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let observer = set.observe();
    cluster.proxy()?.trouble(ApiTrouble {
        code: Some(500),
        only_writes: true,
        ..ApiTrouble::default()
    });
    set.wait_for("nobody accepts writes", || {
        ensure!(set.masters().is_empty(), "{:?}", set.masters());
        Ok(())
    })?;
    let reasons = set.member(0).status()?.reasons();
    ensure!(
        reasons.contains("lease_lost") || reasons.contains("no_master"),
        "{reasons}"
    );
    cluster.proxy()?.trouble(ApiTrouble::default());
    set.converge()?;
    observer.finish()
}

/// The Lease is said to be held by an earlier pod of the master's name: nobody is that any more.
#[test]
fn an_earlier_pod_of_the_same_name_holds_nothing() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let observer = set.observe();
    let before = set.member(0).status()?.epoch();
    let patch = r#"{"spec":{"holderIdentity":"redis-0_an-earlier-one"}}"#;
    cluster.patch("lease/redis", patch)?;
    set.wait_for("a pod that is there holds it", || {
        let lease = cluster.lease()?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        ensure!(holder.contains("_uid-"), "{holder}");
        Ok(())
    })?;
    let master = set.converge()?;
    ensure!(
        cluster.holder()? == format!("redis-{master}"),
        "{}",
        cluster.lease()?
    );
    let after = set.member(master).status()?.epoch();
    ensure!(after >= before, "epoch {before} became {after}");
    observer.finish()?;
    Ok(())
}

/// Words that nobody understands: they stay until the Lease runs out, and then it is one of ours again.
#[test]
fn a_lease_that_a_hand_garbled_is_mended() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let observer = set.observe();
    let patch = r#"{"metadata":{"annotations":{"podzero/epoch":"seven"}}}"#;
    cluster.patch("lease/redis", patch)?;
    set.wait_for("it is said", || {
        let reasons = set.member(0).status()?.reasons();
        ensure!(
            reasons.contains("podzero/epoch") && reasons.contains("seven"),
            "{reasons}"
        );
        Ok(())
    })?;
    set.wait_for("it is mended", || {
        let lease = cluster.lease()?;
        let epoch = lease["metadata"]["annotations"]["podzero/epoch"].as_str();
        ensure!(epoch.is_some_and(|e| e.contains('.')), "{epoch:?}");
        Ok(())
    })?;
    set.converge()?;
    observer.finish()?;
    Ok(())
}

/// A right is missing: who lacks which verb on what is said, and nothing starts without it.
#[test]
fn a_missing_right_is_named() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder)?;
    cluster.kubectl(&["delete", "rolebinding", "redis", "-n", "shop"], None)?;
    cluster.set.start_all()?;
    let set = &cluster.set;
    set.wait_for("the missing right is named", || {
        let reasons = set.member(0).status()?.reasons();
        let named = ["403", "cannot get resource \"leases\"", "service account"];
        ensure!(named.iter().all(|word| reasons.contains(word)), "{reasons}");
        ensure!(set.masters().is_empty(), "{:?}", set.masters());
        Ok(())
    })?;
    let binding = [
        "create",
        "rolebinding",
        "redis",
        "-n",
        "shop",
        "--role=redis",
    ];
    let whom = ["--serviceaccount=shop:redis"];
    cluster.kubectl(&[binding.as_slice(), whom.as_slice()].concat(), None)?;
    cluster.set.converge()?;
    Ok(())
}

/// The clocks of people's machines are minutes apart: no other machine's clock is ever compared.
#[test]
fn clocks_that_are_apart_change_nothing() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder)?;
    let clock = cluster.wrong_clock()?;
    let set = &mut cluster.set;
    for (ordinal, offset) in ["420", "-420", "0"].into_iter().enumerate() {
        set.member(ordinal).init()?;
        let wrong = [("LD_PRELOAD", clock.as_str()), ("WRONG_BY", offset)];
        set.member_mut(ordinal).start_sidecar_with(&wrong)?;
        set.member_mut(ordinal).start_server()?;
    }
    set.converge()?;
    let observer = set.observe();
    let renewed = |cluster: &Cluster| -> Result<String> {
        let lease = cluster.lease()?;
        Ok(lease["spec"]["renewTime"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    let (code, said) = podzero(set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    set.stays_as_it_is(Duration::from_secs(8))?;
    let early = renewed(&cluster)?;
    let set = &mut cluster.set;
    set.member_mut(1).kill_server()?;
    another_master(set, 1)?;
    set.member_mut(1).start_server()?;
    set.converge()?;
    // The clocks were wrong indeed: time went forwards by minutes when the role left redis-1.
    let late = renewed(&cluster)?;
    ensure!(late > early, "{early} and then {late}");
    observer.finish()?;
    Ok(())
}

/// The others with the newest data never come back: a person decides, and is told when it is written.
#[test]
fn a_person_decides_and_the_lease_goes_there() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.base("appendonly yes"))?;
    let set = &mut cluster.set;
    set.start_all()?;
    set.converge()?;
    crate::write_everywhere(set, 0, "old", 20)?;
    set.member_mut(2).kill()?;
    crate::connect(set, 0)?.fill("newer", 20)?;
    set.kill_all()?;
    set.member_mut(2).start()?;
    set.wait_for("it waits for the others", || {
        let reasons = set.member(2).status()?.reasons();
        ensure!(reasons.contains("waiting_for"), "{reasons}");
        Ok(())
    })?;
    // While nobody can write the Lease, nothing is decided, and that is said.
    cluster.proxy()?.trouble(ApiTrouble {
        code: Some(500),
        only_writes: true,
        ..ApiTrouble::default()
    });
    let set = &cluster.set;
    let (code, said) = podzero(set, 2, &["resolve", "--keep", "redis-2"])?;
    ensure!(code != 0 && said.contains("500"), "{code}: {said}");
    cluster.proxy()?.trouble(ApiTrouble::default());
    let (code, said) = set.wait_for("a decision", || {
        let (code, said) = podzero(set, 2, &["resolve", "--keep", "redis-2"])?;
        ensure!(code == 0, "{code}: {said}");
        Ok((code, said))
    })?;
    println!("{code}: {said}");
    set.wait_for("it leads", || {
        ensure!(set.masters() == [2], "{:?}", set.masters());
        ensure!(cluster.holder()? == "redis-2", "{}", cluster.lease()?);
        Ok(())
    })?;
    crate::has(set.member(2), "old", 20)
}
