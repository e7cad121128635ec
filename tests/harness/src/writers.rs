//! Applications that write all the time, and remember what was acknowledged.
//!
//! Each writer counts in a key of its own (`INCR`) at whichever member takes its writes. A server that
//! answers a number that is not larger than the one acknowledged before has lost an acknowledged write.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::client::Conn;
use crate::wait::{now, pause};

/// What the writers have seen.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Writes that were refused, or of which nobody knows, and connections that failed.
    pub errors: u64,
    /// The longest time without an acknowledged write of one writer.
    pub gap: Duration,
    /// Acknowledged writes that were gone later.
    pub lost_count: u64,
    /// The same in words.
    pub lost: Vec<String>,
}

/// Writers that go on until they are told to stop.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Written>>,
    threads: Vec<JoinHandle<(String, u64)>>,
    addresses: Vec<IpAddr>,
    password: Option<String>,
}

/// How one writer works.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Between two writes.
    pub pause: Duration,
    /// Each so many writes, a value of a megabyte.
    pub large: Option<u64>,
}

impl Writers {
    /// Starts `count` writers, from the network of the calling thread.
    pub fn start(
        addresses: &[IpAddr],
        password: Option<&str>,
        count: usize,
        manner: &Manner,
    ) -> Self {
        let (stop, written) = (Arc::default(), Arc::<Mutex<Written>>::default());
        let threads = (0..count)
            .map(|number| {
                let writer = Writer {
                    key: format!("writer:{number}"),
                    addresses: addresses.to_vec(),
                    password: password.map(ToOwned::to_owned),
                    manner: manner.clone(),
                    written: Arc::clone(&written),
                };
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || writer.write(&stop))
            })
            .collect();
        Self {
            stop,
            written,
            threads,
            addresses: addresses.to_vec(),
            password: password.map(ToOwned::to_owned),
        }
    }

    /// What was seen so far. The longest gap is measured anew from here.
    pub fn take(&self) -> Written {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = written.clone();
        written.gap = Duration::ZERO;
        taken
    }

    /// Stops, and fails when anything that was acknowledged is gone: on the way, or now at `master`.
    pub fn finish(self, master: IpAddr) -> Result<Written> {
        let written = self.end(master)?;
        ensure!(written.lost.is_empty(), "lost: {}", written.lost.join("; "));
        ensure!(written.acknowledged > 0, "nothing was ever acknowledged");
        Ok(written)
    }

    /// Stops, and says what is gone.
    pub fn end(self, master: IpAddr) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        ensure!(self.addresses.contains(&master), "another set's master");
        let mut connection = Conn::open(master, self.password.as_deref())?;
        let mut gone = Vec::new();
        for thread in self.threads {
            let (key, last) = thread.join().map_err(|_| anyhow!("a writer panicked"))?;
            let found: Option<u64> = connection.ask(&format!("GET {key}"))?;
            let found = found.unwrap_or_default();
            if found < last {
                gone.push((key, last, found));
            }
        }
        let mut written = self
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (key, last, found) in gone {
            written.loses(&key, last, found);
        }
        Ok(written)
    }
}

impl Written {
    /// After `last` was acknowledged, the key is at `found`.
    fn loses(&mut self, key: &str, last: u64, found: u64) {
        self.lost_count += last - found;
        self.lost.push(format!(
            "{key}: {last} was acknowledged, then it was {found}"
        ));
    }
}

struct Writer {
    key: String,
    addresses: Vec<IpAddr>,
    password: Option<String>,
    manner: Manner,
    written: Arc<Mutex<Written>>,
}

impl Writer {
    fn write(self, stop: &AtomicBool) -> (String, u64) {
        let (mut connection, mut at, mut last, mut count) = (None, 0, 0_u64, 0_u64);
        let mut acknowledged_at: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(open) = &mut connection else {
                let address = self.addresses[at % self.addresses.len()];
                connection = Conn::open_quickly(address, self.password.as_deref()).ok();
                if connection.is_none() {
                    at += 1;
                    pause(Duration::from_micros(200));
                }
                continue;
            };
            count += 1;
            if self
                .manner
                .large
                .is_some_and(|each| count.is_multiple_of(each))
            {
                let mut command = redis::cmd("SET");
                command
                    .arg(format!("large:{}", self.key))
                    .arg(vec![b'x'; 1 << 20]);
                // Whether it is taken says nothing; it only has to travel.
                let _ = open.send::<redis::Value>(&command);
            }
            if let Ok(value) = open.ask::<u64>(&format!("INCR {}", self.key)) {
                let at = now();
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                written.acknowledged += 1;
                if let Some(before) = acknowledged_at {
                    written.gap = written.gap.max(at - before);
                }
                if value <= last {
                    // This write made it one more.
                    written.loses(&self.key, last, value - 1);
                }
                drop(written);
                (last, acknowledged_at) = (value, Some(at));
                if !self.manner.pause.is_zero() {
                    pause(self.manner.pause);
                }
            } else {
                self.written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .errors += 1;
                connection = None;
                at += 1;
            }
        }
        (self.key, last)
    }
}
