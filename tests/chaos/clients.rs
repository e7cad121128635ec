//! Applications of the set, which remember everything: writers, and readers of the replicas.
//!
//! Each writer puts numbers at the end of a log of its own, at whichever member takes its writes. Each
//! reader looks at the ends of all logs, at members that say that they are ready and are replicas.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::Conn;
use harness::client::Info;
use harness::wait::{now, pause};
use redis::RedisError;

use crate::history::{Outcome, Read, Server, Write};

/// How many writers there are.
pub(crate) const WRITERS: usize = 4;
/// How many readers.
const READERS: usize = 2;
/// Between two requests of one client.
const PACE: Duration = Duration::from_millis(5);

/// The end of the log, if it is new, and what the server says of its replication; none of it when it is
/// not. A write that was sent long ago and is carried out now comes behind later ones: it is refused.
const APPEND: &str = "local last = redis.call('LINDEX', KEYS[1], -1) or '0' \
     if tonumber(last) >= tonumber(ARGV[1]) then return redis.error_reply('LATE it is not the next') end \
     redis.call('RPUSH', KEYS[1], ARGV[1]) \
     return {tonumber(last), redis.call('INFO', 'replication')}";

/// The ends of the logs, and what the server says of its replication, at one moment.
const LOOK: &str = "local ends = {} \
     for at, key in ipairs(KEYS) do ends[at] = tonumber(redis.call('LINDEX', key, -1) or '0') end \
     return {ends, redis.call('INFO', 'replication')}";

/// Where the log of a writer is.
pub(crate) fn key(writer: usize) -> String {
    format!("log:{writer}")
}

/// What all clients know: the members' addresses of now, the password, the run's beginning, its end.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    places: Arc<RwLock<Vec<IpAddr>>>,
    password: Option<String>,
    begun: Instant,
    over: Arc<AtomicBool>,
    clients_over: Arc<AtomicBool>,
}

/// A connection to a known run of a server.
pub(crate) struct Link {
    pub(crate) conn: Conn,
    pub(crate) server: Arc<Server>,
}

impl Known {
    pub(crate) fn new(places: Vec<IpAddr>, password: Option<&str>) -> Self {
        Self {
            places: Arc::new(RwLock::new(places)),
            password: password.map(ToOwned::to_owned),
            begun: now(),
            over: Arc::default(),
            clients_over: Arc::default(),
        }
    }

    /// The time in this run.
    pub(crate) fn at(&self) -> Duration {
        now() - self.begun
    }

    /// Writers and readers are to end.
    pub(crate) fn clients_end(&self) {
        self.clients_over.store(true, Ordering::Relaxed);
    }

    /// Everybody is to end.
    pub(crate) fn ends(&self) {
        self.clients_end();
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn is_over_for_clients(&self) -> bool {
        self.clients_over.load(Ordering::Relaxed)
    }

    /// A member has another address from now on.
    pub(crate) fn moves(&self, ordinal: usize, to: IpAddr) {
        self.places.write().unwrap_or_else(PoisonError::into_inner)[ordinal] = to;
    }

    /// Where a member is.
    pub(crate) fn place(&self, ordinal: usize) -> IpAddr {
        self.places.read().unwrap_or_else(PoisonError::into_inner)[ordinal]
    }

    /// How many members there are.
    pub(crate) fn members(&self) -> usize {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.len()
    }

    /// Connects to a member's server.
    pub(crate) fn link(&self, ordinal: usize) -> Result<Link> {
        let address = self.place(ordinal);
        let mut conn = Conn::open_quickly(address, self.password.as_deref())?;
        let run = conn.info()?.get("run_id").to_owned();
        ensure!(!run.is_empty(), "no run id");
        let address = address.to_string();
        let server = Server {
            ordinal,
            address,
            run,
        };
        Ok(Link {
            conn,
            server: Arc::new(server),
        })
    }
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Clients {
    writers: Vec<JoinHandle<Vec<Write>>>,
    readers: Vec<JoinHandle<Vec<Read>>>,
}

impl Clients {
    /// Begins, from the network of the calling thread.
    pub(crate) fn start(known: &Known) -> Self {
        let writer = |number| {
            let known = known.clone();
            std::thread::spawn(move || write(number, &known))
        };
        let reader = |number| {
            let known = known.clone();
            std::thread::spawn(move || read(number, &known))
        };
        Self {
            writers: (0..WRITERS).map(writer).collect(),
            readers: (0..READERS).map(reader).collect(),
        }
    }

    /// What they remember, once they were told to end.
    pub(crate) fn end(self) -> Result<(Vec<Vec<Write>>, Vec<Read>)> {
        let died = |_| anyhow!("a client panicked");
        let writes = self.writers.into_iter().map(|w| w.join().map_err(died));
        let writes = writes.collect::<Result<Vec<_>>>()?;
        let reads = self.readers.into_iter().map(|r| r.join().map_err(died));
        let reads = reads.collect::<Result<Vec<_>>>()?;
        Ok((writes, reads.concat()))
    }
}

/// The same text again is not kept twice.
fn shared(last: &mut Arc<str>, text: &str) -> Arc<str> {
    if **last != *text {
        *last = text.into();
    }
    Arc::clone(last)
}

fn write(number: usize, known: &Known) -> Vec<Write> {
    let (mut writes, mut link, mut at, mut value) = (Vec::new(), None, number, 0);
    let mut history: Arc<str> = "".into();
    while !known.is_over_for_clients() {
        pause(PACE);
        let Some(open) = &mut link else {
            link = known.link(at % known.members()).ok();
            at += usize::from(link.is_none());
            continue;
        };
        value += 1;
        let sent_at = known.at();
        let outcome = append(open, number, value, &mut history);
        if !matches!(outcome, Outcome::Acknowledged { .. }) {
            link = None;
            at += 1;
        }
        writes.push(Write {
            value,
            sent_at,
            done_at: known.at(),
            outcome,
        });
    }
    writes
}

fn append(link: &mut Link, writer: usize, value: u64, history: &mut Arc<str>) -> Outcome {
    let mut command = redis::cmd("EVAL");
    command.arg(APPEND).arg(1).arg(key(writer)).arg(value);
    match link.conn.send::<(u64, String)>(&command) {
        Ok((before, info)) => Outcome::Acknowledged {
            server: Arc::clone(&link.server),
            history: shared(history, Info::parse(&info).get("master_replid")),
            before,
        },
        Err(error) => {
            let of_server = error.downcast_ref::<RedisError>();
            if of_server.is_some_and(|e| e.code().is_some()) {
                Outcome::Refused
            } else {
                Outcome::Unknown
            }
        }
    }
}

fn read(number: usize, known: &Known) -> Vec<Read> {
    let members = known.members();
    let mut links: Vec<Option<Link>> = (0..members).map(|_| None).collect();
    let (mut reads, mut at) = (Vec::new(), number);
    let mut history: Arc<str> = "".into();
    while !known.is_over_for_clients() {
        pause(PACE);
        at += 1;
        let ordinal = at % members;
        match look(&mut links[ordinal], ordinal, known, &mut history) {
            Ok(read) => reads.extend(read),
            Err(_) => links[ordinal] = None,
        }
    }
    reads
}

/// A look at one member; none when it is not ready, or not a replica. The connection is there before the
/// member is asked whether it is ready, so that the answer is of the same run of the server.
fn look(
    link: &mut Option<Link>,
    ordinal: usize,
    known: &Known,
    history: &mut Arc<str>,
) -> Result<Option<Read>> {
    if link.is_none() {
        *link = Some(known.link(ordinal)?);
    }
    let open = link.as_mut().context("connected just now")?;
    let asked_at = known.at();
    if harness::http::get(known.place(ordinal), "/readyz")?.code != 200 {
        return Ok(None);
    }
    let mut command = redis::cmd("EVAL");
    command.arg(LOOK).arg(WRITERS);
    for writer in 0..WRITERS {
        command.arg(key(writer));
    }
    let (values, info): (Vec<u64>, String) = open.conn.send(&command)?;
    let info = Info::parse(&info);
    if info.is_master() {
        return Ok(None);
    }
    let (link, heard) = (
        info.get("master_link_status"),
        info.get("master_last_io_seconds_ago"),
    );
    Ok(Some(Read {
        asked_at,
        done_at: known.at(),
        server: Arc::clone(&open.server),
        history: shared(history, info.get("master_replid")),
        link: format!("{link}, last heard of {heard} s ago"),
        values,
    }))
}
