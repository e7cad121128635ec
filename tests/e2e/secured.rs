//! Passwords and users: that they work with the least rights and with TLS, that they are replaced without
//! anybody noticing, and that they are nowhere else. The suites of bootstrap, handover and failover run
//! with all of it too (`PODZERO_TEST_SECURED`).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::client::{Way, connect_by};
use harness::secured::PLAIN_PORT;
use harness::{Conn, Manner, Member, Set, Writers};

use crate::handover::podzero;
use crate::{all_have, pause, set, start_elsewhere, write_everywhere};

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

/// One member does not see the change: nobody stops accepting the old one, and it is said why.
#[test]
fn an_old_password_is_valid_until_the_last_member_has_the_new_one() -> Result<()> {
    let set = set()
        .password("the first")
        .sidecar_env("PODZERO_PASSWORD_OVERLAP", "1s")
        .start()?;
    let before = Before::begin(&set, Some("the first"))?;
    for ordinal in [0, 1] {
        set.member(ordinal).replace_password("the second")?;
    }
    set.wait_for("it is said who is waited for", || {
        let reasons = set.member(0).status()?.reasons();
        ensure!(reasons.contains("password_waits"), "{reasons}");
        ensure!(reasons.contains("redis-2"), "{reasons}");
        ensure!(!reasons.contains("redis-1:"), "{reasons}");
        Ok(())
    })?;
    pause(8);
    for member in set.members() {
        ensure!(logs_in(member, "the first")?, "{}", member.pod());
    }
    link_anew(&set)?;
    // It is put back: what was begun is undone, and nobody noticed.
    for ordinal in [0, 1] {
        set.member(ordinal).replace_password("the first")?;
    }
    set.wait_for("the second is forgotten", || {
        for ordinal in 0..3 {
            let member = set.member(ordinal);
            ensure!(!logs_in(member, "the second")?, "{}", member.pod());
            let text = fs::read_to_string(member.conf())?;
            ensure!(!text.contains("the second"), "{}", member.pod());
        }
        Ok(())
    })?;
    link_anew(&set)?;
    before.end(&set)
}

/// The sidecar dies in the middle, and when it comes back the password is the old one again.
#[test]
fn a_password_that_is_put_back_while_the_sidecar_is_away() -> Result<()> {
    let mut set = set()
        .password("the first")
        .sidecar_env("PODZERO_PASSWORD_OVERLAP", "1s")
        .start()?;
    set.member(1).replace_password("the second")?;
    set.wait_for("its server accepts both", || {
        ensure!(logs_in(set.member(1), "the second")?, "not yet");
        let text = fs::read_to_string(set.member(1).conf())?;
        ensure!(text.contains("the second"), "not written yet");
        Ok(())
    })?;
    set.member_mut(1).kill_sidecar()?;
    set.member(1).replace_password("the first")?;
    set.member_mut(1).start_sidecar()?;
    set.wait_for("the second is forgotten", || {
        let text = fs::read_to_string(set.member(1).conf())?;
        ensure!(!text.contains("the second"), "it is in the file");
        ensure!(!logs_in(set.member(1), "the second")?, "it is accepted");
        Ok(())
    })?;
    set.member_mut(1).kill_server()?;
    set.member_mut(1).start_server()?;
    set.converge().map(|_| ())
}

/// How it is with everybody's applications before something is replaced.
pub(crate) struct Before {
    writers: Writers,
    epoch: u64,
    syncs: u64,
    runs: Vec<String>,
}

impl Before {
    pub(crate) fn begin(set: &Set, password: Option<&str>) -> Result<Self> {
        let manner = Manner {
            pause: Duration::from_millis(5),
            large: None,
        };
        Ok(Self {
            writers: Writers::start(&[set.member(0).address()], password, 2, &manner),
            epoch: set.member(0).status()?.epoch(),
            syncs: set.member(0).info()?.number("sync_full"),
            runs: runs(set)?,
        })
    }

    /// Nobody noticed.
    pub(crate) fn end(self, set: &Set) -> Result<()> {
        let written = self.writers.finish(set.member(0).address())?;
        ensure!(written.errors == 0, "{written:?}");
        ensure!(set.converge()? == 0, "the role moved");
        let epoch = set.member(0).status()?.epoch();
        ensure!(epoch == self.epoch, "{} became {epoch}", self.epoch);
        let syncs = set.member(0).info()?.number("sync_full");
        ensure!(syncs == self.syncs, "{} became {syncs}", self.syncs);
        ensure!(runs(set)? == self.runs, "a server was restarted");
        Ok(())
    }
}

fn runs(set: &Set) -> Result<Vec<String>> {
    let run = |m: &Member| Ok(m.info()?.get("run_id").to_owned());
    set.members().iter().map(run).collect()
}

/// The links of all replicas end, and come back.
pub(crate) fn link_anew(set: &Set) -> Result<()> {
    set.member(0).connect()?.tell("CLIENT KILL TYPE replica")?;
    pause(1);
    set.converge().map(|_| ())
}

fn logs_in(member: &Member, password: &str) -> Result<bool> {
    match Conn::open(member.address(), Some(password)) {
        Ok(_) => Ok(true),
        Err(error) if format!("{error:#}").contains("authentication failed") => Ok(false),
        Err(error) => Err(error),
    }
}

fn masterauth(member: &Member, login: &str) -> Result<String> {
    let mut connection = Conn::open(member.address(), Some(login))?;
    let pair: Vec<String> = connection.ask("CONFIG GET masterauth")?;
    pair.into_iter().nth(1).context("no masterauth")
}

/// The Secret is changed, and the pods see it one after the other.
#[test]
fn s55_a_password_is_replaced_while_everything_goes_on() -> Result<()> {
    let mut set = set()
        .password("the first")
        .sidecar_env("PODZERO_PASSWORD_OVERLAP", "30s")
        .start()?;
    let before = Before::begin(&set, Some("the first"))?;
    for ordinal in [2, 0, 1] {
        set.member(ordinal).replace_password("the second")?;
        pause(2);
        // Whatever the sidecars are at: what is said to them goes on.
        link_anew(&set)?;
    }
    // One does not remember what it has begun.
    set.member_mut(1).kill_sidecar()?;
    set.member_mut(1).start_sidecar()?;
    set.wait_for(
        "both are accepted, and replication uses the new one",
        || {
            for member in set.members() {
                ensure!(logs_in(member, "the second")?, "{}: the new", member.pod());
                ensure!(logs_in(member, "the first")?, "{}: the old", member.pod());
                let used = masterauth(member, "the second")?;
                ensure!(used == "the second", "{} has {used}", member.pod());
            }
            Ok(())
        },
    )?;
    link_anew(&set)?;
    set.wait_for("the old one ends", || {
        for member in set.members() {
            ensure!(!logs_in(member, "the first")?, "{}", member.pod());
        }
        Ok(())
    })?;
    for member in set.members() {
        let text = fs::read_to_string(member.conf())?;
        ensure!(!text.contains("the first"), "{}", member.pod());
        ensure!(text.contains("the second"), "{}", member.pod());
    }
    // The tests' own connections use the old one: what is left to see is seen with the new.
    let master = set.member(0).address();
    let written = before.writers.end(master);
    ensure!(written.is_err(), "the old one is accepted");
    connect_by(Way {
        port: None,
        login: Some(("default".to_owned(), "the second".to_owned())),
    });
    ensure!(set.converge()? == 0, "the role moved");
    ensure!(set.member(0).status()?.epoch() == before.epoch, "the epoch");
    ensure!(
        set.member(0).info()?.number("sync_full") == before.syncs,
        "a full copy"
    );
    ensure!(runs(&set)? == before.runs, "a server was restarted");
    // A server that is started again has the new one from its file.
    set.member_mut(2).kill_server()?;
    set.member_mut(2).start_server()?;
    set.converge().map(|_| ())
}

/// The sidecar was away when the password was replaced, and its server knows the old one alone.
#[test]
fn a_password_that_was_replaced_while_the_sidecar_was_away() -> Result<()> {
    let mut set = set().password("the first").start()?;
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
        set.member(ordinal).replace_password("the second")?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).start_sidecar()?;
    }
    set.wait_for("the new one is accepted", || {
        for member in set.members() {
            ensure!(logs_in(member, "the second")?, "{}", member.pod());
        }
        Ok(())
    })?;
    ensure!(set.converge()? == 0, "the role moved");
    Ok(())
}

/// What the kubelet puts there may be wrong: the old one goes on, and it is said.
#[test]
fn a_password_that_cannot_be_used_replaces_nothing() -> Result<()> {
    let set = set().password("the first").start()?;
    let before = Before::begin(&set, Some("the first"))?;
    set.member(1).replace_password("")?;
    set.wait_for("it is said", || {
        let reasons = set.member(1).status()?.reasons();
        ensure!(reasons.contains("secret_unread"), "{reasons}");
        ensure!(reasons.contains("is empty"), "{reasons}");
        Ok(())
    })?;
    set.member(1).replace_password("the first\n")?;
    set.wait_for("it is not said any more", || {
        let reasons = set.member(1).status()?.reasons();
        ensure!(!reasons.contains("secret_unread"), "{reasons}");
        Ok(())
    })?;
    before.end(&set)
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
