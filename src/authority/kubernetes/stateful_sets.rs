//! The `StatefulSet` itself: how many members it is to have, and how its pods are managed.

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, DynamicObject};

use super::{ApiError, Kubernetes};

/// What is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::authority) struct Spec {
    /// `spec.replicas`.
    pub(in crate::authority) replicas: Option<u32>,
    /// Its pods are started one after the other (`podManagementPolicy: OrderedReady`).
    pub(in crate::authority) in_order: bool,
}

/// The set's own.
pub(in crate::authority) struct StatefulSets {
    kubernetes: Kubernetes,
    api: Api<DynamicObject>,
    name: String,
}

impl StatefulSets {
    /// Sends nothing.
    pub(in crate::authority) fn new(kubernetes: Kubernetes, name: String) -> Self {
        Self {
            api: kubernetes.untyped::<StatefulSet>(),
            kubernetes,
            name,
        }
    }

    /// Reads it; none when there is none.
    pub(in crate::authority) async fn read(&self) -> Result<Option<Spec>, ApiError> {
        let what = format!("reading the StatefulSet {}", self.name);
        let set = self.kubernetes.ask(what, self.api.get_opt(&self.name));
        Ok(set.await?.map(|set| {
            let spec = &set.data["spec"];
            let replicas = spec["replicas"].as_u64();
            Spec {
                replicas: replicas.and_then(|n| u32::try_from(n).ok()),
                in_order: spec["podManagementPolicy"].as_str() != Some("Parallel"),
            }
        }))
    }
}
