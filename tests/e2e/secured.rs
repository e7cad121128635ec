//! Passwords and users: that they work with the least rights and with TLS, and that they are nowhere else.
//! The suites of bootstrap, handover and failover run with all of it too (`PODZERO_TEST_SECURED`).

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::Member;
use harness::client::{Way, connect_by};
use harness::secured::PLAIN_PORT;

use crate::handover::podzero;
use crate::passwords::logs_in;
use crate::{all_have, set, start_elsewhere, write_everywhere};

/// Everything on: TLS between all, no default user, podzero's own with the least rights.
#[test]
fn core_s56_with_the_least_rights_and_tls_a_set_starts_hands_over_and_comes_back() -> Result<()> {
    let mut set = set().secured().start()?;
    write_everywhere(&set, 0, "before", 50)?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.converge()? == 1, "{}", set.describe());
    write_everywhere(&set, 1, "after", 50)?;
    set.member_mut(1).kill_server()?;
    set.member_mut(1).start_server()?;
    let master = set.converge()?;
    write_everywhere(&set, master, "again", 50)?;
    all_have(&set, "before", 50)?;
    all_have(&set, "after", 50)?;
    set.member_mut(2).delete()?;
    start_elsewhere(&mut set, 2)?;
    set.converge()?;
    for member in set.members() {
        let port: Vec<String> = member.connect()?.ask("CONFIG GET tls-replication")?;
        ensure!(port.get(1).is_some_and(|on| on == "yes"), "{port:?}");
    }
    Ok(())
}

/// Whatever people and their generators choose, from the generated configuration to the last handover.
#[test]
fn s52_passwords_of_any_text_work_with_tls() -> Result<()> {
    let longest = "x".repeat(512);
    let mut set = set().private().password("replaced below").make()?;
    for password in [
        "#ai%EQie!^i",
        " in between and around ",
        "'single' and \"double\"",
        "back\\slash \\n \\",
        "$HOME ${x} `y` $(z)",
        "päßwörd 日本 🔑",
        "a\tb",
        &longest,
    ] {
        connect_by(Way {
            port: Some(PLAIN_PORT),
            login: Some(("default".to_owned(), password.to_owned())),
        });
        for member in set.members() {
            member.replace_password(password)?;
        }
        set.start_all()?;
        let master = set.converge().context(password.to_owned())?;
        let to = format!("redis-{}", (master + 1) % 3);
        let (code, said) = podzero(&set, master, &["failover", "--to", &to])?;
        ensure!(code == 0, "{password}: {code}: {said}");
        set.converge().context(password.to_owned())?;
        set.kill_all()?;
    }
    Ok(())
}

/// Servers that do not know a command repeat what it was given: none of it goes any further.
#[test]
fn s57_a_server_that_repeats_what_it_is_told_tells_no_secret() -> Result<()> {
    const SECRET: &str = "s57-the-repeated-password";
    // Its SHA-256, by which it could be guessed.
    const HASH: &str = "f603837b198ecb8f";
    for command in ["HELLO", "ACL", "CONFIG"] {
        let mut set = set()
            .members(1)
            .password(SECRET)
            .base(&format!("rename-command {command} \"\""))
            .make()?;
        let member = set.member_mut(0);
        member.init()?;
        member.start_sidecar()?;
        member.sidecar_is_started()?;
        member.start_server()?;
        set.wait_for("it is told", || {
            let page = set.member(0).get("/readyz?verbose")?.body;
            ensure!(page.contains("unknown command"), "{page}");
            Ok(())
        })?;
        let member = set.member(0);
        let mut seen = Vec::new();
        for page in ["/", "/status", "/metrics", "/readyz?verbose"] {
            seen.push(member.get(page)?.body);
        }
        for log in ["init", "sidecar"] {
            seen.push(fs::read_to_string(member.path(&format!("{log}.log")))?);
        }
        for text in &seen {
            ensure!(!text.contains(SECRET), "{command}: {text}");
            ensure!(!text.contains(HASH), "{command}: {text}");
        }
    }
    Ok(())
}

/// Everything that the processes produce is searched for what is secret.
#[test]
fn s57_secrets_are_nowhere_but_in_their_files() -> Result<()> {
    const FIRST: &str = "s57-the-first-password";
    const SECOND: &str = "s57-the-second-password";
    const TOKEN: &str = "s57-the-token-of-the-hook";
    let mut set = set()
        .password(FIRST)
        .env("PODZERO_LOG", "trace")
        .pod_file_env("PODZERO_PRESTOP_TOKEN_FILE", "token")
        .make()?;
    for member in set.members() {
        fs::write(member.path("token"), TOKEN)?;
    }
    set.start_all()?;
    set.converge()?;
    let mut seen = Vec::new();
    // Also what goes wrong: a wrong password, and a wrong token.
    set.member(1).replace_password("s57-the-wrong\npassword")?;
    let address = set.member(0).address();
    for token in ["s57-no-token", TOKEN] {
        let header = format!("Authorization: Bearer {token}");
        let url = format!("http://{address}:8379/prestop");
        seen.push(
            set.member(2)
                .run("curl", &["-s", "-i", "-H", &header, &url])?,
        );
    }
    set.wait_for("the role has moved", || {
        ensure!(set.masters().first().is_some_and(|m| *m != 0), "not yet");
        Ok(())
    })?;
    for member in set.members() {
        member.replace_password(SECOND)?;
    }
    set.wait_for("the new one is accepted", || {
        let accepted = |m: &Member| logs_in(m, SECOND).unwrap_or(false);
        ensure!(set.members().iter().all(accepted), "not yet");
        Ok(())
    })?;
    for member in set.members() {
        for page in ["/", "/status", "/metrics", "/readyz?verbose", "/livez"] {
            seen.push(member.get(page)?.body);
        }
        for log in ["init", "sidecar", "server"] {
            seen.push(fs::read_to_string(member.path(&format!("{log}.log")))?);
        }
        for process in [member.sidecar()?, member.server()?] {
            for file in ["cmdline", "environ"] {
                let file = format!("/proc/{}/{file}", process.pid());
                seen.push(String::from_utf8_lossy(&fs::read(file)?).into_owned());
            }
        }
        for entry in fs::read_dir(member.data())? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                seen.push(fs::read_to_string(path)?);
            }
        }
        seen.push(
            member
                .connect()?
                .ask::<Vec<redis::Value>>("SLOWLOG GET 128")
                .map(|all| format!("{all:?}"))?,
        );
    }
    ensure!(
        seen.iter().map(String::len).sum::<usize>() > 10_000,
        "nothing was seen"
    );
    for secret in [FIRST, SECOND, TOKEN, "s57-the-wrong"] {
        for text in &seen {
            let at = text.find(secret);
            let around = at.map(|at| &text[at.saturating_sub(200)..(at + 100).min(text.len())]);
            ensure!(around.is_none(), "{secret} is in: {around:?}");
        }
    }
    Ok(())
}
