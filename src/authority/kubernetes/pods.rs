//! The pods' labels that say who is the master: for people, and for a Service that selects by them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};

use super::{ApiError, Kubernetes};
use crate::topology::Epoch;

/// The label.
const ROLE: &str = "podzero/role";
/// The annotation that says in which epoch it was written.
const EPOCH: &str = "podzero/epoch";

/// The pods of the namespace.
pub(in crate::authority) struct Pods {
    kubernetes: Kubernetes,
    api: Api<DynamicObject>,
}

impl Pods {
    /// Sends nothing.
    pub(in crate::authority) fn new(kubernetes: Kubernetes) -> Self {
        Self {
            api: kubernetes.untyped::<Pod>(),
            kubernetes,
        }
    }

    /// Makes it so that these pods have these roles; the master is labelled first, so that a Service
    /// that selects it never selects nobody. Writes only what is not so, over what was read.
    pub(in crate::authority) async fn label(
        &self,
        epoch: Epoch,
        master: &str,
        replicas: impl Iterator<Item = &str>,
    ) -> Result<(), ApiError> {
        let labelled = ListParams::default().labels(ROLE);
        let list = self.api.list_metadata(&labelled);
        let what = format!("listing the pods with the label {ROLE}");
        let found = self.kubernetes.ask(what, list).await?;
        let replicas: Vec<&str> = replicas.collect();
        let ours: BTreeSet<String> = replicas
            .iter()
            .chain([&master])
            .map(|pod| (*pod).to_owned())
            .collect();
        let mut are = BTreeMap::new();
        for pod in found.items {
            let role = pod.metadata.labels.as_ref().and_then(|l| l.get(ROLE));
            let role = role.cloned().unwrap_or_default();
            let said = pod.metadata.annotations.as_ref().and_then(|a| a.get(EPOCH));
            let newer = said.and_then(|text| text.parse::<Epoch>().ok());
            let name = pod.metadata.name.unwrap_or_default();
            if let Some(newer) = newer.filter(|newer| *newer > epoch && ours.contains(&name)) {
                return Err(ApiError::Refused {
                    what: format!("labelling the pod {name}"),
                    code: 409,
                    message: format!("it was labelled in epoch {newer}, after {epoch}"),
                });
            }
            are.insert(name, (role, pod.metadata.resource_version));
        }
        let wanted = [(master, "master")].into_iter();
        let others = replicas.iter().map(|pod| (*pod, "replica"));
        for (pod, role) in wanted.chain(others) {
            let version = match are.get(pod) {
                Some((is, _)) if is == role => continue,
                Some((_, version)) => version.clone(),
                None => None,
            };
            let patch = serde_json::json!({"metadata": {
                "labels": {ROLE: role}, "resourceVersion": version,
                "annotations": {EPOCH: epoch.to_string()},
            }});
            let (once, patch) = (PatchParams::default(), Patch::Merge(patch));
            let write = self.api.patch_metadata(pod, &once, &patch);
            let what = format!("labelling the pod {pod}");
            match self.kubernetes.ask(what, write).await {
                // A member whose pod is not there has no role either.
                Ok(_) | Err(ApiError::Refused { code: 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
