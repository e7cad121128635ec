//! What a sidecar costs while nothing happens, beside redis-sentinel: a settled set of three, watched
//! by three sidecars and by three sentinels at the same time, each sentinel in a pod of its own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::Process;
use harness::wait::{now, pause};

use crate::sentinel::watched;
use crate::stats::short;
use crate::table::{Figure, Goal, Row, note};

/// Long enough for some of everything that happens now and then: a sidecar writes its offset down
/// every 5 s, a sentinel asks for INFO every 10 s.
const WINDOW: Duration = Duration::from_secs(40);
/// After the set has settled, and the sentinels have found one another.
const CALM: Duration = Duration::from_secs(5);

/// The dearest of some processes.
#[derive(Debug, Default)]
struct Cost {
    resident: f64,
    anonymous: f64,
    processor: f64,
}

/// Sidecars at idle.
pub(crate) fn figure() -> Result<Figure> {
    let set = watched()?;
    let sidecars: Vec<_> = (0..3)
        .map(|o| set.member(o).sidecar())
        .collect::<Result<_>>()?;
    let sentinels: Vec<_> = (3..6)
        .map(|o| set.member(o).server())
        .collect::<Result<_>>()?;
    pause(CALM);
    note(&format!("idle: looking on for {} s", WINDOW.as_secs()));
    let before = used(&sidecars, &sentinels)?;
    let begun = now();
    pause(WINDOW);
    let (length, after) = (begun.elapsed(), used(&sidecars, &sentinels)?);
    set.converge_on(&[0, 1, 2])?;
    let share = |(before, after): (&Duration, &Duration)| {
        100.0 * after.saturating_sub(*before).as_secs_f64() / length.as_secs_f64()
    };
    let shares: Vec<f64> = before.iter().zip(&after).map(share).collect();
    let podzero = cost(&sidecars, &shares[..3])?;
    let sentinel = cost(&sentinels, &shares[3..])?;
    let row = |what, of: fn(&Cost) -> f64, most: Option<f64>| Row {
        what,
        podzero: short(of(&podzero)),
        against: short(of(&sentinel)),
        goal: most.map(|most| Goal {
            most,
            is: of(&podzero),
        }),
    };
    Ok(Figure {
        title: "sidecar at idle, the dearest of 3, against redis-sentinel's".to_owned(),
        rows: vec![
            row("resident, MiB", |c| c.resident, Some(8.0)),
            row("of that its own, MiB", |c| c.anonymous, None),
            row("% of a core", |c| c.processor, Some(0.2)),
        ],
    })
}

fn used(sidecars: &[&Process], sentinels: &[&Process]) -> Result<Vec<Duration>> {
    let all = sidecars.iter().chain(sentinels);
    all.map(|process| processor_time(process.pid())).collect()
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

fn cost(processes: &[&Process], shares: &[f64]) -> Result<Cost> {
    let mut dearest = Cost::default();
    for (process, share) in processes.iter().zip(shares) {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
        dearest = Cost {
            resident: dearest.resident.max(mebibytes(&status, "VmRSS:")?),
            anonymous: dearest.anonymous.max(mebibytes(&status, "RssAnon:")?),
            processor: dearest.processor.max(*share),
        };
    }
    Ok(dearest)
}

fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("no {field} in /proc"))? / 1024.0)
}
