//! S33: what the chart tells the containers, taken from the manifests that it renders, and run. For each of its
//! values files a set starts, and the hook that the kubelet would call hands the role over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use harness::set::NAMESPACE;
use harness::{Member, Set, secured};

use crate::cluster::{self, Cluster};
use crate::rendered::{NAME, PASSWORD, Rendered, folder, render, text, texts};

/// What Kubernetes puts into the volumes.
fn fill(member: &Member, rendered: &Rendered, authority: &Path) -> Result<()> {
    for (volume, path) in rendered.mounts()? {
        let folder = member.volume(&volume, &path);
        match volume.as_str() {
            "base" => fs::write(
                folder.join("redis.conf"),
                rendered.in_config_map("redis.conf")?,
            )?,
            "secret" => {
                let password = rendered.password()?.context("no password")?;
                fs::write(folder.join("password"), password)?;
            }
            "tls" => {
                let service = text(&rendered.set()?["spec"]["serviceName"]);
                let names = format!("DNS:*.{service}.{NAMESPACE}.svc.cluster.local");
                secured::certificate(authority, &folder, &names)?;
            }
            "acl" => {
                let channels = if crate::is_redis_6() { "" } else { "&* " };
                let users = format!(
                    "user default off\nuser {} on >{PASSWORD} -@all {}\nuser {} on >{} ~* {channels}+@all\n",
                    secured::USER,
                    secured::RULES,
                    secured::APP.0,
                    secured::APP.1
                );
                fs::write(folder.join("users.acl"), users)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The pod's own client, with whatever it takes to be let in.
struct Client {
    arguments: Vec<String>,
}

impl Client {
    fn new(member: &Member, rendered: &Rendered) -> Result<Self> {
        let mut arguments = vec!["--no-auth-warning".to_owned()];
        let mounts: BTreeMap<_, _> = rendered.mounts()?.into_iter().collect();
        if mounts.contains_key("acl") {
            let (user, password) = secured::APP;
            arguments.extend(["--user", user, "--pass", password].map(ToOwned::to_owned));
        } else if let Some(password) = rendered.password()? {
            arguments.extend(["--pass".to_owned(), password]);
        }
        if let Some(tls) = mounts.get("tls") {
            let tls = member.volume("tls", tls);
            arguments.push("--tls".to_owned());
            for (flag, file) in [
                ("--cacert", "ca.crt"),
                ("--cert", "tls.crt"),
                ("--key", "tls.key"),
            ] {
                arguments.extend([flag.to_owned(), tls.join(file).display().to_string()]);
            }
        }
        Ok(Self { arguments })
    }

    fn ask(&self, member: &Member, words: &str) -> Result<String> {
        let cli = harness::set::server_binary()?.with_file_name("redis-cli");
        let address = member.address().to_string();
        let mut all: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        all.extend(["-h", &address]);
        all.extend(words.split(' '));
        let said = member.run(&cli.to_string_lossy(), &all)?;
        Ok(said.trim().to_owned())
    }
}

/// The one master, when every member is ready.
fn all_ready(set: &Set, but: Option<usize>) -> Result<usize> {
    set.wait_for("one master, and all are ready", || {
        let mut masters = Vec::new();
        for (ordinal, member) in set.members().iter().enumerate() {
            if but == Some(ordinal) {
                continue;
            }
            let page = member.get("/readyz")?;
            ensure!(page.code == 200, "{}: {}", member.pod(), page.body);
            if member.status()?.role() == "master" {
                masters.push(ordinal);
            }
        }
        ensure!(masters.len() == 1, "{masters:?}");
        Ok(masters[0])
    })
}

/// A set as the chart tells it.
fn s33(values: &str) -> Result<()> {
    let rendered = Rendered(render(
        &folder().join("ci").join(format!("{values}-values.yaml")),
    )?);
    let replicas = rendered.set()?["spec"]["replicas"]
        .as_u64()
        .context("replicas")?;
    let families = rendered
        .of_kind("Service")
        .find_map(|s| s["spec"]["ipFamilies"].as_array());
    let families: Vec<bool> = match families {
        None => vec![false],
        Some(families) => families.iter().map(|f| f == "IPv6").collect(),
    };
    let builder = crate::set()
        .members(u32::try_from(replicas)?)
        .families(&families)
        .told(rendered.told()?);
    let set = builder.make()?;
    let authority = tempfile::tempdir()?;
    secured::authority(authority.path())?;
    for member in set.members() {
        fill(member, &rendered, authority.path())?;
    }
    if rendered.has("PODZERO_AUTHORITY", "lease")? {
        let cluster = Cluster::around(cluster::folder()?, set, &rendered.objects()?)?;
        let path = rendered
            .mounts()?
            .into_iter()
            .find(|(name, _)| name == "token");
        let (_, path) = path.context("no token is mounted")?;
        for member in cluster.set.members() {
            cluster.let_in(&member.volume("token", &path))?;
        }
        let mut cluster = cluster;
        starts_and_hands_over(&mut cluster.set, &rendered)?;
        let leads = cluster.holder()?;
        let master = master_of(&cluster.set)?;
        ensure!(
            leads == format!("redis-{master}"),
            "{leads} holds the Lease, redis-{master} leads"
        );
        Ok(())
    } else {
        let mut set = set;
        starts_and_hands_over(&mut set, &rendered)
    }
}

fn master_of(set: &Set) -> Result<usize> {
    let is = |m: &&Member| m.status().is_ok_and(|s| s.role() == "master");
    set.members()
        .iter()
        .position(|m| is(&m))
        .context("no master")
}

fn starts_and_hands_over(set: &mut Set, rendered: &Rendered) -> Result<()> {
    if rendered.container("valkey").is_ok() {
        for ordinal in 0..set.members().len() {
            set.member_mut(ordinal).use_server("valkey-9")?;
        }
    }
    set.start_all()?;
    let master = all_ready(set, None)?;
    ensure!(master == 0, "redis-{master} leads");
    let client = Client::new(set.member(master), rendered)?;
    // A master counts its good replicas once a second (min-replicas-to-write).
    set.wait_for("it accepts writes", || {
        let said = client.ask(set.member(master), "SET there 1")?;
        ensure!(said == "OK", "SET: {said}");
        Ok(())
    })?;
    helm_test(set, master, rendered)?;
    let mut hook = set.member(master).hook()?;
    let done = hook
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    if set.members().len() == 1 {
        // There is nobody to hand over to: the server saves its data, and that is all.
        return Ok(());
    }
    ensure!(
        done.status.success(),
        "the hook: {:?} {}\n{}",
        done.status,
        String::from_utf8_lossy(&done.stderr),
        set.describe()
    );
    let new = all_ready(set, Some(master))?;
    ensure!(new != master, "redis-{new} leads still");
    let client = Client::new(set.member(new), rendered)?;
    let said = client.ask(set.member(new), "GET there")?;
    ensure!(said == "1", "GET: {said}");
    set.wait_for("it accepts writes", || {
        let said = client.ask(set.member(new), "SET there 2")?;
        ensure!(said == "OK", "SET: {said}");
        Ok(())
    })?;
    no_secret(set, rendered)
}

/// What `helm test` runs, with addresses and ports in place of the Services'. There is none where the chart
/// does not know a user with the right to write.
fn helm_test(set: &Set, master: usize, rendered: &Rendered) -> Result<()> {
    let Some(pod) = rendered.of_kind("Pod").next() else {
        ensure!(rendered.has("PODZERO_USERNAME", secured::USER)?, "no test");
        return Ok(());
    };
    let command = texts(&pod["spec"]["containers"][0]["command"]);
    let (script, shell) = command.split_last().context("a command")?;
    let reads = (master + 1) % set.members().len();
    let mut script = script.clone();
    for (service, ordinal) in [("master", master), ("replicas", reads)] {
        let address = set.member(ordinal).address().to_string();
        script = script.replace(&format!("{NAME}-{service} "), &format!("{address} "));
    }
    let services = rendered.of_kind("Service");
    let port = services.filter_map(|s| s["spec"]["ports"][0]["port"].as_u64());
    let port = port.max().context("a port")?;
    script = script.replace(&format!("-p {port}"), "-p 6379");
    let programs = match rendered.container("valkey") {
        Ok(_) => harness::set::server_binary_of("valkey-9")?,
        Err(_) => harness::set::server_binary()?,
    };
    let programs = programs.with_file_name("");
    script = format!("PATH={}:$PATH\n{script}", programs.display());
    let (program, flags) = shell.split_first().context("a shell")?;
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    arguments.push(&script);
    let said = set.member(master).run(program, &arguments)?;
    ensure!(said.contains("written through"), "{said}");
    Ok(())
}

/// S57, on what was rendered, and on what the processes show of themselves.
fn no_secret(set: &Set, rendered: &Rendered) -> Result<()> {
    let Some(password) = rendered.password()? else {
        return Ok(());
    };
    for object in rendered.0.iter().filter(|o| o["kind"] != "Secret") {
        ensure!(
            !object.to_string().contains(&password),
            "in the {}",
            object["kind"]
        );
    }
    for member in set.members() {
        for process in [member.sidecar()?, member.server()?] {
            for file in ["cmdline", "environ"] {
                let shown = fs::read(format!("/proc/{}/{file}", process.pid()))?;
                let shown = String::from_utf8_lossy(&shown);
                ensure!(!shown.contains(&password), "{}: {file}", member.pod());
            }
        }
    }
    Ok(())
}

/// A test for each file, and one that none is left out.
macro_rules! values {
    ($($test:ident $file:literal)*) => {
        $(#[test] fn $test() -> Result<()> { s33($file) })*

        #[test]
        fn s33_each_values_file_is_run() -> Result<()> {
            let known = [$($file),*];
            for entry in fs::read_dir(folder().join("ci"))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let name = name.trim_end_matches("-values.yaml");
                ensure!(known.contains(&name), "{name} is not run");
            }
            Ok(())
        }
    };
}

values! {
    s33_auth_existing_secret "auth-existing-secret"
    s33_default "default"
    s33_dual_stack "dual-stack"
    s33_everything "everything"
    s33_five_members "five-members"
    s33_labels "labels"
    s33_no_persistence "no-persistence"
    s33_one_member "one-member"
    s33_openshift "openshift"
    s33_ordinal "ordinal"
    s33_ordinary_sidecar "ordinary-sidecar"
    s33_tls "tls"
    s33_tls_without_client_certificates "tls-without-client-certificates"
    s33_valkey "valkey"
}
