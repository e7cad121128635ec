//! What the sidecar finds out and refuses before its first turn.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::Notify;

use super::Sidecar;
use super::clients::Demoted;
use super::handover::Home;
use super::lease::{LeaseOfSet, Outside, forget_note};
use super::secrets::Secrets;
use super::troubles::Troubles;
use super::voice::Voice;
use crate::act::{Replication, There};
use crate::authority::lease::Holder;
use crate::authority::{Access, Endpoint, Keeper, Kubernetes, ServiceOf, Size, Teller};
use crate::clock::{self, Time};
use crate::conf::login::replication_login;
use crate::config::{
    AddressForm, AuthorityKind, LeaseArgs, MaxLag, ServiceMode, SetArgs, SidecarArgs,
};
use crate::decide::Policy;
use crate::decide::lease::Times;
use crate::decide::ready::ReadyMemory;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::login::Login;
use crate::metrics::Metrics;
use crate::observe::dns::Dns;
use crate::observe::local::LocalServer;
use crate::observe::members::{Ask, Members};
use crate::pod;
use crate::publish::Turned;
use crate::secret::{self, Secret};
use crate::state_file::{Found, Memory, StateFile};
use crate::topology::{Identity, ServerAt};

/// Flags that contradict one another are refused at the start.
fn refuse_contradictions(set: &SetArgs) -> Result<(), Failure> {
    if set.authority == AuthorityKind::Lease && set.pod_uid.is_none() {
        return Err(Failure::new(
            Exit::Usage,
            anyhow!("--authority lease needs the pod's UID: set --pod-uid from metadata.uid"),
        ));
    }
    if set.username.is_some() && set.password_file.is_none() {
        return Err(Failure::new(
            Exit::Usage,
            anyhow!("--username needs --password-file: podzero never logs in without a password"),
        ));
    }
    Ok(())
}

/// The Lease's times, which must leave room for one another.
fn lease_times(args: &LeaseArgs) -> Result<Times, Failure> {
    let times = Times {
        duration: args.lease_duration,
        deadline: args.renew_deadline,
        retry: args.retry_period,
    };
    let why = if times.deadline < 2 * times.retry {
        "--renew-deadline must be at least twice --retry-period, so that one lost renewal costs nothing"
    } else if times.duration < times.deadline + times.retry {
        "--lease-duration must be longer than --renew-deadline by at least --retry-period, so that a master has stopped before another begins"
    } else {
        return Ok(times);
    };
    Err(Failure::new(Exit::Usage, anyhow!(why)))
}

/// The string by which the others know this member.
fn announced(set: &SetArgs, identity: &Identity, own: &[IpAddr]) -> Result<String, Failure> {
    match (set.address_form, own.first()) {
        (AddressForm::Ip, Some(address)) => Ok(address.to_canonical().to_string()),
        (AddressForm::Ip, None) => Err(Failure::new(
            Exit::Environment,
            anyhow!("this pod's address is not known: set --pod-ip from status.podIPs"),
        )),
        (AddressForm::Name, _) => Ok(identity
            .stable_name(identity.pod.ordinal())
            .trim_end_matches('.')
            .to_owned()),
    }
}

/// What `--authority lease` needs.
fn lease(
    args: &SidecarArgs,
    identity: &Identity,
    times: Times,
    login: Login,
    wake: &Arc<Notify>,
) -> Result<Option<LeaseOfSet>, Failure> {
    let (set, lease) = (&args.set, &args.lease);
    let (AuthorityKind::Lease, Some(uid)) = (set.authority, &identity.uid) else {
        forget_note(&set.data_dir);
        return Ok(None);
    };
    let kubernetes = Kubernetes::connect(Access {
        namespace: identity.namespace.clone(),
        // A lost request leaves time for another.
        limit: times.deadline.saturating_sub(times.retry) / 2,
    });
    let kubernetes = kubernetes.or_exit(Exit::Environment)?;
    let me = Holder {
        pod: identity.pod.to_string(),
        uid: uid.clone(),
    };
    let set_name = identity.pod.set().to_owned();
    let service = lease.master_service.clone().map(|name| ServiceOf {
        name,
        selects: lease.master_service_mode == ServiceMode::Label,
        port: set.redis_port,
        login,
    });
    let name = lease.lease_name.clone().unwrap_or_else(|| set_name.clone());
    let outside = Outside {
        keeper: Keeper::start(kubernetes.clone(), name, times, Arc::clone(wake)),
        endpoint: Endpoint::start(kubernetes.clone(), service, Arc::clone(wake)),
        size: Size::start(kubernetes.clone(), set_name, Arc::clone(wake)),
        teller: Teller::start(kubernetes, me.clone()),
    };
    Ok(Some(LeaseOfSet::new(outside, me, times, &set.data_dir)))
}
/// What the state file knows, and what of that still counts.
fn remembered(set: &SetArgs, identity: &Identity) -> (StateFile, Memory) {
    let (file, mut memory, found) = StateFile::open(&set.data_dir, identity);
    // A grant from before a restart only forbids: its epoch stays seen, its target stays the one
    // that is waited for, and a new grant is made of what is so now.
    // A handover goes on: only its target ends it.
    memory.grant = memory.grant.take().filter(|grant| grant.handover.is_some());
    match &found {
        Found::Ours => {
            tracing::info!(epoch = ?memory.epoch.map(|e| e.to_string()), "the state file was read");
        }
        Found::Nothing => tracing::info!("there is no state file yet"),
        Found::Unusable(why) => tracing::warn!(
            why,
            "the state file cannot be used: what it knew is unknown"
        ),
    }
    (file, memory)
}

/// The set's password. The token is read whenever it is needed; here only whether it can be.
fn password(args: &SidecarArgs) -> Result<Option<Secret>, Failure> {
    let file = args.set.password_file.as_deref();
    let password = file.map(secret::read).transpose();
    if let Some(token) = &args.prestop_token_file {
        secret::read(token)
            .map_err(|e| anyhow!("the token of --prestop-token-file cannot be used: {e}"))
            .or_exit(Exit::Environment)?;
    }
    password.or_exit(Exit::Environment)
}

impl Sidecar {
    /// Reads what there is; talks to nobody but DNS.
    pub(super) async fn start(args: &SidecarArgs) -> Result<Self, Failure> {
        let set = &args.set;
        refuse_contradictions(set)?;
        let password = password(args)?;
        let dns = Dns::new(&set.dns_server).or_exit(Exit::Environment)?;
        let (identity, domain_from) = pod::identity(set, &dns);
        let me = identity.pod.ordinal();
        if set.replicas.is_some_and(|n| me.0 >= n) {
            tracing::warn!(pod = %identity.pod, replicas = set.replicas, "this pod's ordinal lies beyond --replicas");
        }
        crate::init::checks::data_dir(&set.data_dir).or_exit(Exit::Environment)?;
        let own = pod::addresses(set, &dns, &identity).await;
        let announce = announced(set, &identity, &own)?;
        let (user, mut repl_password) = replication_login(&identity, password.as_ref());
        let login = pod::login(set, &identity, password.as_ref())?;
        let secrets = Secrets::new(args, &login, &mut repl_password);
        let (file, memory) = remembered(set, &identity);
        tracing::info!(
            pod = %identity.pod, namespace = identity.namespace, service = identity.service,
            domain = identity.domain, domain_from, own = ?own, announce, replicas = set.replicas, authority = set.authority.as_str(),
            username = login.username(), password = password.is_some(), tls = login.tls().is_some(), "the sidecar starts"
        );
        let wake = Arc::<Notify>::default();
        let times = lease_times(&args.lease)?;
        let lease = lease(args, &identity, times, login.clone(), &wake)?;
        let lost = Arc::new(Notify::new());
        let at = ServerAt {
            ordinal: me,
            address: SocketAddr::new(set.redis_host, set.redis_port),
        };
        Ok(Self {
            server: LocalServer::new(at, login.clone(), Arc::clone(&lost)),
            ask: Ask {
                identity,
                own,
                dns,
                login: login.clone(),
                redis_port: set.redis_port,
                http_port: set.peer_http_port,
                form: set.address_form,
            },
            policy: Policy {
                replicas: set.replicas,
                discover: args.discover,
                peer_wait: args.peer_wait,
                link_grace: args.link_grace,
                max_lag: match args.max_lag {
                    Some(MaxLag::Bytes(bytes)) => Some(bytes),
                    Some(MaxLag::Off) | None => None,
                },
                lease: times,
            },
            members: Members::default(),
            wake,
            there: There::new(login.clone()),
            grace: args.grace,
            drain: args.drain,
            handover_on_sigterm: args.handover_on_sigterm,
            run: None,
            home: Home::default(),
            stopping: None,
            urgent_since: None,
            demoted: Demoted::after(&memory),
            replication: Replication {
                user,
                accepted: vec![repl_password.clone()],
                password: repl_password,
                default_user: Vec::new(),
                announce,
            },
            secrets,
            login,
            memory,
            file,
            offset_written_at: Time::default(),
            prepared_at: Time::default(),
            ready: ReadyMemory::default(),
            lost,
            started_at: clock::now(),
            turned: Turned::default(),
            metrics: Arc::new(Metrics::default()),
            masterless_since: clock::now(),
            had_master: false,
            lease,
            declined_at: BTreeMap::new(),
            troubles: Troubles::default(),
            conf: set.conf.clone(),
            answered_at: BTreeMap::new(),
            voice: Voice::default(),
            pointed_at: None,
            resolve: None,
            written: None,
            was_master: false,
            waits_for_lease: false,
            is_late: false,
        })
    }
}
