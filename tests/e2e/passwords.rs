//! Passwords that are replaced while everything goes on: nobody notices, and none that has ended comes back.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::client::{Way, connect_by};
use harness::{Conn, Manner, Member, Set, Writers};

use crate::cluster::Cluster;
use crate::{pause, set};

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

pub(crate) fn logs_in(member: &Member, password: &str) -> Result<bool> {
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
    as_default("the second");
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

/// With an ACL file its writer says which passwords are valid: what is not in it any more stays so,
/// whatever the sidecar remembers.
#[test]
fn a_password_that_was_taken_out_of_the_acl_file_stays_out() -> Result<()> {
    let mut set = set()
        .password("first")
        .sidecar_env("PODZERO_PASSWORD_OVERLAP", "10m")
        .make()?;
    let write = |set: &Set, passwords: &[&str]| -> Result<()> {
        let passwords: Vec<_> = passwords.iter().map(|p| format!(">{p}")).collect();
        let passwords = passwords.join(" ");
        // Redis 6.0 has no rules for channels.
        let channels = if crate::is_redis_6() { "" } else { "&* " };
        for member in set.members() {
            let rules = format!("user default on {passwords} ~* {channels}+@all\n");
            fs::write(member.path("data/users.acl"), rules)?;
        }
        Ok(())
    };
    write(&set, &["first", "second"])?;
    for member in set.members() {
        let acl = member.path("data/users.acl");
        let base = format!("repl-diskless-sync-delay 0\naclfile {}\n", acl.display());
        fs::write(member.base_conf(), base)?;
    }
    set.start_all()?;
    set.converge()?;
    for member in set.members() {
        member.replace_password("second")?;
    }
    set.wait_for("replication logs in with the new one", || {
        for member in set.members() {
            let used = masterauth(member, "second")?;
            ensure!(used == "second", "{} has {used}", member.pod());
        }
        Ok(())
    })?;
    write(&set, &["second"])?;
    for member in set.members() {
        Conn::open(member.address(), Some("second"))?.tell("ACL LOAD")?;
    }
    for ordinal in 0..3 {
        set.member_mut(ordinal).kill_sidecar()?;
        set.member_mut(ordinal).start_sidecar()?;
    }
    // Files are looked at every five seconds.
    pause(12);
    for member in set.members() {
        ensure!(!logs_in(member, "first")?, "{}", member.pod());
    }
    as_default("second");
    set.converge().map(|_| ())
}

/// Each is valid for those who have it still, but not without end.
#[test]
fn many_passwords_one_after_the_other_leave_eight_old_ones() -> Result<()> {
    let password = |n: usize| format!("password number {n}");
    let set = set()
        .members(1)
        .password(&password(0))
        .sidecar_env("PODZERO_PASSWORD_OVERLAP", "10m")
        .start()?;
    for n in 1..=9 {
        set.member(0).replace_password(&password(n))?;
        set.wait_for("the next one is accepted", || {
            ensure!(logs_in(set.member(0), &password(n))?, "{n}");
            Ok(())
        })?;
    }
    set.wait_for("the first of them has ended", || {
        ensure!(!logs_in(set.member(0), &password(0))?, "it is accepted");
        Ok(())
    })?;
    for n in 1..=9 {
        ensure!(logs_in(set.member(0), &password(n))?, "{n}");
    }
    Ok(())
}

/// What goes on for long may wait for just the password that is in the file by now.
#[test]
fn a_password_is_replaced_while_somebody_else_holds_the_lease() -> Result<()> {
    let mut cluster = Cluster::make(|builder| builder.password("the first"))?;
    cluster.set.start_all()?;
    cluster.set.converge()?;
    let patch = r#"{"spec":{"holderIdentity":"somebody-else","leaseDurationSeconds":600}}"#;
    cluster.patch("lease/redis", patch)?;
    let set = &cluster.set;
    let waits = || {
        for member in set.members() {
            let reasons = member.status()?.reasons();
            ensure!(
                reasons.contains("lease_held"),
                "{}: {reasons}",
                member.pod()
            );
        }
        Ok(())
    };
    set.wait_for("all wait for it", waits)?;
    for member in set.members() {
        member.replace_password("the second")?;
    }
    set.wait_for("the new one is accepted", || {
        for member in set.members() {
            ensure!(logs_in(member, "the second")?, "{}", member.pod());
        }
        Ok(())
    })?;
    waits()
}

/// From then on the tests' connections log in with it, whichever they name.
fn as_default(password: &str) {
    connect_by(Way {
        port: None,
        login: Some(("default".to_owned(), password.to_owned())),
    });
}
