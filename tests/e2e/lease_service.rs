//! Authority `lease`: the master's Service, the role labels, Events, and the size of the set.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::sandbox::SERVICE;
use serde_json::Value;

use crate::api_proxy::{ApiRequest, ApiTrouble};
use crate::cluster::{Cluster, another_master};
use crate::handover::{gentle, podzero, writers};

/// A set whose Service leads to the master, started.
fn start() -> Result<Cluster> {
    let mut cluster =
        Cluster::make(|builder| builder.sidecar_env("PODZERO_MASTER_SERVICE", "redis-master"))?;
    cluster.set.start_all()?;
    cluster.set.converge()?;
    leads_to(&cluster, 0)?;
    Ok(cluster)
}

/// Waits until the master's Service leads to one member alone.
fn leads_to(cluster: &Cluster, ordinal: usize) -> Result<()> {
    let wanted = [cluster.set.member(ordinal).address().to_string()];
    cluster.set.wait_for("the Service leads to the master", || {
        let now = cluster.endpoints()?;
        ensure!(now == wanted, "{now:?} instead of {wanted:?}");
        Ok(())
    })
}

/// The master's Service leads to the master: at the start, after a switch and a failover, and again when
/// somebody edited or deleted its slice.
#[test]
fn the_masters_service_leads_to_the_master() -> Result<()> {
    let mut cluster =
        Cluster::make(|builder| builder.sidecar_env("PODZERO_MASTER_SERVICE", "redis-master"))?;
    cluster.set.start_all()?;
    cluster.set.converge()?;
    leads_to(&cluster, 0)?;
    let (code, said) = podzero(&cluster.set, 0, &["failover", "--to", "redis-2"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(said.contains("with every write"), "{said}");
    leads_to(&cluster, 2)?;
    let slice = "endpointslices.v1beta1.discovery.k8s.io/redis-master-podzero-ipv4";
    cluster.patch(slice, r#"{"endpoints":[]}"#)?;
    leads_to(&cluster, 2)?;
    cluster.kubectl(&["delete", slice, "-n", "shop"], None)?;
    leads_to(&cluster, 2)?;
    cluster.set.converge()?;
    cluster.set.member_mut(2).kill_server()?;
    let set = &cluster.set;
    let new = another_master(set, 2)?;
    leads_to(&cluster, new)
}

/// When the first write of a kind was sent that says something.
fn sent(requests: &[ApiRequest], path: &str, says: &str) -> Result<Instant> {
    let found = requests.iter().find(|r| {
        r.is_write() && r.path.contains(path) && String::from_utf8_lossy(&r.body).contains(says)
    });
    Ok(found
        .with_context(|| format!("nothing says {says} to {path}"))?
        .at)
}

/// The role is offered only when the Service's own address is answered by the target.
#[test]
fn a_handover_waits_until_the_service_leads_to_the_target() -> Result<()> {
    let cluster = start()?;
    let set = &cluster.set;
    let writers = writers(set, 2, &gentle());
    let lag = Duration::from_millis(700);
    cluster.kube_proxy().lags(lag);
    cluster.proxy()?.take_requests();
    let (code, said) = podzero(set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    let requests = cluster.proxy()?.take_requests();
    let led = sent(
        &requests,
        "/endpointslices/",
        &set.member(1).address().to_string(),
    )?;
    let offered = sent(&requests, "/leases/", r#""holderIdentity":"redis-1_"#)?;
    ensure!(offered >= led + lag, "{:?} after the slice", offered - led);
    // Who comes through the Service finds the master.
    harness::Conn::open(SERVICE, set.password())?.tell("SET through-the-service 1")?;
    let written = writers.finish(set.member(1).address())?;
    println!("{written:?}");
    Ok(())
}

/// A node's proxy that is late for good does not keep the role where it is.
#[test]
fn a_service_that_leads_nowhere_new_does_not_stop_a_handover() -> Result<()> {
    let cluster = start()?;
    let set = &cluster.set;
    let writers = writers(set, 2, &gentle());
    cluster.kube_proxy().lags(Duration::from_hours(1));
    let (code, said) = podzero(set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    leads_to(&cluster, 1)?;
    writers.finish(set.member(1).address())?;
    Ok(())
}

/// The target cannot take the role: the Service leads back to the master, which goes on.
#[test]
fn a_handover_that_fails_leads_the_service_back() -> Result<()> {
    let cluster = start()?;
    let set = &cluster.set;
    let (observer, writers) = (set.observe(), writers(set, 2, &gentle()));
    let requests = || {
        cluster
            .proxy()
            .map(crate::api_proxy::ApiProxy::take_requests)
    };
    requests()?;
    // It answers as a target must, and then it falls silent.
    cluster.kube_proxy().lags(Duration::from_secs(1));
    let mut caller = crate::handover::spawn(set, 0, &["failover", "--to", "redis-1"])?;
    set.wait_for("the Service is led to it", || {
        let now = cluster.endpoints()?;
        ensure!(now == [set.member(1).address().to_string()], "{now:?}");
        Ok(())
    })?;
    set.member(1).sidecar()?.pause()?;
    cluster.kube_proxy().lags(Duration::ZERO);
    let code = caller.wait()?;
    ensure!(!code.success(), "done, without its target");
    leads_to(&cluster, 0)?;
    set.member(1).sidecar()?.resume()?;
    let settled = set.converge()?;
    ensure!(settled == 0, "redis-{settled} leads\n{}", set.describe());
    leads_to(&cluster, 0)?;
    observer.finish()?;
    let written = writers.finish(set.member(0).address())?;
    println!("{written:?}");
    Ok(())
}

/// A write of a slice that takes long arrives after the next master's: it changes nothing.
#[test]
fn a_slice_that_is_written_late_changes_nothing() -> Result<()> {
    let mut cluster = start()?;
    cluster.proxy()?.trouble(ApiTrouble {
        paths: "/endpointslices".to_owned(),
        only_writes: true,
        delay: Duration::from_secs(6),
        ..ApiTrouble::default()
    });
    // The master wants to mend it, and is slow.
    let slice = "endpointslices.v1beta1.discovery.k8s.io/redis-master-podzero-ipv4";
    cluster.proxy()?.take_requests();
    cluster.patch(slice, r#"{"endpoints":[]}"#)?;
    cluster.set.wait_for("the master mends the slice", || {
        let requests = cluster.proxy()?.take_requests();
        sent(&requests, "/endpointslices/", "endpoints").map(|_| ())
    })?;
    cluster.proxy()?.trouble(ApiTrouble::default());
    cluster.set.member_mut(0).kill()?;
    let set = &cluster.set;
    let new = another_master(set, 0)?;
    leads_to(&cluster, new)?;
    crate::pause(8);
    leads_to(&cluster, new)?;
    Ok(())
}

/// Who is the master stands in the pods' labels.
fn labels_say(cluster: &Cluster, master: usize) -> Result<()> {
    cluster
        .set
        .wait_for("the labels say who is the master", || {
            for ordinal in 0..3 {
                let role = if ordinal == master {
                    "master"
                } else {
                    "replica"
                };
                let label = cluster.label(ordinal)?;
                ensure!(label == role, "redis-{ordinal} is labelled {label:?}");
            }
            Ok(())
        })
}

/// `kubectl get pods -L podzero/role`, and a Service that selects by it.
#[test]
fn labels_follow_the_master() -> Result<()> {
    for mode in ["slice", "label"] {
        let mut cluster = Cluster::make(|builder| {
            builder
                .sidecar_env("PODZERO_MASTER_SERVICE", "redis-master")
                .sidecar_env("PODZERO_MASTER_SERVICE_MODE", mode)
        })?;
        cluster.set.start_all()?;
        cluster.set.converge()?;
        labels_say(&cluster, 0)?;
        let (code, said) = podzero(&cluster.set, 0, &["failover", "--to", "redis-2"])?;
        ensure!(code == 0, "{code}: {said}");
        labels_say(&cluster, 2)?;
        cluster.set.converge()?;
        cluster.set.member_mut(2).kill()?;
        let set = &cluster.set;
        let new = another_master(set, 2)?;
        labels_say(&cluster, new)?;
        let slices = cluster.endpoints()?.len();
        ensure!(
            (slices == 1) == (mode == "slice"),
            "{mode}: {slices} slices"
        );
    }
    Ok(())
}

/// What happened to the role stands in Events; a set at rest writes none.
#[test]
fn events_tell_what_happened() -> Result<()> {
    let cluster = Cluster::start()?;
    let set = &cluster.set;
    let (code, said) = podzero(set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    let told = |reason: &str, words: &[&str]| {
        cluster.set.wait_for(&format!("an Event {reason}"), || {
            let events = cluster.events()?;
            let found = events
                .iter()
                .any(|(r, note)| r == reason && words.iter().all(|word| note.contains(word)));
            ensure!(found, "{events:?}");
            Ok(())
        })
    };
    told("Promoted", &["redis-0", "epoch"])?;
    told("Promoted", &["redis-1", "epoch"])?;
    told("Demoted", &["redis-0", "redis-1"])?;
    let before = cluster.events()?.len();
    cluster.set.stays_as_it_is(Duration::from_secs(8))?;
    let after = cluster.events()?;
    ensure!(after.len() == before, "{after:?}");
    cluster.set.member(1).cut_from_api()?;
    another_master(&cluster.set, 1)?;
    cluster.set.member(1).heal_with_api()?;
    told("Fenced", &["redis-1", "Lease"])?;
    Ok(())
}

/// Both families: a slice for each.
#[test]
fn a_service_of_two_families_has_two_slices() -> Result<()> {
    let mut cluster = Cluster::make(|builder| {
        builder
            .families(&[false, true])
            .sidecar_env("PODZERO_MASTER_SERVICE", "redis-master")
    })?;
    cluster.set.start_all()?;
    cluster.set.converge()?;
    let set = &cluster.set;
    let wanted: Vec<String> = set
        .member(0)
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    ensure!(wanted.len() == 2, "{wanted:?}");
    set.wait_for("two slices", || {
        let mut now = cluster.endpoints()?;
        now.sort();
        ensure!(now == wanted, "{now:?} instead of {wanted:?}");
        Ok(())
    })
}

fn members(lease: &Value) -> String {
    let members = lease["metadata"]["annotations"]["podzero/members"].as_str();
    members.unwrap_or_default().to_owned()
}

/// The set is made smaller: who is gone for good is asked for no promise any more.
#[test]
fn a_set_that_shrinks_forgets_who_is_gone() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.set.wait_for("all are recorded", || {
        let members = members(&cluster.lease()?);
        ensure!(members == "redis-0,redis-1,redis-2", "{members}");
        Ok(())
    })?;
    cluster.patch("statefulset/redis", r#"{"spec":{"replicas":2}}"#)?;
    cluster.set.shrink()?;
    cluster.set.wait_for("it is forgotten", || {
        let members = members(&cluster.lease()?);
        ensure!(members == "redis-0,redis-1", "{members}");
        Ok(())
    })?;
    cluster.apiserver().pause()?;
    cluster.set.stays_as_it_is(Duration::from_secs(10))?;
    cluster.apiserver().resume()?;
    cluster.set.converge()?;
    Ok(())
}

/// Kubernetes would start the second pod when the first is ready, and the first waits for the second.
#[test]
fn pods_that_are_started_in_order_are_told_of() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder)?;
    let set = cluster.kubectl(
        &["get", "statefulset", "redis", "-n", "shop", "-o", "json"],
        None,
    )?;
    let mut set: Value = serde_json::from_str(&set)?;
    set["spec"]["podManagementPolicy"] = "OrderedReady".into();
    cluster.kubectl(&["replace", "--force", "-f", "-"], Some(&set.to_string()))?;
    cluster.set.member_mut(0).start()?;
    cluster.set.wait_for("it is said", || {
        let reasons = cluster.set.member(0).status()?.reasons();
        ensure!(reasons.contains("podManagementPolicy"), "{reasons}");
        Ok(())
    })?;
    for ordinal in [1, 2] {
        cluster.set.member_mut(ordinal).start()?;
    }
    cluster.set.converge().map(|_| ())
}
