//! An observer of one claim: no two servers accept writes at a time.
//!
//! Writes to every server, over a connection and from a thread of its own each, and asks in the same
//! breath which history the server writes. A server that accepts a first and a last write of one
//! history accepted writes all the time in between; two servers of which that is so at one moment
//! are two masters.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::client::Conn;
use crate::wait::{now, pause};

/// Writes to the servers, over and over, until it is asked for its findings.
#[derive(Debug)]
pub struct Observer {
    stop: Arc<AtomicBool>,
    threads: Vec<(IpAddr, JoinHandle<Seen>)>,
}

/// When a server surely accepted writes, for each history (replication ID) that it wrote.
type Reigns = BTreeMap<String, Reign>;

/// From the answer to the first accepted write to the sending of the last one.
#[derive(Debug, Clone, Copy)]
struct Reign {
    from: Instant,
    to: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    reigns: Reigns,
}

impl Observer {
    /// Begins to write, from the network of the calling thread.
    pub fn start(addresses: Vec<IpAddr>, password: Option<&str>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = addresses
            .into_iter()
            .map(|address| {
                let (told, password) = (Arc::clone(&stop), password.map(ToOwned::to_owned));
                let look = move || look(address, password.as_deref(), &told);
                (address, std::thread::spawn(look))
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends the looking; an error when two servers accepted writes, or no server ever answered.
    pub fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        let mut answers = 0;
        for (address, thread) in self.threads {
            let seen = thread
                .join()
                .map_err(|_| anyhow!("an observer's thread panicked"))?;
            answers += seen.answers;
            all.extend(seen.reigns.into_iter().map(|(id, r)| (address, id, r)));
        }
        ensure!(answers > 0, "the observer never got an answer");
        for (at, (one, id, reign)) in all.iter().enumerate() {
            for (other, other_id, also) in &all[at + 1..] {
                let (from, to) = (reign.from.max(also.from), reign.to.min(also.to));
                ensure!(
                    one == other || from >= to,
                    "two masters: {one} (history {id}) and {other} (history {other_id}) both accepted writes for {:?}",
                    to - from
                );
            }
        }
        Ok(())
    }
}

fn look(address: IpAddr, password: Option<&str>, told: &AtomicBool) -> Seen {
    let (mut seen, mut connection) = (Seen::default(), None);
    while !told.load(Ordering::Relaxed) {
        if connection.is_none() {
            connection = Conn::open(address, password).ok();
        }
        if let Some(open) = &mut connection {
            let sent_at = now();
            match open.try_write() {
                Ok(history) => {
                    seen.answers += 1;
                    if let Some(history) = history {
                        let answered_at = now();
                        seen.reigns
                            .entry(history)
                            .and_modify(|reign| reign.to = sent_at)
                            .or_insert(Reign {
                                from: answered_at,
                                to: sent_at,
                            });
                    }
                }
                Err(_) => connection = None,
            }
        }
        pause(Duration::from_millis(3));
    }
    seen
}
