//! Who starts a handover, and what they are told: the preStop hook in its forms, SIGTERM, several
//! callers at once.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::faults::fault_has_struck;
use crate::handover::{end, flat_out, gentle, podzero, spawn, writers};
use crate::handover_troubles::arm_fault;
use crate::{all_have, pause, set, write_everywhere};

/// S35: the hook runs when there is nothing left to do.
#[test]
fn s35_the_hook_returns_at_once_when_there_is_nothing_to_do() -> Result<()> {
    let mut set = set().members(1).start()?;
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    ensure!(
        code == 0 && said.contains("no other member"),
        "{code}: {said}"
    );
    set.member_mut(0).kill_server()?;
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    ensure!(code == 0 && said.contains("gone already"), "{code}: {said}");
    set.member_mut(0).kill_sidecar()?;
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    ensure!(
        code == 5 && said.contains("is it running"),
        "{code}: {said}"
    );
    Ok(())
}

/// S37: the hook returns only when the other one is the master, and the role stays away from a pod
/// that is being stopped.
#[test]
fn core_s37_the_hook_returns_when_another_one_is_the_master() -> Result<()> {
    let mut set = set().start()?;
    let (observer, writers) = (set.observe(), writers(&set, 2, &gentle()));
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    let masters = set.masters();
    ensure!(code == 0 && masters == [1], "{code}: {masters:?} {said}");
    ensure!(said.contains("with every write"), "{said}");
    let status = set.member(0).status()?.0;
    ensure!(
        status["terminating"] == true && status["ready"] == false,
        "{status}"
    );
    // A second call has nothing to hand over any more.
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    ensure!(
        code == 0 && said.contains("not the master"),
        "{code}: {said}"
    );
    set.member_mut(0).delete()?;
    set.member(0).publish_name();
    set.member_mut(0).start()?;
    set.wait_for("the role is home again", || {
        ensure!(set.converge()? == 0, "it is not");
        Ok(())
    })?;
    observer.finish()?;
    writers.finish(set.member(0).address())?;
    Ok(())
}

/// The hook runs in the server's container, which has no podzero but the one that `init` put there.
#[test]
fn init_installs_the_hook() -> Result<()> {
    let set = set()
        .init_env("PODZERO_INSTALL_DIR", "/run/podzero/bin")
        .start()?;
    let said = set
        .member(0)
        .run("/run/podzero/bin/podzero", &["prestop"])?;
    ensure!(
        said.contains("with every write") && set.masters() == [1],
        "{:?}: {said}",
        set.masters()
    );
    Ok(())
}

/// A replica lets its clients leave, and does not become the master meanwhile.
#[test]
fn a_replica_that_is_stopped_lets_clients_leave() -> Result<()> {
    let set = set().sidecar_env("PODZERO_DRAIN", "1s").start()?;
    let (code, said) = podzero(&set, 1, &["prestop"])?;
    ensure!(code == 0 && said.contains("not ready"), "{code}: {said}");
    ensure!(set.member(1).get("/readyz")?.code == 503, "it is ready");
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(
        code == 3 && said.contains("is being stopped"),
        "{code}: {said}"
    );
    ensure!(set.masters() == [0], "{:?}", set.masters());
    Ok(())
}

/// Two pods are drained at once: the third one leads.
#[test]
fn two_that_are_stopped_at_once_leave_the_third() -> Result<()> {
    let set = set().start()?;
    let writers = writers(&set, 2, &gentle());
    let one = set.member(1).podzero(&["prestop"]).spawn()?;
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    let two = { one }.wait_with_output()?;
    ensure!(code == 0 && two.status.success(), "{code}: {said}");
    ensure!(set.masters() == [2], "{:?}: {said}", set.masters());
    writers.finish(set.member(2).address())?;
    Ok(())
}

/// The sidecar of a server is told to end: it hands over only where that was asked for.
#[test]
fn sigterm_hands_over_where_that_was_asked_for() -> Result<()> {
    let mut set = set().env("PODZERO_HANDOVER_ON_SIGTERM", "true").start()?;
    let writers = writers(&set, 2, &gentle());
    set.member(0)
        .sidecar()?
        .terminate(Duration::from_secs(20))?;
    ensure!(
        set.masters() == [1],
        "{:?} {}",
        set.masters(),
        set.describe()
    );
    set.member_mut(0).start_sidecar()?;
    set.converge()?;
    writers.finish(set.member(1).address())?;
    Ok(())
}

/// Over TCP only with the token.
#[test]
fn prestop_over_tcp_needs_its_token() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "let me in\n")?;
    let set = set()
        .sidecar_env("PODZERO_PRESTOP_TOKEN_FILE", &token.to_string_lossy())
        .start()?;
    let call = |token: Option<&str>| -> Result<String> {
        let url = format!("http://{}:8379/prestop", set.member(0).address());
        let header = format!("Authorization: Bearer {}", token.unwrap_or_default());
        set.member(1)
            .run("curl", &["-s", "-w", " %{http_code}", "-H", &header, &url])
    };
    for wrong in [None, Some("let me"), Some("let me in please")] {
        let said = call(wrong)?;
        ensure!(
            said.ends_with("403") && !said.contains("let me in"),
            "{said}"
        );
    }
    let said = call(Some("let me in"))?;
    ensure!(
        said.ends_with("200") && said.contains("with every write"),
        "{said}"
    );
    ensure!(set.masters() == [1], "{:?}", set.masters());
    Ok(())
}

/// A second caller joins the first; a caller that hangs up changes nothing.
#[test]
fn a_handover_is_one_for_all_callers() -> Result<()> {
    let set = set().start()?;
    let writers = writers(&set, 4, &flat_out());
    let mut hangs_up = set.member(0).podzero(&["prestop"]).spawn()?;
    hangs_up.kill()?;
    hangs_up.wait()?;
    let callers: Vec<_> = (0..3)
        .map(|_| {
            set.member(0)
                .podzero(&["prestop"])
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<std::io::Result<_>>()?;
    for caller in callers {
        let done = caller.wait_with_output()?;
        ensure!(done.status.success(), "{done:?}");
    }
    // Whoever was more caught up under these writers.
    let masters = set.masters();
    ensure!(masters.len() == 1 && masters[0] != 0, "{masters:?}");
    writers.finish(set.member(masters[0]).address())?;
    Ok(())
}

/// Kubernetes calls the hook for a container that it starts again in the same pod, too.
#[test]
fn a_server_that_is_started_again_ends_the_stop() -> Result<()> {
    let mut set = set().sidecar_env("PODZERO_DRAIN", "100ms").start()?;
    let (code, said) = podzero(&set, 1, &["prestop"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.member(1).get("/readyz")?.code == 503, "it is ready");
    set.member_mut(1).kill_server()?;
    set.member_mut(1).start_server()?;
    set.converge()?;
    Ok(())
}

/// The whole set is deleted at once: nobody waits for anybody.
#[test]
fn a_set_that_is_deleted_as_a_whole_ends_soon() -> Result<()> {
    let set = set()
        .env("PODZERO_GRACE", "600s")
        .sidecar_env("PODZERO_DRAIN", "1s")
        .start()?;
    write_everywhere(&set, 0, "kept", 50)?;
    // In half of the grace, which a hook could wait, the test would have been ended long before.
    let callers: Vec<_> = (0..3)
        .map(|ordinal| {
            let mut command = set.member(ordinal).podzero(&["prestop"]);
            command.stdout(Stdio::piped()).spawn()
        })
        .collect::<std::io::Result<_>>()?;
    for caller in callers {
        let done = caller.wait_with_output()?;
        ensure!(done.status.success(), "{done:?}");
    }
    all_have(&set, "kept", 50)
}

/// Nobody is the master while the sidecar of pod-1 is stopped, just before its promotion.
fn the_hook_does_not_say_done(set: &harness::Set) -> Result<()> {
    let (code, said) = podzero(set, 0, &["prestop"])?;
    let masters = set.masters();
    set.member(1).sidecar()?.resume()?;
    ensure!(
        !(code == 0 && masters.is_empty()),
        "exit {code} while the masters are {masters:?}: {said}"
    );
    Ok(())
}

/// A `failover` whose target's sidecar hangs has run out of time: writes are stopped, nobody is the
/// master. Then the hook runs on the old master. It must not say "done".
#[test]
fn prestop_does_not_say_done_in_the_middle_of_a_handover() -> Result<()> {
    let mut set = set()
        .env("PODZERO_GRACE", "6s")
        .sidecar_env("PODZERO_DRAIN", "500ms")
        .start()?;
    arm_fault(&mut set, 1, "stop:promoting")?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "{code}: {said}");
    ensure!(set.masters().is_empty(), "{:?}", set.masters());
    the_hook_does_not_say_done(&set)
}

/// The same after the sidecar of the fenced master was started again.
#[test]
fn prestop_after_a_sidecars_restart_does_not_say_done_in_the_middle() -> Result<()> {
    let mut set = set()
        .env("PODZERO_GRACE", "20s")
        .sidecar_env("PODZERO_DRAIN", "500ms")
        .start()?;
    arm_fault(&mut set, 1, "stop:promoting")?;
    let mut hook = set
        .member(0)
        .podzero(&["prestop"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    fault_has_struck(&set, 1)?;
    set.member_mut(0).kill_sidecar()?;
    hook.wait()?;
    set.member_mut(0).start_sidecar()?;
    set.member(0).sidecar_is_started()?;
    the_hook_does_not_say_done(&set)
}

/// A replica that lets its clients leave has handed nothing over.
#[test]
fn a_replicas_prestop_is_not_counted_as_a_handover() -> Result<()> {
    let set = set().sidecar_env("PODZERO_DRAIN", "100ms").start()?;
    let (code, said) = podzero(&set, 1, &["prestop"])?;
    ensure!(code == 0, "{code}: {said}");
    let text = set.member(1).get("/metrics")?.body;
    let counted: Vec<&str> = text.lines().filter(|l| l.contains("handover")).collect();
    ensure!(
        !counted
            .iter()
            .any(|l| l.contains("done") && l.ends_with(" 1")),
        "{counted:?}"
    );
    Ok(())
}

/// The sidecar stops answering in the middle: a caller must not hang for ever.
#[test]
fn a_caller_does_not_hang_on_a_sidecar_that_hangs() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    arm_fault(&mut set, 0, "stop:counted")?;
    let begun = harness::wait::now();
    let mut caller = set
        .member(0)
        .podzero(&["prestop"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // The whole grace is 6 s, the command's own limit 20 s.
    while begun.elapsed() < Duration::from_secs(45) && caller.try_wait()?.is_none() {
        pause(1);
    }
    let ended = caller.try_wait()?;
    caller.kill()?;
    caller.wait()?;
    ensure!(ended.is_some(), "still waiting after {:?}", begun.elapsed());
    Ok(())
}

/// `failover --to redis-2` waits for redis-2; the hook then hands over to redis-1. The one who asked
/// for redis-2 must not be told "done".
#[test]
fn failover_to_one_is_told_done_for_another() -> Result<()> {
    let set = set().start()?;
    set.member(2).sidecar()?.pause()?;
    let caller = spawn(&set, 0, &["failover", "--to", "redis-2"])?;
    pause(3);
    let (hook, hook_said) = podzero(&set, 0, &["prestop"])?;
    let (code, said) = end(caller)?;
    set.member(2).sidecar()?.resume()?;
    println!("hook {hook}: {hook_said}\nfailover --to redis-2: {code}: {said}");
    ensure!(
        code != 0 || set.masters() == [2],
        "failover --to redis-2 ended with 0 while the master is {:?}: {said}",
        set.masters()
    );
    Ok(())
}

/// A replica whose server is loading, or hangs, has nothing to hand over: its hook ends soon.
#[test]
fn the_hook_of_a_replica_whose_server_hangs() -> Result<()> {
    let set = set()
        .sidecar_env("PODZERO_DRAIN", "500ms")
        .env("PODZERO_GRACE", "20s")
        .start()?;
    set.member(1).server()?.pause()?;
    let begun = harness::wait::now();
    let (code, said) = podzero(&set, 1, &["prestop"])?;
    set.member(1).server()?.resume()?;
    ensure!(code == 0, "{code} after {:?}: {said}", begun.elapsed());
    Ok(())
}

/// The master's server dies before the fence; the target is ready and takes the role later.
#[test]
fn nothing_to_do_while_it_is_done_later() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "12s").start()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    let caller = spawn(&set, 0, &["failover", "--to", "redis-1"])?;
    fault_has_struck(&set, 1)?;
    set.member_mut(0).kill_server()?;
    pause(2);
    set.member(1).sidecar()?.resume()?;
    let (code, said) = end(caller)?;
    pause(3);
    let masters = set.masters();
    ensure!(
        !(masters == [1] && (code == 7 || code == 0)),
        "failover ended with {code}: {said}; the master is {masters:?}"
    );
    Ok(())
}
