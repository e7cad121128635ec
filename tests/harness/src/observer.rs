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
    threads: Vec<JoinHandle<Seen>>,
}

/// How long to wait between two writes to a server, unless told otherwise.
const PACE: Duration = Duration::from_millis(3);

/// A server that accepted writes of one history: from the answer to the first one to the sending of the
/// last one.
#[derive(Debug, Clone)]
pub struct Reign {
    /// The server.
    pub address: IpAddr,
    /// The replication ID that it wrote under.
    pub history: String,
    from: Instant,
    to: Instant,
}

impl Reign {
    /// For how long both servers surely accepted writes; nothing when it is the same server.
    pub fn beside(&self, other: &Self) -> Option<Duration> {
        let (from, to) = (self.from.max(other.from), self.to.min(other.to));
        (self.address != other.address && from < to).then(|| to - from)
    }
}

#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    reigns: BTreeMap<String, Reign>,
}

impl Observer {
    /// Begins to write, from the network of the calling thread.
    pub fn start(addresses: Vec<IpAddr>, password: Option<&str>) -> Self {
        Self::start_at_pace(addresses, password, PACE)
    }

    /// The same, with another time between two writes.
    pub fn start_at_pace(addresses: Vec<IpAddr>, password: Option<&str>, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = addresses
            .into_iter()
            .map(|address| {
                let (told, password) = (Arc::clone(&stop), password.map(ToOwned::to_owned));
                let look = move || look(address, password.as_deref(), pace, &told);
                std::thread::spawn(look)
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends the looking; an error when two servers accepted writes, or no server ever answered.
    pub fn finish(self) -> Result<()> {
        let all = self.reigns()?;
        for (at, reign) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                let both = reign.beside(other);
                ensure!(
                    both.is_none(),
                    "two masters: both accepted writes for {both:?}: {reign:?}, {other:?}"
                );
            }
        }
        Ok(())
    }

    /// Ends the looking and tells who accepted writes; an error when no server ever answered.
    pub fn reigns(self) -> Result<Vec<Reign>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        let mut answers = 0;
        for thread in self.threads {
            let seen = thread
                .join()
                .map_err(|_| anyhow!("an observer's thread panicked"))?;
            answers += seen.answers;
            all.extend(seen.reigns.into_values());
        }
        ensure!(answers > 0, "the observer never got an answer");
        Ok(all)
    }
}

fn look(address: IpAddr, password: Option<&str>, pace: Duration, told: &AtomicBool) -> Seen {
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
                            .entry(history.clone())
                            .and_modify(|reign| reign.to = sent_at)
                            .or_insert(Reign {
                                address,
                                history,
                                from: answered_at,
                                to: sent_at,
                            });
                    }
                }
                Err(_) => connection = None,
            }
        }
        pause(pace);
    }
    seen
}
