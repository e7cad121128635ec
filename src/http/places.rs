//! Who may be connected: nobody keeps the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Connections of the pod network. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: usize,
    from_one: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By age.
    connections: Vec<(u64, IpAddr, Arc<Notify>)>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    /// Notified when somebody else needs it.
    pub(super) lost: Arc<Notify>,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub(super) fn new(all: usize, from_one: usize) -> Self {
        Self {
            all,
            from_one,
            taken: Arc::default(),
        }
    }

    /// None for an address that has its share. When all are taken, whoever has most loses the oldest.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, address, _) in &taken.connections {
            *counts.entry(*address).or_default() += 1;
        }
        if counts.get(&from).is_some_and(|own| *own >= self.from_one) {
            return None;
        }
        if taken.connections.len() >= self.all {
            let most = counts.values().max().copied().unwrap_or_default();
            let greedy = |(_, address, _): &(u64, IpAddr, Arc<Notify>)| counts[address] == most;
            let at = taken.connections.iter().position(greedy)?;
            let (_, _, lost) = taken.connections.remove(at);
            lost.notify_one();
        }
        let (number, lost) = (taken.next, Arc::<Notify>::default());
        taken.next += 1;
        taken.connections.push((number, from, Arc::clone(&lost)));
        Some(Place {
            number,
            lost,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken
            .connections
            .retain(|(number, _, _)| *number != self.number);
    }
}
