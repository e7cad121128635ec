//! Who is who: pods, ordinals, stable names, epochs.
//!
//! Owns the checked forms of everything that names a member of the set. Does no I/O.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a pod in its `StatefulSet`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The home of the master in authority `ordinal`.
    pub const ZERO: Self = Self(0);
}

/// Where a member's server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerAt {
    /// Whose server it is to be.
    pub ordinal: Ordinal,
    /// Its address and port.
    pub address: SocketAddr,
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pod's name, split as Kubernetes builds it: `<set>-<ordinal>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    set: String,
    ordinal: Ordinal,
}

/// Why a text is not the name of a pod of a `StatefulSet`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PodNameError {
    /// There is no `-<number>` at the end.
    #[error(
        "{0:?} does not end in -<ordinal>: podzero needs the name of a StatefulSet's pod, such as redis-0 (is POD_NAME set from metadata.name, and is this a StatefulSet and not a Deployment?)"
    )]
    NoOrdinal(String),
    /// A character that no Kubernetes name has, or too many of them.
    #[error(
        "{0:?} is not a Kubernetes name (lower-case letters, digits, '-' and '.', at most 253)"
    )]
    NotAName(String),
}

impl PodName {
    /// The name of the `StatefulSet`.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// The pod's ordinal.
    pub fn ordinal(&self) -> Ordinal {
        self.ordinal
    }

    /// The name of another pod of the same set.
    pub fn sibling(&self, ordinal: Ordinal) -> String {
        format!("{}-{ordinal}", self.set)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.set, self.ordinal)
    }
}

impl FromStr for PodName {
    type Err = PodNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_kubernetes_name(text) {
            return Err(PodNameError::NotAName(text.to_owned()));
        }
        let no_ordinal = || PodNameError::NoOrdinal(text.to_owned());
        let (set, number) = text.rsplit_once('-').ok_or_else(no_ordinal)?;
        let canonical = number == "0" || !number.starts_with(['0', '+']);
        let ordinal = number.parse().map_err(|_| no_ordinal())?;
        if set.is_empty() || !canonical {
            return Err(no_ordinal());
        }
        Ok(Self {
            set: set.to_owned(),
            ordinal: Ordinal(ordinal),
        })
    }
}

/// Whether a text may be the name of a Kubernetes object or a DNS name below a cluster's domain.
pub fn is_kubernetes_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Where a set lives and which of its pods this one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// This pod.
    pub pod: PodName,
    /// The pod's UID, where the downward API gave it.
    pub uid: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// The headless Service that governs the set.
    pub service: String,
    /// The cluster's domain, such as `cluster.local`, without a dot at the end.
    pub domain: String,
}

impl Identity {
    /// The stable name of a member, absolute (it ends in a dot):
    /// `<pod>.<service>.<namespace>.svc.<domain>.`
    pub fn stable_name(&self, ordinal: Ordinal) -> String {
        format!("{}.{}", self.pod.sibling(ordinal), self.service_name())
    }

    /// The headless Service's own name, absolute.
    pub fn service_name(&self) -> String {
        format!("{}.{}.svc.{}.", self.service, self.namespace, self.domain)
    }

    /// The user with which replicas of this set, and of no other, log in at their master.
    ///
    /// Derived from the namespace and the set, so that a stranger who inherited a member's address
    /// refuses the login.
    pub fn replication_user(&self) -> String {
        format!("podzero-{}-{}", self.namespace, self.pod.set())
    }
}

/// A counter that grows by one each time the master role changes hands; ties between two granters
/// are broken by the granter's ordinal.
///
/// ```
/// use podzero::topology::{Epoch, Ordinal};
/// let first = Epoch::after(None, Ordinal(0));
/// let later = Epoch::after(Some(first), Ordinal(0));
/// assert!(first < later && later < Epoch::after(Some(first), Ordinal(2)));
/// assert_eq!(later.to_string(), "2.0");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// 1 for the first grant.
    pub counter: u64,
    /// The ordinal of the member that granted it.
    pub granter: Ordinal,
}

impl Epoch {
    /// The epoch of a new grant: one more than the newest epoch known.
    #[must_use]
    pub fn after(newest: Option<Self>, granter: Ordinal) -> Self {
        Self {
            counter: newest.map_or(0, |e| e.counter).saturating_add(1),
            granter,
        }
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (counter, granter) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self {
            counter: counter.parse()?,
            granter: Ordinal(granter.parse()?),
        })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.counter, self.granter)
    }
}

/// A replication ID: 40 hexadecimal digits that name one history of writes
/// (Redis documentation, "Replication ID explained").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicationId(String);

impl ReplicationId {
    /// The ID in a server's reply; `None` for the all-zero ID (Redis' word for "none") and for
    /// anything that is not a replication ID.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 40
            && text.bytes().all(|b| b.is_ascii_hexdigit())
            && text.bytes().any(|b| b != b'0');
        is_id.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight digits tell histories apart for people, as in a server's own log.
        f.write_str(self.0.get(..8).unwrap_or(&self.0))
    }
}

/// Whether an address can be that of another member: a member's name that leads to this pod or to
/// no pod at all is a mistake in DNS, and a server that followed it would replicate from itself.
/// Loopback addresses are members only of a set that lives on loopback addresses itself, as one for
/// trying things out does.
pub fn can_be_a_peer(address: IpAddr, own: &[IpAddr]) -> bool {
    let address = address.to_canonical();
    let on_loopback = own
        .first()
        .is_some_and(|own| own.to_canonical().is_loopback());
    !((address.is_loopback() && !on_loopback)
        || address.is_unspecified()
        || address.is_multicast()
        || own.iter().any(|a| a.to_canonical() == address))
}

/// An address and a port, spelled as `REPLICAOF` wants them.
pub fn host_and_port(address: SocketAddr) -> (String, u16) {
    (address.ip().to_canonical().to_string(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_name_gives_its_set_and_ordinal() {
        let pod: PodName = "my-redis-12".parse().expect("a pod's name");
        assert_eq!((pod.set(), pod.ordinal()), ("my-redis", Ordinal(12)));
        assert_eq!(pod.sibling(Ordinal::ZERO), "my-redis-0");
    }

    #[test]
    fn names_without_an_ordinal_are_refused_in_words() {
        for text in [
            "redis",
            "redis-",
            "-0",
            "redis-x",
            "redis-01",
            "redis-+1",
            "redis-7f9c-abcde",
        ] {
            let error = text.parse::<PodName>().expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!("Redis-0".parse::<PodName>().is_err());
        assert!("redis-99999999999".parse::<PodName>().is_err());
    }

    #[test]
    fn epochs_compare_by_counter_then_granter() {
        let e = |counter, granter| Epoch {
            counter,
            granter: Ordinal(granter),
        };
        assert!(e(1, 9) < e(2, 0) && e(2, 0) < e(2, 1));
        assert_eq!(Epoch::after(Some(e(4, 2)), Ordinal(1)), e(5, 1));
    }

    #[test]
    fn own_and_loopback_addresses_are_no_peers() {
        let own = [
            "10.0.0.5".parse().expect("v4"),
            "fd00::5".parse().expect("v6"),
        ];
        for no in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "10.0.0.5",
            "::ffff:10.0.0.5",
            "fd00::5",
        ] {
            assert!(!can_be_a_peer(no.parse().expect(no), &own), "{no}");
        }
        assert!(can_be_a_peer("10.0.0.6".parse().expect("v4"), &own));
        let own = ["127.0.1.1".parse().expect("v4")];
        assert!(can_be_a_peer("127.0.1.2".parse().expect("v4"), &own));
        assert!(!can_be_a_peer("127.0.1.1".parse().expect("v4"), &own));
    }

    #[test]
    fn the_zero_id_is_none() {
        assert_eq!(ReplicationId::parse(&"0".repeat(40)), None);
        assert_eq!(ReplicationId::parse("abc"), None);
        assert!(ReplicationId::parse(&"a1".repeat(20)).is_some());
    }
}
