//! What `init` finds out before it looks for anybody: who and where this pod is, and with what it
//! logs in. And what follows from that for the configuration.

use std::net::{IpAddr, SocketAddr};

use anyhow::anyhow;
use tracing::info;

use super::spelled;
use super::watch::Here;
use crate::conf::base::Base;
use crate::conf::login::{DEFAULT_USER, replication_login};
use crate::conf::render::{Follow, Wanted};
use crate::config::SetArgs;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::login::Login;
use crate::observe::dns::Dns;
use crate::pod;
use crate::secret::Secret;
use crate::topology::Ordinal;

/// What was found out.
pub(super) struct Setting {
    /// Who and where this pod is.
    pub(super) here: Here,
    /// With what podzero logs in to servers of this set.
    pub(super) login: Login,
    /// The user's own configuration.
    pub(super) base: Base,
    password: Option<Secret>,
    replication: (String, String),
    announce: String,
    listen: Vec<IpAddr>,
}

impl Setting {
    /// Asks DNS and the host.
    pub(super) async fn find(
        set: &SetArgs,
        base: Base,
        password: Option<Secret>,
    ) -> Result<Self, Failure> {
        let dns = Dns::new(&set.dns_server).or_exit(Exit::Environment)?;
        let (identity, domain_from) = pod::identity(set, &dns);
        let own_name = identity.stable_name(identity.pod.ordinal());
        let own = pod::addresses(set, &dns, &identity).await;
        let Some(first) = own.first() else {
            let error = anyhow!(
                "no address of this pod is known: its name {own_name} does not resolve and the host has only the loopback; give --pod-ip (status.podIPs of the downward API)"
            );
            return Err(Failure::new(Exit::Environment, error));
        };
        info!(
            name = own_name,
            domain_from,
            address = %first,
            "this pod is known to the others by its name and address"
        );
        let announced = SocketAddr::new(*first, set.redis_port);
        let mut listen = own.clone();
        if !listen.contains(&set.redis_host) {
            listen.push(set.redis_host);
        }
        Ok(Self {
            announce: spelled(set.address_form, announced, &own_name),
            replication: replication_login(&identity, password.as_ref()),
            login: pod::login(set, &identity, password.as_ref())?,
            here: Here { identity, dns, own },
            base,
            password,
            listen,
        })
    }

    /// That the server follows a member.
    pub(super) fn follow(&self, set: &SetArgs, master: Ordinal, address: SocketAddr) -> Follow {
        let name = self.here.identity.stable_name(master);
        Follow::Master {
            host: spelled(set.address_form, address, &name),
            port: address.port(),
        }
    }

    /// Everything for the configuration.
    pub(super) fn wanted<'a>(
        &'a self,
        set: &'a SetArgs,
        without_sidecar: bool,
        follow: &'a Follow,
    ) -> Wanted<'a> {
        let user = set.username.as_deref().filter(|u| *u != DEFAULT_USER);
        let (replication_user, replication_password) = &self.replication;
        // Nobody creates the replication user where there is no sidecar.
        let (master_user, master_password) = if without_sidecar {
            (user, self.password.as_ref().map(Secret::expose))
        } else {
            (
                Some(replication_user.as_str()),
                Some(replication_password.as_str()),
            )
        };
        Wanted {
            base_path: set.base_conf.as_deref(),
            base: &self.base,
            port: set.redis_port,
            data_dir: &set.data_dir,
            directive: set.directive,
            follow,
            announce: &self.announce,
            listen: &self.listen,
            master_user,
            master_password,
            tls: self.login.tls().is_some().then_some(&set.tls),
            has_password: self.password.is_some(),
            // With another user, the default one is guarded by the user's own ACL.
            requirepass: self.password.as_ref().filter(|_| user.is_none()),
        }
    }
}
