//! The master role moves on purpose: no acknowledged write is lost, nobody sees two masters, and the
//! caller is told the truth.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Manner, Set, Writers};

use crate::{connect, repetitions, set};

/// Applications that write now and then, with large values among it.
pub(crate) fn gentle() -> Manner {
    Manner {
        pause: Duration::from_millis(1),
        large: Some(2000),
    }
}

/// Applications that write as fast as they can.
pub(crate) fn flat_out() -> Manner {
    Manner {
        pause: Duration::ZERO,
        large: None,
    }
}

pub(crate) fn writers(set: &Set, count: usize, manner: &Manner) -> Writers {
    let addresses: Vec<_> = set.members().iter().map(harness::Member::address).collect();
    Writers::start(&addresses, set.password(), count, manner)
}

/// Full copies that were made since the servers started.
pub(crate) fn full_copies(set: &Set) -> Result<u64> {
    let copies = |m: &harness::Member| Ok(m.info()?.number("sync_full"));
    set.members().iter().map(copies).sum()
}

/// Runs a command in a pod; its exit code and what it said.
pub(crate) fn podzero(set: &Set, ordinal: usize, words: &[&str]) -> Result<(i32, String)> {
    let done = set.member(ordinal).podzero(words).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&done.stdout) + &text(&done.stderr);
    Ok((done.status.code().context("killed")?, said))
}

/// Runs a command in a pod, beside the test.
pub(crate) fn spawn(set: &Set, of: usize, words: &[&str]) -> Result<Child> {
    Ok(set
        .member(of)
        .podzero(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

/// What became of it.
pub(crate) fn end(child: Child) -> Result<(i32, String)> {
    let done = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        done.status.code().context("killed")?,
        text(&done.stdout) + &text(&done.stderr),
    ))
}

#[test]
fn core_s30_handovers_in_a_row_lose_nothing() -> Result<()> {
    let set = set().start()?;
    let (observer, writers) = (set.observe(), writers(&set, 4, &gentle()));
    let copies = full_copies(&set)?;
    let mut gaps = Vec::new();
    for round in 0..repetitions(10, 50) {
        let master = set.converge()?;
        writers.take();
        let to = format!("redis-{}", (master + 1) % 3);
        let (code, said) = podzero(&set, master, &["failover", "--to", &to])?;
        ensure!(
            code == 0,
            "round {round}: {code}: {said}\n{}",
            set.describe()
        );
        ensure!(said.contains("with every write"), "{said}");
        gaps.push(writers.take().gap);
    }
    let master = set.converge()?;
    let written = writers.finish(set.member(master).address())?;
    observer.finish()?;
    gaps.sort();
    println!("{written:?}, gaps {gaps:?}");
    let now = full_copies(&set)?;
    ensure!(
        now == copies,
        "{now} full copies instead of {copies}: {}",
        set.describe()
    );
    Ok(())
}

/// A replica that receives nothing for a while: the one ahead is chosen.
#[test]
fn s32_a_replica_that_is_behind_is_passed_over() -> Result<()> {
    let set = set().start()?;
    let large = Manner {
        large: Some(1000),
        ..gentle()
    };
    let writers = writers(&set, 2, &large);
    let copies = full_copies(&set)?;
    let before = set.member(0).info()?.number("master_repl_offset");
    set.member(1).server()?.pause()?;
    set.wait_for("pod-1 is behind", || {
        let now = set.member(0).info()?.number("master_repl_offset");
        ensure!(now > before + (2 << 20), "not enough was written");
        Ok(())
    })?;
    let (code, said) = podzero(&set, 0, &["failover"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(said.contains("redis-2 is the master"), "{said}");
    set.member(1).server()?.resume()?;
    let master = set.converge()?;
    writers.finish(set.member(master).address())?;
    let now = full_copies(&set)?;
    ensure!(
        now == copies,
        "{now} full copies instead of {copies} {}",
        set.describe()
    );
    Ok(())
}

/// `failover --to` keeps the role there; `failover --to` pod-0 ends that.
#[test]
fn a_role_that_was_sent_away_stays_away() -> Result<()> {
    let mut set = set().start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-2"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    set.stays_as_it_is(Duration::from_secs(14))?;
    let (code, said) = podzero(&set, 1, &["failover", "--to", "redis-1"])?;
    ensure!(
        code == 3 && said.contains("run podzero failover there"),
        "{code}: {said}"
    );
    let (code, said) = podzero(&set, 2, &["failover", "--to", "redis-2"])?;
    ensure!(code == 7 && said.contains("already"), "{code}: {said}");
    let (code, said) = podzero(&set, 2, &["failover", "--to", "other-0"])?;
    ensure!(
        code == 4 && said.contains("not a pod of the set"),
        "{code}: {said}"
    );
    // Pod-0 is another one after a restart of its server: the role goes home.
    set.member_mut(0).kill_server()?;
    set.member_mut(0).start_server()?;
    set.wait_for("the role is home", || {
        ensure!(set.masters() == [0], "{:?}", set.masters());
        Ok(())
    })
}

/// S40: a client that keeps its connection through a switch is closed, and writes at once elsewhere.
#[test]
fn s40_clients_of_the_old_master_are_closed() -> Result<()> {
    let set = set().start()?;
    let mut idle = set.member(0).connect()?;
    idle.tell("SET a 1")?;
    let (code, said) = podzero(&set, 0, &["failover"])?;
    ensure!(code == 0, "{code}: {said}");
    let answer = idle.tell("GET a").err().map(|e| format!("{e:#}"));
    let answer = answer.unwrap_or_default();
    ensure!(
        !answer.is_empty() && !answer.contains("READONLY"),
        "still connected: {answer:?}"
    );
    set.member(1).connect()?.tell("SET a 2")
}

/// S46: one replica is left after the switch, and the master wants one.
#[test]
fn s46_min_replicas_goes_on_after_a_switch() -> Result<()> {
    let mut set = set().members(2).base("min-replicas-to-write 1").start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    set.wait_for("writes go on", || set.member(1).connect()?.tell("SET a 1"))?;
    set.member_mut(0).kill()?;
    set.wait_for("writes are refused without a replica", || {
        let refused = set.member(1).connect()?.tell("SET a 2");
        ensure!(refused.is_err(), "accepted");
        Ok(())
    })?;
    let min = |o: usize| -> Result<String> {
        let pair: Vec<String> = set
            .member(o)
            .connect()?
            .ask("CONFIG GET min-replicas-to-write")?;
        Ok(pair.get(1).cloned().unwrap_or_default())
    };
    ensure!(min(1)? == "1", "the setting is {}", min(1)?);
    Ok(())
}

/// With a password, everything is the same.
#[test]
fn core_a_handover_with_a_password() -> Result<()> {
    let set = set().password("it is a secret").start()?;
    let (observer, writers) = (set.observe(), writers(&set, 4, &gentle()));
    let (code, said) = podzero(&set, 0, &["failover"])?;
    ensure!(code == 0, "{code}: {said}");
    let master = set.converge()?;
    observer.finish()?;
    writers.finish(set.member(master).address())?;
    Ok(())
}

/// S31: somebody gives FAILOVER while podzero hands over to another one.
#[test]
fn s31_a_failover_by_hand_at_the_same_time_has_one_winner() -> Result<()> {
    if crate::is_redis_6() {
        // It has no FAILOVER (6.2).
        return Ok(());
    }
    let set = set().start()?;
    for round in 0..repetitions(4, 20) {
        let master = set.converge()?;
        let writers = writers(&set, 2, &flat_out());
        let (one, two) = ((master + 1) % 3, (master + 2) % 3);
        let ours = set
            .member(master)
            .podzero(&["failover", "--to", &set.member(one).pod()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let to = set.member(two).address();
        harness::wait::pause(Duration::from_millis(13 * u64::try_from(round)?));
        // Refused or not: there is one winner.
        let _ = connect(&set, master)?.tell(&format!("FAILOVER TO {to} 6379 TIMEOUT 1000"));
        { ours }.wait_with_output()?;
        let winner = set.converge().with_context(|| format!("round {round}"))?;
        writers
            .finish(set.member(winner).address())
            .with_context(|| format!("round {round} {}", set.describe()))?;
    }
    Ok(())
}

/// S36: every pod is restarted in turn, as a rolling update does, with clients at 100 requests a
/// second each.
#[test]
fn core_s36_a_rolling_restart_loses_nothing() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_DRAIN", "500ms").start()?;
    let at_100 = Manner {
        pause: Duration::from_millis(10),
        large: None,
    };
    let (observer, writers) = (set.observe(), writers(&set, 4, &at_100));
    let copies = full_copies(&set)?;
    for ordinal in [2, 1, 0] {
        let (code, said) = podzero(&set, ordinal, &["prestop"])?;
        ensure!(code == 0, "redis-{ordinal}: {code}: {said}");
        set.member_mut(ordinal).delete()?;
        set.member(ordinal).publish_name();
        set.member_mut(ordinal).start()?;
        set.converge()?;
    }
    let master = set.converge()?;
    let written = writers.finish(set.member(master).address())?;
    observer.finish()?;
    println!("{written:?}");
    let now = full_copies(&set)?;
    ensure!(now <= copies, "{now} full copies: {}", set.describe());
    Ok(())
}

/// A replica of a newer version is not made the master while others must read its copies.
#[test]
fn members_of_several_versions_hand_over_to_one_that_all_can_read() -> Result<()> {
    let mut set = set().make()?;
    for (ordinal, part) in [(0, "redis-7.0"), (1, "redis-8.0"), (2, "redis-7.0")] {
        set.member_mut(ordinal).use_server(part)?;
    }
    set.start_all()?;
    let writers = writers(&set, 2, &gentle());
    set.converge()?;
    let (code, said) = podzero(&set, 0, &["failover"])?;
    ensure!(
        code == 0 && said.contains("redis-2 is the master"),
        "{code}: {said}"
    );
    set.converge()?;
    writers.finish(set.member(2).address())?;
    Ok(())
}

/// A member that answers nobody makes no gap longer: the others wait for it once at most.
#[test]
fn a_silent_member_does_not_lengthen_the_gap() -> Result<()> {
    let set = set().start()?;
    let mut stopped = Vec::new();
    for _ in 0..3 {
        let master = set.converge()?;
        let (to, third) = ((master + 1) % 3, (master + 2) % 3);
        set.member(third).server()?.pause()?;
        set.member(third).sidecar()?.pause()?;
        let (code, said) = podzero(&set, master, &["failover", "--to", &format!("redis-{to}")])?;
        set.member(third).server()?.resume()?;
        set.member(third).sidecar()?.resume()?;
        ensure!(code == 0, "{code}: {said}");
        let (_, last) = said.rsplit_once("the last ").context("no time")?;
        stopped.push(last.split(' ').next().unwrap_or_default().parse::<u64>()?);
    }
    // In a handover a member is waited for 250 ms.
    let least = stopped.iter().min().context("none")?;
    ensure!(*least < 250, "ms without writes: {stopped:?}");
    Ok(())
}

/// A handover long after the last one is as quick as the first.
#[test]
fn a_later_handover_is_as_quick_as_the_first() -> Result<()> {
    let set = set().start()?;
    let mut took = Vec::new();
    for round in 0..4 {
        if round > 0 {
            crate::pause(11);
        }
        let master = set.converge()?;
        let to = format!("redis-{}", (master + 1) % 3);
        let (code, said) = podzero(&set, master, &["failover", "--to", &to])?;
        ensure!(code == 0, "{code}: {said}");
        let (_, all) = said.split_once("with every write; ").context("no time")?;
        took.push(all.split(' ').next().unwrap_or_default().parse::<u64>()?);
    }
    let later = took[1..].iter().min().context("none")?;
    ensure!(*later < 4 * took[0], "ms: {took:?}");
    Ok(())
}
