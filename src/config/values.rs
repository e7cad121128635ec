//! What flags say: the values that are one of a few words, and the parsers of the others.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;

use crate::topology::is_kubernetes_name;

/// `--authority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthorityKind {
    /// Pod-0 grants the master role; no Kubernetes API, no rights.
    Ordinal,
    /// The holder of a Kubernetes Lease is the master; another member takes it when the master dies.
    Lease,
}

impl AuthorityKind {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordinal => "ordinal",
            Self::Lease => "lease",
        }
    }
}

/// `--master-service-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServiceMode {
    /// The Service has no selector; its `EndpointSlice`s are written: one write moves it.
    Slice,
    /// The Service selects by the label podzero/role: two writes move it, and it is slower.
    Label,
}

/// `--address-form`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AddressForm {
    /// An address, resolved by podzero.
    Ip,
    /// The stable name, resolved by the server at each connection attempt.
    Name,
}

/// `--directive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Directive {
    /// `replicaof`.
    Replicaof,
    /// `slaveof`, as old configurations spell it.
    Slaveof,
}

impl Directive {
    /// The word in the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replicaof => "replicaof",
            Self::Slaveof => "slaveof",
        }
    }
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `--max-lag`: a number of bytes, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxLag {
    /// No bound.
    Off,
    /// At most this many bytes behind.
    Bytes(u64),
}

pub(super) fn name(text: &str) -> Result<String, String> {
    if is_kubernetes_name(text) {
        Ok(text.to_owned())
    } else {
        Err("not a Kubernetes name (lower-case letters, digits, '-' and '.')".to_owned())
    }
}

pub(super) fn domain(text: &str) -> Result<String, String> {
    name(text.trim_matches('.'))
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|e| format!("{e} (write a time such as 500ms, 30s or 5m)"))
}

pub(super) fn pod_ip(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "not an address (10.0.0.1, fd00::1)".to_owned())?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(
            "no other pod can reach this address: it is to come from status.podIPs".to_owned(),
        );
    }
    Ok(address)
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "not an address with a port ([::]:8379, 0.0.0.0:8379)".to_owned())?;
    if address.port() == 0 {
        return Err("port 0: every pod of the set must listen on the same, known port".to_owned());
    }
    Ok(address)
}

/// Kubernetes counts in whole seconds.
pub(super) fn lease_time(text: &str) -> Result<Duration, String> {
    let length = time(text)?;
    if length < Duration::from_millis(100) || length > Duration::from_hours(1) {
        return Err("not a time between 100ms and 1h".to_owned());
    }
    Ok(length)
}

/// Less than this leaves no time for anything.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let grace = time(text)?;
    if grace < Duration::from_secs(2) {
        return Err("too short: at least 2s".to_owned());
    }
    Ok(grace)
}

pub(super) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| "not an address (10.0.0.10, 10.0.0.10:53, [fd00::a]:53)".to_owned())
}

pub(super) fn max_lag(text: &str) -> Result<MaxLag, String> {
    if text == "off" {
        return Ok(MaxLag::Off);
    }
    text.parse()
        .map(MaxLag::Bytes)
        .map_err(|_| "not a number of bytes, nor off".to_owned())
}
