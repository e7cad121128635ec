//! This pod's own addresses.
//!
//! Owns finding them where `--pod-ip` does not say. Reads no interface list: the kernel is asked
//! which address it would send from, by connecting a datagram socket, which sends nothing.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::dns::{Answer, Dns, Family};

/// Addresses that are no host's (RFC 5737, RFC 3849): the way to them is the default route.
const ANYWHERE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// This pod's addresses: those to which its own stable name resolves and that are this host's, else
/// the first of the host; none when it has only the loopback.
pub async fn own_addresses(dns: &Dns, own_name: &str) -> Vec<IpAddr> {
    let named = match dns.lookup(own_name, Family::V4).await {
        Answer::Addresses(addresses) => addresses,
        Answer::Missing | Answer::NoAddress | Answer::Unknown(_) => vec![],
    };
    let mut own: Vec<_> = named.into_iter().filter(|a| is_own(*a)).collect();
    if own.is_empty() {
        own.extend(first_address(dns.servers()));
    }
    own
}

/// Whether an address is one of this host's. A name may still lead to the pod's former address.
pub fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// The first address of this host that others can reach: the one from which the DNS servers are
/// asked, else the one of the default route.
fn first_address(servers: impl Iterator<Item = SocketAddr>) -> Option<IpAddr> {
    servers
        .map(|s| s.ip())
        .chain(ANYWHERE)
        .filter_map(source_towards)
        .find(|address| !address.is_loopback() && !address.is_unspecified())
}

fn source_towards(target: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match target {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((target, 53)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_ours_and_never_the_first_address() {
        let loopback = "127.0.0.1".parse().expect("an address");
        assert!(is_own(loopback));
        assert!(!is_own("192.0.2.1".parse().expect("an address")));
        assert_eq!(source_towards(loopback), Some(loopback));
        let found = first_address([SocketAddr::new(loopback, 53)].into_iter());
        assert_ne!(found, Some(loopback));
    }
}
