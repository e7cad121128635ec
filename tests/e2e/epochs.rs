//! Who was the master in which epoch, as everybody said in `/status` all along.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use harness::http::Status;

type Masters = BTreeMap<String, BTreeSet<IpAddr>>;

/// Asks everybody, over and over, until it is dropped.
#[derive(Debug)]
pub(crate) struct Epochs {
    stop: Arc<AtomicBool>,
    masters: Arc<Mutex<Masters>>,
}

impl Epochs {
    /// Begins, from the network of the calling thread.
    pub(crate) fn start(addresses: Vec<IpAddr>) -> Self {
        let (stop, masters) = (Arc::<AtomicBool>::default(), Arc::default());
        for address in addresses {
            let (stop, masters) = (Arc::clone(&stop), Arc::clone(&masters));
            std::thread::spawn(move || ask(address, &stop, &masters));
        }
        Self { stop, masters }
    }

    /// An error when two members were the master in one epoch, or nobody ever was in any.
    pub(crate) fn check(&self) -> Result<()> {
        let masters = self.masters.lock().map_err(|_| anyhow!("poisoned"))?;
        ensure!(!masters.is_empty(), "nobody was ever the master");
        let twice = masters.iter().find(|(_, who)| who.len() > 1);
        ensure!(twice.is_none(), "two masters in one epoch: {twice:?}");
        Ok(())
    }
}

impl Drop for Epochs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(address: IpAddr, stop: &AtomicBool, masters: &Mutex<Masters>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(status) = Status::read(address)
            && status.role() == "master"
            && let epoch @ serde_json::Value::Object(_) = &status.0["epoch"]
            && let Ok(mut masters) = masters.lock()
        {
            let masters = masters.entry(epoch.to_string()).or_default();
            masters.insert(address);
        }
        harness::wait::pause(Duration::from_millis(20));
    }
}
