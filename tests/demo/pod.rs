//! One pod of the demo: the real binary and a real server on a loopback address.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Conn, Process, Status};

/// What all pods share.
pub(crate) struct Shared {
    pub(crate) podzero: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) dns: SocketAddr,
    pub(crate) folder: PathBuf,
}

/// One pod.
pub(crate) struct Pod {
    /// The third number of the addresses of its demo.
    network: u8,
    pub(crate) ordinal: u8,
    sidecar: Option<Process>,
    server: Option<Process>,
}

impl Pod {
    pub(crate) fn new(network: u8, ordinal: u8) -> Self {
        Self {
            network,
            ordinal,
            sidecar: None,
            server: None,
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("redis-{}", self.ordinal)
    }

    pub(crate) fn address(&self) -> IpAddr {
        Ipv4Addr::new(127, 0, self.network, self.ordinal + 1).into()
    }

    pub(crate) fn folder(&self, shared: &Shared) -> PathBuf {
        shared.folder.join(self.name())
    }

    pub(crate) fn socket(&self, shared: &Shared) -> PathBuf {
        self.folder(shared).join("podzero.sock")
    }

    fn podzero(&self, shared: &Shared, word: &str) -> Command {
        let folder = self.folder(shared);
        let address = self.address().to_string();
        let mut command = Command::new(&shared.podzero);
        command
            .arg(word)
            .env("PODZERO_POD_NAME", self.name())
            .env("PODZERO_NAMESPACE", "demo")
            .env("PODZERO_SERVICE", "redis")
            .env("PODZERO_CLUSTER_DOMAIN", "cluster.local")
            .env("PODZERO_REPLICAS", "3")
            .env("PODZERO_POD_IP", &address)
            .env("PODZERO_REDIS_HOST", &address)
            .env("PODZERO_DNS_SERVER", shared.dns.to_string())
            .env("PODZERO_HTTP", format!("{address}:8379"))
            .env("PODZERO_DRAIN", "500ms")
            .env("PODZERO_SOCKET", self.socket(shared))
            .env("PODZERO_CONF", folder.join("conf/redis.conf"))
            .env("PODZERO_DATA_DIR", folder.join("data"))
            .env("PODZERO_BASE_CONF", folder.join("base.conf"));
        command
    }

    /// What Kubernetes does: init to its end, then the sidecar, then the server.
    pub(crate) fn start(&mut self, shared: &Shared) -> Result<()> {
        let folder = self.folder(shared);
        for dir in ["data", "conf"] {
            fs::create_dir_all(folder.join(dir))?;
        }
        // Servers name the address that they connect from, since all of them are one machine.
        let address = self.address();
        let base = format!("repl-diskless-sync-delay 0\nsave 3600 1\nbind {address}\n");
        fs::write(folder.join("base.conf"), base)?;
        let log = folder.join("podzero.log");
        let mut init = self.podzero(shared, "init");
        init.env("PODZERO_DISCOVER", "1s");
        let init = Process::start(&format!("{} init", self.name()), &mut init, &log)?;
        let code = init.exit_code(Duration::from_secs(30))?;
        ensure!(
            code == 0,
            "podzero init ended with {code}: {}",
            init.log_tail(5)
        );
        let mut sidecar = self.podzero(shared, "sidecar");
        self.sidecar = Some(Process::start(
            &format!("{} sidecar", self.name()),
            &mut sidecar,
            &log,
        )?);
        self.start_server(shared)
    }

    /// The kubelet restarts a container that ended.
    pub(crate) fn start_server(&mut self, shared: &Shared) -> Result<()> {
        let folder = self.folder(shared);
        let mut server = Command::new(&shared.server);
        server
            .arg(folder.join("conf/redis.conf"))
            .current_dir(folder.join("data"));
        let log = folder.join("server.log");
        self.server = Some(Process::start(
            &format!("{} server", self.name()),
            &mut server,
            &log,
        )?);
        Ok(())
    }

    /// SIGKILL to the server.
    pub(crate) fn kill_server(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), |server| server.kill())
    }

    /// SIGKILL to everything of the pod.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.sidecar
            .take()
            .map_or(Ok(()), |sidecar| sidecar.kill())?;
        self.kill_server()
    }

    /// What Kubernetes runs before it stops the pod's server; gives what it said.
    pub(crate) fn prestop(&self, shared: &Shared) -> Result<String> {
        harness::process::run(&mut self.podzero(shared, "prestop"))
    }

    /// The volume is gone.
    pub(crate) fn delete_data(&self, shared: &Shared) -> Result<()> {
        fs::remove_dir_all(self.folder(shared).join("data")).context("deleting the data")
    }

    pub(crate) fn status(&self) -> Result<Status> {
        Status::read(self.address())
    }

    pub(crate) fn connect(&self) -> Result<Conn> {
        Conn::open(self.address(), None)
    }
}

/// A server binary: one that is installed, else one from the project's cache.
pub(crate) fn server(project: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for name in ["redis-server", "valkey-server"] {
        if let Some(found) = std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
        {
            say(&format!("Server: {} (installed here).", found.display()));
            return Ok(found);
        }
    }
    let get = project.join("tests/parts/get");
    say("Server: none is installed, so redis 7.0 from the cache of the tests (fetched");
    say("   and unpacked there if need be; nothing is installed, and no root is needed).");
    let got = Command::new(&get)
        .arg("redis-7.0")
        .status()
        .context("running tests/parts/get")?;
    ensure!(
        got.success(),
        "no server could be had; install redis-server and start the demo again"
    );
    let dir = harness::process::run(Command::new(&get).args(["--path", "redis-7.0"]))?;
    Ok(Path::new(dir.trim()).join("redis-server"))
}
