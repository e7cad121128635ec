//! The master's Service and its `EndpointSlice`s: one for each family of addresses.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;

use super::{ApiError, Kubernetes};
use crate::authority::endpoint::Wanted;
use crate::topology::Epoch;

/// The annotation that says in which epoch a slice was written.
const EPOCH: &str = "podzero/epoch";

/// The master's Service and its slices.
pub(in crate::authority) struct Services {
    kubernetes: Kubernetes,
    objects: Api<DynamicObject>,
    slices: Api<EndpointSlice>,
    name: String,
    port: u16,
}

impl Services {
    /// Sends nothing. `port` is the servers'.
    pub(in crate::authority) fn new(kubernetes: Kubernetes, name: String, port: u16) -> Self {
        Self {
            objects: kubernetes.untyped::<Service>(),
            slices: kubernetes.all(),
            kubernetes,
            name,
            port,
        }
    }

    /// The Service's own address, where it has one.
    pub(in crate::authority) async fn address(&self) -> Result<Option<SocketAddr>, ApiError> {
        Ok(address_of(&self.service().await?))
    }

    async fn service(&self) -> Result<DynamicObject, ApiError> {
        let what = format!("reading the Service {}", self.name);
        self.kubernetes
            .ask(what, self.objects.get(&self.name))
            .await
    }

    /// Makes it so that the Service leads to a pod, and to nobody else. Writes only what is not so.
    /// Says the Service's own address, where it has one.
    pub(in crate::authority) async fn lead_to(
        &self,
        wanted: &Wanted,
    ) -> Result<Option<SocketAddr>, ApiError> {
        let (service, v4, v6) =
            tokio::try_join!(self.service(), self.found(false), self.found(true))?;
        for (is_v6, found) in [(false, v4), (true, v6)] {
            let address = wanted.addresses.iter().find(|a| a.is_ipv6() == is_v6);
            if address.is_some() || found.is_some() {
                self.write(&service, is_v6, address, wanted, found).await?;
            }
        }
        Ok(address_of(&service))
    }

    async fn found(&self, v6: bool) -> Result<Option<EndpointSlice>, ApiError> {
        let named = self.named(v6);
        let what = format!("reading the EndpointSlice {named}");
        self.kubernetes.ask(what, self.slices.get_opt(&named)).await
    }

    async fn write(
        &self,
        service: &DynamicObject,
        v6: bool,
        address: Option<&IpAddr>,
        wanted: &Wanted,
        found: Option<EndpointSlice>,
    ) -> Result<(), ApiError> {
        let (named, once) = (self.named(v6), PostParams::default());
        let what = format!("writing the EndpointSlice {named}");
        let newer = found.as_ref().and_then(epoch_of);
        if let Some(newer) = newer.filter(|newer| *newer > wanted.epoch) {
            return Err(ApiError::Refused {
                what,
                code: 409,
                message: format!(
                    "it was written in epoch {newer}, after {}; if no member knows of that, delete it",
                    wanted.epoch
                ),
            });
        }
        let slice = self.slice(service, v6, address, wanted, found.as_ref());
        if found.is_none() {
            let make = self.slices.create(&once, &slice);
            self.kubernetes.ask(what, make).await?;
        } else if found.as_ref() != Some(&slice) {
            let put = self.slices.replace(&named, &once, &slice);
            self.kubernetes.ask(what, put).await?;
        }
        Ok(())
    }

    fn named(&self, v6: bool) -> String {
        format!("{}-podzero-{}", self.name, if v6 { "ipv6" } else { "ipv4" })
    }

    fn slice(
        &self,
        service: &DynamicObject,
        v6: bool,
        address: Option<&IpAddr>,
        wanted: &Wanted,
        before: Option<&EndpointSlice>,
    ) -> EndpointSlice {
        let mut metadata = before.map(|b| b.metadata.clone()).unwrap_or_default();
        metadata.name = Some(self.named(v6));
        metadata.namespace = Some(self.kubernetes.namespace.clone());
        let labels = metadata.labels.get_or_insert_default();
        for (key, value) in [
            ("kubernetes.io/service-name", self.name.as_str()),
            ("endpointslice.kubernetes.io/managed-by", "podzero"),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(EPOCH.to_owned(), wanted.epoch.to_string());
        metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            name: self.name.clone(),
            uid: service.metadata.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        }]);
        let ready = EndpointConditions {
            ready: Some(true),
            serving: Some(true),
            terminating: Some(false),
        };
        let pod = ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(wanted.pod.clone()),
            namespace: Some(self.kubernetes.namespace.clone()),
            uid: Some(wanted.uid.clone()),
            ..ObjectReference::default()
        };
        let endpoints = address.map(|address| Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(ready),
            target_ref: Some(pod),
            ..Endpoint::default()
        });
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let ports = ports_of(service).iter().map(|port| EndpointPort {
            // The API server fills in an empty name for none.
            name: Some(text(&port["name"]).unwrap_or_default()),
            port: Some(i32::from(self.port)),
            protocol: Some(text(&port["protocol"]).unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: None,
        });
        EndpointSlice {
            address_type: if v6 { "IPv6" } else { "IPv4" }.to_owned(),
            endpoints: endpoints.into_iter().collect(),
            metadata,
            ports: Some(ports.collect()),
        }
    }
}

fn epoch_of(slice: &EndpointSlice) -> Option<Epoch> {
    let text = slice.metadata.annotations.as_ref()?.get(EPOCH)?;
    text.parse().ok()
}

fn ports_of(service: &DynamicObject) -> &[Value] {
    let ports = service.data["spec"]["ports"].as_array();
    ports.map_or(&[], Vec::as_slice)
}

/// Where clients of the Service connect to; none where it has no address of its own.
fn address_of(service: &DynamicObject) -> Option<SocketAddr> {
    let port = ports_of(service).first()?["port"].as_u64()?;
    let ip = service.data["spec"]["clusterIP"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}
