//! What people and strangers say to a sidecar about a handover.

use anyhow::{Result, ensure};

use crate::handover::podzero;
use crate::handover_troubles::turns;
use crate::{pause, set};

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
        ("/failover", "{\"too\":\"redis-1\"}"),
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
            .take(10)
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
