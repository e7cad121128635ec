//! What the cluster's DNS knows: the pods' stable names, the headless Service, and its troubles.
//!
//! Follows the Kubernetes specification of DNS-based service discovery for a headless Service and its
//! `StatefulSet`'s pods. A pure model, changed live by tests; [`crate::dns`] serves it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The cluster's domain of every harness.
pub const DOMAIN: &str = "cluster.local";

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// Of a hundred queries so many get SERVFAIL.
    pub servfail: u32,
    /// Every answer takes so long.
    pub delay: Duration,
    /// Every query gets REFUSED.
    pub refuse: bool,
    /// No query gets an answer.
    pub silent: bool,
    /// Answers over UDP are empty and truncated; TCP gives all of it.
    pub truncate: bool,
}

/// What a query leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name exists; the addresses of both families.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// Not of this cluster: SERVFAIL, as a forwarder without a way out answers.
    Foreign,
}

#[derive(Debug, Default)]
struct Zone {
    pods: BTreeMap<String, Vec<IpAddr>>,
    wrong: BTreeMap<String, Vec<IpAddr>>,
    service: bool,
    trouble: Trouble,
    queries: BTreeMap<String, u64>,
    dice: u32,
}

/// The records of one namespace with one headless Service. Clones share the records.
#[derive(Debug, Clone)]
pub struct Names {
    suffix: String,
    zone: Arc<Mutex<Zone>>,
}

impl Names {
    /// The Service exists and has no pod yet.
    pub fn new(service: &str, namespace: &str) -> Self {
        let zone = Zone {
            service: true,
            ..Zone::default()
        };
        Self {
            suffix: format!("{service}.{namespace}.svc.{DOMAIN}"),
            zone: Arc::new(Mutex::new(zone)),
        }
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod's stable name, without a dot at the end.
    pub fn stable_name(&self, pod: &str) -> String {
        format!("{pod}.{}", self.suffix)
    }

    /// A pod's address appears or changes.
    pub fn publish(&self, pod: &str, addresses: &[IpAddr]) {
        self.zone().pods.insert(pod.to_owned(), addresses.to_vec());
    }

    /// A pod's name vanishes.
    pub fn withdraw(&self, pod: &str) {
        self.zone().pods.remove(pod);
    }

    /// The headless Service is there, or was never made: without it no pod has a name.
    pub fn service_exists(&self, exists: bool) {
        self.zone().service = exists;
    }

    /// A pod's name leads to these addresses instead of its own; none undoes it.
    pub fn lie(&self, pod: &str, addresses: Option<&[IpAddr]>) {
        let mut zone = self.zone();
        match addresses {
            Some(addresses) => zone.wrong.insert(pod.to_owned(), addresses.to_vec()),
            None => zone.wrong.remove(pod),
        };
    }

    /// From now on the server misbehaves so.
    pub fn trouble(&self, trouble: Trouble) {
        self.zone().trouble = trouble;
    }

    /// The troubles of now, for the server.
    pub fn troubles(&self) -> Trouble {
        self.zone().trouble
    }

    /// How often a name was asked for.
    pub fn queries(&self, pod: &str) -> u64 {
        let name = self.stable_name(pod);
        self.zone().queries.get(&name).copied().unwrap_or(0)
    }

    /// Whether this query is one of the unlucky ones, by a fixed row of numbers.
    pub fn is_unlucky(&self) -> bool {
        let mut zone = self.zone();
        // A linear congruential generator (Numerical Recipes); its high bits are good enough.
        zone.dice = zone
            .dice
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (zone.dice >> 16) % 100 < zone.trouble.servfail
    }

    /// Looks a name up; counts the query.
    pub fn look_up(&self, name: &str) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut zone = self.zone();
        *zone.queries.entry(name.clone()).or_default() += 1;
        if !name.ends_with(&format!(".{DOMAIN}")) {
            return Answer::Foreign;
        }
        if !zone.service {
            return Answer::NoSuchName;
        }
        if name == self.suffix {
            let all: Vec<IpAddr> = zone.pods.values().flatten().copied().collect();
            return if all.is_empty() {
                Answer::NoSuchName
            } else {
                Answer::Addresses(all)
            };
        }
        name.strip_suffix(&format!(".{}", self.suffix))
            .and_then(|pod| zone.wrong.get(pod).or_else(|| zone.pods.get(pod)))
            .map_or(Answer::NoSuchName, |all| Answer::Addresses(all.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));
    const NINE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn pods_come_and_go_and_the_service_lists_them() {
        let names = Names::new("hl", "ns");
        let pod = "redis-0.hl.ns.svc.cluster.local.";
        let service = "hl.ns.svc.cluster.local.";
        assert_eq!(names.look_up(pod), Answer::NoSuchName);
        assert_eq!(names.look_up(service), Answer::NoSuchName);
        names.publish("redis-0", &[FIVE]);
        assert_eq!(names.look_up(pod), Answer::Addresses(vec![FIVE]));
        assert_eq!(names.look_up(service), Answer::Addresses(vec![FIVE]));
        names.service_exists(false);
        assert_eq!(names.look_up(pod), Answer::NoSuchName);
        names.service_exists(true);
        names.withdraw("redis-0");
        assert_eq!(names.look_up(pod), Answer::NoSuchName);
        assert_eq!(names.queries("redis-0"), 4);
    }

    #[test]
    fn a_lie_stands_in_front_of_the_truth() {
        let names = Names::new("hl", "ns");
        names.publish("redis-0", &[FIVE]);
        names.lie("redis-0", Some(&[NINE]));
        let name = names.stable_name("redis-0");
        assert_eq!(names.look_up(&name), Answer::Addresses(vec![NINE]));
        names.lie("redis-0", None);
        assert_eq!(names.look_up(&name), Answer::Addresses(vec![FIVE]));
    }

    #[test]
    fn foreign_names_and_bad_luck() {
        let names = Names::new("hl", "ns");
        assert_eq!(names.look_up("example.com."), Answer::Foreign);
        assert!((0..200).all(|_| !names.is_unlucky()));
        names.trouble(Trouble {
            servfail: 30,
            ..Trouble::default()
        });
        let unlucky = (0..1000).filter(|_| names.is_unlucky()).count();
        assert!((200..400).contains(&unlucky), "{unlucky}");
    }
}
