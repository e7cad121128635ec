//! Flags and their environment twins, parsed into final types. Nothing else reads the environment.

mod values;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use values::{AddressForm, AuthorityKind, Directive, LogFormat, MaxLag, ServiceMode};
use values::{dns_server, domain, grace, lease_time, listen, max_lag, name, pod_ip, time};

use crate::topology::PodName;

/// Redis and Valkey master/replica bootstrap for Kubernetes.
#[derive(Debug, Parser)]
#[command(
    name = "podzero",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Init container: find the master and write the server's configuration.
    Init(Box<InitArgs>),
    /// Sidecar: follow the master, take the role when it is granted, answer probes.
    Sidecar(Box<SidecarArgs>),
    /// Show the set as this pod's sidecar sees it.
    Status(StatusArgs),
    /// Decide by hand whose data the set keeps, when podzero waits or refuses to choose.
    Resolve(ResolveArgs),
    /// Before this pod is stopped (preStop hook): hand the master role over, or let clients leave.
    Prestop(SocketArgs),
    /// Hand the master role over to another pod, without losing a write.
    Failover(FailoverArgs),
}

/// What `init` and `sidecar` share.
#[derive(Debug, Clone, Args)]
pub struct SetArgs {
    /// This pod's name, `<set>-<ordinal>`; also read from `POD_NAME`.
    #[arg(long, env = "PODZERO_POD_NAME", value_name = "POD")]
    pub pod_name: PodName,
    /// This pod's namespace; also read from `POD_NAMESPACE`.
    #[arg(long, env = "PODZERO_NAMESPACE", value_name = "NAME", value_parser = name)]
    pub namespace: String,
    /// The headless Service that governs the `StatefulSet`.
    #[arg(long, env = "PODZERO_SERVICE", value_name = "NAME", value_parser = name)]
    pub service: String,
    /// This pod's UID; also read from `POD_UID`.
    #[arg(long, env = "PODZERO_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,
    /// This pod's addresses, as a list by comma; the first decides the family. Without it: the
    /// address to which this pod's name resolves, else the first of the host.
    #[arg(
        long,
        env = "PODZERO_POD_IP",
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = pod_ip
    )]
    pub pod_ip: Vec<IpAddr>,
    /// The cluster's domain. Without it: from resolv.conf, else cluster.local.
    #[arg(long, env = "PODZERO_CLUSTER_DOMAIN", value_name = "DOMAIN", value_parser = domain)]
    pub cluster_domain: Option<String>,
    /// How many members to expect at least.
    #[arg(long, env = "PODZERO_REPLICAS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub replicas: Option<u32>,
    /// The local server's address.
    #[arg(
        long,
        env = "PODZERO_REDIS_HOST",
        value_name = "HOST",
        default_value = "127.0.0.1"
    )]
    pub redis_host: IpAddr,
    /// The port of the local server and of every peer's.
    #[arg(long, env = "PODZERO_REDIS_PORT", value_name = "PORT", default_value_t = 6379, value_parser = clap::value_parser!(u16).range(1..))]
    pub redis_port: u16,
    /// A DNS server to ask instead of those in resolv.conf; repeatable. The port is 53 unless given.
    #[arg(long, env = "PODZERO_DNS_SERVER", value_name = "ADDR[:PORT]", value_delimiter = ',', value_parser = dns_server)]
    pub dns_server: Vec<SocketAddr>,
    /// The configuration file that `init` writes and the server is started with.
    #[arg(
        long,
        env = "PODZERO_CONF",
        value_name = "FILE",
        default_value = "/run/podzero/conf/redis.conf"
    )]
    pub conf: PathBuf,
    /// Your own server configuration, included in front of what podzero sets.
    #[arg(long, env = "PODZERO_BASE_CONF", value_name = "FILE")]
    pub base_conf: Option<PathBuf>,
    /// The server's data directory.
    #[arg(
        long,
        env = "PODZERO_DATA_DIR",
        value_name = "DIR",
        default_value = "/data"
    )]
    pub data_dir: PathBuf,
    /// The server's ACL user with which podzero logs in. Without it: the default user.
    #[arg(long, env = "PODZERO_USERNAME", value_name = "USER")]
    pub username: Option<String>,
    /// A file with the password of that user, which guards the server.
    #[arg(long, env = "PODZERO_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// TLS to the servers.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Who may grant the master role.
    #[arg(
        long,
        env = "PODZERO_AUTHORITY",
        value_name = "KIND",
        default_value = "ordinal"
    )]
    pub authority: AuthorityKind,
    /// Whether servers follow a member by its address or by its stable name.
    #[arg(
        long,
        env = "PODZERO_ADDRESS_FORM",
        value_name = "FORM",
        default_value = "ip"
    )]
    pub address_form: AddressForm,
    /// How the replication directive is spelled in the configuration.
    #[arg(
        long,
        env = "PODZERO_DIRECTIVE",
        value_name = "WORD",
        default_value = "replicaof"
    )]
    pub directive: Directive,
    /// What to log: error, warn, info, debug, trace, or a filter such as podzero=debug.
    #[arg(
        long,
        env = "PODZERO_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
    /// The form of log lines. Without it: text on a terminal, else json.
    #[arg(long, env = "PODZERO_LOG_FORMAT", value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// The HTTP port of peers' sidecars.
    #[arg(skip = 8379_u16)]
    pub peer_http_port: u16,
}

/// TLS to the servers, and between them.
#[derive(Debug, Clone, Args)]
pub struct TlsArgs {
    /// The certificates (PEM) of the authorities that sign those of the servers. With it, --redis-port
    /// is the servers' TLS port, for podzero and for replication.
    #[arg(long, env = "PODZERO_TLS_CA_FILE", value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,
    /// The certificate (PEM, with its chain) that podzero shows to servers; the server's own too, where
    /// the base configuration sets none. Valid for the pod's stable name.
    #[arg(long, env = "PODZERO_TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key (PEM) of that certificate.
    #[arg(long, env = "PODZERO_TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,
}

/// `podzero init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Shared flags.
    #[command(flatten)]
    pub set: SetArgs,
    /// How long to look for a live master before writing the fence.
    #[arg(long, env = "PODZERO_DISCOVER", value_name = "TIME", default_value = "5s", value_parser = time)]
    pub discover: Duration,
    /// With --without-sidecar: how long to wait for the master; 0s waits for ever.
    #[arg(long, env = "PODZERO_TIMEOUT", value_name = "TIME", default_value = "5m", value_parser = time)]
    pub timeout: Duration,
    /// There is no sidecar: pod-0 starts as the master, the others wait for it.
    #[arg(long, env = "PODZERO_WITHOUT_SIDECAR", action = ArgAction::SetTrue, value_parser = clap::builder::BoolishValueParser::new())]
    pub without_sidecar: bool,
    /// Copy this binary into a directory, for the server's container.
    #[arg(long, env = "PODZERO_INSTALL_DIR", value_name = "DIR")]
    pub install_dir: Option<PathBuf>,
    /// Where peers' sidecars listen: the port is used.
    #[arg(
        long,
        env = "PODZERO_HTTP",
        value_name = "ADDR:PORT",
        default_value = "[::]:8379",
        value_parser = listen
    )]
    pub http: SocketAddr,
}

/// `podzero sidecar`.
#[derive(Debug, Clone, Args)]
pub struct SidecarArgs {
    /// Shared flags.
    #[command(flatten)]
    pub set: SetArgs,
    /// How long a missing name must be missing before a first boot goes on without it.
    #[arg(long, env = "PODZERO_DISCOVER", value_name = "TIME", default_value = "30s", value_parser = time)]
    pub discover: Duration,
    /// How long to wait for members that do not answer, before a new master is chosen without them.
    #[arg(long, env = "PODZERO_PEER_WAIT", value_name = "TIME", default_value = "5m", value_parser = time)]
    pub peer_wait: Duration,
    /// Where to serve /livez, /readyz, /startupz, /status and /metrics; peers are asked at this port.
    #[arg(
        long,
        env = "PODZERO_HTTP",
        value_name = "ADDR:PORT",
        default_value = "[::]:8379",
        value_parser = listen
    )]
    pub http: SocketAddr,
    /// The Unix socket on which commands are accepted.
    #[arg(
        long,
        env = "PODZERO_SOCKET",
        value_name = "FILE",
        default_value = "/run/podzero/podzero.sock"
    )]
    pub socket: PathBuf,
    /// How long a replica stays ready while its link is down.
    #[arg(long, env = "PODZERO_LINK_GRACE", value_name = "TIME", default_value = "5s", value_parser = time)]
    pub link_grace: Duration,
    /// How many bytes a replica may be behind its master and still be ready. Without it: any.
    #[arg(long, env = "PODZERO_MAX_LAG", value_name = "BYTES", value_parser = max_lag)]
    pub max_lag: Option<MaxLag>,
    /// The pod's terminationGracePeriodSeconds. Half of it is for a handover before the server is
    /// stopped.
    #[arg(long, env = "PODZERO_GRACE", value_name = "TIME", default_value = "30s", value_parser = grace)]
    pub grace: Duration,
    /// How long a replica's preStop waits until clients have left.
    #[arg(long, env = "PODZERO_DRAIN", value_name = "TIME", default_value = "3s", value_parser = time)]
    pub drain: Duration,
    /// Hand the role over at SIGTERM too, for Compose and systemd, which have no preStop hook.
    #[arg(long, env = "PODZERO_HANDOVER_ON_SIGTERM", action = ArgAction::SetTrue, value_parser = clap::builder::FalseyValueParser::new())]
    pub handover_on_sigterm: bool,
    /// The Lease.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// After the password in its file was replaced: how long the one before it is valid too.
    #[arg(long, env = "PODZERO_PASSWORD_OVERLAP", value_name = "TIME", default_value = "1h", value_parser = time)]
    pub password_overlap: Duration,
    /// A file with a token: who sends it (`Authorization: Bearer TOKEN`) may call /prestop over TCP.
    /// Without it /prestop is answered on the socket alone.
    #[arg(long, env = "PODZERO_PRESTOP_TOKEN_FILE", value_name = "FILE")]
    pub prestop_token_file: Option<PathBuf>,
}

/// With `--authority lease`: the Lease, and its times.
#[derive(Debug, Clone, Args)]
pub struct LeaseArgs {
    /// The Lease's name. Without it: that of the set.
    #[arg(long, env = "PODZERO_LEASE_NAME", value_name = "NAME", value_parser = name)]
    pub lease_name: Option<String>,
    /// How long a member must have seen the Lease unchanged before it takes it.
    #[arg(long, env = "PODZERO_LEASE_DURATION", value_name = "TIME", default_value = "6s", value_parser = lease_time)]
    pub lease_duration: Duration,
    /// How long the master goes on after its last renewal.
    #[arg(long, env = "PODZERO_RENEW_DEADLINE", value_name = "TIME", default_value = "4s", value_parser = lease_time)]
    pub renew_deadline: Duration,
    /// Between two renewals.
    #[arg(long, env = "PODZERO_RETRY_PERIOD", value_name = "TIME", default_value = "1s", value_parser = lease_time)]
    pub retry_period: Duration,
    /// The Service that is to lead to the master. Without it: none is touched.
    #[arg(long, env = "PODZERO_MASTER_SERVICE", value_name = "NAME", value_parser = name)]
    pub master_service: Option<String>,
    /// How it is led there.
    #[arg(
        long,
        env = "PODZERO_MASTER_SERVICE_MODE",
        value_name = "MODE",
        default_value = "slice"
    )]
    pub master_service_mode: ServiceMode,
}

/// Where one-shot commands find the sidecar.
#[derive(Debug, Clone, Args)]
pub struct SocketArgs {
    /// The Unix socket of this pod's sidecar.
    #[arg(
        long,
        env = "PODZERO_SOCKET",
        value_name = "FILE",
        default_value = "/run/podzero/podzero.sock"
    )]
    pub socket: PathBuf,
}

/// `podzero status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Where the sidecar listens.
    #[command(flatten)]
    pub at: SocketArgs,
    /// Print the /status document itself.
    #[arg(long)]
    pub json: bool,
}

/// `podzero resolve`.
#[derive(Debug, Clone, Args)]
pub struct ResolveArgs {
    /// Where the sidecar listens.
    #[command(flatten)]
    pub at: SocketArgs,
    /// The pod whose data the set keeps. Everybody else's diverging data is lost.
    #[arg(long, value_name = "POD")]
    pub keep: PodName,
}

/// `podzero failover`.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// Where the sidecar listens.
    #[command(flatten)]
    pub at: SocketArgs,
    /// The pod that is to be the master. It stays there; without this the best one is taken, and the
    /// role goes home to pod-0 later.
    #[arg(long, value_name = "POD")]
    pub to: Option<PodName>,
}

/// The second names under which the downward API often puts what `--pod-name` and the like say.
const ALSO_READ: [(&str, &str); 3] = [
    ("pod_name", "POD_NAME"),
    ("namespace", "POD_NAMESPACE"),
    ("pod_uid", "POD_UID"),
];

impl Cli {
    /// Parses a command line; the environment is read here and nowhere else.
    pub fn parse_from(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        for name in ["init", "sidecar"] {
            command = command.mut_subcommand(name, |mut sub| {
                for (flag, variable) in ALSO_READ {
                    let twin_is_set =
                        std::env::var_os(format!("PODZERO_{}", flag.to_uppercase())).is_some();
                    if !twin_is_set && std::env::var_os(variable).is_some_and(|v| !v.is_empty()) {
                        sub = sub.mut_arg(flag, |arg| arg.env(variable));
                    }
                }
                sub
            });
        }
        refuse_service_links(&mut command)?;
        let matches = command.try_get_matches_from(line)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        match &mut cli.command {
            Command::Init(args) => args.set.peer_http_port = args.http.port(),
            Command::Sidecar(args) => args.set.peer_http_port = args.http.port(),
            Command::Status(_)
            | Command::Resolve(_)
            | Command::Prestop(_)
            | Command::Failover(_) => {}
        }
        Ok(cli)
    }
}

/// A Service called `podzero-…` makes Kubernetes put `PODZERO_…=tcp://…` into every pod's
/// environment, which would end in a parse error that nobody understands.
fn refuse_service_links(command: &mut clap::Command) -> Result<(), clap::Error> {
    let twins: Vec<_> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_env())
        .map(ToOwned::to_owned)
        .collect();
    for twin in twins {
        let value = std::env::var(&twin).unwrap_or_default();
        if value.starts_with("tcp://") || value.starts_with("udp://") {
            return Err(command.error(
                clap::error::ErrorKind::ValueValidation,
                format!(
                    "the environment variable {} is {value:?}: this is a Kubernetes service link, made because of a Service whose name begins with \"podzero\", and not a setting. Set enableServiceLinks: false in the pod's specification.",
                    twin.to_string_lossy()
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
