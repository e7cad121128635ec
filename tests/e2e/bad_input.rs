//! Wrong settings, files and neighbours: a clear error with its exit code, or a wait in words.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use anyhow::{Result, ensure};
use harness::{Member, Set};

use crate::set;

/// A user without rights.
const ORDINARY: u32 = 65534;

fn one() -> Result<Set> {
    set().members(1).make()
}

/// Runs a command with changed settings; an unwanted ending is an error with its words.
fn ends(
    member: &Member,
    words: &[&str],
    env: &[(&str, &str)],
    code: i32,
    contains: &str,
) -> Result<()> {
    let mut command = member.podzero(words);
    for (name, value) in env {
        command.env(name, value);
    }
    let Output { status, stderr, .. } = command.output()?;
    let said = String::from_utf8_lossy(&stderr);
    ensure!(
        status.code() == Some(code) && said.contains(contains) && !said.contains("panicked"),
        "{words:?} {env:?}: wanted {code} and {contains:?}, got {status} and {said}"
    );
    Ok(())
}

#[test]
fn settings_that_make_no_sense_are_usage_errors() -> Result<()> {
    let set = one()?;
    let member = set.member(0);
    for command in ["init", "sidecar"] {
        ends(
            member,
            &[command],
            &[("PODZERO_POD_NAME", "redis")],
            2,
            "StatefulSet",
        )?;
        ends(
            member,
            &[command],
            &[("PODZERO_REDIS_PORT", "tcp://10.0.0.1:6379")],
            2,
            "enableServiceLinks",
        )?;
        ends(
            member,
            &[command],
            &[("PODZERO_AUTHORITY", "raft")],
            2,
            "lease",
        )?;
        ends(
            member,
            &[command],
            &[("PODZERO_USERNAME", "u")],
            2,
            "--password-file",
        )?;
        ends(member, &[command, "--nonsense"], &[], 2, "--nonsense")?;
        ends(
            member,
            &[command],
            &[("PODZERO_DISCOVER", "soon")],
            2,
            "30s",
        )?;
    }
    Ok(())
}

/// The Lease's times must leave room for one another, and there must be a way to the API.
#[test]
fn a_lease_that_cannot_be_kept_is_refused() -> Result<()> {
    let set = one()?;
    for (name, value, code, contains) in [
        ("PODZERO_LEASE_DURATION", "4500ms", 2, "--lease-duration"),
        ("PODZERO_RENEW_DEADLINE", "1500ms", 2, "--renew-deadline"),
        ("PODZERO_LEASE_NAME", "No_Name", 2, "No_Name"),
        ("PODZERO_LOG", "info", 5, "service account"),
    ] {
        let environment = [("PODZERO_AUTHORITY", "lease"), (name, value)];
        ends(set.member(0), &["sidecar"], &environment, code, contains)?;
    }
    Ok(())
}

#[test]
fn base_configurations_that_cannot_be_used() -> Result<()> {
    let set = one()?;
    let member = set.member(0);
    let base = member.base_conf();
    for (text, contains) in [
        ("save \"60 1\n", "base.conf"),
        ("include base.conf\n", "include"),
    ] {
        let text = text.replace("include base.conf", &format!("include {}", base.display()));
        fs::write(&base, text)?;
        ends(member, &["init"], &[], 5, contains)?;
    }
    fs::remove_file(&base)?;
    ends(member, &["init"], &[], 5, "base.conf")?;
    ensure!(
        !member.conf().exists(),
        "a configuration was written all the same"
    );
    Ok(())
}

#[test]
fn what_the_base_configuration_gets_wrong_is_overridden_and_named() -> Result<()> {
    let set = one()?;
    let member = set.member(0);
    fs::write(
        member.base_conf(),
        "replicaof 10.0.0.1 6379\nreplica-read-only no\nbind 127.0.0.1\n",
    )?;
    member.init()?;
    let log = member.log_tail("init", 50);
    for name in ["replicaof", "replica-read-only", "bind"] {
        ensure!(log.contains(name), "{name} is not named: {log}");
    }
    let conf = fs::read_to_string(member.conf())?;
    ensure!(
        conf.contains("replicaof 127.0.0.1 0") && conf.contains("replica-read-only yes"),
        "{conf}"
    );
    let before = conf;
    member.init()?;
    ensure!(
        fs::read_to_string(member.conf())? == before,
        "a second run writes something else"
    );
    Ok(())
}

#[test]
fn password_files_that_cannot_be_used() -> Result<()> {
    let set = one()?;
    let member = set.member(0);
    let file = member.path("secret");
    let name = file.display().to_string();
    for command in ["init", "sidecar"] {
        let _ = fs::remove_file(&file);
        ends(
            member,
            &[command],
            &[("PODZERO_PASSWORD_FILE", &name)],
            5,
            "secret",
        )?;
        fs::write(&file, "\n")?;
        ends(
            member,
            &[command],
            &[("PODZERO_PASSWORD_FILE", &name)],
            5,
            "secret",
        )?;
        fs::write(&file, [0xff, 0xfe])?;
        ends(
            member,
            &[command],
            &[("PODZERO_PASSWORD_FILE", &name)],
            5,
            "secret",
        )?;
    }
    Ok(())
}

#[test]
fn append_only_over_an_old_dump_is_refused() -> Result<()> {
    let mut set = set().start()?;
    crate::write_everywhere(&set, 0, "dump", 10)?;
    set.member(1).connect()?.tell("SAVE")?;
    set.member_mut(1).kill()?;
    fs::write(set.member(1).base_conf(), "appendonly yes\n")?;
    ends(set.member(1), &["init"], &[], 4, "append")
}

#[test]
fn directories_that_are_missing_or_full() -> Result<()> {
    let set = one()?;
    let member = set.member(0);
    ends(
        member,
        &["init"],
        &[("PODZERO_DATA_DIR", "/nowhere/data")],
        5,
        "/nowhere/data",
    )?;
    ends(
        member,
        &["init"],
        &[("PODZERO_CONF", "/proc/podzero/redis.conf")],
        5,
        "/proc/podzero",
    )?;
    let full = member.path("full").display().to_string();
    fs::create_dir(&full)?;
    member.run("mount", &["-t", "tmpfs", "-o", "size=4k", "tmpfs", &full])?;
    // The directory's own page is all there is.
    let dd = format!("dd if=/dev/zero of={full}/fill bs=4k count=1 2>/dev/null || true");
    member.run("sh", &["-c", &dd])?;
    let conf = format!("{full}/redis.conf");
    ends(member, &["init"], &[("PODZERO_CONF", &conf)], 5, &full)?;
    let left = member.run("ls", &["-A", &full])?;
    ensure!(left.trim() == "fill", "a half-written file stays: {left}");
    Ok(())
}

#[test]
fn a_directory_of_somebody_else_is_told_with_the_way_out() -> Result<()> {
    let set = one()?;
    let member = set.member(0);
    fs::set_permissions(member.path("run/conf"), fs::Permissions::from_mode(0o777))?;
    for words in ["init", "sidecar"] {
        let output = member.podzero_as(Some(ORDINARY), &[words]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(5)
                && said.contains("fsGroup")
                && said.contains(&ORDINARY.to_string())
                && said.contains(&member.data().display().to_string()),
            "{words}: {} {said}",
            output.status
        );
    }
    Ok(())
}

#[test]
fn neighbours_that_are_no_redis_are_not_taken_for_one() -> Result<()> {
    let mut set = set().start()?;
    crate::write_everywhere(&set, 0, "noise", 20)?;
    set.member_mut(2).kill()?;
    // Whatever is said to it, on either port, it answers with the same words.
    let noise = "import socket,threading\n\
        def serve(p):\n\
        \x20s=socket.create_server(('',p));s.listen(64)\n\
        \x20while True:\n\
        \x20\x20c,_=s.accept();c.recv(65536);c.sendall(b'220 mail.example ESMTP\\r\\n'*1000);c.close()\n\
        threading.Thread(target=serve,args=(6379,)).start();serve(8379)\n";
    let _noise = set.member(2).start_program("python3", &["-c", noise])?;
    set.wait_for("pod-1 says what is wrong with pod-2", || {
        let status = set.member(1).status()?.0.to_string();
        ensure!(status.contains("is no podzero sidecar"), "{status}");
        Ok(())
    })?;
    // A first boot does not go on without knowing what is there.
    set.member_mut(0).kill()?;
    set.member(0).delete_data()?;
    set.member_mut(0).start()?;
    set.wait_for("pod-0 waits for it in words", || {
        let body = set.member(0).get("/readyz")?.body;
        ensure!(
            body.contains("redis-2") && body.contains("is no podzero sidecar"),
            "{body}"
        );
        Ok(())
    })?;
    ensure!(set.masters().is_empty(), "{:?}", set.masters());
    crate::has(set.member(1), "noise", 20)
}

#[test]
fn a_member_whose_peers_refuse_its_login_says_so() -> Result<()> {
    let mut set = set().password("right").start()?;
    crate::write_everywhere(&set, 0, "auth", 20)?;
    set.member_mut(2).kill()?;
    fs::write(set.member(2).path("password"), "wrong")?;
    set.member_mut(2).start()?;
    set.wait_for("pod-2 is not ready and says why", || {
        let page = set.member(2).get("/readyz")?;
        ensure!(
            page.code == 503 && page.body.contains("refuses"),
            "{page:?}"
        );
        Ok(())
    })?;
    ensure!(set.converge_on(&[0, 1])? == 0, "the role moved");
    fs::write(set.member(2).path("password"), "right")?;
    set.member_mut(2).kill()?;
    set.member_mut(2).start()?;
    set.converge()?;
    crate::all_have(&set, "auth", 20)
}

#[test]
fn without_a_sidecar_a_master_that_refuses_the_login_ends_the_wait() -> Result<()> {
    let mut set = set()
        .password("right")
        .env("PODZERO_WITHOUT_SIDECAR", "true")
        .env("PODZERO_TIMEOUT", "4s")
        .make()?;
    set.member(0).init()?;
    set.member_mut(0).start_server()?;
    set.wait_for("pod-0 answers", || set.member(0).info().map(|_| ()))?;
    fs::write(set.member(1).path("password"), "wrong")?;
    ends(set.member(1), &["init"], &[], 6, "login")
}

#[test]
fn a_port_in_use_is_an_error_of_the_start() -> Result<()> {
    let mut set = one()?;
    set.start_all()?;
    set.wait_for("the sidecar answers", || {
        set.member(0).get("/livez").map(|_| ())
    })?;
    ends(
        set.member(0),
        &["sidecar"],
        &[("PODZERO_SOCKET", "/run/podzero/other.sock")],
        5,
        "8379",
    )
}

#[test]
fn a_torn_state_file_is_unknown() -> Result<()> {
    let mut set = set().start()?;
    crate::write_everywhere(&set, 0, "torn", 20)?;
    for member in set.members() {
        member.connect()?.tell("SAVE")?;
    }
    set.kill_all()?;
    set.member(1).put("podzero-state.json", b"{\"schema\":1,")?;
    set.start_all()?;
    set.converge()?;
    crate::all_have(&set, "torn", 20)
}

#[test]
fn an_acl_file_goes_on_working() -> Result<()> {
    let mut set = set().make()?;
    for ordinal in 0..3 {
        let acl = set.member(ordinal).path("data/users.acl");
        fs::write(
            &acl,
            "user default on nopass ~* &* +@all\nuser app on >secret ~* &* +@all\n"
                .replace(" &*", if crate::is_redis_6() { "" } else { " &*" }),
        )?;
        fs::write(
            set.member(ordinal).base_conf(),
            format!("repl-diskless-sync-delay 0\naclfile {}\n", acl.display()),
        )?;
    }
    set.start_all()?;
    set.converge()?;
    harness::Conn::open_as(set.member(0).address(), Some("app"), Some("secret"))?.tell("SET a 1")
}

#[test]
fn a_server_that_refuses_the_login_is_told_in_words() -> Result<()> {
    let mut set = set().members(1).password("right").make()?;
    set.start_all()?;
    set.wait_for("the server answers its sidecar", || {
        ensure!(set.member(0).status()?.role() == "fenced", "not yet");
        Ok(())
    })?;
    // What it was started with, and what is in the file, are both not it any more.
    let member = set.member_mut(0);
    member.connect()?.tell("CONFIG SET requirepass by-hand")?;
    member.kill_sidecar()?;
    member.start_sidecar()?;
    set.wait_for("the refusal is told", || {
        let body = set.member(0).get("/readyz")?.body;
        ensure!(body.contains("refuses the login"), "{body}");
        Ok(())
    })
}
