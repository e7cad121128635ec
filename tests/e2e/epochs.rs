//! The record of a whole test with the Lease: who acknowledged writes in which epoch.
//!
//! A client writes to every server all along and keeps who acknowledged which history (replication ID).
//! What the members tell in `/status` says of which epoch a history is. Two servers that acknowledged
//! writes in one epoch are two masters, at whatever times they did it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::http::Status;
use harness::observer::{Observer, Reign};

/// The epochs that members told of each history.
type Told = BTreeMap<String, BTreeSet<String>>;

/// Between two writes to a server, and two readings of a member's page.
const PACE: Duration = Duration::from_millis(20);
/// How long the newest history may be unknown to the members.
const LATE: Duration = Duration::from_secs(5);

/// Writes to everybody and asks everybody, over and over, until its end.
#[derive(Debug)]
pub(crate) struct Epochs {
    observer: Observer,
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
    threads: Vec<JoinHandle<()>>,
}

impl Epochs {
    /// Begins, from the network of the calling thread.
    pub(crate) fn start(addresses: Vec<IpAddr>, password: Option<&str>) -> Self {
        let (stop, told) = (Arc::<AtomicBool>::default(), Arc::default());
        let ask_one = |address: &IpAddr| {
            let (address, stop, told) = (*address, Arc::clone(&stop), Arc::clone(&told));
            std::thread::spawn(move || ask(address, &stop, &told))
        };
        Self {
            threads: addresses.iter().map(ask_one).collect(),
            observer: Observer::start_at_pace(addresses, password, PACE),
            stop,
            told,
        }
    }

    /// Ends it. An error when two servers acknowledged writes in one epoch, when a history of which no
    /// epoch is known was written while another server acknowledged writes (unless a hand made such
    /// masters), or when no write of a known epoch was ever acknowledged.
    pub(crate) fn check(self, by_hand: bool) -> Result<()> {
        let reigns = self.observer.reigns()?;
        let known = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one may have begun just now.
        let _ = harness::wait::wait_until("all epochs are known", LATE, || {
            let told = known();
            let unknown = reigns.iter().find(|r| !told.contains_key(&r.history));
            ensure!(by_hand || unknown.is_none(), "{unknown:?}");
            Ok(())
        });
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        one_master_an_epoch(&reigns, &known(), by_hand)
    }
}

fn one_master_an_epoch(reigns: &[Reign], told: &Told, by_hand: bool) -> Result<()> {
    let mut masters: BTreeMap<&str, &Reign> = BTreeMap::new();
    for reign in reigns {
        let Some(epochs) = told.get(&reign.history) else {
            let beside = reigns.iter().find(|other| reign.beside(other).is_some());
            ensure!(
                by_hand || beside.is_none(),
                "nobody told the epoch of {reign:?}, beside {beside:?}; known: {told:?}"
            );
            continue;
        };
        for epoch in epochs {
            let first = *masters.entry(epoch).or_insert(reign);
            ensure!(
                first.address == reign.address,
                "two servers acknowledged writes in epoch {epoch}: {first:?}, {reign:?}"
            );
        }
    }
    ensure!(
        !masters.is_empty(),
        "no write was acknowledged in any epoch: {reigns:?}; known: {told:?}"
    );
    Ok(())
}

fn ask(address: IpAddr, stop: &AtomicBool, told: &Mutex<Told>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(status) = Status::read(address) {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            for (history, epoch) in status.lineage() {
                told.entry(history).or_default().insert(epoch);
            }
        }
        harness::wait::pause(PACE);
    }
}
