//! One failover after the other, under a writer: what podzero's figures and Sentinel's have in common.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::wait::{now, pause};
use harness::{Manner, Member, Set, Writers, wait_until};

use super::watch::Watch;
use crate::handover::{servers, settled};
use crate::report::Samples;
use crate::sentinel::{find_all_well, start_plain};

/// An election of Sentinel's that came to nothing is held again after twenty seconds.
const LIMIT: Duration = Duration::from_mins(2);

/// What is done to a set again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Stops the master.
    pub(crate) stop: fn(&mut Set, usize) -> Result<()>,
    /// Starts again what was stopped, when another one leads.
    pub(crate) start: fn(&mut Set, usize, usize) -> Result<()>,
    /// Waits until everything is well again; gives the master.
    pub(crate) settle: fn(&Set) -> Result<usize>,
}

/// What the failovers did to the writer.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The longest time without an acknowledged write, in each round.
    pub(crate) gaps: Samples,
    /// From the stop until another one accepted writes.
    pub(crate) writable: Samples,
    /// The moments: of the stop, and of the first write that another one accepted.
    pub(crate) moments: Vec<(Instant, Instant)>,
    /// Acknowledged writes in all rounds.
    pub(crate) acknowledged: u64,
    /// Those of them that were gone later.
    pub(crate) lost: u64,
    /// Rounds after which yet another one led.
    pub(crate) moved_again: u64,
}

/// Stops the master so many times, with one writer at 1 ms.
pub(crate) fn many(set: &mut Set, count: usize, way: Way) -> Result<Outcome> {
    let addresses: Vec<_> = servers(set).iter().map(Member::address).collect();
    let manner = Manner {
        pause: Duration::from_millis(1),
        large: None,
    };
    let mut master = (way.settle)(set)?;
    let writers = Writers::start(&addresses, None, 1, &manner);
    let mut outcome = Outcome::default();
    for round in 0..count {
        let before = writers.take();
        wait_until("the writer writes", LIMIT, || {
            let now = writers.take().acknowledged;
            ensure!(now > before.acknowledged, "nothing was acknowledged");
            Ok(())
        })?;
        let watch = Watch::start(set, (0..3).filter(|o| *o != master));
        // The watch is to be connected by then.
        pause(Duration::from_millis(50));
        let stopped_at = now();
        (way.stop)(set, master).with_context(|| format!("round {round}"))?;
        let first = watch.first(LIMIT);
        let (new, writable_at) =
            first.with_context(|| format!("round {round}: {}", set.describe()))?;
        drop(watch);
        (way.start)(set, master, new).with_context(|| format!("round {round}"))?;
        master = (way.settle)(set).with_context(|| format!("round {round}"))?;
        outcome.moved_again += u64::from(master != new);
        outcome.moments.push((stopped_at, writable_at));
        outcome.writable.add(writable_at - stopped_at);
        outcome.gaps.add(gap(&writers)?);
    }
    let written = writers.end(set.member(master).address())?;
    outcome.acknowledged = written.acknowledged;
    outcome.lost = written.lost_count;
    Ok(outcome)
}

/// The longest one until now; one that has not ended yet counts in full.
fn gap(writers: &Writers) -> Result<Duration> {
    let before = writers.take();
    let mut longest = before.gap;
    wait_until("the writer writes again", LIMIT, || {
        let now = writers.take();
        longest = longest.max(now.gap);
        ensure!(
            now.acknowledged > before.acknowledged,
            "nothing was acknowledged"
        );
        Ok(())
    })?;
    Ok(longest)
}

/// A set of podzero's, whose master's server is killed: the kubelet starts it again.
pub(crate) const SERVER: Way = Way {
    stop: |set, master| set.member_mut(master).kill_server(),
    start: |set, old, _| set.member_mut(old).start_server(),
    settle: podzero_settles,
};

/// The same with a set of Sentinel's.
pub(crate) const SENTINELS_SERVER: Way = Way {
    stop: SERVER.stop,
    start: |set, old, new| start_plain(set, old, Some(new)),
    settle: sentinel_settles,
};

/// Every member of podzero's set is ready.
pub(crate) fn podzero_settles(set: &Set) -> Result<usize> {
    set.converge_on(&[0, 1, 2])
}

/// Every sentinel finds everybody well.
pub(crate) fn sentinel_settles(set: &Set) -> Result<usize> {
    wait_until("every sentinel finds everybody well", LIMIT, || {
        let master = settled(set)?;
        find_all_well(set, master)?;
        Ok(master)
    })
    .with_context(|| set.describe())
}
