//! Asking DNS: the one file that imports `hickory-resolver`.
//!
//! Owns the difference between "the answer is no" and "could not ask". Nothing is kept here: each
//! lookup asks. How often to ask is [`super::names`]'. `/etc/hosts` is not read: in a pod it holds
//! the pod's own name.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as WireError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Where the system's DNS servers and search list are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long one server may take over UDP (within which the question is repeated), and again over
/// TCP. Both together bound a lookup to 1.8 s, so that a dead server costs at most that.
const TRY: Duration = Duration::from_millis(900);

/// How long the second family is waited for once the first one has addresses ("Resolution Delay" of
/// RFC 8305, section 3).
const SECOND_FAMILY: Duration = Duration::from_millis(50);

/// What DNS says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its addresses, those of the preferred family first, sorted within a family: servers rotate
    /// them, and a change of order is no change. Never empty.
    Addresses(Vec<IpAddr>),
    /// The name does not exist (NXDOMAIN).
    Missing,
    /// The name exists and has no address (NODATA).
    NoAddress,
    /// No DNS server could be asked, and why (SERVFAIL, a time-out, refused): nothing is known.
    Unknown(String),
}

/// An answer, and for how long its addresses may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What DNS says.
    pub answer: Answer,
    /// The least TTL of its records; without a meaning where there are none.
    pub ttl: Duration,
}

impl From<Answer> for Told {
    /// An answer without records, which shortens nothing.
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            ttl: Duration::MAX,
        }
    }
}

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.to_canonical().is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Why DNS cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// There is no list of servers.
    #[error("cannot read the DNS servers from {RESOLV_CONF} (or name one with --dns-server)")]
    ResolvConf(#[source] std::io::Error),
    /// The list of servers makes no sense.
    #[error("cannot use the DNS servers in {RESOLV_CONF} (or name one with --dns-server)")]
    Content(#[source] NetError),
    /// The resolver could not be built.
    #[error("cannot prepare the DNS server {server}")]
    Server {
        /// Which one.
        server: SocketAddr,
        /// What the library said.
        source: NetError,
    },
}

/// The DNS servers, and the search list of this pod. Read once, at the start.
#[derive(Clone)]
pub struct Dns {
    servers: Vec<Server>,
    search: Vec<String>,
}

/// One server. The library's own pool is not used: it takes the first server's SERVFAIL for the
/// final word, and it falls back to TCP for truncated answers alone.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    udp: TokioResolver,
    tcp: TokioResolver,
}

impl Dns {
    /// Asks these servers; those of resolv.conf when none are given. The search list always comes
    /// from resolv.conf, where there is one.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsError> {
        Self::with_file(servers, Path::new(RESOLV_CONF))
    }

    fn with_file(servers: &[SocketAddr], file: &Path) -> Result<Self, DnsError> {
        let system = std::fs::read(file)
            .map_err(DnsError::ResolvConf)
            .and_then(|text| parse_resolv_conf(text).map_err(DnsError::Content));
        let search = system.as_ref().map_or_else(
            |_| Vec::new(),
            |(config, _)| config.search().iter().map(ToString::to_string).collect(),
        );
        let addresses = if servers.is_empty() {
            let servers = system?.0.name_servers;
            servers.iter().map(|s| SocketAddr::new(s.ip, 53)).collect()
        } else {
            servers.to_vec()
        };
        let servers = addresses
            .into_iter()
            .map(Server::new)
            .collect::<Result<_, _>>()?;
        Ok(Self { servers, search })
    }

    /// The cluster's domain according to the search list, which Kubernetes writes as
    /// `<namespace>.svc.<domain> svc.<domain> <domain>`.
    pub fn cluster_domain(&self, namespace: &str) -> Option<String> {
        let search = || self.search.iter().map(|s| s.trim_matches('.'));
        let own = format!("{namespace}.svc.");
        search()
            .find_map(|entry| entry.strip_prefix(&own))
            .or_else(|| search().find_map(|entry| entry.strip_prefix("svc.")))
            .filter(|domain| !domain.is_empty())
            .map(str::to_lowercase)
    }

    /// The servers that are asked.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|s| s.address)
    }

    /// Asks for the addresses of an absolute name (it ends in a dot). Takes at most about 2 s.
    pub async fn lookup(&self, name: &str, first: Family) -> Answer {
        self.lookup_with_ttl(name, first).await.answer
    }

    /// The same, with the time for which addresses may be kept.
    pub async fn lookup_with_ttl(&self, name: &str, first: Family) -> Told {
        let name = match Name::from_ascii(name) {
            Ok(mut name) => {
                name.set_fqdn(true);
                name
            }
            Err(error) => {
                return Answer::Unknown(format!("{name:?} is not a DNS name: {error}")).into();
            }
        };
        let (first, second) = match first {
            Family::V4 => (RecordType::A, RecordType::AAAA),
            Family::V6 => (RecordType::AAAA, RecordType::A),
        };
        // Both questions are under way before the first answer is waited for.
        let mut second = self.ask(&name, second);
        let first = best(&mut self.ask(&name, first)).await;
        let second = if matches!(first.answer, Answer::Addresses(_)) {
            timeout(SECOND_FAMILY, best(&mut second))
                .await
                .unwrap_or(Answer::NoAddress.into())
        } else {
            best(&mut second).await
        };
        both(first, second)
    }

    /// Asks every server at once: one that is dead costs nothing while another lives.
    fn ask(&self, name: &Name, kind: RecordType) -> JoinSet<Told> {
        self.servers
            .iter()
            .map(|server| {
                let (server, name) = (server.clone(), name.clone());
                async move { server.ask(name, kind).await }
            })
            .collect()
    }
}

/// The first answer that says something; that nobody could be asked only when all say so.
async fn best(asked: &mut JoinSet<Told>) -> Told {
    let mut why = Vec::new();
    while let Some(told) = asked.join_next().await {
        match told {
            Ok(Told {
                answer: Answer::Unknown(text),
                ..
            }) => why.push(text),
            Ok(known) => return known,
            Err(error) => why.push(error.to_string()),
        }
    }
    Answer::Unknown(why.join("; ")).into()
}

/// What the answers for both families say together. Addresses are an answer whatever became of the
/// other question; a "no" needs both.
fn both(first: Told, second: Told) -> Told {
    use Answer::{Addresses, Missing, NoAddress, Unknown};
    let ttl = first.ttl.min(second.ttl);
    let answer = match (first.answer, second.answer) {
        (Addresses(mut first), Addresses(second)) => {
            first.extend(second);
            Addresses(first)
        }
        (Addresses(found), Missing | NoAddress | Unknown(_))
        | (Missing | NoAddress | Unknown(_), Addresses(found)) => Addresses(found),
        (Unknown(why), Missing | NoAddress | Unknown(_)) | (Missing | NoAddress, Unknown(why)) => {
            Unknown(why)
        }
        (Missing, Missing) => Missing,
        (NoAddress, NoAddress | Missing) | (Missing, NoAddress) => NoAddress,
    };
    Told { answer, ttl }
}

impl Server {
    fn new(address: SocketAddr) -> Result<Self, DnsError> {
        let build = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            let server = NameServerConfig::new(address.ip(), true, vec![connection]);
            let config = ResolverConfig::from_parts(None, vec![], vec![server]);
            let mut builder =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            limit(builder.options_mut());
            builder.build().map_err(|source| DnsError::Server {
                server: address,
                source,
            })
        };
        Ok(Self {
            address,
            udp: build(ConnectionConfig::udp())?,
            tcp: build(ConnectionConfig::tcp())?,
        })
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Told {
        let udp = self.ask_over(&self.udp, name.clone(), kind).await;
        if !matches!(udp.answer, Answer::Unknown(_)) {
            return udp;
        }
        // Truncated, lost or refused over UDP: TCP takes another way through most networks. When it
        // fails too, what UDP said tells more: many servers listen on UDP alone.
        let tcp = self.ask_over(&self.tcp, name, kind).await;
        if matches!(tcp.answer, Answer::Unknown(_)) {
            udp
        } else {
            tcp
        }
    }

    async fn ask_over(&self, resolver: &TokioResolver, name: Name, kind: RecordType) -> Told {
        let server = self.address;
        match timeout(TRY, resolver.lookup(name, kind)).await {
            Err(_) | Ok(Err(NetError::Timeout)) => {
                Answer::Unknown(format!("the DNS server {server} does not answer")).into()
            }
            Ok(Ok(found)) => told(found.answers()),
            Ok(Err(error)) => no(server, &error).into(),
        }
    }
}

/// The same from the message itself, where it can be read.
#[cfg(feature = "faults")]
pub(crate) fn parse(message: &[u8]) -> Option<Told> {
    let message = hickory_resolver::proto::op::Message::from_vec(message).ok()?;
    Some(told(&message.answers))
}

/// What the records of an answer say.
fn told(records: &[Record]) -> Told {
    let addresses = records.iter().filter_map(|record| address(&record.data));
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Answer::NoAddress.into();
    }
    // Of a chain of aliases the shortest-lived part counts.
    let ttl = records.iter().map(|record| record.ttl).min();
    Told {
        answer: Answer::Addresses(addresses),
        ttl: Duration::from_secs(ttl.unwrap_or(0).into()),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    if let RData::A(v4) = data {
        Some(v4.0.into())
    } else if let RData::AAAA(v6) = data {
        Some(v6.0.into())
    } else {
        None
    }
}

/// Tells a "no" from a question that was not answered.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever is not known to be a \"no\" is an unknown answer"
)]
fn no(server: SocketAddr, error: &NetError) -> Answer {
    match error {
        NetError::Dns(WireError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Answer::Missing,
            ResponseCode::NoError => Answer::NoAddress,
            other => Answer::Unknown(format!("the DNS server {server} answers {other}")),
        },
        NetError::Dns(WireError::ResponseCode(ResponseCode::ServFail)) => {
            Answer::Unknown(format!("the DNS server {server} answers SERVFAIL"))
        }
        NetError::Dns(WireError::ResponseCode(code)) => {
            Answer::Unknown(format!("the DNS server {server} answers {code}"))
        }
        other => Answer::Unknown(format!("the DNS server {server}: {other}")),
    }
}

fn limit(options: &mut ResolverOpts) {
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = TRY;
    options.attempts = 0;
    // A kept "no" would hide a member that has come. (The limit for positive answers must stay as it
    // is: it would also shorten the TTL that is told.)
    options.cache_size = 0;
    options.negative_max_ttl = Some(Duration::ZERO);
}

#[cfg(test)]
mod tests;
