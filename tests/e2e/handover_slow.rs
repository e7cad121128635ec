//! Handovers to replicas that are slow, and beside much that is written: writes are stopped for no longer
//! than the rest needs, and nobody is told "done" too early.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::Set;

use crate::handover::{podzero, writers};
use crate::handover_troubles::small;
use crate::{connect, pause, set};

/// Slows a replica down: every turn of its loop runs long commands of two clients, and reads but 16 kB
/// of its master's stream.
fn slow_down(set: &Set, of: usize, seconds: u64) -> Vec<std::thread::JoinHandle<()>> {
    let (address, till) = (
        set.member(of).address(),
        harness::wait::now() + Duration::from_secs(seconds),
    );
    (0..2)
        .map(|_| {
            // From this thread's network.
            let opened = harness::Conn::open(address, None);
            std::thread::spawn(move || {
                let Ok(mut open) = opened else { return };
                while harness::wait::now() < till {
                    // Until its connection is closed: the handover does that.
                    if open.tell("DEBUG SLEEP 0.1").is_err() {
                        return;
                    }
                }
            })
        })
        .collect()
}

/// Settings with which a replica may be slow for long without a full copy.
fn patient() -> harness::Builder {
    let debug = if crate::is_redis_6() {
        ""
    } else {
        "enable-debug-command yes\n"
    };
    set().base(&format!(
        "{debug}client-output-buffer-limit replica 0 0 0\nrepl-backlog-size 64mb"
    ))
}

/// Some megabytes of writes, each too small to be read in one go. A hundred are more than the quickest of
/// the servers takes in, slowed down, while a handover lasts.
fn burst(set: &Set, at: usize, megabytes: usize) -> Result<()> {
    let mut connection = connect(set, at)?;
    for n in 0..megabytes * 50 {
        let mut command = redis::cmd("SET");
        command.arg(format!("burst:{n}")).arg(vec![b'x'; 20_000]);
        connection.send::<redis::Value>(&command)?;
    }
    Ok(())
}

/// The role goes home by itself, to a pod-0 that has megabytes to receive over a slow link: that must
/// not stop writes for long.
#[test]
fn going_home_over_a_slow_link_does_not_stop_writes_for_long() -> Result<()> {
    let set = patient().start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    let (code, said) = podzero(&set, 1, &["failover", "--to", "redis-0"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    let (code, said) = podzero(&set, 0, &["failover"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.converge()? == 1, "pod-1 leads");
    // The demoted server's clients are closed again for some seconds.
    pause(4);
    let _slow = slow_down(&set, 0, 70);
    let writers = writers(&set, 1, &small());
    pause(1);
    burst(&set, 1, 6)?;
    let offset =
        |o: usize| Ok::<_, anyhow::Error>(set.member(o).info()?.number("master_repl_offset"));
    println!("behind: {:?}", (offset(1)?, offset(0)?));
    writers.take();
    let begun = harness::wait::now();
    let home = (0..60).any(|_| {
        pause(1);
        set.masters() == [0]
    });
    pause(2);
    let (gap, all) = (writers.take().gap, begun.elapsed());
    println!("home: {home} in {all:?}, gap {gap:?}");
    // Most of the megabytes have to arrive before writes are stopped for the rest.
    ensure!(
        gap < all / 3,
        "writes were stopped for {gap:?} of {all:?} (home: {home})\n{}",
        set.member(1).log_tail("sidecar", 12)
    );
    Ok(())
}

/// On a server that stops feeding when it is fenced: a target that cannot come even is tried once,
/// and not again and again for as long as the budget lasts.
#[test]
fn writes_are_not_stopped_again_and_again_for_one_slow_target() -> Result<()> {
    let set = patient().start()?;
    let _slow = slow_down(&set, 1, 40);
    let writers = writers(&set, 1, &small());
    burst(&set, 0, 6)?;
    let before = writers.take().acknowledged;
    let offset =
        |o: usize| Ok::<_, anyhow::Error>(set.member(o).info()?.number("master_repl_offset"));
    println!("behind: {:?}", (offset(0)?, offset(1)?));
    let begun = harness::wait::now();
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    let took = begun.elapsed();
    let after = writers.take();
    println!("{code} {took:?} {after:?}\n{said}");
    let stopped = set
        .member(0)
        .log_tail("sidecar", 1000)
        .matches("everything in time")
        .count();
    let tries = said.matches("offers the role").count();
    ensure!(
        tries < 2,
        "{code} after {took:?}: {tries} offers, {stopped} complaints, {} writes acknowledged, longest gap {:?}\n{said}\n{}",
        after.acknowledged - before,
        after.gap,
        set.member(0).log_tail("sidecar", 20)
    );
    Ok(())
}

/// Applications that only publish messages do not keep a handover from being done. Below 7.0 PUBLISH is in
/// the stream, and `min-replicas-to-write` does not stop it: there they must not publish without a pause.
#[test]
fn messages_do_not_stop_a_handover() -> Result<()> {
    let set = set().start()?;
    let till = harness::wait::now() + Duration::from_secs(25);
    let address = set.member(0).address();
    let published = Arc::new(AtomicU64::new(0));
    let between = Duration::from_millis(if crate::is_redis_6() { 5 } else { 0 });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let published = Arc::clone(&published);
            std::thread::spawn(move || {
                // They come back to the same server when they are closed, as applications do.
                while harness::wait::now() < till {
                    let Ok(mut open) = harness::Conn::open(address, None) else {
                        return;
                    };
                    while harness::wait::now() < till && open.tell("PUBLISH news hello").is_ok() {
                        published.fetch_add(1, Ordering::Relaxed);
                        harness::wait::pause(between);
                    }
                }
            })
        })
        .collect();
    set.wait_for("messages", || {
        ensure!(published.load(Ordering::Relaxed) > 100, "too few");
        Ok(())
    })?;
    let writers = writers(&set, 1, &small());
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    drop(threads);
    ensure!(code == 0, "{code}: {said}");
    writers.finish(set.member(1).address())?;
    Ok(())
}

/// What comes of it: the hook says "done" (exit 0) in the middle, so the pod is ended, and with it the
/// tail that the target had not received yet. No acknowledged write may be lost by a handover (I4).
#[test]
fn a_hook_that_says_done_too_early_loses_acknowledged_writes() -> Result<()> {
    let mut set = patient()
        .base("save \"\"")
        .env("PODZERO_GRACE", "6s")
        .sidecar_env("PODZERO_DRAIN", "500ms")
        .start()?;
    let _slow: Vec<_> = [slow_down(&set, 1, 60), slow_down(&set, 2, 60)].into();
    let writers = writers(&set, 1, &small());
    burst(&set, 0, 100)?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "the target was too fast: {code}: {said}");
    let masters = set.masters();
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    println!("before: {masters:?}; prestop: {code}: {said}");
    set.member_mut(0).delete()?;
    set.member(0).publish_name();
    set.member_mut(0).start()?;
    let master = set.wait_for("a master", || {
        let masters = set.masters();
        ensure!(masters.len() == 1, "{masters:?}");
        Ok(masters[0])
    })?;
    pause(1);
    let kept = writers.finish(set.member(master).address());
    ensure!(
        kept.is_ok() || code != 0,
        "prestop ended with {code} ({}), and then: {:#}",
        said.trim(),
        kept.err().map(|e| format!("{e:#}")).unwrap_or_default()
    );
    Ok(())
}

/// One replica is slow, the other one has everything: `failover --to` the slow one runs out of time,
/// then the hook is called. It should hand over to the other one.
#[test]
fn a_slow_armed_target_does_not_keep_the_hook_from_the_other() -> Result<()> {
    let set = patient().env("PODZERO_GRACE", "10s").start()?;
    let _slow = slow_down(&set, 1, 60);
    burst(&set, 0, 100)?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    println!("{code}: {said}");
    ensure!(code == 3, "{code}: {said}");
    pause(2);
    println!(
        "2 s after its end: grant {}",
        set.member(0).status()?.0["authority"]["grant"]
    );
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    let masters = set.masters();
    ensure!(code == 0, "prestop: {code}: {said}; masters {masters:?}");
    Ok(())
}

/// After a handover that ran out of time the master, which accepts writes, is ready again.
#[test]
fn a_master_is_ready_after_a_handover_that_ran_out_of_time() -> Result<()> {
    let set = patient().env("PODZERO_GRACE", "6s").start()?;
    let _slow = slow_down(&set, 1, 60);
    burst(&set, 0, 100)?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "{code}: {said}");
    let mut not_ready = 0;
    for _ in 0..12 {
        pause(1);
        let page = set.member(0).get("/readyz")?;
        let writable = connect(&set, 0)?.tell("SET a 1").is_ok();
        println!(
            "{} writable {writable}: {}",
            page.code,
            page.body.replace('\n', " | ")
        );
        if page.code != 200 && writable {
            not_ready += 1;
        }
    }
    ensure!(
        not_ready < 4,
        "not ready and writable for {not_ready} of 12 s after \"not done in time\""
    );
    Ok(())
}
