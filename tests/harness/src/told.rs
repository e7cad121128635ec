//! What a chart's manifests tell the containers, in place of what the harness tells them itself.

use std::net::IpAddr;

/// One variable of a container.
#[derive(Debug, Clone)]
pub enum Source {
    /// As it stands there.
    Text(String),
    /// A field of the pod, by its path.
    Field(String),
}

/// The variables of a container.
pub type Environment = Vec<(String, Source)>;

/// A pod's template, as far as the harness is a kubelet.
#[derive(Debug, Clone)]
pub struct Told {
    /// The Service that governs the set.
    pub service: String,
    /// What `podzero` is given as the init container.
    pub init: Vec<String>,
    /// The same as the sidecar.
    pub sidecar: Vec<String>,
    /// The server's arguments, its program first.
    pub server: Vec<String>,
    /// What the server's preStop hook runs.
    pub hook: Vec<String>,
    /// The variables of both of podzero's containers.
    pub environment: Environment,
    /// Where volumes are mounted: name and path.
    pub mounts: Vec<(String, String)>,
}

impl Told {
    /// The variables of a pod's containers.
    pub(crate) fn resolve(
        &self,
        pod: &str,
        uid: &str,
        addresses: &[IpAddr],
    ) -> Vec<(String, String)> {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let field = |path: &str| match path {
            "metadata.name" => pod.to_owned(),
            "metadata.namespace" => crate::set::NAMESPACE.to_owned(),
            "metadata.uid" => uid.to_owned(),
            "status.podIPs" => list.join(","),
            other => format!("no {other} here"),
        };
        let value = |source: &Source| match source {
            Source::Text(text) => text.clone(),
            Source::Field(path) => field(path),
        };
        let told = self
            .environment
            .iter()
            .map(|(name, it)| (name.clone(), value(it)));
        // What the kubelet adds in every pod.
        let api = [
            (
                "KUBERNETES_SERVICE_HOST".to_owned(),
                crate::sandbox::API.to_string(),
            ),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ];
        told.chain(api).collect()
    }
}
