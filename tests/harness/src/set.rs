//! A set: how it is made, started and described.

use std::env;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Way, connect_by};
use crate::dns::Dns;
use crate::member::Member;
use crate::names::Names;
use crate::observer::Observer;
use crate::sandbox::{self, Network, address};
use crate::secured;
use crate::told::Told;
use crate::wait::{SOON, wait_until};

/// The namespace of every set.
pub const NAMESPACE: &str = "shop";
/// The name of every set and of its headless Service.
pub const NAME: &str = "redis";

/// What all members share.
#[derive(Debug)]
pub struct Shared {
    /// The podzero binary.
    pub podzero: PathBuf,
    /// The server binary.
    pub server: PathBuf,
    /// The base configuration.
    pub base_conf: String,
    /// Environment of `init` and `sidecar`.
    pub environment: Vec<(String, String)>,
    /// Environment of `init` alone.
    pub init_environment: Vec<(String, String)>,
    /// Environment of the sidecar alone.
    pub sidecar_environment: Vec<(String, String)>,
    /// The same, with files of the pod's folder.
    pub file_environment: Vec<(String, String)>,
    /// The authority that signs the pods' certificates.
    pub authority: Option<PathBuf>,
    /// What is left out of all environments.
    pub unset: Vec<String>,
    /// The set's password.
    pub password: Option<String>,
    /// The DNS records.
    pub names: Names,
    /// Where all folders are.
    pub folder: PathBuf,
    /// The network.
    pub network: Network,
    /// What the containers are told by somebody else.
    pub told: Option<Told>,
}

impl Shared {
    /// What the kubelet mounts in each pod for its service account.
    pub fn account(&self) -> PathBuf {
        self.folder.join("serviceaccount")
    }
}

/// Describes a set before it is made.
#[derive(Debug)]
pub struct Builder {
    podzero: PathBuf,
    members: u32,
    base_conf: String,
    environment: Vec<(String, String)>,
    init_environment: Vec<(String, String)>,
    sidecar_environment: Vec<(String, String)>,
    unset: Vec<String>,
    password: Option<String>,
    families: Vec<bool>,
    file_environment: Vec<(String, String)>,
    certificates: bool,
    way: Way,
    told: Option<Told>,
}

/// A running set. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Set {
    members: Vec<Member>,
    families: Vec<bool>,
    next_address: u8,
    shared: Rc<Shared>,
    _dns: Dns,
    _folder: tempfile::TempDir,
}

/// The server binary of the version under test.
pub fn server_binary() -> Result<PathBuf> {
    server_binary_of(&env::var("PODZERO_TEST_SERVER").unwrap_or_else(|_| "redis-7.0".to_owned()))
}

/// The server binary of one of the parts.
pub fn server_binary_of(part: &str) -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let binary = cache.join("podzero").join(part).join("bin/redis-server");
    ensure!(
        binary.exists(),
        "{} is missing; run: tests/parts/get {part}",
        binary.display()
    );
    // The pods' mounts differ, and the cache may be reached through links.
    binary
        .canonicalize()
        .with_context(|| format!("resolving {}", binary.display()))
}

impl Builder {
    /// How many members.
    #[must_use]
    pub fn members(mut self, members: u32) -> Self {
        self.members = members;
        self
    }

    /// Lines that are added to the base configuration.
    #[must_use]
    pub fn base(mut self, lines: &str) -> Self {
        self.base_conf.push_str(lines);
        self.base_conf.push('\n');
        self
    }

    /// A setting of `init` and `sidecar`, by its environment twin.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A setting that is left at the program's own default.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.unset.push(name.to_owned());
        self.init_environment.retain(|(n, _)| n != name);
        self
    }

    /// A setting of `init` alone.
    #[must_use]
    pub fn init_env(mut self, name: &str, value: &str) -> Self {
        self.init_environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// A setting of the sidecar alone.
    #[must_use]
    pub fn sidecar_env(mut self, name: &str, value: &str) -> Self {
        self.sidecar_environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// The set has a password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        if self.certificates && self.password.is_some() {
            // One that keeps people out has its own.
            return self;
        }
        self.password = Some(password.to_owned());
        self
    }

    /// A setting of `init` and `sidecar` that is a file of the pod's folder.
    #[must_use]
    pub fn pod_file_env(mut self, name: &str, file: &str) -> Self {
        self.file_environment
            .push((name.to_owned(), file.to_owned()));
        self
    }

    /// The containers are told this, and nothing of the harness's own.
    #[must_use]
    pub fn told(mut self, told: Told) -> Self {
        self.told = Some(told);
        self
    }

    /// The same setting is left out again.
    #[must_use]
    pub fn without_pod_file_env(mut self, name: &str) -> Self {
        self.file_environment.retain(|(n, _)| n != name);
        self
    }

    /// Each pod has a certificate for all members in its folder `tls`.
    #[must_use]
    pub fn with_certificates(mut self) -> Self {
        self.certificates = true;
        self
    }

    /// See [`Self::with_certificates`].
    pub fn has_certificates(&self) -> bool {
        self.certificates
    }

    /// The tests' own connections go to another port.
    #[must_use]
    pub fn tests_connect_to(mut self, port: u16) -> Self {
        self.way.port = Some(port);
        self
    }

    /// The tests' own connections log in so.
    #[must_use]
    pub fn tests_log_in(mut self, (user, password): (&str, &str)) -> Self {
        self.way.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The pods' address families, the deciding one first: true is IPv6.
    #[must_use]
    pub fn families(mut self, v6: &[bool]) -> Self {
        self.families = v6.to_vec();
        self
    }

    /// Makes the set with its members, none of which is started.
    pub fn make(mut self) -> Result<Set> {
        let replicas = ("PODZERO_REPLICAS".to_owned(), self.members.to_string());
        self.environment.insert(0, replicas);
        let folder = tempfile::Builder::new().prefix("podzero-set").tempdir()?;
        let network = Network::enter()?;
        let service = self.told.as_ref().map_or(NAME, |told| &told.service);
        let names = Names::new(service, NAMESPACE);
        let dns = Dns::start(names.clone(), &sandbox::DNS)?;
        let authority = folder.path().join("authority");
        if self.certificates {
            secured::authority(&authority)?;
        }
        connect_by(self.way);
        let shared = Rc::new(Shared {
            file_environment: self.file_environment,
            authority: self.certificates.then_some(authority),
            podzero: self.podzero,
            server: server_binary()?,
            base_conf: self.base_conf,
            environment: self.environment,
            init_environment: self.init_environment,
            sidecar_environment: self.sidecar_environment,
            unset: self.unset,
            password: self.password,
            names,
            folder: folder.path().to_owned(),
            network,
            told: self.told,
        });
        std::fs::create_dir(shared.account())?;
        let mut set = Set {
            members: Vec::new(),
            families: self.families,
            next_address: 10,
            shared,
            _dns: dns,
            _folder: folder,
        };
        for _ in 0..self.members {
            set.grow()?;
        }
        Ok(set)
    }

    /// Makes the set, starts everybody in parallel, and waits until the set works.
    pub fn start(self) -> Result<Set> {
        let mut set = self.make()?;
        set.start_all()?;
        set.converge()?;
        Ok(set)
    }
}

impl Set {
    /// A set of three, in which syncs start at once.
    pub fn builder(podzero: impl Into<PathBuf>) -> Builder {
        let builder = Builder {
            podzero: podzero.into(),
            members: 3,
            base_conf: "repl-diskless-sync-delay 0\nsave 3600 1\n".to_owned(),
            environment: vec![("PODZERO_LOG_FORMAT".to_owned(), "text".to_owned())],
            // Whoever is alone at a first boot need not be waited for in a test.
            init_environment: vec![("PODZERO_DISCOVER".to_owned(), "1s".to_owned())],
            sidecar_environment: Vec::new(),
            unset: Vec::new(),
            password: None,
            families: vec![false],
            file_environment: Vec::new(),
            certificates: false,
            way: Way::default(),
            told: None,
        };
        if secured::is_asked_for() {
            builder.secured()
        } else {
            builder
        }
    }

    /// A member.
    pub fn member(&self, ordinal: usize) -> &Member {
        &self.members[ordinal]
    }

    /// A member, to do something to it.
    pub fn member_mut(&mut self, ordinal: usize) -> &mut Member {
        &mut self.members[ordinal]
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The folder that all pods have at the service account's usual path; empty until something is put
    /// there.
    pub fn service_account(&self) -> PathBuf {
        self.shared.account()
    }

    /// The DNS records.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// Adds one member, which is not started.
    pub fn grow(&mut self) -> Result<()> {
        let addresses = self.new_addresses();
        let ordinal = u32::try_from(self.members.len())?;
        let member = Member::make(Rc::clone(&self.shared), ordinal, addresses)?;
        member.publish_name();
        self.members.push(member);
        Ok(())
    }

    /// Addresses that nobody had before.
    pub fn new_addresses(&mut self) -> Vec<IpAddr> {
        self.next_address += 1;
        self.families
            .iter()
            .map(|v6| address(*v6, self.next_address))
            .collect()
    }

    /// The pod with the highest ordinal is deleted for good.
    pub fn shrink(&mut self) -> Result<()> {
        self.members
            .pop()
            .map_or(Ok(()), |mut member| member.delete())
    }

    /// Starts every pod in parallel.
    pub fn start_all(&mut self) -> Result<()> {
        let inits: Vec<_> = self
            .members
            .iter()
            .map(Member::begin_init)
            .collect::<Result<_>>()?;
        for init in inits {
            let code = init.exit_code(SOON)?;
            ensure!(code == 0, "init ended with {code}:\n{}", init.log_tail(20));
        }
        for member in &mut self.members {
            member.start_sidecar()?;
        }
        for member in &mut self.members {
            member.sidecar_is_started()?;
            member.start_server()?;
        }
        Ok(())
    }

    /// SIGKILL to all servers and sidecars.
    pub fn kill_all(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::kill)
    }

    /// The ordinals of the servers that say that they are masters.
    pub fn masters(&self) -> Vec<usize> {
        let is_master = |m: &Member| m.info().is_ok_and(|info| info.is_master());
        (0..self.members.len())
            .filter(|i| is_master(&self.members[*i]))
            .collect()
    }

    /// Waits until there is one master, to which all others have a link and are online, and until
    /// every sidecar is ready; gives the master's ordinal.
    pub fn converge(&self) -> Result<usize> {
        self.converge_on(&(0..self.members.len()).collect::<Vec<_>>())
    }

    /// The same for some of the members, the others being away.
    pub fn converge_on(&self, ordinals: &[usize]) -> Result<usize> {
        let look = || {
            let mut master = None;
            for &ordinal in ordinals {
                let member = self.member(ordinal);
                let info = member.info()?;
                if info.is_master() {
                    if let Some(other) = master.replace(ordinal) {
                        bail!("two masters: {other} and {ordinal}");
                    }
                    ensure!(
                        info.online_replicas() == ordinals.len() - 1,
                        "not all replicas are online"
                    );
                } else {
                    ensure!(info.has_link(), "{} has no link", member.pod());
                }
                let ready = member.get("/readyz")?;
                ensure!(
                    ready.code == 200,
                    "{} is not ready: {}",
                    member.pod(),
                    ready.body
                );
            }
            master.context("no master")
        };
        wait_until("one master, everybody else its ready replica", SOON, look)
            .with_context(|| self.describe())
    }

    /// The servers' password.
    pub fn password(&self) -> Option<&str> {
        self.shared.password.as_deref()
    }

    /// Begins to look for two masters among today's members.
    pub fn observe(&self) -> Observer {
        let addresses = self.members.iter().map(Member::address).collect();
        Observer::start(addresses, self.shared.password.as_deref())
    }

    /// The last words of everybody, for failure texts.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for member in &self.members {
            let status = member
                .status()
                .map_or_else(|e| format!("{e:#}"), |s| s.0.to_string());
            let _ = write!(
                text,
                "\n== {} ({:?})\nstatus: {status}\ninit:\n{}\nsidecar:\n{}\nserver:\n{}\n",
                member.pod(),
                member.address(),
                member.log_tail("init", 4),
                member.log_tail("sidecar", 12),
                member.log_tail("server", 8),
            );
        }
        text
    }

    /// Waits for a condition; a failure carries everybody's last words.
    pub fn wait_for<T>(&self, what: &str, condition: impl FnMut() -> Result<T>) -> Result<T> {
        wait_until(what, SOON, condition).with_context(|| self.describe())
    }

    /// Watches for a while that there never are two masters and that the master stays who it is.
    pub fn stays_as_it_is(&self, length: Duration) -> Result<()> {
        let before = self.masters();
        crate::wait::stays("the master", length, || {
            let now = self.masters();
            ensure!(now == before, "it was {before:?} and is {now:?}");
            Ok(())
        })
        .with_context(|| self.describe())
    }
}
