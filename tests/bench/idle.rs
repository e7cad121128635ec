//! What a sidecar costs while nothing happens: with the Lease of a real API server; and beside
//! redis-sentinel: a settled set of three, watched by three sidecars and by three sentinels at the same
//! time, each sentinel in a pod of its own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::wait::{now, pause};
use harness::{Member, Process, Set};

use crate::cluster::Cluster;
use crate::report::{Figure, Row, Samples};
use crate::sentinel::watched;
use crate::tell::note;

/// Long enough for some of everything that happens now and then: a sidecar writes its offset down
/// every 5 s, a sentinel asks for INFO every 10 s.
const WINDOW: Duration = Duration::from_secs(40);
/// After the set has settled, and the sentinels have found one another.
const CALM: Duration = Duration::from_secs(5);

/// What each of some processes costs.
#[derive(Debug, Default)]
struct Cost {
    resident: Samples,
    anonymous: Samples,
    processor: Samples,
}

/// Sidecars at idle, with either authority.
pub(crate) fn figure() -> Result<Figure> {
    let mut cluster = Cluster::unwatched(|builder| builder)?;
    cluster.set.start_all()?;
    cluster.set.converge()?;
    let lease = cost("with the Lease", &sidecars(&cluster.set)?)?;
    cluster.set.converge()?;
    drop(cluster);
    let set = watched()?;
    let ordinal = sidecars(&set)?;
    let servers = set.members().iter().skip(3).map(Member::server);
    let sentinels = servers.collect::<Result<Vec<_>>>()?;
    // At the same time, on the same set.
    let (podzero, sentinel) = both("podzero and Sentinel", &ordinal, &sentinels)?;
    set.converge_on(&[0, 1, 2])?;
    let row = |what, unit, most: Option<f64>, of: fn(&Cost) -> &Samples| {
        let row = Row::new(what, unit);
        let ours = [("podzero, Lease", &lease), ("podzero, ordinal", &podzero)];
        let row = ours.into_iter().fold(row, |row, (who, cost)| match most {
            Some(most) => row.promised(who, of(cost), most),
            None => row.way(who, of(cost)),
        });
        row.way("redis-sentinel", of(&sentinel))
    };
    Ok(Figure {
        title: "a sidecar at rest, with two peers".to_owned(),
        rows: vec![
            row("resident memory", "MiB", Some(8.0), |c| &c.resident),
            row("its own, without the program's pages", "MiB", None, |c| {
                &c.anonymous
            }),
            row("processor", "% of a core", Some(0.2), |c| &c.processor),
        ],
        remarks: vec![
            "podzero is the image's static binary: one that uses the system's libraries is larger in memory by their pages."
                .to_owned(),
            "A run is one of the three processes: the goal is for the dearest. Charts ask for 128 MiB for a sidecar."
                .to_owned(),
        ],
    })
}

fn sidecars(set: &Set) -> Result<Vec<&Process>> {
    set.members().iter().take(3).map(Member::sidecar).collect()
}

/// What each of some processes costs.
fn cost(what: &str, processes: &[&Process]) -> Result<Cost> {
    both(what, processes, &[]).map(|(cost, _)| cost)
}

/// The same of two groups, at the same time.
fn both(what: &str, ours: &[&Process], theirs: &[&Process]) -> Result<(Cost, Cost)> {
    pause(CALM);
    note(&format!(
        "idle: {what}, looking on for {} s",
        WINDOW.as_secs()
    ));
    let used = || -> Result<Vec<Duration>> {
        let all = ours.iter().chain(theirs);
        all.map(|process| processor_time(process.pid())).collect()
    };
    let (before, begun) = (used()?, now());
    pause(WINDOW);
    let (length, after) = (begun.elapsed(), used()?);
    let share = |(before, after): (&Duration, &Duration)| {
        100.0 * after.saturating_sub(*before).as_secs_f64() / length.as_secs_f64()
    };
    let shares: Vec<f64> = before.iter().zip(&after).map(share).collect();
    let (first, second) = shares.split_at(ours.len());
    Ok((costs(ours, first)?, costs(theirs, second)?))
}

/// The time that a process has spent on a processor, to the nanosecond: the first field of each
/// thread's `schedstat`. (`/proc/PID/stat` counts in hundredths of a second, of which an idle sidecar
/// uses a handful in the whole window.)
fn processor_time(pid: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).context("listing threads")?;
    let mut sum = Duration::ZERO;
    for thread in threads {
        let path = thread?.path().join("schedstat");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let spent = text.split(' ').next().and_then(|ns| ns.parse().ok());
        sum += Duration::from_nanos(spent.context("schedstat is not as expected")?);
    }
    Ok(sum)
}

fn costs(processes: &[&Process], shares: &[f64]) -> Result<Cost> {
    let mut costs = Cost::default();
    for (process, share) in processes.iter().zip(shares) {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
        costs.resident.push(mebibytes(&status, "VmRSS:")?);
        costs.anonymous.push(mebibytes(&status, "RssAnon:")?);
        costs.processor.push(*share);
    }
    Ok(costs)
}

fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("no {field} in /proc"))? / 1024.0)
}
