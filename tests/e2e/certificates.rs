//! TLS: that it works with nothing else, that a stranger is found out, and that certificates and their
//! authorities are replaced, or expire, without anybody noticing.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::set::server_binary;
use harness::{Member, Set, secured};

use crate::handover::podzero;
use crate::passwords::{Before, link_anew};
use crate::{pause, set, write_everywhere};

/// Servers without any port but the one with TLS.
#[test]
fn a_set_of_servers_with_tls_alone() -> Result<()> {
    let mut set = set().private_only().make()?;
    set.start_all()?;
    let all_ready = |set: &Set| {
        set.wait_for("all are ready", || {
            for member in set.members() {
                let page = member.get("/readyz")?;
                ensure!(page.code == 200, "{}: {}", member.pod(), page.body);
            }
            Ok(())
        })
    };
    all_ready(&set)?;
    ensure!(cli(set.member(0), "SET there 1")? == "OK", "not written");
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    all_ready(&set)?;
    ensure!(cli(set.member(1), "GET there")? == "1", "not there");
    ensure!(cli(set.member(1), "SET there 2")? == "OK", "not written");
    Ok(())
}

/// What `redis-cli` with the pod's certificate is told.
fn cli(member: &Member, words: &str) -> Result<String> {
    let cli = server_binary()?.with_file_name("redis-cli");
    let cli = cli.to_str().context("a path")?;
    let tls = member.path("tls");
    let file = |name: &str| tls.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.crt"), file("tls.crt"), file("tls.key"));
    let address = member.address().to_string();
    let mut all = vec![
        "--tls", "--cacert", &ca, "--cert", &cert, "--key", &key, "-h", &address,
    ];
    all.extend(words.split(' '));
    Ok(member.run(cli, &all)?.trim().to_owned())
}

/// A certificate that the authority signed, but for somebody else: nobody takes that server for the
/// member that it is, but its own sidecar, which must be able to stop it.
#[test]
fn a_server_with_the_certificate_of_another_is_nobody() -> Result<()> {
    let mut set = set().private().start()?;
    set.member_mut(2).kill()?;
    set.member(2).renew_certificate("DNS:somebody.else")?;
    set.member_mut(2).start()?;
    set.wait_for("its own sidecar says so", || {
        let reasons = set.member(2).status()?.reasons();
        ensure!(reasons.contains("certificate_unfit"), "{reasons}");
        ensure!(
            reasons.contains("redis-2.redis.shop.svc.cluster.local"),
            "{reasons}"
        );
        Ok(())
    })?;
    ensure!(set.converge()? == 0, "the role moved");
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-2"])?;
    ensure!(code != 0, "{said}");
    ensure!(set.converge()? == 0, "the role moved");
    set.member(2).renew_certificate(&secured::all_members())?;
    set.wait_for("it shows the new one", || {
        let reasons = set.member(2).status()?.reasons();
        ensure!(!reasons.contains("certificate_unfit"), "{reasons}");
        Ok(())
    })?;
    // One that did not take it is passed over for a while.
    set.wait_for("it is handed over", || {
        let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-2"])?;
        ensure!(code == 0, "{code}: {said}");
        Ok(())
    })?;
    ensure!(set.converge()? == 2, "the role did not move");
    // One that is wrong comes later: the server goes on with what it has.
    let shown_before = shown(set.member(2))?;
    set.member(2).renew_certificate("DNS:somebody.else")?;
    set.wait_for("its sidecar says so", || {
        let reasons = set.member(2).status()?.reasons();
        ensure!(reasons.contains("secret_unread"), "{reasons}");
        ensure!(reasons.contains("is not this server's"), "{reasons}");
        Ok(())
    })?;
    ensure!(
        shown(set.member(2))? == shown_before,
        "it shows another one"
    );
    ensure!(set.converge()? == 2, "the role moved");
    Ok(())
}

/// What a server shows to a new connection.
fn shown(member: &Member) -> Result<String> {
    let tls = member.path("tls");
    let words = format!(
        "openssl s_client -connect '{}:6379' -cert {tls}/tls.crt -key {tls}/tls.key -CAfile {tls}/ca.crt </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
        member.address(),
        tls = tls.display()
    );
    member.run("sh", &["-c", &words])
}

fn in_file(member: &Member) -> Result<String> {
    let file = member.path("tls").join("tls.crt");
    let file = file.display().to_string();
    member.run(
        "openssl",
        &["x509", "-noout", "-fingerprint", "-sha256", "-in", &file],
    )
}

/// Certificates are replaced; connections that exist go on, new ones use the new.
#[test]
fn core_s58_certificates_are_replaced_while_everything_goes_on() -> Result<()> {
    let mut set = set().private().start()?;
    let before = Before::begin(&set, None)?;
    let old = shown(set.member(0))?;
    // One sidecar is away meanwhile.
    set.member_mut(2).kill_sidecar()?;
    for member in set.members() {
        member.renew_certificate(&secured::all_members())?;
    }
    set.member_mut(2).start_sidecar()?;
    set.wait_for("the servers show the new ones", || {
        for member in set.members() {
            let (shown, file) = (shown(member)?, in_file(member)?);
            ensure!(shown == file, "{}: {shown} is not {file}", member.pod());
        }
        Ok(())
    })?;
    ensure!(shown(set.member(0))? != old, "it is the same");
    link_anew(&set)?;
    for member in set.members() {
        let page = member.get("/metrics")?.body;
        for of in ["authority", "own", "server"] {
            let name = format!("podzero_certificate_expiry_timestamp_seconds{{of=\"{of}\"}}");
            let line = page.lines().find(|line| line.starts_with(&name));
            ensure!(line.is_some(), "{}: no {name} in {page}", member.pod());
        }
    }
    before.end(&set)
}

/// Files that do not belong together replace nothing.
#[test]
fn certificates_that_cannot_be_used_replace_nothing() -> Result<()> {
    let set = set().private().start()?;
    let before = Before::begin(&set, None)?;
    let key = set.member(1).path("tls").join("tls.key");
    let kept = fs::read(&key)?;
    fs::write(&key, "-----BEGIN NOTHING-----\n")?;
    set.wait_for("it is said", || {
        let reasons = set.member(1).status()?.reasons();
        ensure!(reasons.contains("secret_unread"), "{reasons}");
        ensure!(reasons.contains("--tls-key-file"), "{reasons}");
        Ok(())
    })?;
    fs::write(&key, kept)?;
    before.end(&set)
}

/// The day is over: what exists goes on, the file that is too late is left aside, and it is said. A pod that is
/// started with it cannot be used, and comes back by itself when it is renewed.
#[test]
fn an_expired_certificate_is_told_and_renewed() -> Result<()> {
    let mut set = set().private().start()?;
    let before = Before::begin(&set, None)?;
    let all = secured::all_members();
    let told = |set: &Set, words: &str| {
        set.wait_for("it is said", || {
            let reasons = set.member(2).status()?.reasons();
            ensure!(reasons.contains(words), "{reasons}");
            Ok(())
        })
    };
    set.member(2).expire_certificate(&all)?;
    told(&set, "secret_unread")?;
    told(&set, "valid until 2021-01-01")?;
    link_anew(&set)?;
    // The sidecar connects anew, too, with the one from before.
    let end_all = "CLIENT KILL TYPE normal SKIPME yes";
    set.member(2).connect()?.tell(end_all)?;
    pause(3);
    before.end(&set)?;
    set.member_mut(2).kill()?;
    set.member_mut(2).start()?;
    told(&set, "certificate_unfit")?;
    told(&set, "valid until 2021-01-01")?;
    told(&set, "server_unreachable")?;
    ensure!(set.masters().contains(&0), "the role moved");
    set.member(2).renew_certificate(&all)?;
    ensure!(set.converge()? == 0, "the role moved");
    set.wait_for("it is not said any more", || {
        let reasons = set.member(2).status()?.reasons();
        ensure!(!reasons.contains("certificate"), "{reasons}");
        Ok(())
    })
}

/// All sidecars wrote this since their logs were as long as that.
fn wrote(set: &Set, since: &[usize], words: &str) -> Result<()> {
    for (member, since) in set.members().iter().zip(since) {
        let log = fs::read_to_string(member.path("sidecar.log"))?;
        let new = &log[*since..];
        ensure!(new.contains(words), "{}: {new}", member.pod());
    }
    Ok(())
}

/// The old authority and the new one are valid together, then all have certificates of the new one, then
/// the old one is forgotten. Nobody notices any of it.
#[test]
fn an_authority_is_replaced_in_two_steps() -> Result<()> {
    let set = set().private().start()?;
    let before = Before::begin(&set, None)?;
    let folder = tempfile::tempdir()?;
    secured::authority(folder.path())?;
    let new = fs::read_to_string(folder.path().join("ca.crt"))?;
    let tls = |member: &Member| member.path("tls");
    let both = fs::read_to_string(tls(set.member(0)).join("ca.crt"))? + &new;
    let put = |member: &Member, text: &str| -> Result<()> {
        fs::write(tls(member).join(".ca"), text)?;
        Ok(fs::rename(
            tls(member).join(".ca"),
            tls(member).join("ca.crt"),
        )?)
    };
    let in_all = |step: &str, change: &dyn Fn(&Member) -> Result<()>| -> Result<()> {
        let log = |m: &Member| Ok(fs::read_to_string(m.path("sidecar.log"))?.len());
        let since: Vec<usize> = set.members().iter().map(log).collect::<Result<_>>()?;
        set.members().iter().try_for_each(change)?;
        set.wait_for(step, || {
            wrote(&set, &since, "told to read its certificates again")
        })?;
        link_anew(&set).context(step.to_owned())
    };
    in_all("both authorities are known", &|member| put(member, &both))?;
    in_all("all have certificates of the new one", &|member| {
        let folder = folder.path();
        secured::certificate(folder, &tls(member), &secured::all_members())?;
        put(member, &both)
    })?;
    in_all("the old one is forgotten", &|member| put(member, &new))?;
    before.end(&set)?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.converge()? == 1, "{}", set.describe());
    Ok(())
}

/// Servers that want no certificate of their clients, and a podzero that has none.
#[test]
fn servers_that_ask_for_no_certificate() -> Result<()> {
    let mut set = set()
        .private()
        .base("tls-auth-clients no")
        .without_pod_file_env("PODZERO_TLS_CERT_FILE")
        .without_pod_file_env("PODZERO_TLS_KEY_FILE")
        .make()?;
    for member in set.members() {
        let tls = member.path("tls");
        let mut base = fs::read_to_string(member.base_conf())?;
        for (name, file) in [("tls-cert-file", "tls.crt"), ("tls-key-file", "tls.key")] {
            base += &format!("{name} {}\n", tls.join(file).display());
        }
        fs::write(member.base_conf(), base)?;
    }
    set.start_all()?;
    set.converge()?;
    write_everywhere(&set, 0, "written", 20)?;
    let (code, said) = podzero(&set, 0, &["failover", "--to", "redis-1"])?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(set.converge()? == 1, "{}", set.describe());
    // The servers' own are replaced: they are told, although podzero shows none itself.
    let old = shown(set.member(2))?;
    set.member(2).renew_certificate(&secured::all_members())?;
    set.wait_for("it shows the new one", || {
        ensure!(shown(set.member(2))? != old, "it is the same");
        Ok(())
    })
}
