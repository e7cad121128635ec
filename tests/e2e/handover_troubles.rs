//! Handovers that cannot go as they should: nobody is told "done" that is not, writes are stopped for no
//! longer than the rest needs, and nobody else is hindered.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Manner, Set};

use crate::faults::fault_has_struck;
use crate::handover::{gentle, podzero, writers};
use crate::{connect, pause, set};

fn small() -> Manner {
    Manner {
        large: None,
        ..gentle()
    }
}

/// Starts a member's sidecar anew with a fault.
fn arm_fault(set: &mut Set, of: usize, fault: &str) -> Result<()> {
    set.member_mut(of).kill_sidecar()?;
    set.member_mut(of)
        .start_sidecar_with(&[("PODZERO_FAULT", fault)])?;
    set.converge()?;
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
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    let masters = set.masters();
    set.member(1).sidecar()?.resume()?;
    ensure!(
        !(code == 0 && masters.is_empty()),
        "exit {code} while the masters are {masters:?}: {said}"
    );
    Ok(())
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
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    let masters = set.masters();
    set.member(1).sidecar()?.resume()?;
    ensure!(
        !(code == 0 && masters.is_empty()),
        "exit {code} while the masters are {masters:?}: {said}"
    );
    Ok(())
}

/// A replica with a full disk is not the one that is chosen, and does not keep the hook from handing
/// over to the other one.
#[test]
fn a_full_disk_of_one_replica_does_not_stop_prestop() -> Result<()> {
    let set = set().start()?;
    std::fs::create_dir(set.member(1).data().join("podzero-state.json.new"))?;
    pause(6);
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    ensure!(code == 0, "{code}: {said}\n{}", set.describe());
    Ok(())
}

/// The same with the full disk on the one that is not the target.
#[test]
fn a_full_disk_of_a_bystander_does_not_stop_prestop() -> Result<()> {
    let set = set().start()?;
    std::fs::create_dir(set.member(2).data().join("podzero-state.json.new"))?;
    pause(6);
    let (code, said) = podzero(&set, 0, &["prestop"])?;
    ensure!(code == 0, "{code}: {said}\n{}", set.describe());
    Ok(())
}

/// The rights of the README's table are enough for what the README says of a handover.
#[test]
fn the_readmes_rights_are_enough_to_close_clients() -> Result<()> {
    let rights = if crate::is_redis_6() {
        "+info +replicaof +config|get +config|set +acl|setuser +client|kill"
    } else {
        "&* +info +replicaof +config|get +config|set +acl|setuser +client|kill"
    };
    let set = set()
        .password("secret")
        .env("PODZERO_USERNAME", "keeper")
        .base(&format!(
            "requirepass secret\nuser keeper on >secret {rights}"
        ))
        .start()?;
    let mut idle = set.member(0).connect()?;
    idle.tell("SET a 1")?;
    let (code, said) = podzero(&set, 0, &["failover"])?;
    let answer = idle.tell("SET a 2").err().map(|e| format!("{e:#}"));
    let answer = answer.unwrap_or_default();
    ensure!(
        code == 0 && !answer.contains("READONLY") && !answer.contains("read only"),
        "{code} {said}: still connected: {answer:?}; log: {}",
        set.member(0).log_tail("sidecar", 8)
    );
    Ok(())
}

/// A client is closed after the demotion also when the sidecar died just after the fence.
#[test]
fn clients_are_closed_after_the_sidecar_died_at_the_fence() -> Result<()> {
    let mut set = set().start()?;
    arm_fault(&mut set, 0, "kill:fenced")?;
    let mut idle = set.member(0).connect()?;
    idle.tell("SET a 1")?;
    let mut caller = set
        .member(0)
        .podzero(&["failover", "--to", "redis-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    fault_has_struck(&set, 0)?;
    caller.wait()?;
    set.member_mut(0).start_sidecar()?;
    set.converge()?;
    pause(5);
    let answer = idle.tell("SET a 2").err().map(|e| format!("{e:#}"));
    let answer = answer.unwrap_or_default();
    ensure!(
        !answer.contains("read only"),
        "the client still hangs on the old master: {answer:?}"
    );
    Ok(())
}

/// "With `--to` the role stays there until failover --to pod-0 or pod-0 restarts": also when a later
/// handover from there came to nothing.
#[test]
fn a_role_that_was_sent_away_stays_after_a_handover_that_failed() -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-2"])?;
    ensure!(code == 0, "{code}: {said}");
    set.converge()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    // What is armed is not shown: the giver calls it off in time.
    let (code, said) = podzero(&set, 2, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "{code}: {said}");
    ensure!(set.masters() == [2], "{:?}: {said}", set.masters());
    pause(1);
    set.member(1).sidecar()?.resume()?;
    ensure!(set.converge()? == 2, "moved at once");
    set.stays_as_it_is(Duration::from_secs(14))
}

/// The target's pod vanishes for good after the grant to it counted: the master goes on, and only a
/// person can end what only the target could.
fn a_target_that_vanishes(check: impl FnOnce(&mut Set) -> Result<()>) -> Result<()> {
    let mut set = set().env("PODZERO_GRACE", "6s").start()?;
    arm_fault(&mut set, 1, "stop:armed")?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 3, "{code}: {said}");
    set.member_mut(1).kill()?;
    set.names().withdraw("redis-1");
    pause(2);
    ensure!(set.masters() == [0], "{:?}", set.masters());
    check(&mut set)
}

#[test]
fn a_target_that_vanishes_is_told_with_the_way_out() -> Result<()> {
    a_target_that_vanishes(|set| {
        for words in [&["failover", "--to", "redis-2"][..], &["prestop"]] {
            let (code, said) = podzero(set, 0, words)?;
            ensure!(
                code == 3 && said.contains("podzero resolve --keep redis-0"),
                "{words:?}: {code}: {said}"
            );
            ensure!(set.masters() == [0], "{words:?}: {:?}", set.masters());
        }
        Ok(())
    })
}

#[test]
fn a_target_that_vanishes_and_a_persons_word() -> Result<()> {
    a_target_that_vanishes(|set| {
        let observer = set.observe();
        let (keep, words) = podzero(set, 0, &["resolve", "--keep", "redis-0"])?;
        pause(3);
        let masters = set.masters();
        let (code, said) = podzero(set, 0, &["failover", "--to", "redis-2"])?;
        println!("{keep} {words} {masters:?} {code} {said}");
        ensure!(
            keep == 0 && code == 0 && masters == [0],
            "resolve: {keep}: {words}; masters {masters:?}; failover: {code}: {said}"
        );
        observer.finish()
    })
}

/// How often a sidecar's loop turned.
fn turns(set: &Set, ordinal: usize) -> Result<u64> {
    let text = set.member(ordinal).get("/metrics")?.body;
    let line = text.lines().find(|l| l.contains("turns_total"));
    let number = line
        .and_then(|l| l.rsplit_once(' '))
        .and_then(|(_, n)| n.parse().ok());
    number.ok_or_else(|| anyhow::anyhow!("no turns: {line:?}"))
}

#[test]
fn a_target_that_vanishes_makes_nobody_spin() -> Result<()> {
    a_target_that_vanishes(|set| {
        pause(10);
        let before = (turns(set, 0)?, turns(set, 2)?);
        pause(5);
        let (a, c) = (turns(set, 0)? - before.0, turns(set, 2)? - before.1);
        ensure!(
            a < 400 && c < 400,
            "in 5 s redis-0 turned {a} times, redis-2 {c} times"
        );
        Ok(())
    })
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

/// Some megabytes of writes, each too small to be read in one go.
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
    let mut home = false;
    for _ in 0..60 {
        pause(1);
        home = set.masters() == [0];
        if home {
            break;
        }
    }
    pause(2);
    let gap = writers.take().gap;
    println!("home: {home}, gap {gap:?}");
    ensure!(
        gap < Duration::from_secs(5),
        "writes were stopped for {gap:?} (home: {home})\n{}",
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

/// A pod that cannot exist is refused at once.
#[test]
fn a_pod_that_is_not_there_is_refused_at_once() -> Result<()> {
    let set = set().start()?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-99"])?;
    ensure!(
        code == 3 && said.contains("redis-99 is no member") && !said.contains("in time"),
        "{code}: {said}"
    );
    Ok(())
}

/// Whoever in the pod network asks a sidecar to hurry costs it little.
#[test]
fn hurry_from_the_pod_network_costs_little() -> Result<()> {
    let set = set().start()?;
    let flood = "import http.client,sys,time\n\
        c=http.client.HTTPConnection(sys.argv[1],8379)\n\
        t=time.time()+25\n\
        while time.time()<t:\n\
        \x20c.request('GET','/status?hurry=1');c.getresponse().read()\n\
        \x20time.sleep(0.004)\n";
    let target = set.member(0).address().to_string();
    let _flood = set
        .member(2)
        .start_program("python3", &["-c", flood, &target])?;
    pause(2);
    let before = turns(&set, 0)?;
    pause(5);
    let made = turns(&set, 0)? - before;
    ensure!(made < 400, "{made} turns in 5 s");
    Ok(())
}

/// The limits of the socket: what is no request is refused in words, and the loop goes on.
#[test]
fn bad_input_on_the_socket() -> Result<()> {
    let set = set().start()?;
    let call = |path: &str, data: &str| {
        set.member(0).run(
            "curl",
            &[
                "-s",
                "-m",
                "20",
                "-w",
                " %{http_code}",
                "--unix-socket",
                "/run/podzero/podzero.sock",
                "-H",
                "content-type: application/json",
                "-d",
                data,
                &format!("http://x{path}"),
            ],
        )
    };
    let mut all = Vec::new();
    for (path, data) in [
        ("/failover", ""),
        ("/failover", "{"),
        ("/failover", "[]"),
        ("/failover", "{\"to\":5}"),
        ("/failover", "{\"to\":\"\"}"),
        ("/failover", "{\"to\":\"redis-4294967296\"}"),
        ("/failover", "{\"to\":\"redis--1\"}"),
        ("/failover", "{\"to\":\"redis-01\"}"),
        ("/failover", "{\"to\":\"a/../redis-1\"}"),
        ("/failover", "{\"to\":\"redis-0\"}"),
    ] {
        all.push(format!("{path} {data} -> {}", call(path, data)?));
    }
    println!("{}", all.join("\n"));
    ensure!(set.converge()? == 0, "it moved: {}", all.join("\n"));
    ensure!(
        all.iter()
            .take(9)
            .all(|l| l.ends_with(" 400") || l.ends_with(" 422") || l.ends_with(" 409")),
        "{}",
        all.join("\n")
    );
    Ok(())
}

/// A token file that cannot be read: whoever is in the pod network must not fill the log with it.
#[test]
fn a_token_that_cannot_be_read_is_an_error_of_the_start() -> Result<()> {
    let set = set().make()?;
    let mut command = set.member(0).podzero(&["sidecar"]);
    command.env("PODZERO_PRESTOP_TOKEN_FILE", "/nowhere/token");
    let done = command.output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(
        done.status.code() == Some(5) && said.contains("--prestop-token-file"),
        "{:?} {said}",
        done.status
    );
    Ok(())
}

/// The replica's name is away for a moment, its link is up: the hook must not give up at once.
#[test]
fn a_name_that_is_away_for_a_moment_is_not_nobody() -> Result<()> {
    let set = set().members(2).start()?;
    set.names().withdraw("redis-1");
    set.wait_for("the name is missed", || {
        let text = set.member(0).status()?.0.to_string();
        ensure!(text.contains("does not exist"), "{text}");
        Ok(())
    })?;
    let online = set.member(0).info()?.online_replicas();
    let hook = set
        .member(0)
        .podzero(&["prestop"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    pause(1);
    set.member(1).publish_name();
    let done = hook.wait_with_output()?;
    ensure!(
        set.masters() == [1],
        "{:?} with {online} replica online: {}",
        done.status.code(),
        String::from_utf8_lossy(&done.stdout)
    );
    Ok(())
}

/// Applications that only publish messages do not keep a handover from being done (below 7.0 PUBLISH
/// is in the stream, and `min-replicas-to-write` does not stop it).
#[test]
fn messages_do_not_stop_a_handover() -> Result<()> {
    let set = set().start()?;
    let till = harness::wait::now() + Duration::from_secs(25);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let opened = connect(&set, 0);
            std::thread::spawn(move || {
                let Ok(mut open) = opened else { return };
                while harness::wait::now() < till && open.tell("PUBLISH news hello").is_ok() {}
            })
        })
        .collect();
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
    burst(&set, 0, 30)?;
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
