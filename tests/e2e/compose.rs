//! What `docker/compose.yaml` tells the containers, run as it stands there: three members without Kubernetes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use harness::told::{Environment, Source, Told};
use serde_json::Value;

use crate::rendered::{json, text, texts};
use crate::{all_have, write_everywhere};

fn compose() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/compose.yaml");
    let all = json(&std::fs::read_to_string(path)?)?;
    all.into_iter().next().context("an empty file")
}

/// Name and path of each volume of a service, without its member's number.
fn mounts(service: &Value, ordinal: usize) -> Result<BTreeSet<(String, String)>> {
    texts(&service["volumes"])
        .into_iter()
        .map(|volume| {
            let mut parts = volume.split(':');
            let (name, path) = parts.next().zip(parts.next()).context(volume.clone())?;
            let name = name.strip_suffix(&format!("-{ordinal}"));
            let name = name.with_context(|| format!("{volume} is another member's"))?;
            Ok((name.to_owned(), path.to_owned()))
        })
        .collect()
}

/// The variables, those that differ from member to member as fields of the pod.
fn environment(service: &Value) -> Result<Environment> {
    let all = service["environment"]
        .as_object()
        .context("no environment")?;
    let source = |name: &str, value: &Value| match name {
        "PODZERO_POD_NAME" => Source::Field("metadata.name".to_owned()),
        "PODZERO_POD_IP" => Source::Field("status.podIPs".to_owned()),
        // The harness answers for one namespace.
        "PODZERO_NAMESPACE" => Source::Field("metadata.namespace".to_owned()),
        _ => Source::Text(text(value)),
    };
    Ok(all
        .iter()
        .map(|(name, value)| (name.clone(), source(name, value)))
        .collect())
}

#[test]
fn the_compose_file_starts_a_set_and_hands_over() -> Result<()> {
    let file = compose()?;
    let service = |what: &str, ordinal: usize| &file["services"][format!("{what}-{ordinal}")];
    for ordinal in 0..3 {
        let pod = &service("pod", ordinal)["networks"]["set"];
        let own = &service("podzero", ordinal)["environment"];
        ensure!(
            own["PODZERO_POD_NAME"] == format!("redis-{ordinal}"),
            "{own}"
        );
        ensure!(own["PODZERO_POD_IP"] == pod["ipv4_address"], "{own} {pod}");
        let namespace = text(&own["PODZERO_NAMESPACE"]);
        let name = format!("redis-{ordinal}.redis.{namespace}.svc.cluster.local");
        ensure!(
            texts(&pod["aliases"]) == [name.clone()],
            "{pod} is not {name}"
        );
        for what in ["init", "podzero", "redis"] {
            let it = service(what, ordinal);
            ensure!(
                it["network_mode"] == format!("service:pod-{ordinal}"),
                "{it}"
            );
            ensure!(it["read_only"] == true && it["user"] == "999:999", "{it}");
            ensure!(
                mounts(it, ordinal)? == mounts(service("init", 0), 0)?,
                "{what}-{ordinal}"
            );
        }
        let init = service("init", ordinal);
        ensure!(
            init["environment"] == *own,
            "init-{ordinal} and podzero-{ordinal} differ"
        );
    }
    let server = service("redis", 0);
    let set = crate::set().told(Told {
        service: text(&service("podzero", 0)["environment"]["PODZERO_SERVICE"]),
        init: texts(&service("init", 0)["command"]),
        sidecar: texts(&service("podzero", 0)["command"]),
        server: texts(&server["command"]),
        hook: texts(&server["pre_stop"][0]["command"]),
        environment: environment(service("podzero", 0))?,
        mounts: mounts(server, 0)?.into_iter().collect(),
    });
    let set = set.start()?;
    write_everywhere(&set, 0, "kept", 20)?;
    let mut hook = set.member(0).hook()?;
    let done = hook.stderr(Stdio::piped()).spawn()?.wait_with_output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{said}\n{}", set.describe());
    let masters = set.masters();
    ensure!(masters.len() == 1 && masters[0] != 0, "{masters:?}");
    all_have(&set, "kept", 20)
}
