//! What a writer notices when the master's server is killed: podzero with the Lease of a real API
//! server, and Sentinel with two settings, on sets of three alike; and how soon the master's Service
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
use crate::sentinel::alone;
use crate::stats::{Samples, short};
use crate::table::{Figure, Goal, Row, note};

use rounds::{Outcome, SENTINELS_SERVER, SERVER, many};

/// Failovers for each way.
const ROUNDS: usize = 50;

/// Sentinel's limits: what careful people choose, and what charts do.
const DOWN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The master's server is killed.
pub(crate) fn figure() -> Result<Figure> {
    let rounds = crate::rounds(ROUNDS);
    let told = |how: &str| note(&format!("failover: {rounds} times, the server, {how}"));
    told("podzero");
    let mut cluster = with_service(3)?;
    cluster.set.start_all()?;
    let ours = many(&mut cluster.set, rounds, SERVER)?;
    note_moves("podzero", &ours);
    let leads = slices(&ours, &cluster.proxy()?.take_requests())?;
    drop(cluster);
    let sentinel = |down_after: Duration| -> Result<Outcome> {
        let how = format!("Sentinel, down-after {} ms", down_after.as_millis());
        told(&how);
        let outcome = many(&mut alone(down_after)?, rounds, SENTINELS_SERVER)?;
        note_moves(&how, &outcome);
        Ok(outcome)
    };
    let (soon, late) = (sentinel(DOWN_AFTER[0])?, sentinel(DOWN_AFTER[1])?);
    let gap = |what, theirs: &Outcome| Row {
        what,
        podzero: ours.gaps.text(),
        against: theirs.gaps.text(),
        goal: Some(Goal {
            most: 400.0,
            is: ours.gaps.percentile(99),
        }),
    };
    let writable = |what, theirs: &Outcome| Row {
        what,
        podzero: ours.writable.text(),
        against: theirs.writable.text(),
        goal: None,
    };
    Ok(Figure {
        title: format!(
            "SIGKILL of the master's server, {rounds} times, longest gap of a writer, ms, against\nSentinel with down-after-milliseconds 1000 and 5000"
        ),
        rows: vec![
            gap("1 at 1 ms, v. 1000", &soon),
            gap("1 at 1 ms, v. 5000", &late),
            writable("another leads, v. 1000", &soon),
            writable("another leads, v. 5000", &late),
            Row {
                what: "and its Service leads",
                podzero: leads.text(),
                against: String::new(),
                goal: None,
            },
            counted("writes, v. 1000", &ours, &soon, |o| o.acknowledged),
            counted("writes, v. 5000", &ours, &late, |o| o.acknowledged),
            counted("of them lost, v. 1000", &ours, &soon, |o| o.lost),
            counted("of them lost, v. 5000", &ours, &late, |o| o.lost),
        ],
    })
}

/// A set of podzero's with a Service of its master, not started.
fn with_service(members: u32) -> Result<Cluster> {
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

/// What both sides have a number of.
fn counted(what: &'static str, ours: &Outcome, theirs: &Outcome, of: fn(&Outcome) -> u64) -> Row {
    Row {
        what,
        podzero: short(of(ours) as f64),
        against: short(of(theirs) as f64),
        goal: None,
    }
}

/// The master is to stay where it went; that it did not is told beside the table.
fn note_moves(how: &str, outcome: &Outcome) {
    if outcome.moved_again > 0 {
        let times = outcome.moved_again;
        note(&format!("{how}: the role moved once more {times} times"));
    }
}
