//! Who and where this pod is, as the flags, resolv.conf and DNS tell.

use std::net::IpAddr;

use anyhow::anyhow;

use crate::config::{SetArgs, TlsArgs};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::login::Login;
use crate::observe::dns::Dns;
use crate::observe::host::own_addresses;
use crate::observe::tls::{Files, Tls};
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
pub fn login(
    set: &SetArgs,
    identity: &Identity,
    password: Option<&Secret>,
) -> Result<Login, Failure> {
    let tls = match files(&set.tls)? {
        Some(files) => Some(Tls::load(files).or_exit(Exit::Environment)?),
        None => None,
    };
    let (username, password) = (set.username.clone(), password.cloned());
    Ok(Login::new(identity, username, password, tls))
}

/// Where the certificates are; none without TLS.
fn files(tls: &TlsArgs) -> Result<Option<Files>, Failure> {
    let (cert, key) = (&tls.tls_cert_file, &tls.tls_key_file);
    let own = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let error = anyhow!("--tls-cert-file and --tls-key-file belong together: give both");
            return Err(Failure::new(Exit::Usage, error));
        }
    };
    match &tls.tls_ca_file {
        Some(ca) => Ok(Some(Files {
            ca: ca.clone(),
            own,
        })),
        None if own.is_none() => Ok(None),
        None => Err(Failure::new(
            Exit::Usage,
            anyhow!(
                "--tls-cert-file needs --tls-ca-file: without the authorities' certificates podzero cannot tell a server from a stranger"
            ),
        )),
    }
}
