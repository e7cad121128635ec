//! How soon `podzero init` has written the configuration, beside the shell loop that people have
//! (`naive.sh`), in the same pod of the same set with the same DNS server.
//!
//! Timed from starting the command to its end. The way into the pod (`nsenter`, `env`, `setpriv`) counts,
//! for both alike, and is shown by itself: what `true` takes there. Each run begins as a first start
//! does: without data and configuration.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use harness::wait::{now, pause};
use harness::{Member, Set, process};

use crate::PODZERO;
use crate::report::{Figure, Row, Samples};
use crate::tell::note;

/// With a master that is up: each takes milliseconds.
const UP_RUNS: usize = 200;
/// With one that appears later: each takes seconds.
const LATE_RUNS: usize = 25;

/// The pod that starts; pod-0 is the master.
const STARTS: usize = 2;

const NAIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/naive.sh");

/// `podzero init`.
pub(crate) fn figure() -> Result<Figure> {
    let (up, late) = (crate::rounds(UP_RUNS), crate::rounds(LATE_RUNS));
    let mut set = Set::builder(PODZERO).start()?;
    set.member_mut(STARTS).kill()?;
    note(&format!("start: {up} starts with the master up"));
    let [podzero, naive, empty] = master_is_up(&set, up)?;
    note(&format!("start: {late} with its name appearing late"));
    let (named, naive_named) = name_appears(&set, late)?;
    note(&format!("start: {late} with its sidecar coming late"));
    let answering = master_answers(&mut set, late)?;
    Ok(Figure {
        title: "podzero init, from its start to the written configuration".to_owned(),
        rows: vec![
            Row::new("the master is up", "ms")
                .promised("podzero", &podzero, 20.0)
                .way("a shell loop", &naive)
                .way("nothing: the way into the pod", &empty),
            // The retry waits up to 1 s while a name does not exist, so as not to flood DNS.
            Row::new("once the master's name exists", "ms")
                .promised("podzero", &named, 1150.0)
                .way("a shell loop", &naive_named),
            Row::new("once the master says that it leads", "ms").promised(
                "podzero", &answering, 150.0,
            ),
        ],
        remarks: vec![
            "The shell loop (`tests/bench/naive.sh`) looks for the name each second, and for nothing else: whether \
             anybody answers there, and leads, it does not ask."
                .to_owned(),
        ],
    })
}

/// podzero, the shell loop, and a command that does nothing.
fn master_is_up(set: &Set, runs: usize) -> Result<[Samples; 3]> {
    let mut all = [(); 3].map(|()| Samples::default());
    let [podzero, naive, empty] = &mut all;
    let member = set.member(STARTS);
    for _ in 0..runs {
        make_new(member)?;
        let begun = now();
        process::run(&mut member.podzero(&["init"]))?;
        podzero.add(begun.elapsed());
        check(set)?;
        let begun = now();
        run_naive(member)?;
        naive.add(begun.elapsed());
        let begun = now();
        member.run("true", &[])?;
        empty.add(begun.elapsed());
    }
    Ok(all)
}

/// Both wait side by side for the name of a master that is up all the time.
fn name_appears(set: &Set, runs: usize) -> Result<(Samples, Samples)> {
    let (mut podzero, mut naive) = (Samples::default(), Samples::default());
    let (member, master) = (set.member(STARTS), set.member(0));
    for run in 0..runs {
        make_new(member)?;
        set.names().withdraw(&master.pod());
        let ended = end_of(begin_init(member)?);
        let (names, pod, addresses) = (set.names().clone(), master.pod(), master.addresses());
        let appeared = thread::scope(|scope| -> Result<Instant> {
            let publish = scope.spawn(move || {
                pause(delay(run));
                let at = now();
                names.publish(&pod, addresses);
                at
            });
            run_naive(member)?;
            let end = now();
            let at = publish.join().map_err(|_| anyhow!("publishing panicked"))?;
            naive.add(end - at);
            Ok(at)
        })?;
        podzero.add(ended()? - appeared);
        check(set)?;
    }
    Ok((podzero, naive))
}

/// The name is known all the time; the sidecar says late that its server is the master.
fn master_answers(set: &mut Set, runs: usize) -> Result<Samples> {
    let mut podzero = Samples::default();
    for run in 0..runs {
        make_new(set.member(STARTS))?;
        set.member_mut(0).kill_sidecar()?;
        let ended = end_of(begin_init(set.member(STARTS))?);
        pause(delay(run));
        set.member_mut(0).start_sidecar()?;
        // The last look at which it did not lead yet: the sample is rather too long than too short.
        let mut appeared = now();
        set.wait_for("pod-0 says that it is the master", || {
            loop {
                let look = now();
                let status = set.member(0).status();
                if status.is_ok_and(|s| s.role() == "master" && s.master() == set.member(0).pod()) {
                    return Ok(());
                }
                appeared = look;
                pause(Duration::from_millis(1));
            }
        })?;
        podzero.add(ended()?.saturating_duration_since(appeared));
        check(set)?;
    }
    Ok(podzero)
}

/// When the master appears: spread over a second, so that no phase of a retry is preferred, and
/// after the first retries, which are quick.
fn delay(run: usize) -> Duration {
    let step = Duration::from_secs(1) / u32::try_from(LATE_RUNS).expect("a few runs");
    Duration::from_millis(1200) + step * u32::try_from(run).expect("a few runs")
}

/// The pod's volumes are as at its first start.
fn make_new(member: &Member) -> Result<()> {
    member.delete_data()?;
    if member.conf().exists() {
        fs::remove_file(member.conf()).context("removing the configuration")?;
    }
    Ok(())
}

fn begin_init(member: &Member) -> Result<Child> {
    let mut command: Command = member.podzero(&["init"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("starting podzero init")
}

/// Waits for a process without polling; the returned function gives the moment of its end.
fn end_of(mut child: Child) -> impl FnOnce() -> Result<Instant> {
    let waiting = thread::spawn(move || -> Result<Instant> {
        let status = child.wait().context("waiting for podzero init")?;
        let end = now();
        ensure!(status.success(), "podzero init: {status}");
        Ok(end)
    });
    move || waiting.join().map_err(|_| anyhow!("waiting panicked"))?
}

fn run_naive(member: &Member) -> Result<()> {
    let paths = [member.base_conf(), member.path("naive.conf")];
    let [base, conf] = paths.each_ref().map(|path| path.to_string_lossy());
    member.run("/bin/sh", &[NAIVE, "redis-0.redis", &base, &conf])?;
    Ok(())
}

/// Only a configuration that follows the master counts.
fn check(set: &Set) -> Result<()> {
    let conf = fs::read_to_string(set.member(STARTS).conf()).context("the configuration")?;
    let line = format!("replicaof {} 6379", set.member(0).address());
    ensure!(
        conf.contains(&line),
        "podzero init did not find the master:\n{conf}\n{}",
        set.describe()
    );
    Ok(())
}
