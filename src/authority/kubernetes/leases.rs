//! The set's Lease: read, written over one version, and watched.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};

use super::{ApiError, Kubernetes, told};
use crate::authority::lease::{Fields, Says, Unreadable};

/// The Lease as it is stored.
#[derive(Debug, Clone)]
pub(in crate::authority) struct Object(Lease);

impl Object {
    /// Its `resourceVersion`.
    pub(in crate::authority) fn version(&self) -> String {
        self.0.metadata.resource_version.clone().unwrap_or_default()
    }

    /// When its holder wrote it, by the holder's clock: tells two writes apart.
    pub(in crate::authority) fn stamp(&self) -> Option<String> {
        let spec = self.0.spec.as_ref()?;
        Some(spec.renew_time.as_ref()?.0.to_string())
    }

    /// What it says.
    pub(in crate::authority) fn says(&self) -> Result<Says, Unreadable> {
        let spec = self.0.spec.clone().unwrap_or_default();
        Says::read(&Fields {
            holder: spec.holder_identity,
            renewed: spec.renew_time.is_some(),
            seconds: spec.lease_duration_seconds,
            annotations: self.0.metadata.annotations.clone().unwrap_or_default(),
        })
    }

    /// The same Lease, or a new one, saying something else. Whatever is not ours in it stays.
    pub(in crate::authority) fn saying(
        before: Option<&Self>,
        name: &str,
        namespace: &str,
        says: &Says,
    ) -> Self {
        let mut lease = before.map_or_else(Lease::default, |object| object.0.clone());
        let fields = says.fields();
        lease.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            managed_fields: None,
            ..lease.metadata
        };
        let annotations: &mut BTreeMap<String, String> =
            lease.metadata.annotations.get_or_insert_default();
        for (key, value) in fields.annotations {
            if value.is_empty() {
                annotations.remove(&key);
            } else {
                annotations.insert(key, value);
            }
        }
        let spec = lease.spec.unwrap_or_default();
        // As it is stored: what is read again is compared with it.
        let now = Timestamp::now();
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let same = spec.holder_identity == fields.holder;
        lease.spec = Some(LeaseSpec {
            acquire_time: if same {
                spec.acquire_time
            } else {
                Some(MicroTime(now))
            },
            lease_transitions: if same {
                spec.lease_transitions
            } else {
                Some(spec.lease_transitions.unwrap_or(0).saturating_add(1))
            },
            holder_identity: fields.holder,
            lease_duration_seconds: fields.seconds.or(spec.lease_duration_seconds),
            renew_time: fields.renewed.then_some(MicroTime(now)),
            ..spec
        });
        Self(lease)
    }
}

/// What a watch tells.
pub(in crate::authority) enum Event {
    /// The Lease as it is now.
    Is(Box<Object>),
    /// It was deleted.
    Gone,
    /// The watch goes on.
    Nothing,
}

/// The client.
#[derive(Clone)]
pub(in crate::authority) struct Leases {
    kubernetes: Kubernetes,
    api: Api<Lease>,
    name: String,
}

impl Leases {
    /// Sends nothing.
    pub(in crate::authority) fn new(kubernetes: Kubernetes, name: String) -> Self {
        Self {
            api: kubernetes.all(),
            kubernetes,
            name,
        }
    }

    /// The same Lease, or a new one, saying something else.
    pub(in crate::authority) fn saying(&self, before: Option<&Object>, says: &Says) -> Object {
        Object::saying(before, &self.name, &self.kubernetes.namespace, says)
    }

    fn what(&self, doing: &str) -> String {
        format!("{doing} the Lease {}", self.name)
    }

    /// Reads the Lease; none when there is none.
    pub(in crate::authority) async fn read(&self) -> Result<Option<Object>, ApiError> {
        let read = self.api.get_opt(&self.name);
        let read = self.kubernetes.ask(self.what("reading"), read).await?;
        Ok(read.map(Object))
    }

    /// Makes the Lease, or replaces the version that the object carries.
    pub(in crate::authority) async fn write(&self, object: &Object) -> Result<Object, ApiError> {
        let once = PostParams::default();
        let written = if object.0.metadata.resource_version.is_some() {
            let put = self.api.replace(&self.name, &once, &object.0);
            self.kubernetes.ask(self.what("writing"), put).await
        } else {
            let make = self.api.create(&once, &object.0);
            self.kubernetes.ask(self.what("making"), make).await
        };
        Ok(Object(written?))
    }

    /// Watches it from a version on.
    pub(in crate::authority) async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = Result<Event, ApiError>> + use<>, ApiError> {
        let this = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let what = self.what("watching");
        let begun = self.api.watch(&this, version);
        let stream = self.kubernetes.ask(what.clone(), begun).await?;
        Ok(stream.map(move |event| match event {
            Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => {
                Ok(Event::Is(Box::new(Object(lease))))
            }
            Ok(WatchEvent::Deleted(_)) => Ok(Event::Gone),
            Ok(WatchEvent::Bookmark(_)) => Ok(Event::Nothing),
            Ok(WatchEvent::Error(status)) => Err(ApiError::Refused {
                what: what.clone(),
                code: status.code,
                message: status.message.clone(),
            }),
            Err(error) => Err(told(what.clone(), error)),
        }))
    }
}
