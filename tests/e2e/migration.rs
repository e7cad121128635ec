//! The ways from another chart, as `charts/podzero/MIGRATION.md` tells them.

use anyhow::{Result, ensure};
use harness::{Conn, Set};
use redis::cmd;

use crate::cluster::Cluster;
use crate::handover::podzero;
use crate::{all_have, connect, write_everywhere};

/// What belongs to nobody's set yet.
fn start_old(set: &mut Set, ordinal: usize, more: &[&str]) -> Result<()> {
    let base = set.member(ordinal).base_conf();
    let base = base.to_string_lossy();
    let mut arguments = vec![&*base, "--protected-mode", "no"];
    arguments.extend(more);
    set.member_mut(ordinal).start_server_with(&arguments)
}

/// Three servers as other charts run them: the data is in append-only files, a snapshot is none or old.
#[test]
fn the_volumes_of_another_chart_are_taken_with_everything() -> Result<()> {
    const OLD_MASTER: usize = 1;
    let mut cluster = Cluster::unwatched(|builder| builder)?;
    let set = &mut cluster.set;
    for ordinal in 0..3 {
        start_old(set, ordinal, &["--appendonly", "yes", "--save", ""])?;
    }
    let at = set.member(OLD_MASTER).address();
    for ordinal in [0, 2] {
        set.wait_for("it follows", || {
            connect(set, ordinal)?.tell(&format!("REPLICAOF {at} 6379"))
        })?;
    }
    connect(set, OLD_MASTER)?.fill("old", 500)?;
    all_have(set, "old", 500)?;
    set.wait_for("their files are written", || {
        for member in set.members() {
            let info = member.info()?;
            ensure!(info.number("aof_rewrite_in_progress") == 0, "rewrites");
        }
        Ok(())
    })?;
    for ordinal in 0..3 {
        let mut server = connect(set, ordinal)?;
        server.send::<()>(cmd("CONFIG").arg("SET").arg("save").arg(""))?;
        server.tell("SAVE")?;
    }
    for ordinal in 0..3 {
        let member = set.member_mut(ordinal);
        member.server()?.terminate(harness::wait::SOON)?;
        ensure!(member.path("data/dump.rdb").exists(), "no snapshot");
    }
    set.start_all()?;
    let master = set.converge()?;
    all_have(set, "old", 500)?;
    ensure!(connect(set, master)?.count("old")? == 500, "{master}");
    write_everywhere(set, master, "new", 50)
}

/// The old server goes on until the end, and is there to go back to.
#[test]
fn a_set_grows_beside_the_old_server_and_takes_over_from_it() -> Result<()> {
    const OLD: usize = 2;
    let mut cluster = Cluster::unwatched(|builder| builder.members(1).password("of podzero"))?;
    let pods = |cluster: &Cluster, pods: u32| {
        let patch = format!(r#"{{"spec":{{"replicas":{pods}}}}}"#);
        cluster.patch("statefulset/redis", &patch)
    };
    pods(&cluster, 1)?;
    let set = &mut cluster.set;
    for another in ["redis-1", "redis-2"] {
        set.grow()?;
        set.names().withdraw(another);
    }
    start_old(set, OLD, &["--requirepass", "of the old"])?;
    let at = set.member(OLD).address();
    let old = || Conn::open(at, Some("of the old"));
    set.wait_for("it answers", || old()?.fill("old", 500))?;
    set.member_mut(0).start()?;
    set.converge_on(&[0])?;
    let mut first = connect(set, 0)?;
    for (name, value) in [("masteruser", ""), ("masterauth", "of the old")] {
        first.send::<()>(cmd("CONFIG").arg("SET").arg(name).arg(value))?;
    }
    first.tell(&format!("REPLICAOF {at} 6379"))?;
    set.wait_for("it has everything, and says what it sees", || {
        let info = set.member(0).info()?;
        ensure!(info.has_link(), "no link");
        let offset = |info: &harness::client::Info| info.number("master_repl_offset");
        ensure!(offset(&info) == offset(&old()?.info()?), "not everything");
        let said = set.member(0).status()?.reasons();
        let what = format!("redis-0 copies from {at}:6379");
        ensure!(said.contains(&what), "{said}");
        Ok(())
    })?;
    connect(set, 0)?.has("old", 500)?;
    let (code, said) = podzero(set, 0, &["resolve", "--keep", "redis-0"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.converge_on(&[0])? == 0, "{}", set.describe());
    connect(set, 0)?.fill("new", 50)?;
    set.member_mut(OLD).kill_server()?;
    pods(&cluster, 2)?;
    let set = &mut cluster.set;
    set.member(1).publish_name();
    set.member_mut(1).start()?;

    ensure!(set.converge_on(&[0, 1])? == 0, "{}", set.describe());
    connect(set, 1)?.has("old", 500)?;
    connect(set, 1)?.has("new", 50)?;
    Ok(())
}
