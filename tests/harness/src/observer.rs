//! An observer of one claim: no two servers accept writes at a time.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::client::Conn;
use crate::wait::pause;

/// Looks at the servers, over and over, until it is asked for its findings.
#[derive(Debug)]
pub struct Observer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Observer {
    /// Begins to look, from the network of the calling thread.
    pub fn start(addresses: Vec<IpAddr>, password: Option<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut looks, mut findings) = (0, Vec::new());
            while !told.load(Ordering::Relaxed) {
                // Twice in a row: the looks at two servers are not at one time.
                let first = writable(&addresses, password.as_deref());
                if first.len() > 1 {
                    let second = writable(&addresses, password.as_deref());
                    if second.iter().filter(|a| first.contains(a)).count() > 1 {
                        findings.push(format!("{second:?} accepted writes at the same time"));
                    }
                }
                looks += 1;
                pause(Duration::from_millis(5));
            }
            (looks, findings)
        });
        Self { stop, thread }
    }

    /// Ends the looking; an error when two servers accepted writes, or nothing was looked at.
    pub fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let (looks, findings) = self
            .thread
            .join()
            .map_err(|_| anyhow!("the observer panicked"))?;
        ensure!(looks > 0, "the observer never looked");
        ensure!(findings.is_empty(), "two masters: {}", findings.join("; "));
        Ok(())
    }
}

/// The servers that accept a write.
fn writable(addresses: &[IpAddr], password: Option<&str>) -> Vec<IpAddr> {
    let accepts = |address: &IpAddr| {
        Conn::open(*address, password)
            .and_then(|mut c| c.info())
            .is_ok_and(|info| info.is_master())
    };
    addresses.iter().copied().filter(accepts).collect()
}
