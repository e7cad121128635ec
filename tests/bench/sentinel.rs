//! A settled set of three, watched by three sentinels in pods of their own.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::Set;

use crate::PODZERO;

/// The set: members 0 to 2, with their sidecars, and sentinels that know all of it in 3 to 5.
pub(crate) fn watched() -> Result<Set> {
    let mut set = Set::builder(PODZERO).make()?;
    // Pods for the sentinels: no sidecar is to know of them.
    for ordinal in 3..6 {
        set.grow()?;
        set.names().withdraw(&set.member(ordinal).pod());
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start()?;
    }
    let master = set.converge_on(&[0, 1, 2])?;
    for ordinal in 3..6 {
        start_sentinel(&mut set, ordinal, master)?;
    }
    set.wait_for("every sentinel knows all replicas and the others", || {
        (3..6).try_for_each(|ordinal| knows_all(&set, ordinal))
    })?;
    Ok(set)
}

fn start_sentinel(set: &mut Set, ordinal: usize, master: usize) -> Result<()> {
    let master = set.member(master).address();
    let member = set.member_mut(ordinal);
    let file = member.path("sentinel.conf");
    let text = format!("port 6379\nprotected-mode no\nsentinel monitor redis {master} 6379 2\n");
    fs::write(&file, text).context("writing sentinel.conf")?;
    // `redis-sentinel` is this binary under another name.
    member.start_server_with(&[&file.to_string_lossy(), "--sentinel"])
}

fn knows_all(set: &Set, ordinal: usize) -> Result<()> {
    let told: Vec<String> = set
        .member(ordinal)
        .connect()?
        .ask("SENTINEL MASTER redis")?;
    for (field, wanted) in [("num-slaves", "2"), ("num-other-sentinels", "2")] {
        let value = told.iter().skip_while(|word| *word != field).nth(1);
        ensure!(
            value.is_some_and(|value| value == wanted),
            "{field} is {value:?}"
        );
    }
    Ok(())
}
