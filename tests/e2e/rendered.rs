//! A chart's manifests, as it renders them, and what they tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use harness::set::NAMESPACE;
use harness::told::{Environment, Source, Told};
use serde_json::Value;

use crate::cluster::part;

/// The release, and by `fullnameOverride` the set.
pub(crate) const NAME: &str = harness::set::NAME;
/// What Secrets of the user's hold; in an ACL file a password is one word.
pub(crate) const PASSWORD: &str = "of-the-users-own-Secret";

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/podzero")
}

/// The objects that the chart renders for a values file.
pub(crate) fn render(values: &Path) -> Result<Vec<Value>> {
    let rendered = harness::process::run(
        Command::new(part("helm-3", "helm")?)
            .args(["template", NAME])
            .arg(folder())
            .args(["--namespace", NAMESPACE, "--kube-version", "1.33.0"])
            .arg("-f")
            .arg(values)
            .args(["--set", &format!("fullnameOverride={NAME},clusterDomain=")]),
    )?;
    json(&rendered)
}

/// YAML as JSON.
pub(crate) fn json(yaml: &str) -> Result<Vec<Value>> {
    const CONVERT: &str = "import json, sys, yaml\n\
         print(json.dumps([o for o in yaml.safe_load_all(sys.argv[1]) if o]))";
    let mut python = Command::new(part("kubernetes-validate", "python3")?);
    let text = harness::process::run(python.args(["-c", CONVERT, yaml]))?;
    Ok(serde_json::from_str(&text)?)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// What a chart rendered.
pub(crate) struct Rendered(pub(crate) Vec<Value>);

impl Rendered {
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |o| o["kind"] == kind)
    }

    pub(crate) fn set(&self) -> Result<&Value> {
        self.of_kind("StatefulSet").next().context("no StatefulSet")
    }

    /// A container of the pods, wherever it is among them.
    pub(crate) fn container(&self, name: &str) -> Result<&Value> {
        let pod = &self.set()?["spec"]["template"]["spec"];
        let all = ["initContainers", "containers"].map(|key| pod[key].as_array());
        let mut all = all.into_iter().flatten().flatten();
        all.find(|c| c["name"] == name)
            .with_context(|| format!("no container {name}"))
    }

    pub(crate) fn server(&self) -> Result<&Value> {
        self.container("redis")
            .or_else(|_| self.container("valkey"))
    }

    /// The variables of podzero's containers, those from a `ConfigMap` looked up.
    pub(crate) fn environment(&self) -> Result<Environment> {
        let sidecar = self.container("podzero")?;
        let each = sidecar["env"].as_array().into_iter().flatten();
        let source = |it: &Value| -> Result<Source> {
            let from = &it["valueFrom"];
            if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
                return Ok(Source::Field(path.to_owned()));
            }
            if let Some(key) = from["configMapKeyRef"]["key"].as_str() {
                return Ok(Source::Text(self.in_config_map(key)?));
            }
            Ok(Source::Text(text(&it["value"])))
        };
        each.map(|it| Ok((text(&it["name"]), source(it)?)))
            .collect()
    }

    pub(crate) fn in_config_map(&self, key: &str) -> Result<String> {
        let mut maps = self
            .of_kind("ConfigMap")
            .filter(|o| o["metadata"]["name"] == NAME);
        let map = maps.next().context("no ConfigMap")?;
        map["data"][key]
            .as_str()
            .map(ToOwned::to_owned)
            .with_context(|| format!("no {key} in the ConfigMap"))
    }

    /// Names and paths of all volumes, each once.
    pub(crate) fn mounts(&self) -> Result<Vec<(String, String)>> {
        let containers = [self.container("podzero")?, self.server()?];
        let mounts = containers
            .iter()
            .filter_map(|c| c["volumeMounts"].as_array());
        let pairs = mounts
            .flatten()
            .map(|m| (text(&m["name"]), text(&m["mountPath"])));
        // Where Kubernetes mounts tokens is behind a link here.
        let real = |path: String| path.replacen("/var/run/", "/run/", 1);
        let all: BTreeMap<String, String> = pairs.map(|(n, p)| (n, real(p))).collect();
        Ok(all.into_iter().collect())
    }

    pub(crate) fn told(&self) -> Result<Told> {
        let server = self.server()?;
        Ok(Told {
            service: text(&self.set()?["spec"]["serviceName"]),
            init: texts(&self.container("podzero-init")?["args"]),
            sidecar: texts(&self.container("podzero")?["args"]),
            server: texts(&server["args"]),
            hook: texts(&server["lifecycle"]["preStop"]["exec"]["command"]),
            environment: self.environment()?,
            mounts: self.mounts()?,
        })
    }

    /// The password: the chart's own, or the one of the user's Secret; none without authentication.
    pub(crate) fn password(&self) -> Result<Option<String>> {
        let secret = self.of_kind("Secret").next();
        if let Some(data) = secret.and_then(|s| s["data"].as_object()) {
            let encoded = data.values().next().map(text).unwrap_or_default();
            let decode =
                "import base64, sys; print(base64.b64decode(sys.argv[1]).decode(), end='')";
            let mut python = Command::new(part("kubernetes-validate", "python3")?);
            return harness::process::run(python.args(["-c", decode, &encoded])).map(Some);
        }
        let env = self.environment()?;
        let has = env.iter().any(|(name, _)| name == "PODZERO_PASSWORD_FILE");
        Ok(has.then(|| PASSWORD.to_owned()))
    }

    pub(crate) fn has(&self, variable: &str, value: &str) -> Result<bool> {
        let env = self.environment()?;
        Ok(env.iter().any(|(name, it)| {
            name == variable && matches!(it, Source::Text(text) if text == value)
        }))
    }

    /// What the API server is to know: the rights, the Services, the set.
    pub(crate) fn objects(&self) -> Result<String> {
        let kinds = [
            "ServiceAccount",
            "Role",
            "RoleBinding",
            "Service",
            "StatefulSet",
        ];
        let mut objects = vec![serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
        })];
        for object in self
            .0
            .iter()
            .filter(|o| kinds.iter().any(|kind| o["kind"] == *kind))
        {
            let mut object = object.clone();
            if object["kind"] == "Service" {
                // That server knows one family, and the master's Service is where the harness serves it.
                let spec = object["spec"].as_object_mut().context("a spec")?;
                spec.remove("ipFamilyPolicy");
                spec.remove("ipFamilies");
                if object["metadata"]["name"] == format!("{NAME}-master") {
                    object["spec"]["clusterIP"] = harness::sandbox::SERVICE.to_string().into();
                }
            }
            objects.push(object);
        }
        for ordinal in 0..self.set()?["spec"]["replicas"].as_u64().unwrap_or_default() {
            let labels = &self.set()?["spec"]["template"]["metadata"]["labels"];
            objects.push(serde_json::json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("{NAME}-{ordinal}"), "namespace": NAMESPACE, "labels": labels},
                "spec": {"containers": [{"name": "redis", "image": "redis"}]},
            }));
        }
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        Ok(list.to_string())
    }
}
