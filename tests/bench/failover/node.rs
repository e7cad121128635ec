//! What a writer notices when the master's whole member stops, its server and its sidecar: killed at
//! once, or paused as a node is that hangs. Nobody is left there who could tell, so that the lease has
//! to run out; a sentinel that sees the server alone has to wait for its limit.

use std::time::Duration;

use anyhow::Result;
use harness::Set;
use rustix::process::Signal;

use super::rounds::{Outcome, SENTINELS_SERVER, SERVER, Way, many};
use super::{DOWN_AFTER, counted, note_moves};
use crate::cluster::Cluster;
use crate::sentinel::{alone, start_plain, start_sentinel};
use crate::table::{Figure, Goal, Row, note};

/// For each way.
const ROUNDS: usize = 10;

/// podzero's default.
const LEASE: Duration = Duration::from_secs(6);
/// What may come on top of it.
const MORE: Duration = Duration::from_secs(1);

/// Both are dead at once; the node comes back with both.
const KILLED: Way = Way {
    stop: |set, master| {
        let member = set.member(master);
        member.sidecar()?.signal(Signal::KILL)?;
        member.server()?.signal(Signal::KILL)
    },
    start: |set, old, _| set.member_mut(old).start(),
    ..SERVER
};

/// Both hang, and go on later as if nothing had been.
const PAUSED: Way = Way {
    stop: |set, master| {
        let member = set.member(master);
        member.sidecar()?.pause()?;
        member.server()?.pause()
    },
    start: |set, old, _| {
        set.member(old).server()?.resume()?;
        set.member(old).sidecar()?.resume()
    },
    ..SERVER
};

/// The sentinel of the same node is killed with the server.
const SENTINEL_KILLED: Way = Way {
    stop: |set, master| {
        set.member(master + 3).server()?.signal(Signal::KILL)?;
        set.member(master).server()?.signal(Signal::KILL)
    },
    start: |set, old, new| {
        start_plain(set, old, Some(new))?;
        start_sentinel(set, old + 3)
    },
    ..SENTINELS_SERVER
};

/// Its sentinel is killed here too: one that was paused does nothing for half a minute afterwards, and
/// the others cannot tell.
const SENTINEL_PAUSED: Way = Way {
    stop: |set, master| {
        set.member(master + 3).server()?.signal(Signal::KILL)?;
        set.member(master).server()?.pause()
    },
    start: |set, old, _| {
        set.member(old).server()?.resume()?;
        start_sentinel(set, old + 3)
    },
    ..SENTINELS_SERVER
};

/// The whole member.
pub(crate) fn figure() -> Result<Figure> {
    let rounds = crate::rounds(ROUNDS);
    let down_after = DOWN_AFTER[1];
    let on = |how: &str, set: &mut Set, way: Way| -> Result<Outcome> {
        note(&format!("failover: {rounds} times, a whole member, {how}"));
        let outcome = many(set, rounds, way)?;
        note_moves(how, &outcome);
        Ok(outcome)
    };
    let mut cluster = Cluster::unwatched(|builder| builder)?;
    cluster.set.start_all()?;
    let killed = on("podzero, killed", &mut cluster.set, KILLED)?;
    let paused = on("podzero, paused", &mut cluster.set, PAUSED)?;
    drop(cluster);
    let mut set = alone(down_after)?;
    let sentinel_killed = on("Sentinel, killed", &mut set, SENTINEL_KILLED)?;
    let sentinel_paused = on("Sentinel, paused", &mut set, SENTINEL_PAUSED)?;
    drop(set);
    let most = LEASE + MORE;
    let time = |what, ours: &crate::stats::Samples, theirs: &crate::stats::Samples| Row {
        what,
        podzero: ours.text(),
        against: theirs.text(),
        goal: Some(Goal {
            most: most.as_secs_f64() * 1000.0,
            is: ours.percentile(99),
        }),
    };
    let ratio = |ours: &crate::stats::Samples, theirs: &crate::stats::Samples| {
        let lease = LEASE.as_secs_f64();
        Row {
            what: "  of the lease's 6 s",
            podzero: ours.text_in(LEASE),
            against: theirs.text_in(LEASE),
            goal: Some(Goal {
                most: (most.as_secs_f64() / lease * 100.0).round() / 100.0,
                is: ours.percentile(99) / 1000.0 / lease,
            }),
        }
    };
    Ok(Figure {
        title: format!(
            "the master's member stops, {rounds} times, ms, against Sentinel, down-after {} ms",
            down_after.as_millis()
        ),
        rows: vec![
            time("killed: writer's gap", &killed.gaps, &sentinel_killed.gaps),
            ratio(&killed.gaps, &sentinel_killed.gaps),
            // A paused server keeps its writer waiting until the writer's own limit.
            time(
                "paused: another leads",
                &paused.writable,
                &sentinel_paused.writable,
            ),
            ratio(&paused.writable, &sentinel_paused.writable),
            counted("killed: writes", &killed, &sentinel_killed, |o| {
                o.acknowledged
            }),
            counted("  of them lost", &killed, &sentinel_killed, |o| o.lost),
            counted("paused: writes", &paused, &sentinel_paused, |o| {
                o.acknowledged
            }),
            counted("  of them lost", &paused, &sentinel_paused, |o| o.lost),
        ],
    })
}
