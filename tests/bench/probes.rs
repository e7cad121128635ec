//! How soon `/readyz` answers at 1,000 requests a second, beside the server's own `PING` in the same
//! pod over the same wire from the same client, in turns: the difference is podzero's, what both have
//! in common is the machine's.
//!
//! An open loop: requests are due at fixed times, whether or not earlier ones are answered. A sample
//! begins when its request is sent, or when it was due if its connection was still waiting for the
//! answer before: the client's own late wake-ups do not count, a server's hiccup counts for everybody
//! who had to wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use harness::wait::{now, pause};
use harness::{Set, client, http};

use crate::PODZERO;
use crate::report::{Figure, Row, Samples};
use crate::tell::note;

/// Requests a second, of all connections together.
const RATE: u32 = 1000;
/// Connections at a time; each sends its share of the requests.
const CONNECTIONS: u32 = 10;
/// Each of the four is measured so long, so many times, in turns.
const SLICE: Duration = Duration::from_secs(2);
const TURNS: usize = 5;

/// A question and how its answer ends.
#[derive(Debug, Clone, Copy)]
struct Question {
    port: u16,
    request: &'static [u8],
    /// The request over a connection of its own.
    last_request: &'static [u8],
    end: &'static [u8],
}

const READYZ: Question = Question {
    port: http::PORT,
    request: b"GET /readyz HTTP/1.1\r\nHost: podzero\r\n\r\n",
    last_request: b"GET /readyz HTTP/1.1\r\nHost: podzero\r\nConnection: close\r\n\r\n",
    end: b"\r\n\r\nok\n",
};

const PING: Question = Question {
    port: client::PORT,
    request: b"PING\r\n",
    last_request: b"PING\r\n",
    end: b"+PONG\r\n",
};

/// `/readyz`.
pub(crate) fn figure() -> Result<Figure> {
    let set = Set::builder(PODZERO).start()?;
    let address = set.member(1).address();
    let turns = crate::rounds(TURNS);
    note(&format!(
        "probes: {RATE} requests a second for {} s",
        SLICE.as_secs() * 4 * turns as u64
    ));
    // The first slice of each is not counted.
    let mut all = [(); 4].map(|()| Samples::default());
    for turn in 0..=turns {
        let kinds = [(READYZ, true), (PING, true), (READYZ, false), (PING, false)];
        for ((question, kept), samples) in kinds.into_iter().zip(&mut all) {
            let to = SocketAddr::new(address, question.port);
            let slice = load(question, to, kept)?;
            if turn > 0 {
                samples.append(slice);
            }
        }
    }
    let [kept, ping_kept, fresh, ping_fresh] = &all;
    ensure!(
        kept.len() == fresh.len() && kept.len() == ping_kept.len(),
        "not every request was sent"
    );
    let row = |what, podzero: &Samples, ping: &Samples| {
        Row::new(what, "ms")
            .promised("podzero, /readyz", podzero, 1.0)
            .way("the server, PING", ping)
    };
    Ok(Figure {
        title: format!("/readyz at {RATE} requests a second, beside PING to the same pod's server"),
        rows: vec![
            row("connections are kept", kept, ping_kept),
            row("a connection for each", fresh, ping_fresh),
        ],
        remarks: Vec::new(),
    })
}

/// One slice: all connections side by side, their requests evenly interleaved.
fn load(question: Question, to: SocketAddr, kept: bool) -> Result<Samples> {
    let begin = now() + Duration::from_millis(20);
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|n| thread::spawn(move || sender(question, to, kept, begin + n * second() / RATE)))
        .collect();
    let mut samples = Samples::default();
    for sender in senders {
        samples.append(sender.join().map_err(|_| anyhow!("a sender panicked"))??);
    }
    Ok(samples)
}

fn second() -> Duration {
    Duration::from_secs(1)
}

/// One connection's requests, the first one at `begin`.
fn sender(question: Question, to: SocketAddr, kept: bool, begin: Instant) -> Result<Samples> {
    let step = second() * CONNECTIONS / RATE;
    let mut samples = Samples::default();
    let mut connection = kept.then(|| connect(to)).transpose()?;
    let mut due = begin;
    while due < begin + SLICE {
        let is_early = due.checked_duration_since(now());
        if let Some(early) = is_early {
            pause(early);
        }
        let sent_at = if is_early.is_some() { now() } else { due };
        match &mut connection {
            Some(stream) => ask(stream, question.request, question.end)?,
            None => ask(&mut connect(to)?, question.last_request, question.end)?,
        }
        samples.add(sent_at.elapsed());
        due += step;
    }
    Ok(samples)
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, request: &[u8], end: &[u8]) -> Result<()> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.ends_with(end) {
        let length = stream.read(&mut part)?;
        ensure!(
            length > 0,
            "another answer than expected: {}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&part[..length]);
    }
    Ok(())
}
