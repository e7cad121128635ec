//! The Kubernetes API.
//!
//! Owns the client of the `kube` crate. Every request has a time limit, is sent once, and says whether
//! it may have been carried out.
//!
//! | file | asks for |
//! |---|---|
//! | `leases` | the set's Lease |
//! | `services` | the `EndpointSlice`s of the master's Service |
//! | `pods` | the pods' role labels |
//! | `stateful_sets` | how many members the set is to have, and how its pods are managed |
//! | `events` | Events, for people |

mod events;
mod leases;
mod pods;
mod services;
mod stateful_sets;

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, Config, Resource};

pub(super) use events::Events;
pub(super) use leases::{Event, Leases, Object};
pub(super) use pods::Pods;
pub(super) use services::Services;
pub(super) use stateful_sets::{Spec, StatefulSets};

/// How the API is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// The set's namespace.
    pub namespace: String,
    /// What one request may take.
    pub limit: Duration,
}

/// Why a request came to nothing. `what` is what was being done to what: `reading the Lease redis`.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no way to the API from here.
    #[error("the Kubernetes API cannot be used from here: {0}")]
    NoAccess(String),
    /// Another version is stored than the one that was to be replaced.
    #[error("{what}: somebody else changed it meanwhile")]
    Conflict {
        /// What was being done.
        what: String,
    },
    /// The API server answered, and did not do it.
    #[error("{what}: the API server answered {code}: {message}{}", hint(*code))]
    Refused {
        /// What was being done.
        what: String,
        /// The HTTP status.
        code: u16,
        /// Its words; with the missing right, where one is missing.
        message: String,
    },
    /// Nobody knows whether it was done.
    #[error("{what}: {why}")]
    Unknown {
        /// What was being done.
        what: String,
        /// What happened.
        why: String,
    },
}

fn hint(code: u16) -> &'static str {
    match code {
        401 => " (the token of the pod's service account is not accepted)",
        403 => " (the Role of the pod's service account must allow it)",
        _ => "",
    }
}

impl ApiError {
    /// Whether a right is missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { code: 403, .. })
    }
}

/// The way to the API, for one namespace.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    namespace: String,
    limit: Duration,
}

impl Kubernetes {
    /// Reads what tells how to reach the API; sends nothing.
    pub fn connect(access: Access) -> Result<Self, ApiError> {
        let mut config = Config::incluster().map_err(|e| {
            let hint = "is this a pod, and is its service account's token mounted?";
            ApiError::NoAccess(format!("{e} ({hint})"))
        })?;
        config.connect_timeout = Some(access.limit);
        // Whoever decides must know of each attempt.
        config.default_retry = false;
        Ok(Self {
            client: Client::try_from(config).map_err(|e| ApiError::NoAccess(e.to_string()))?,
            namespace: access.namespace,
            limit: access.limit,
        })
    }

    fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same of a kind of which little is read: its whole type would double the binary.
    fn untyped<K>(&self) -> Api<DynamicObject>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let kind = ApiResource::erase::<K>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// Waits for an answer. `what` is what is being done to what.
    async fn ask<T>(
        &self,
        what: String,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(self.limit, request).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(told(what, error)),
            Err(_) => Err(ApiError::Unknown {
                what,
                why: format!("no answer of the API server within {:?}", self.limit),
            }),
        }
    }
}

fn told(what: String, error: kube::Error) -> ApiError {
    let kube::Error::Api(status) = error else {
        let why = format!("{:#}", anyhow::Error::new(error));
        return ApiError::Unknown { what, why };
    };
    if status.code == 409 {
        return ApiError::Conflict { what };
    }
    if status.code >= 500 || status.code == 408 {
        // Also what its store could not answer in time: it may be done yet.
        let why = format!(
            "the API server answered {}: {}",
            status.code, status.message
        );
        return ApiError::Unknown { what, why };
    }
    ApiError::Refused {
        what,
        code: status.code,
        message: status.message,
    }
}
