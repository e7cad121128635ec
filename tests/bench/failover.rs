//! What a writer notices when the master's server is killed: podzero with the Lease of a real API
//! server, and Sentinel with three settings, on sets of three alike; and how soon the master's Service
//! leads to the new one. A whole member that stops ([`node`]) and what all that asks of the API server
//! at rest ([`requests`]) are figures of their own.
//!
//! The gap is the longest time in which the writer had no write acknowledged, for each failover. Lost
//! is what was acknowledged and the new master does not have.

pub(crate) mod node;
pub(crate) mod requests;
mod rounds;
mod watch;

use std::time::Duration;

use anyhow::{Context, Result};

use crate::api_proxy::ApiRequest;
use crate::cluster::Cluster;
use crate::report::{Figure, Row, Samples};
use crate::sentinel::alone;
use crate::tell::note;

use rounds::{Outcome, SENTINELS_SERVER, SERVER, many};

/// Failovers for each way.
const ROUNDS: usize = 50;

/// With Sentinel's own setting each takes most of a minute.
const FEW_ROUNDS: usize = 5;

/// A way of Sentinel's: its name in the table, `down-after-milliseconds`, and how often it is tried.
type Sentinels = (&'static str, Duration, usize);

/// What careful people choose, what charts do, and what it is by itself.
const SENTINELS: [Sentinels; 3] = [
    ("Sentinel, 1000 ms", Duration::from_secs(1), ROUNDS),
    ("Sentinel, 5000 ms", Duration::from_secs(5), ROUNDS),
    ("Sentinel, 30000 ms", Duration::from_secs(30), FEW_ROUNDS),
];

/// The master's server is killed.
pub(crate) fn figure() -> Result<Figure> {
    let rounds = crate::rounds(ROUNDS);
    let mut cluster = with_service(3)?;
    cluster.set.start_all()?;
    note(&format!("failover: {rounds} times, the server, podzero"));
    let ours = many(&mut cluster.set, rounds, SERVER)?;
    let leads = slices(&ours, &cluster.proxy()?.take_requests())?;
    drop(cluster);
    let mut outcomes = vec![("podzero", ours)];
    for (who, down_after, rounds) in SENTINELS {
        let rounds = crate::rounds(rounds);
        note(&format!("failover: {rounds} times, the server, {who}"));
        let outcome = many(&mut alone(down_after)?, rounds, SENTINELS_SERVER)?;
        outcomes.push((who, outcome));
    }
    let mut rows = vec![
        Row::of(
            "longest gap of a writer",
            "ms",
            &outcomes,
            Some(400.0),
            |o| (&o.gaps).into(),
        ),
        Row::of(
            "until another one accepts writes",
            "ms",
            &outcomes,
            None,
            |o| (&o.writable).into(),
        ),
        Row::new("from then to the write of the Service's slice", "ms").way("podzero", &leads),
    ];
    rows.extend(writes(&outcomes));
    Ok(Figure {
        title: "failover, SIGKILL of the master's server, 1 writer every 1 ms".to_owned(),
        rows,
        remarks: vec![
            "Sentinel by its down-after-milliseconds: what careful people set, what charts do, and its default."
                .to_owned(),
        ],
    })
}

type Outcomes = [(&'static str, Outcome)];

/// What was written meanwhile, what became of it, and how often the role did not stay where it went.
fn writes(outcomes: &Outcomes) -> [Row; 3] {
    let counted = |what, of: fn(&Outcome) -> u64| {
        Row::of(what, "", outcomes, None, |o| (of(o) as f64).into())
    };
    [
        counted("acknowledged writes", |o| o.acknowledged),
        counted("of them lost", |o| o.lost),
        counted("times that the role moved once more", |o| o.moved_again),
    ]
}

/// A set of podzero's with a Service of its master, not started.
pub(crate) fn with_service(members: u32) -> Result<Cluster> {
    Cluster::unwatched(|builder| {
        builder
            .members(members)
            .sidecar_env("PODZERO_MASTER_SERVICE", "redis-master")
    })
}

/// For each failover, from the first write that the new master accepted until its slice's write came to
/// the API server.
fn slices(outcome: &Outcome, requests: &[ApiRequest]) -> Result<Samples> {
    let is_slices = |r: &&ApiRequest| r.is_write() && r.path.contains("/endpointslices");
    let mut samples = Samples::default();
    let mut early = 0;
    for (round, (stopped_at, writable_at)) in outcome.moments.iter().enumerate() {
        let next = outcome.moments.get(round + 1).map(|(next, _)| *next);
        let mut writes = requests.iter().filter(is_slices);
        let write = writes
            .find(|r| r.at >= *stopped_at && next.is_none_or(|next| r.at < next))
            .with_context(|| format!("the slice was not written in round {round}"))?;
        early += usize::from(write.at < *writable_at);
        samples.add(write.at.saturating_duration_since(*writable_at));
    }
    if early > 0 {
        note(&format!(
            "the slice was written before the promotion {early} times (counted as 0)"
        ));
    }
    Ok(samples)
}
