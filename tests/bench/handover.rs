//! What writers notice of a planned change of the master: podzero's handover, the servers' own
//! `FAILOVER` command, and `SENTINEL FAILOVER`, one after the other on sets of three alike.
//!
//! The gap is the longest time in which one of the writers had no write acknowledged, for each change.
//! Writers stay on their connection while it works, as clients do, and try the next member at once when
//! they are refused.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Manner, Member, Set, Writers};

use crate::PODZERO;
use crate::sentinel::watched;
use crate::stats::{Samples, short};
use crate::table::{Figure, Goal, Row, note};

/// Changes of the master for each way and manner.
const ROUNDS: usize = 50;

/// What many changes did to the writers.
#[derive(Debug, Default)]
struct Outcome {
    gaps: Samples,
    errors: u64,
    acknowledged: u64,
    lost: u64,
    full_copies: u64,
}

/// One way of changing the master: from this one to another, which is returned.
type Change = fn(&Set, usize) -> Result<usize>;

/// Planned changes of the master.
pub(crate) fn figure() -> Result<Figure> {
    let one = Manner {
        pause: Duration::from_millis(1),
        large: None,
    };
    let flat_out = Manner {
        pause: Duration::ZERO,
        ..one.clone()
    };
    let mut outcomes = Vec::new();
    for writers in [(1, &one), (8, &flat_out)] {
        let told = |how: &str| {
            let count = writers.0;
            note(&format!("handover: {ROUNDS} times, {count} writers, {how}"));
        };
        told("podzero");
        let set = Set::builder(PODZERO).start()?;
        let ours = many(&set, writers, by_podzero)?;
        drop(set);
        told("FAILOVER");
        let theirs = many(&without_sidecars()?, writers, by_command)?;
        told("SENTINEL FAILOVER");
        let set = with_sentinels()?;
        let sentinel = many(&set, writers, by_sentinel)?;
        outcomes.push((ours, theirs, sentinel));
    }
    let (few, many) = (&outcomes[0], &outcomes[1]);
    let gap = |what, ours: &Outcome, theirs: &Outcome, most| Row {
        what,
        podzero: ours.gaps.text(),
        against: theirs.gaps.text(),
        goal: Some(Goal {
            most,
            is: ours.gaps.percentile(99),
        }),
    };
    let twentieth = |theirs: &Outcome| (theirs.gaps.percentile(50) / 20.0 * 10.0).round() / 10.0;
    let count = |what, ours: &Outcome, theirs: &Outcome, of: fn(&Outcome) -> f64| Row {
        what,
        podzero: short(of(ours)),
        against: short(of(theirs)),
        goal: None,
    };
    let errors: fn(&Outcome) -> f64 = |o| o.errors as f64 / ROUNDS as f64;
    let written: fn(&Outcome) -> f64 = |o| o.acknowledged as f64;
    let none = |what, ours: &Outcome, theirs: &Outcome, of: fn(&Outcome) -> f64| Row {
        goal: Some(Goal {
            most: 0.0,
            is: of(ours),
        }),
        ..count(what, ours, theirs, of)
    };
    let lost: fn(&Outcome) -> f64 = |o| o.lost as f64;
    let copies: fn(&Outcome) -> f64 = |o| o.full_copies as f64;
    Ok(Figure {
        title: format!("planned change of the master, {ROUNDS} times, longest gap of a writer, ms"),
        rows: vec![
            gap("1 at 1 ms, v. FAILOVER", &few.0, &few.1, 25.0),
            gap(
                "  and 1/20 of its median",
                &few.0,
                &few.1,
                twentieth(&few.1),
            ),
            gap("8 flat out, v. FAILOVER", &many.0, &many.1, 25.0),
            gap(
                "  and 1/20 of its median",
                &many.0,
                &many.1,
                twentieth(&many.1),
            ),
            gap("1 at 1 ms, v. SENTINEL", &few.0, &few.2, 25.0),
            gap("8 flat out, v. SENTINEL", &many.0, &many.2, 25.0),
            count("errors each, v. FAILOVER", &many.0, &many.1, errors),
            count("errors each, v. SENTINEL", &many.0, &many.2, errors),
            count("writes, v. FAILOVER", &many.0, &many.1, written),
            count("writes, v. SENTINEL", &many.0, &many.2, written),
            none("of them lost, v. FAILOVER", &many.0, &many.1, lost),
            none("of them lost, v. SENTINEL", &many.0, &many.2, lost),
            none("full copies, v. FAILOVER", &many.0, &many.1, copies),
            none("full copies, v. SENTINEL", &many.0, &many.2, copies),
        ],
    })
}

/// The first three are the set; the rest, if any, are sentinels' pods.
pub(crate) fn servers(set: &Set) -> &[Member] {
    &set.members()[..3]
}

fn many(set: &Set, (writers, manner): (usize, &Manner), change: Change) -> Result<Outcome> {
    let addresses: Vec<IpAddr> = servers(set).iter().map(Member::address).collect();
    let copies = || -> Result<u64> {
        let each = |m: &Member| Ok(m.info()?.number("sync_full"));
        servers(set).iter().map(each).sum()
    };
    let before = copies()?;
    let writers = Writers::start(&addresses, None, writers, manner);
    let mut outcome = Outcome::default();
    let mut master = settled(set)?;
    for round in 0..ROUNDS {
        writers.take();
        let to = change(set, master).with_context(|| format!("change {round}"))?;
        set.wait_for("the change is done", || {
            let now = settled(set)?;
            ensure!(
                now == to || to == usize::MAX && now != master,
                "redis-{now} leads"
            );
            master = now;
            Ok(())
        })?;
        outcome.gaps.add(writers.take().gap);
    }
    let written = writers.end(set.member(master).address())?;
    (outcome.errors, outcome.acknowledged) = (written.errors, written.acknowledged);
    outcome.lost = written.lost_count;
    outcome.full_copies = copies()? - before;
    Ok(outcome)
}

/// The one master, when both others are its linked replicas.
pub(crate) fn settled(set: &Set) -> Result<usize> {
    let infos = servers(set)
        .iter()
        .map(Member::info)
        .collect::<Result<Vec<_>>>()?;
    let mut masters = (0..3).filter(|o| infos[*o].is_master());
    let (master, other) = (masters.next(), masters.next());
    let master = master
        .filter(|_| other.is_none())
        .context("not one master")?;
    let address = set.member(master).address().to_string();
    let linked =
        |o: usize| o == master || infos[o].has_link() && infos[o].get("master_host") == address;
    ensure!(
        (0..3).all(linked),
        "not every replica is linked to redis-{master}"
    );
    ensure!(
        infos[master].online_replicas() == 2,
        "not all replicas are online"
    );
    Ok(master)
}

fn by_podzero(set: &Set, master: usize) -> Result<usize> {
    let to = (master + 1) % 3;
    let pod = set.member(to).pod();
    set.wait_for("the set takes it", || {
        let mut command = set.member(master).podzero(&["failover", "--to", &pod]);
        harness::process::run(&mut command).map(|_| ())
    })?;
    Ok(to)
}

/// A set that is settled, and then left to itself.
fn without_sidecars() -> Result<Set> {
    let mut set = Set::builder(PODZERO).start()?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    Ok(set)
}

fn by_command(set: &Set, master: usize) -> Result<usize> {
    let (to, third) = ((master + 1) % 3, (master + 2) % 3);
    let target = set.member(to).address();
    let mut command = set.member(master).connect()?;
    command.tell(&format!("FAILOVER TO {target} 6379 TIMEOUT 10000"))?;
    set.wait_for("the target leads", || {
        ensure!(set.member(to).info()?.is_master(), "not yet");
        Ok(())
    })?;
    let mut third = set.member(third).connect()?;
    third.tell(&format!("REPLICAOF {target} 6379"))?;
    Ok(to)
}

/// The same, watched by sentinels.
fn with_sentinels() -> Result<Set> {
    let mut set = watched()?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    Ok(set)
}

/// The sentinels choose the target.
fn by_sentinel(set: &Set, _master: usize) -> Result<usize> {
    set.wait_for("the sentinel takes it", || {
        set.member(3).connect()?.tell("SENTINEL FAILOVER redis")
    })?;
    Ok(usize::MAX)
}
