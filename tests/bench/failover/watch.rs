//! Sees to the millisecond which of some servers accepts a write first.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::wait::{now, pause};
use harness::{Conn, Set};

/// Between two attempts.
const STEP: Duration = Duration::from_millis(1);

/// Who accepts writes, and since when.
pub(crate) type Writable = (usize, Instant);

/// Goes on, with a thread for each server, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    found: Receiver<Writable>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins, with some members of a set.
    pub(crate) fn start(set: &Set, ordinals: impl Iterator<Item = usize>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (tell, found) = channel();
        let threads = ordinals
            .map(|ordinal| {
                let (address, tell) = (set.member(ordinal).address(), tell.clone());
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || look(ordinal, address, &tell, &stop))
            })
            .collect();
        Self {
            stop,
            found,
            threads,
        }
    }

    /// Waits for the first one.
    pub(crate) fn first(&self, limit: Duration) -> Result<Writable> {
        let found = self.found.recv_timeout(limit);
        found.with_context(|| format!("nobody accepts writes after {limit:?}"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn look(ordinal: usize, address: IpAddr, tell: &Sender<Writable>, stop: &AtomicBool) {
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        if connection.is_none() {
            connection = Conn::open(address, None).ok();
        }
        if let Some(open) = &mut connection {
            match open.try_write() {
                Ok(Some(_)) => {
                    // Nobody listens any more when another one was first.
                    let _ = tell.send((ordinal, now()));
                    return;
                }
                Ok(None) => {}
                Err(_) => connection = None,
            }
        }
        pause(STEP);
    }
}
