//! How much a set asks of the Kubernetes API and of DNS while nothing happens, by its size: the master
//! alone writes, and however many members there are, it writes as often.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::wait::{now, pause};
use harness::{Member, Set, sandbox, wait_until};

use super::with_service;
use crate::api_proxy::ApiRequest;
use crate::report::{Figure, Row};
use crate::tell::note;

/// Members; of the sizes in one line the first that this machine can bear.
const SIZES: [&[u32]; 3] = [&[3], &[10], &[50, 30, 20]];

/// Many sidecars and servers start on one machine.
const START: Duration = Duration::from_mins(2);
/// Between the last one's readiness and the first look.
const CALM: Duration = Duration::from_secs(10);
/// Many times the pace of whatever is done at rest.
const WINDOW: Duration = Duration::from_mins(1);
/// A holder renews each second. One that comes to it less often has too little of the machine, and
/// everybody else reads all the time to see whether it is still there.
const IN_TIME: f64 = 0.9;
/// What a longer window would not show.
const NOISE: f64 = 1.1;

/// The harness's own end of each set's network.
const HARNESS: &str = "02:00:00:00:00:02";

/// Requests to the API, and queries of members' names, per second of the whole set.
#[derive(Debug, Clone, Copy)]
struct Rates {
    reads: f64,
    writes: f64,
    names: f64,
    /// The share of this machine's processors that worked meanwhile, for whomever. Where they hardly
    /// rest, renewals are late, and everybody looks whether the holder is still there.
    busy: f64,
}

/// How many times as much may be asked for with so many times the members.
type Growth = fn(f64) -> f64;

/// Requests at rest.
pub(crate) fn figure() -> Result<Figure> {
    let mut too_many = Vec::new();
    let mut all = Vec::new();
    for sizes in SIZES.iter().take(crate::rounds(SIZES.len())) {
        all.push(most_of(sizes, &mut too_many)?);
    }
    let (smallest, least) = all[0];
    let row = |what, unit, most: Option<Growth>, of: fn(&Rates) -> f64| {
        let mut row = Row::new(what, unit);
        for (members, rates) in &all {
            let who = format!("podzero, {members} members");
            let times = f64::from(*members) / f64::from(smallest);
            row = match most.filter(|_| *members != smallest) {
                Some(most) => {
                    let most = most(times) * of(&least) * NOISE;
                    row.promised(&who, of(rates), (most * 100.0).round() / 100.0)
                }
                None => row.way(&who, of(rates)),
            };
        }
        row
    };
    let (constant, linear): (Growth, Growth) = (|_| 1.0, |times| times);
    let mut remarks = vec![format!(
        "Goals are made of the smallest set's: as many writes, and as many reads and queries for each member, and a \
             tenth on top. Over {} s.",
        WINDOW.as_secs()
    )];
    for members in too_many {
        remarks.push(format!("{members} members were too many for this machine."));
    }
    Ok(Figure {
        title: "what a set at rest asks for, by its size".to_owned(),
        rows: vec![
            row(
                "writes to the Kubernetes API",
                "each second",
                Some(constant),
                |r| r.writes,
            ),
            row(
                "reads from the Kubernetes API",
                "each second",
                Some(linear),
                |r| r.reads,
            ),
            row(
                "DNS queries of members' names",
                "each second",
                Some(linear),
                |r| r.names,
            ),
            row("the machine's processors at work", "%", None, |r| {
                r.busy * 100.0
            }),
        ],
        remarks,
    })
}

/// The first size with which the set comes to rest. Those with which it does not are put down.
fn most_of(sizes: &[u32], too_many: &mut Vec<u32>) -> Result<(u32, Rates)> {
    let mut last = None;
    for &members in sizes {
        note(&format!("failover: requests of {members} members at rest"));
        match at_rest(members).with_context(|| format!("{members} members")) {
            Ok(rates) => return Ok((members, rates)),
            Err(error) => {
                let why = format!("{error:#}");
                let why = why.lines().next().unwrap_or_default();
                note(&format!("failover: too many: {why}"));
                too_many.push(members);
                last = Some(error);
            }
        }
    }
    Err(last.context("no size")?)
}

fn at_rest(members: u32) -> Result<Rates> {
    let mut cluster = with_service(members)?;
    introduce(&cluster.set)?;
    cluster.set.start_all()?;
    let master = wait_until("everybody is ready", START, || cluster.set.converge())?;
    pause(CALM);
    cluster.proxy()?.take_requests();
    let names = || {
        let members = cluster.set.members().iter();
        let each = members.map(|member| cluster.set.names().queries(&member.pod()));
        each.sum::<u64>()
    };
    let (begun, before, names_before) = (now(), processors()?, names());
    pause(WINDOW);
    let names = names() - names_before;
    let (requests, length) = (cluster.proxy()?.take_requests(), begun.elapsed());
    let after = processors()?;
    let (idle, all) = (after.0 - before.0, after.1 - before.1);
    let still = cluster.set.converge()?;
    ensure!(still == master, "redis-{master} led, and now redis-{still}");
    let (writes, reads): (Vec<_>, Vec<_>) = requests.iter().partition(|r| r.is_write());
    let each_second = |of: &[&ApiRequest]| of.len() as f64 / length.as_secs_f64();
    ensure!(
        each_second(&writes) >= IN_TIME,
        "renewals are late: {} each second",
        each_second(&writes)
    );
    Ok(Rates {
        reads: each_second(&reads),
        writes: each_second(&writes),
        names: names as f64 / length.as_secs_f64(),
        busy: 1.0 - idle / all,
    })
}

/// How long the processors have rested, and how long they have been there.
fn processors() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what follows is in these already.
    let times: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("/proc/stat is not as expected")?;
    let idle = times.iter().skip(3).take(2).sum();
    Ok((idle, times.iter().sum()))
}

/// Tells every pod everybody's hardware address. What is learned goes into one table of the machine,
/// for all networks together, which overflows at 1024 entries; what is told does not count.
fn introduce(set: &Set) -> Result<()> {
    let hardware = |member: &Member| -> Result<(IpAddr, String)> {
        let shown = member.run("ip", &["-o", "link", "show", "eth0"])?;
        let mut words = shown.split_whitespace().skip_while(|w| *w != "link/ether");
        let hardware = words.nth(1).context("eth0 has no hardware address")?;
        Ok((member.address(), hardware.to_owned()))
    };
    let mut all: Vec<_> = set.members().iter().map(hardware).collect::<Result<_>>()?;
    for own in [sandbox::API, sandbox::DNS[0]] {
        all.push((own, HARNESS.to_owned()));
    }
    for member in set.members() {
        let others = all
            .iter()
            .filter(|(address, _)| *address != member.address());
        let line = |(address, hardware): &(IpAddr, String)| {
            format!("neigh replace {address} lladdr {hardware} dev eth0 nud permanent\n")
        };
        let file = member.path("neighbours");
        fs::write(&file, others.map(line).collect::<String>()).context("writing neighbours")?;
        member.run("ip", &["-batch", &file.to_string_lossy()])?;
    }
    Ok(())
}
