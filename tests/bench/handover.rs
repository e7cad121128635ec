//! What writers notice of a planned change of the master, in each of the [`ways`], one after the other
//! on sets of three alike. Writers that come through the master's Service are a figure of their own
//! ([`service`]).
//!
//! The gap is the longest time in which one of the writers had no write acknowledged, for each change.
//! Writers stay on their connection while it works, as clients do, and try the next member at once when
//! they are refused.

pub(crate) mod service;
mod ways;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Manner, Member, Set, Writers};

use crate::report::{Figure, Row, Samples};
use crate::tell::note;

use ways::By;

/// Changes of the master for each way.
const ROUNDS: usize = 50;

/// What a change may cost.
const GAP: f64 = 25.0;
/// The same beside the servers' own command.
const SHARE: f64 = 0.05;

/// Who writes: how many, and in which manner.
#[derive(Debug, Clone)]
struct Load {
    name: &'static str,
    writers: usize,
    manner: Manner,
    /// Where they write; at each member when there is none.
    at: Option<IpAddr>,
}

/// What many changes did to the writers.
#[derive(Debug, Default)]
struct Outcome {
    gaps: Samples,
    /// Refused attempts in each change.
    errors: Samples,
    acknowledged: u64,
    lost: u64,
    full_copies: u64,
}

/// Under one gentle writer.
pub(crate) fn one() -> Result<Figure> {
    figure(&Load {
        name: "1 writer every 1 ms",
        writers: 1,
        manner: manner(Duration::from_millis(1)),
        at: None,
    })
}

/// Under eight that do nothing else.
pub(crate) fn eight() -> Result<Figure> {
    figure(&Load {
        name: "8 writers flat out",
        writers: 8,
        manner: manner(Duration::ZERO),
        at: None,
    })
}

fn manner(pause: Duration) -> Manner {
    Manner { pause, large: None }
}

fn figure(load: &Load) -> Result<Figure> {
    let rounds = crate::rounds(ROUNDS);
    let mut outcomes = Vec::new();
    for By { who, set, change } in ways::ALL {
        note(&format!("handover: {rounds} times, {}, {who}", load.name));
        outcomes.push((who, many(&set()?, load, rounds, change)?));
    }
    let (ours, command) = (&outcomes[0].1, &outcomes[1].1);
    let share = ours.gaps.percentile(99) / command.gaps.percentile(50);
    let mut rows = vec![
        gaps(&outcomes),
        Row::new("the gap's p99, as a share of FAILOVER's median", "")
            .promised("podzero", share, SHARE),
    ];
    rows.extend(counts(&outcomes));
    Ok(Figure {
        title: format!("planned change of the master, {}", load.name),
        rows,
        remarks: vec![
            "`by hand` is CLIENT PAUSE, waiting for the target, and REPLICAOF at all three: what podzero does too, \
             with none of its checks, by a program that holds its connections already."
                .to_owned(),
        ],
    })
}

type Outcomes = [(&'static str, Outcome)];

fn gaps(outcomes: &Outcomes) -> Row {
    let what = "longest gap of a writer in each";
    Row::of(what, "ms", outcomes, Some(GAP), |o| (&o.gaps).into())
}

/// What may not happen at all, and what shows how much was done meanwhile.
fn counts(outcomes: &Outcomes) -> [Row; 4] {
    let row = |what, most, of: fn(&Outcome) -> u64| {
        Row::of(what, "", outcomes, most, |o| (of(o) as f64).into())
    };
    [
        row("acknowledged writes", None, |o| o.acknowledged),
        row("of them lost", Some(0.0), |o| o.lost),
        row("full copies in all", Some(0.0), |o| o.full_copies),
        Row::of("refused attempts in each", "", outcomes, None, |o| {
            (&o.errors).into()
        }),
    ]
}

/// The first three are the set; the rest, if any, are sentinels' pods.
pub(crate) fn servers(set: &Set) -> &[Member] {
    &set.members()[..3]
}

fn many(
    set: &Set,
    load: &Load,
    rounds: usize,
    change: fn(&Set, usize) -> Result<Option<usize>>,
) -> Result<Outcome> {
    let addresses: Vec<IpAddr> = match load.at {
        Some(at) => vec![at],
        None => servers(set).iter().map(Member::address).collect(),
    };
    let copies = || -> Result<u64> {
        let each = |m: &Member| Ok(m.info()?.number("sync_full"));
        servers(set).iter().map(each).sum()
    };
    let before = copies()?;
    let writers = Writers::start(&addresses, None, load.writers, &load.manner);
    let mut outcome = Outcome::default();
    let mut master = settled(set)?;
    for round in 0..rounds {
        let errors = writers.take().errors;
        let to = change(set, master).with_context(|| format!("change {round}"))?;
        let old = master;
        set.wait_for("the change is done", || {
            let now = settled(set)?;
            ensure!(to.map_or(now != old, |to| now == to), "redis-{now} leads");
            master = now;
            Ok(())
        })?;
        let taken = writers.take();
        outcome.gaps.add(taken.gap);
        outcome.errors.push((taken.errors - errors) as f64);
    }
    let written = writers.end(load.at.unwrap_or(set.member(master).address()))?;
    outcome.acknowledged = written.acknowledged;
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
