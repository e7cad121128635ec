//! A settled set of three, watched by three sentinels in pods of their own: a set of podzero's, or one
//! that knows nothing of podzero.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::Set;

/// Where the sentinels are.
const SENTINELS: std::ops::Range<usize> = 3..6;

/// Sentinel's own is three minutes, and it waits twice that long when an election came to nothing.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// The set: members 0 to 2, with their sidecars, and sentinels that know all of it in 3 to 5.
pub(crate) fn watched() -> Result<Set> {
    let mut set = crate::set().make()?;
    // Pods for the sentinels: no sidecar is to know of them.
    for ordinal in SENTINELS {
        set.grow()?;
        set.names().withdraw(&set.member(ordinal).pod());
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start()?;
    }
    let master = set.converge_on(&[0, 1, 2])?;
    start_sentinels(&mut set, master, "")?;
    Ok(set)
}

/// The same without podzero: redis-0 is the master, and the sentinels act by themselves when it has
/// been down for so long.
pub(crate) fn alone(down_after: Duration) -> Result<Set> {
    let mut set = crate::set().members(6).make()?;
    start_plain(&mut set, 0, None)?;
    for ordinal in [1, 2] {
        start_plain(&mut set, ordinal, Some(0))?;
    }
    set.wait_for("everybody has a link", || crate::handover::settled(&set))?;
    let more = format!(
        "sentinel down-after-milliseconds redis {}\nsentinel failover-timeout redis {}\n",
        down_after.as_millis(),
        FAILOVER_TIMEOUT.as_millis(),
    );
    start_sentinels(&mut set, 0, &more)?;
    Ok(set)
}

/// Starts a server without podzero, as charts with sentinels do: as a replica of who leads by now.
pub(crate) fn start_plain(set: &mut Set, ordinal: usize, master: Option<usize>) -> Result<()> {
    let base = set.member(ordinal).base_conf();
    let base = base.to_string_lossy();
    let mut words = vec![&*base, "--protected-mode", "no"];
    let address = master.map(|master| set.member(master).address().to_string());
    if let Some(address) = &address {
        words.extend(["--replicaof", address, "6379"]);
    }
    set.member_mut(ordinal).start_server_with(&words)
}

fn start_sentinels(set: &mut Set, master: usize, more: &str) -> Result<()> {
    let master = set.member(master).address();
    for ordinal in SENTINELS {
        let text =
            format!("port 6379\nprotected-mode no\nsentinel monitor redis {master} 6379 2\n{more}");
        let file = set.member(ordinal).path("sentinel.conf");
        fs::write(&file, text).context("writing sentinel.conf")?;
        start_sentinel(set, ordinal)?;
    }
    set.wait_for("every sentinel knows all replicas and the others", || {
        SENTINELS
            .clone()
            .try_for_each(|ordinal| knows_all(set, ordinal))
    })
}

/// Starts a sentinel for the first time or again: its file has what it knows.
pub(crate) fn start_sentinel(set: &mut Set, ordinal: usize) -> Result<()> {
    let member = set.member_mut(ordinal);
    let file = member.path("sentinel.conf");
    // `redis-sentinel` is this binary under another name.
    member.start_server_with(&[&file.to_string_lossy(), "--sentinel"])
}

fn knows_all(set: &Set, ordinal: usize) -> Result<()> {
    let mut sentinel = set.member(ordinal).connect()?;
    let told: HashMap<String, String> = sentinel.ask("SENTINEL MASTER redis")?;
    for (field, wanted) in [("num-slaves", "2"), ("num-other-sentinels", "2")] {
        let value = told.get(field);
        ensure!(
            value.is_some_and(|value| value == wanted),
            "{field} is {value:?}"
        );
    }
    Ok(())
}

/// Every sentinel knows who leads, and finds everybody well.
pub(crate) fn find_all_well(set: &Set, master: usize) -> Result<()> {
    let address = set.member(master).address().to_string();
    SENTINELS.clone().try_for_each(|ordinal| {
        knows_all(set, ordinal)?;
        let mut sentinel = set.member(ordinal).connect()?;
        let master: HashMap<String, String> = sentinel.ask("SENTINEL MASTER redis")?;
        ensure!(
            master.get("ip") == Some(&address)
                && master.get("flags").is_some_and(|f| f == "master"),
            "sentinel {ordinal}: {master:?}"
        );
        for (whom, wanted) in [("REPLICAS", "slave"), ("SENTINELS", "sentinel")] {
            let all: Vec<HashMap<String, String>> =
                sentinel.ask(&format!("SENTINEL {whom} redis"))?;
            for one in all {
                let link = one.get("master-link-status");
                ensure!(
                    one.get("flags").is_some_and(|flags| flags == wanted)
                        && link.is_none_or(|link| link == "ok"),
                    "sentinel {ordinal}: {one:?}"
                );
            }
        }
        Ok(())
    })
}
