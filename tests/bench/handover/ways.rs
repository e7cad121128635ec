//! The ways of changing the master on purpose: podzero's, the servers' own command, Sentinel's, and the
//! steps that a careful person takes. Each with the set that it is done on.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::Set;
use harness::wait::{SOON, now, pause};

use crate::PODZERO;
use crate::sentinel::watched;

/// One way of changing the master.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By {
    /// Its name in the table.
    pub(crate) who: &'static str,
    /// A settled set of three.
    pub(crate) set: fn() -> Result<Set>,
    /// From this one to another, which is returned where it is known.
    pub(crate) change: fn(&Set, usize) -> Result<Option<usize>>,
}

/// podzero's comes first.
pub(crate) const ALL: [By; 4] = [
    By {
        who: "podzero",
        set: || Set::builder(PODZERO).start(),
        change: podzero,
    },
    By {
        who: "FAILOVER",
        set: without_sidecars,
        change: command,
    },
    By {
        who: "SENTINEL FAILOVER",
        set: with_sentinels,
        change: sentinel,
    },
    By {
        who: "by hand",
        set: without_sidecars,
        change: hand,
    },
];

/// `podzero failover --to POD`, as a person would say it.
pub(crate) fn podzero(set: &Set, master: usize) -> Result<Option<usize>> {
    let to = (master + 1) % 3;
    let pod = set.member(to).pod();
    set.wait_for("the set takes it", || {
        let mut command = set.member(master).podzero(&["failover", "--to", &pod]);
        harness::process::run(&mut command).map(|_| ())
    })?;
    Ok(Some(to))
}

/// A set that is settled, and then left to itself.
fn without_sidecars() -> Result<Set> {
    let mut set = Set::builder(PODZERO).start()?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
    }
    Ok(set)
}

fn command(set: &Set, master: usize) -> Result<Option<usize>> {
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
    Ok(Some(to))
}

/// What podzero does too, without any of its checks, and with nobody to die in the middle: writes stop,
/// the target has all of them, it leads, and the others follow it.
fn hand(set: &Set, master: usize) -> Result<Option<usize>> {
    let (to, third) = ((master + 1) % 3, (master + 2) % 3);
    let open = |ordinal: usize| set.member(ordinal).connect();
    let (mut old, mut new, mut third) = (open(master)?, open(to)?, open(third)?);
    old.tell("CLIENT PAUSE 10000 WRITE")?;
    let wanted = old.info()?.number("master_repl_offset");
    let begun = now();
    while new.info()?.number("slave_repl_offset") < wanted {
        ensure!(begun.elapsed() < SOON, "the target never had every write");
        pause(Duration::from_micros(200));
    }
    new.tell("REPLICAOF NO ONE")?;
    let follow = format!("REPLICAOF {} 6379", set.member(to).address());
    old.tell(&follow)?;
    old.tell("CLIENT UNPAUSE")?;
    third.tell(&follow)?;
    Ok(Some(to))
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
fn sentinel(set: &Set, _master: usize) -> Result<Option<usize>> {
    set.wait_for("the sentinel takes it", || {
        set.member(3).connect()?.tell("SENTINEL FAILOVER redis")
    })?;
    Ok(None)
}
