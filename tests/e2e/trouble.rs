//! What cannot be done is told where people look, tried again in its time, and harms nobody else.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::handover::podzero;
use crate::{all_have, connect, has, pause, set, unsaved, write_everywhere};

/// Pod-0 does not see pod-2, which has more; pod-1 does. The role must not be offered without end.
#[test]
fn a_grant_that_is_refused_is_not_repeated_at_full_speed() -> Result<()> {
    let mut set = unsaved().sidecar_env("PODZERO_PEER_WAIT", "2s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    set.member(0).cut_from(set.member(1))?;
    connect(&set, 0)?.fill("more", 50)?;
    set.wait_for("pod-2 has more", || has(set.member(2), "more", 50))?;
    set.member(0).cut_from(set.member(2))?;
    set.member_mut(0).kill_server()?;
    let _ = std::fs::remove_file(set.member(0).data().join("dump.rdb"));
    set.member(0).heal_with(set.member(1))?;
    set.member_mut(0).start_server()?;
    pause(8);
    let before = set.member(0).status()?.0["epoch_seen"].to_string();
    pause(5);
    let after = set.member(0).status()?.0["epoch_seen"].to_string();
    ensure!(
        before == after,
        "the epoch went from {before} to {after} in 5 s: {}",
        set.describe()
    );
    Ok(())
}

/// Commands that are refused for good are not sent 200 times a second, and are told in words.
#[test]
fn a_command_that_is_refused_is_told_and_not_hammered() -> Result<()> {
    let mut set = set().base("rename-command REPLICAOF \"\"").make()?;
    set.start_all()?;
    pause(5);
    let lines = |set: &harness::Set| set.member(0).log_tail("sidecar", 1_000_000).lines().count();
    let before = (
        lines(&set),
        set.member(0).status()?.0["epoch_seen"].to_string(),
    );
    pause(5);
    let after = (
        lines(&set),
        set.member(0).status()?.0["epoch_seen"].to_string(),
    );
    let body = set.member(0).get("/readyz")?.body;
    ensure!(
        after.0 - before.0 < 20 && before.1 == after.1,
        "{before:?} -> {after:?} in 5 s; readyz: {body}; {}",
        set.member(0).log_tail("sidecar", 30)
    );
    ensure!(body.contains("unknown command"), "readyz: {body}");
    let init = set.member(0).log_tail("init", 10);
    ensure!(init.contains("renames REPLICAOF"), "init: {init}");
    Ok(())
}

/// What answers at a peer's address says a great deal, in the name of nobody. Whoever reads it must not
/// repeat it until their own pages are too long for one another.
#[test]
fn a_stranger_who_says_much_blinds_nobody() -> Result<()> {
    let mut set = set().start()?;
    let mut said = set.member(1).status()?.0;
    said["pod"] = "x".repeat(1_000_000).into();
    let file = set.member(2).path("said.json");
    std::fs::write(&file, said.to_string())?;
    set.member_mut(2).kill()?;
    let answer = "import http.server,sys\n\
        said=open(sys.argv[1],'rb').read()\n\
        class Says(http.server.BaseHTTPRequestHandler):\n\
        \x20def do_GET(self):\n\
        \x20\x20self.send_response(200);self.send_header('Content-Length',str(len(said)));self.end_headers();self.wfile.write(said)\n\
        http.server.ThreadingHTTPServer(('',8379),Says).serve_forever()\n";
    let file = file.display().to_string();
    let _stranger = set
        .member(2)
        .start_program("python3", &["-c", answer, &file])?;
    set.wait_for("it is heard", || {
        let status = set.member(0).status()?.0["peers"].to_string();
        ensure!(status.contains("no podzero sidecar"), "{status}");
        Ok(())
    })?;
    for ordinal in [0, 1] {
        let page = set.member(ordinal).get("/status")?.body;
        ensure!(page.len() < 64 << 10, "{} bytes", page.len());
    }
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge_on(&[0, 1]).map(|_| ())
}

/// A state file that cannot be written is why nothing happens: that must be said (I8).
#[test]
fn a_full_disk_is_told_in_status_and_readyz() -> Result<()> {
    let mut set = set().make()?;
    // As a full volume: a file can be made, and nothing written into it.
    std::fs::create_dir(set.member(0).data().join("podzero-state.json.new"))?;
    set.start_all()?;
    pause(5);
    let body = set.member(0).get("/readyz")?.body;
    let resolve = set
        .member(0)
        .podzero(&["resolve", "--keep", "redis-0"])
        .output()?;
    let resolve = format!(
        "{:?} {}",
        resolve.status.code(),
        String::from_utf8_lossy(&resolve.stderr)
    );
    ensure!(
        body.contains("state file"),
        "readyz: {body}\nresolve: {resolve}\n{}",
        set.describe()
    );
    Ok(())
}

/// A stranger's idle connections must not take the probes and the peers' reads away.
#[test]
fn idle_connections_of_a_stranger_do_not_end_the_probes() -> Result<()> {
    let set = set().start()?;
    let flood = "import socket,sys,time\n\
        a=sys.argv[1];c=[]\n\
        for i in range(300):\n\
        \x20s=socket.create_connection((a,8379));s.sendall(b'GET /livez HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000\\r\\n\\r\\n');c.append(s)\n\
        time.sleep(120)\n";
    let target = set.member(0).address().to_string();
    let _flood = set
        .member(2)
        .start_program("python3", &["-c", flood, &target])?;
    pause(8);
    for _ in 0..10 {
        let page = set.member(0).get("/livez");
        ensure!(
            page.as_ref().is_ok_and(|p| p.code == 200),
            "{page:?} pod-1 sees: {}",
            set.member(1).status()?.0
        );
        pause(1);
    }
    Ok(())
}

/// One replica's data volume is full; the master's server restarts.
#[test]
fn a_full_disk_of_one_replica_does_not_keep_the_set_without_a_master() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_PEER_WAIT", "3s").start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    connect(&set, 0)?.tell("SAVE")?;
    std::fs::create_dir(set.member(2).data().join("podzero-state.json.new"))?;
    set.member_mut(0).kill_server()?;
    set.member_mut(0).start_server()?;
    set.wait_for("somebody leads", || {
        ensure!(set.masters().len() == 1, "nobody");
        Ok(())
    })
}

#[test]
fn members_that_are_followed_by_name_may_move() -> Result<()> {
    // Servers resolve by themselves here; an attempt to reach an address that vanished ends with the
    // repl-timeout.
    let mut set = set()
        .env("PODZERO_ADDRESS_FORM", "name")
        .base("repl-timeout 5")
        .start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    connect(&set, 0)?.tell("SAVE")?;
    set.member_mut(0).kill()?;
    crate::start_elsewhere(&mut set, 0)?;
    set.converge()?;
    all_have(&set, "kept", 50)
}

/// The user that podzero logs in as may not make the replication user: nobody can replicate.
#[test]
fn rights_that_are_missing_are_told_in_status() -> Result<()> {
    // Redis 6.0 has no rules for channels.
    let channels = if crate::is_redis_6() { "" } else { "&* " };
    let mut set = set()
        .password("secret")
        .env("PODZERO_USERNAME", "pz")
        .base(&format!(
            "user pz on >secret ~* {channels}-@all +info +ping +replicaof +config|get +config|set"
        ))
        .make()?;
    set.start_all()?;
    pause(8);
    let one = set.member(1).get("/readyz")?.body;
    let zero = set.member(0).get("/readyz?verbose")?.body;
    ensure!(
        one.contains("replication user") || zero.contains("replication user"),
        "redis-1: {one}\nredis-0: {zero}\n{}",
        set.member(0).log_tail("sidecar", 10)
    );
    Ok(())
}

/// README "without the chart": nothing says that the sidecar needs the configuration's directory.
#[test]
fn a_configuration_that_stays_stale_is_told() -> Result<()> {
    let mut set = set()
        .sidecar_env("PODZERO_CONF", "/run/elsewhere/redis.conf")
        .start()?;
    set.member_mut(1).kill()?;
    set.member_mut(1).start()?;
    set.converge()?;
    pause(3);
    let conf = std::fs::read_to_string(set.member(1).conf())?;
    let body = set.member(1).get("/readyz?verbose")?.body;
    let status = set.member(1).status()?.0.to_string();
    ensure!(
        conf.contains("replicaof 127.0.0.1 0")
            || body.contains("configuration")
            || status.contains("configuration"),
        "the file still has {:?}; readyz: {body}; {}",
        conf.lines().find(|l| l.starts_with("replicaof")),
        set.member(1).log_tail("sidecar", 8)
    );
    Ok(())
}

/// A replica that is not allowed to follow says so once, not 100 times a second.
#[test]
fn a_follow_that_fails_does_not_flood_the_log() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    connect(&set, 0)?.tell("SAVE")?;
    connect(&set, 1)?.tell("ACL SETUSER default -replicaof -slaveof")?;
    set.member_mut(0).kill()?;
    crate::start_elsewhere(&mut set, 0)?;
    set.converge_on(&[0, 2])?;
    let lines = |set: &harness::Set| set.member(1).log_tail("sidecar", 1_000_000).lines().count();
    let before = lines(&set);
    pause(5);
    let after = lines(&set);
    ensure!(
        after - before < 20,
        "{} lines in 5 s: {} readyz: {}",
        after - before,
        set.member(1).log_tail("sidecar", 3),
        set.member(1).get("/readyz")?.body
    );
    Ok(())
}

/// One member's server refuses REPLICAOF, and it is the first choice: another one could lead.
#[test]
fn a_grant_that_cannot_be_carried_out_goes_to_another() -> Result<()> {
    let mut set = unsaved().start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    connect(&set, 1)?.tell("ACL SETUSER default -replicaof -slaveof")?;
    set.member_mut(0).kill_server()?;
    let _ = std::fs::remove_file(set.member(0).data().join("dump.rdb"));
    set.member_mut(0).start_server()?;
    pause(15);
    let body = set.member(0).get("/readyz")?.body;
    let one = set.member(1).get("/readyz")?.body;
    ensure!(
        set.masters().len() == 1,
        "nobody leads; redis-0: {body}\nredis-1: {one}"
    );
    Ok(())
}

/// Any pod that reaches port 8379 holds all places with connections that send nothing, made anew when
/// they are closed. Probes and peers must still get through.
#[test]
fn a_stranger_that_holds_all_connections_does_not_end_the_probes() -> Result<()> {
    let set = set().start()?;
    let flood = "import socket,sys,threading,time\n\
        a=sys.argv[1]\n\
        def hold():\n\
        \x20while True:\n\
        \x20\x20try:\n\
        \x20\x20\x20s=socket.create_connection((a,8379));s.recv(1)\n\
        \x20\x20except Exception: time.sleep(0.01)\n\
        for i in range(400): threading.Thread(target=hold,daemon=True).start()\n\
        time.sleep(120)\n";
    let target = set.member(1).address().to_string();
    let _flood = set
        .member(2)
        .start_program("python3", &["-c", flood, &target])?;
    pause(6);
    let mut failed = 0;
    for _ in 0..20 {
        if !set.member(1).get("/livez").is_ok_and(|p| p.code == 200) {
            failed += 1;
        }
        harness::wait::pause(Duration::from_millis(250));
    }
    let seen = set.member(0).status()?.0["peers"].to_string();
    ensure!(
        failed == 0,
        "{failed} of 20 probes failed; pod-0 sees: {seen}"
    );
    Ok(())
}
