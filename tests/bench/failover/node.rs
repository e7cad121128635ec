//! What a writer notices when the master's whole member stops, its server and its sidecar: killed at
//! once, or paused as a node is that hangs. Nobody is left there who could tell, so that the lease has
//! to run out; a sentinel that sees the server alone has to wait for its limit.

use std::time::Duration;

use anyhow::Result;
use harness::Set;
use rustix::process::Signal;

use super::rounds::{Outcome, SENTINELS_SERVER, SERVER, Way, many};
use super::writes;
use crate::cluster::Cluster;
use crate::report::{Figure, Row, Value};
use crate::sentinel::{alone, start_plain, start_sentinel};
use crate::tell::note;

/// For each way.
const ROUNDS: usize = 10;

/// podzero's default, and Sentinel's limit here.
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
    let on = |how: &str, set: &mut Set, way: Way| -> Result<Outcome> {
        note(&format!("failover: {rounds} times, a whole member, {how}"));
        many(set, rounds, way)
    };
    let mut cluster = Cluster::unwatched(|builder| builder)?;
    cluster.set.start_all()?;
    let killed = on("podzero, killed", &mut cluster.set, KILLED)?;
    let paused = on("podzero, paused", &mut cluster.set, PAUSED)?;
    drop(cluster);
    let mut set = alone(LEASE)?;
    let sentinel_killed = on("Sentinel, killed", &mut set, SENTINEL_KILLED)?;
    let sentinel_paused = on("Sentinel, paused", &mut set, SENTINEL_PAUSED)?;
    drop(set);
    let killed = [("podzero", killed), ("Sentinel, 6000 ms", sentinel_killed)];
    let paused = [("podzero", paused), ("Sentinel, 6000 ms", sentinel_paused)];
    let most = (LEASE + MORE).as_secs_f64() * 1000.0;
    let time =
        |what, of: fn(&Outcome) -> Value, outcomes| Row::of(what, "ms", outcomes, Some(most), of);
    let mut rows = vec![
        time(
            "killed: longest gap of a writer",
            |o| (&o.gaps).into(),
            &killed,
        ),
        // A paused server keeps its writer waiting until the writer's own limit.
        time(
            "paused: until another one accepts writes",
            |o| (&o.writable).into(),
            &paused,
        ),
    ];
    for (how, outcomes) in [("killed", &killed), ("paused", &paused)] {
        let named = |row: Row| Row {
            what: format!("{how}: {}", row.what),
            ..row
        };
        rows.extend(writes(outcomes).map(named));
    }
    Ok(Figure {
        title: "failover, the master's whole member stops, 1 writer every 1 ms".to_owned(),
        rows,
        remarks: vec![format!(
            "The lease lasts {0} ms, and Sentinel's down-after-milliseconds is {0}.",
            LEASE.as_millis()
        )],
    })
}
