//! `podzero init`: what a pod does before its server starts.
//!
//! Owns the order of the steps: refuse what cannot work, find out who and where this pod is, find
//! the live master, write the configuration. It never starts a writable server, except as pod-0 with
//! `--without-sidecar`.

pub mod checks;
pub mod discover;
pub mod disk;
pub mod plain;
pub mod say;
mod setting;
pub mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use tracing::{info, warn};

use crate::conf::base::Base;
use crate::conf::overrides;
use crate::conf::render::{Follow, render};
use crate::conf::write;
use crate::config::{AddressForm, InitArgs};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::secret;
use crate::state_file::{self, Followed};
use crate::topology::Ordinal;
use plain::{Start, Terms};
use setting::Setting;

/// Runs `podzero init`.
pub async fn run(mut args: InitArgs) -> Result<(), Failure> {
    refuse_contradictions(&args)?;
    // The server is started in another directory, and perhaps in another container.
    args.set.data_dir = absolute(&args.set.data_dir);
    args.set.base_conf = args.set.base_conf.as_deref().map(absolute);
    let set = &args.set;
    let password = match &set.password_file {
        Some(path) => Some(secret::read(path).or_exit(Exit::Environment)?),
        None => None,
    };
    let base = match &set.base_conf {
        Some(path) => Base::read(path, &set.data_dir).or_exit(Exit::Environment)?,
        None => Base::default(),
    };
    let leads = args.without_sidecar && set.pod_name.ordinal() == Ordinal::ZERO;
    let first = if leads {
        Follow::Nothing
    } else {
        Follow::Fence
    };
    overrides::check(
        set.base_conf.as_deref(),
        &base,
        &set.data_dir,
        &set.tls,
        &first,
    )
    .or_exit(Exit::Usage)?;
    checks::data_dir(&set.data_dir).or_exit(Exit::Environment)?;
    checks::conf_dir(&set.conf).or_exit(Exit::Environment)?;
    disk::refuse_aof_trap(&set.data_dir, &base).or_exit(Exit::RefusedForData)?;
    if let Some(dir) = &args.install_dir {
        let path = checks::install(dir).or_exit(Exit::Environment)?;
        info!(path = %path.display(), "installed this binary");
    }
    let setting = Setting::find(set, base, password).await?;
    for warning in overrides::warnings(&setting.wanted(set, args.without_sidecar, &first)) {
        warn!(warning, "the base configuration does not fit");
    }
    let follow = if args.without_sidecar {
        without_sidecar(&args, &setting).await?
    } else {
        beside_sidecar(&args, &setting).await?
    };
    let text = render(&setting.wanted(set, args.without_sidecar, &follow));
    let written = write::configuration(&set.conf, &text).or_exit(Exit::Environment)?;
    info!(
        path = %set.conf.display(),
        changed = written,
        starts_as = starts_as(&follow),
        "the configuration is there"
    );
    Ok(())
}

fn refuse_contradictions(args: &InitArgs) -> Result<(), Failure> {
    let set = &args.set;
    let usage = |error| Err(Failure::new(Exit::Usage, error));
    if set.username.is_some() && set.password_file.is_none() {
        return usage(anyhow!(
            "--username needs --password-file: podzero logs in with both or with neither"
        ));
    }
    let ordinal = set.pod_name.ordinal();
    if let Some(replicas) = set.replicas.filter(|n| *n <= ordinal.0) {
        warn!(
            pod = %set.pod_name,
            replicas,
            "this pod's ordinal is beyond --replicas: is the set being scaled?"
        );
    }
    Ok(())
}

/// Beside a sidecar: the live master if there is one, else the fence.
async fn beside_sidecar(args: &InitArgs, setting: &Setting) -> Result<Follow, Failure> {
    let set = &args.set;
    let identity = &setting.here.identity;
    let own = state_file::remembered(&set.data_dir, identity);
    let ports = discover::Ports {
        http: set.peer_http_port,
        redis: set.redis_port,
        login: setting.login.clone(),
    };
    let found =
        discover::live_master(&setting.here, set.replicas, ports, &own, args.discover).await;
    let Some(master) = found else {
        return Ok(Follow::Fence);
    };
    let followed = Followed {
        master: master.ordinal,
        epoch: master.epoch,
        id: master.id,
        // What lies on the disk is not known before the server has loaded it.
        only_source: false,
    };
    state_file::mark_followed(&set.data_dir, identity, followed).or_exit(Exit::Environment)?;
    info!(
        master = setting.here.pod(master.ordinal),
        address = %master.address,
        epoch = %master.epoch,
        "found the master"
    );
    let address = SocketAddr::new(master.address, set.redis_port);
    Ok(setting.follow(set, master.ordinal, address))
}

/// Without a sidecar: the master, or its replica.
async fn without_sidecar(args: &InitArgs, setting: &Setting) -> Result<Follow, Failure> {
    let set = &args.set;
    let disk = disk::look(&set.data_dir, &setting.base);
    let terms = Terms {
        replicas: set.replicas,
        local: SocketAddr::new(set.redis_host, set.redis_port),
        login: setting.login.clone(),
        disk: &disk,
        discover: args.discover,
        timeout: args.timeout,
    };
    match plain::wait(&setting.here, terms).await? {
        Start::Master => Ok(Follow::Nothing),
        Start::Replica(ordinal, address) => {
            let address = SocketAddr::new(address, set.redis_port);
            Ok(setting.follow(set, ordinal, address))
        }
    }
}

/// The path from the root; an empty one stays as it is, and is refused further on.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn starts_as(follow: &Follow) -> String {
    match follow {
        Follow::Nothing => "the master".to_owned(),
        Follow::Fence => "fenced, until its sidecar decides".to_owned(),
        Follow::Master { host, port } => format!("a replica of {host}:{port}"),
    }
}

/// How this member and its peers are written into configurations.
fn spelled(form: AddressForm, address: SocketAddr, name: &str) -> String {
    match form {
        AddressForm::Ip => address.ip().to_canonical().to_string(),
        AddressForm::Name => name.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests;
