//! Who and where this pod is, as the flags, resolv.conf and DNS tell.

use std::net::IpAddr;

use crate::config::SetArgs;
use crate::observe::dns::Dns;
use crate::observe::host::own_addresses;
use crate::observe::redis::Login;
use crate::secret::Secret;
use crate::topology::Identity;

/// The domain where neither a flag nor resolv.conf says one.
const USUAL_DOMAIN: &str = "cluster.local";

/// The pod's identity, and who said the cluster's domain.
pub fn identity(set: &SetArgs, dns: &Dns) -> (Identity, &'static str) {
    let from_search = dns.cluster_domain(&set.namespace);
    let (domain, source) = match (&set.cluster_domain, from_search) {
        (Some(domain), _) => (domain.clone(), "--cluster-domain"),
        (None, Some(domain)) => (domain, "the search list of resolv.conf"),
        (None, None) => (USUAL_DOMAIN.to_owned(), "nobody said, so the usual one"),
    };
    let identity = Identity {
        pod: set.pod_name.clone(),
        uid: set.pod_uid.clone(),
        namespace: set.namespace.clone(),
        service: set.service.clone(),
        domain,
    };
    (identity, source)
}

/// The pod's addresses; the first decides the family.
pub async fn addresses(set: &SetArgs, dns: &Dns, identity: &Identity) -> Vec<IpAddr> {
    if set.pod_ip.is_empty() {
        own_addresses(dns, &identity.stable_name(identity.pod.ordinal())).await
    } else {
        set.pod_ip.clone()
    }
}

/// With what podzero logs in to servers of the set.
pub fn login(set: &SetArgs, password: Option<&Secret>) -> Login {
    Login {
        username: set.username.clone(),
        password: password.map(|p| p.expose().to_owned()),
    }
}
