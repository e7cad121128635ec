//! One pod: its init container, sidecar and server, and what can be done to them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::{Conn, Info};
use crate::http::{self, Answer, Status};
use crate::process::{Process, tail};
use crate::sandbox::{API, DNS, Sandbox};
use crate::secured;
use crate::set::{NAME, NAMESPACE, Shared};
use crate::wait::{SOON, wait_until};

/// A name for a pod's end of the wire. The kernel takes its time to remove one that is gone, so none
/// is used twice.
fn port() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("pod{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Where what is mounted there is kept.
fn volume_folder(folder: &Path, volume: &str, path: &str) -> PathBuf {
    match path.strip_prefix("/run/podzero/") {
        _ if path == "/data" => folder.join("data"),
        Some(below) => folder.join("run").join(below),
        None => folder.join("volumes").join(volume),
    }
}

/// One pod of a set.
#[derive(Debug)]
pub struct Member {
    ordinal: u32,
    addresses: Vec<IpAddr>,
    folder: PathBuf,
    sidecar: Option<Process>,
    server: Option<Process>,
    incarnation: u32,
    other_server: Option<PathBuf>,
    sandbox: Sandbox,
    shared: Rc<Shared>,
}

impl Member {
    pub(crate) fn make(shared: Rc<Shared>, ordinal: u32, addresses: Vec<IpAddr>) -> Result<Self> {
        let folder = shared.folder.join(format!("{NAME}-{ordinal}"));
        for dir in ["data", "run/conf"] {
            fs::create_dir_all(folder.join(dir))?;
        }
        let dns = if addresses.first().is_some_and(IpAddr::is_ipv6) {
            DNS[1]
        } else {
            DNS[0]
        };
        fs::write(
            folder.join("resolv.conf"),
            format!(
                "search {NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {dns}\noptions ndots:5 timeout:1 attempts:1\n"
            ),
        )?;
        fs::write(folder.join("base.conf"), &shared.base_conf)?;
        if let Some(password) = &shared.password {
            fs::write(folder.join("password"), password)?;
        }
        if let Some(authority) = &shared.authority {
            let names = secured::all_members();
            secured::certificate(authority, &folder.join("tls"), &names)?;
        }
        let mut mounts = Vec::new();
        for (volume, path) in shared.told.iter().flat_map(|told| &told.mounts) {
            let from = volume_folder(&folder, volume, path);
            fs::create_dir_all(&from)?;
            mounts.push((from, path.clone()));
        }
        let sandbox = Sandbox::new(
            &shared.network,
            &port(),
            &folder,
            &shared.account(),
            &mounts,
        )?;
        sandbox.set_addresses(&shared.network, &addresses)?;
        Ok(Self {
            ordinal,
            addresses,
            folder,
            sidecar: None,
            server: None,
            incarnation: 1,
            other_server: None,
            sandbox,
            shared,
        })
    }

    /// The pod's name.
    pub fn pod(&self) -> String {
        format!("{NAME}-{}", self.ordinal)
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// All addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The base configuration's file.
    pub fn base_conf(&self) -> PathBuf {
        self.folder.join("base.conf")
    }

    /// The generated configuration, as this machine sees it.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("run/conf/redis.conf")
    }

    /// DNS knows the pod by its addresses.
    pub fn publish_name(&self) {
        self.shared.names.publish(&self.pod(), &self.addresses);
    }

    /// The pod comes back with other addresses; DNS is told separately.
    pub fn move_to(&mut self, addresses: Vec<IpAddr>) -> Result<()> {
        ensure!(
            self.sidecar.is_none() && self.server.is_none(),
            "stop the pod first"
        );
        self.addresses = addresses;
        self.sandbox
            .set_addresses(&self.shared.network, &self.addresses)
    }

    /// A `podzero` command inside the pod.
    pub fn podzero(&self, words: &[&str]) -> Command {
        self.podzero_as(None, words)
    }

    /// The folder of a volume that is mounted at a path; see [`crate::told`].
    pub fn volume(&self, volume: &str, path: &str) -> PathBuf {
        volume_folder(&self.folder, volume, path)
    }

    /// The server's preStop hook, as it is told.
    pub fn hook(&self) -> Result<Command> {
        let told = self.shared.told.as_ref().context("nothing is told")?;
        let (program, arguments) = told.hook.split_first().context("no hook")?;
        let mut command = self.sandbox.command(Path::new(program), None);
        command.args(arguments);
        Ok(command)
    }

    /// The same as an ordinary user.
    pub fn podzero_as(&self, user: Option<u32>, words: &[&str]) -> Command {
        let mut command = self.sandbox.command(&self.shared.podzero, user);
        if let Some(told) = &self.shared.told {
            match words {
                ["init"] => command.args(&told.init),
                ["sidecar"] => command.args(&told.sidecar),
                words => command.args(words),
            };
            let uid = format!("uid-{}-{}", self.ordinal, self.incarnation);
            command.envs(told.resolve(&self.pod(), &uid, &self.addresses));
            return command;
        }
        let list: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        command
            .args(words)
            .env("PODZERO_POD_NAME", self.pod())
            .env(
                "PODZERO_POD_UID",
                format!("uid-{}-{}", self.ordinal, self.incarnation),
            )
            .env("PODZERO_NAMESPACE", NAMESPACE)
            .env("PODZERO_SERVICE", NAME)
            .env("PODZERO_POD_IP", list.join(","))
            .env("PODZERO_DATA_DIR", self.data())
            .env("PODZERO_BASE_CONF", self.base_conf());
        if self.shared.password.is_some() {
            command.env("PODZERO_PASSWORD_FILE", self.folder.join("password"));
        }
        for (name, value) in &self.shared.environment {
            command.env(name, value);
        }
        for (name, file) in &self.shared.file_environment {
            command.env(name, self.folder.join(file));
        }
        for name in &self.shared.unset {
            command.env_remove(name);
        }
        command
    }

    /// Runs any program inside the pod, to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        crate::process::run(
            self.sandbox
                .command(Path::new(program), None)
                .args(arguments),
        )
    }

    /// Starts any program inside the pod; it ends when it is dropped.
    pub fn start_program(&self, program: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = self.sandbox.command(Path::new(program), None);
        command.args(arguments);
        let name = format!("{program} in {}", self.pod());
        Process::start(&name, &mut command, &self.log("program"))
    }

    fn log(&self, of: &str) -> PathBuf {
        self.folder.join(format!("{of}.log"))
    }

    /// The last lines of `init`, `sidecar` or `server`.
    pub fn log_tail(&self, of: &str, lines: usize) -> String {
        tail(&self.log(of), lines)
    }

    /// Starts `podzero init`.
    pub fn begin_init(&self) -> Result<Process> {
        let mut command = self.podzero(&["init"]);
        for (name, value) in &self.shared.init_environment {
            command.env(name, value);
        }
        let name = format!("{} init", self.pod());
        Process::start(&name, &mut command, &self.log("init"))
    }

    /// Runs `podzero init` to its end.
    pub fn init(&self) -> Result<()> {
        let init = self.begin_init()?;
        let code = init.exit_code(SOON)?;
        ensure!(
            code == 0,
            "init of {} ended with {code}:\n{}",
            self.pod(),
            init.log_tail(20)
        );
        Ok(())
    }

    /// Starts the sidecar, without waiting for it.
    pub fn start_sidecar(&mut self) -> Result<()> {
        self.start_sidecar_with(&[])
    }

    /// The same, with more in its environment.
    pub fn start_sidecar_with(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        let mut command = self.podzero(&["sidecar"]);
        for (name, value) in &self.shared.sidecar_environment {
            command.env(name, value);
        }
        command.envs(environment.iter().copied());
        let name = format!("{} sidecar", self.pod());
        self.sidecar = Some(Process::start(&name, &mut command, &self.log("sidecar"))?);
        Ok(())
    }

    /// Starts the server with the generated configuration, as the kubelet does again and again.
    pub fn start_server(&mut self) -> Result<()> {
        match self.shared.told.as_ref().map(|told| told.server.clone()) {
            None => self.start_server_with(&["/run/podzero/conf/redis.conf"]),
            Some(told) => {
                let told: Vec<&str> = told.iter().skip(1).map(String::as_str).collect();
                self.start_server_with(&told)
            }
        }
    }

    /// From its next start on the server is one of another version: a part of the tests' cache.
    pub fn use_server(&mut self, part: &str) -> Result<()> {
        self.other_server = Some(crate::set::server_binary_of(part)?);
        Ok(())
    }

    /// Starts the server with other arguments.
    pub fn start_server_with(&mut self, arguments: &[&str]) -> Result<()> {
        let server = self.other_server.as_ref().unwrap_or(&self.shared.server);
        let mut command = self.sandbox.command(server, None);
        command.args(arguments);
        let name = format!("{} server", self.pod());
        self.server = Some(Process::start(&name, &mut command, &self.log("server"))?);
        Ok(())
    }

    /// Waits until the sidecar's start-up probe succeeds: the kubelet starts the server only then.
    pub fn sidecar_is_started(&self) -> Result<()> {
        wait_until("the sidecar's start-up probe", SOON, || {
            let page = self.get("/startupz")?;
            ensure!(page.code == 200, "{page:?}");
            Ok(())
        })
        .with_context(|| self.log_tail("sidecar", 20))
    }

    /// The whole pod: init, sidecar, server.
    pub fn start(&mut self) -> Result<()> {
        self.init()?;
        self.start_sidecar()?;
        self.sidecar_is_started()?;
        self.start_server()
    }

    /// The server's process.
    pub fn server(&self) -> Result<&Process> {
        self.server
            .as_ref()
            .with_context(|| format!("{} has no server", self.pod()))
    }

    /// The sidecar's process.
    pub fn sidecar(&self) -> Result<&Process> {
        self.sidecar
            .as_ref()
            .with_context(|| format!("{} has no sidecar", self.pod()))
    }

    /// SIGKILL to the server.
    pub fn kill_server(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), |server| server.kill())
    }

    /// SIGKILL to the sidecar.
    pub fn kill_sidecar(&mut self) -> Result<()> {
        self.sidecar.take().map_or(Ok(()), |sidecar| sidecar.kill())
    }

    /// The pod's node dies: SIGKILL to both. DNS goes on naming the pod.
    pub fn kill(&mut self) -> Result<()> {
        self.kill_sidecar()?;
        self.kill_server()
    }

    /// The pod is deleted: its name vanishes, its server and its sidecar are told to end and do.
    /// Whatever is started here afterwards is another pod of the same name.
    pub fn delete(&mut self) -> Result<()> {
        self.delete_by(|server| server.terminate(SOON).map(|_| ()))
    }

    /// The same, and the server is killed when it is still there after the pod's grace.
    pub fn delete_within(&mut self, grace: Duration) -> Result<()> {
        self.delete_by(|server| server.terminate_within(grace))
    }

    fn delete_by(&mut self, end: impl FnOnce(&Process) -> Result<()>) -> Result<()> {
        self.shared.names.withdraw(&self.pod());
        if let Some(sidecar) = &self.sidecar {
            sidecar.signal(rustix::process::Signal::TERM)?;
        }
        if let Some(server) = self.server.take() {
            end(&server)?;
        }
        if let Some(sidecar) = self.sidecar.take() {
            let ended = sidecar.wait(SOON)?;
            ensure!(ended.success(), "the sidecar ended with {ended}");
        }
        self.incarnation += 1;
        Ok(())
    }

    /// Everything in the data directory is gone.
    pub fn delete_data(&self) -> Result<()> {
        fs::remove_dir_all(self.data())?;
        fs::create_dir(self.data()).context("making the data directory anew")
    }

    /// Copies a file out of the data directory, to put it back later.
    pub fn keep(&self, file: &str) -> Result<Vec<u8>> {
        fs::read(self.data().join(file)).with_context(|| format!("reading {file}"))
    }

    /// Puts a file into the data directory.
    pub fn put(&self, file: &str, content: &[u8]) -> Result<()> {
        fs::write(self.data().join(file), content).with_context(|| format!("writing {file}"))
    }

    /// The pod's certificate is replaced by one for these names (`DNS:...`, by commas).
    pub fn renew_certificate(&self, names: &str) -> Result<()> {
        let authority = self.shared.authority.as_ref();
        let authority = authority.context("a set without certificates")?;
        secured::certificate(authority, &self.folder.join("tls"), names)
    }

    /// The same by one that has expired.
    pub fn expire_certificate(&self, names: &str) -> Result<()> {
        let authority = self.shared.authority.as_ref();
        let authority = authority.context("a set without certificates")?;
        secured::expired_certificate(authority, &self.folder.join("tls"), names)
    }

    /// The set's password is replaced in this pod.
    pub fn replace_password(&self, password: &str) -> Result<()> {
        let beside = self.folder.join(".password");
        fs::write(&beside, password)?;
        fs::rename(&beside, self.folder.join("password")).context("replacing the password")
    }

    /// A file of the pod's folder, for tests that look.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }

    /// A connection to the server.
    pub fn connect(&self) -> Result<Conn> {
        Conn::open(self.address(), self.shared.password.as_deref())
    }

    /// The server's INFO.
    pub fn info(&self) -> Result<Info> {
        self.connect()?.info()
    }

    /// A page of the sidecar.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(self.address(), path)
    }

    /// The sidecar's status.
    pub fn status(&self) -> Result<Status> {
        Status::read(self.address())
    }

    /// Packets between this pod and another vanish.
    pub fn cut_from(&self, other: &Self) -> Result<()> {
        self.sandbox.cut(other.addresses())?;
        other.sandbox.cut(self.addresses())
    }

    /// Packets from this pod to another vanish; those of the other one arrive.
    pub fn cut_towards(&self, other: &Self) -> Result<()> {
        self.sandbox.cut(other.addresses())
    }

    /// Undoes [`Self::cut_towards`].
    pub fn heal_towards(&self, other: &Self) -> Result<()> {
        self.sandbox.heal(other.addresses())
    }

    /// Packets to the API server vanish.
    pub fn cut_from_api(&self) -> Result<()> {
        self.sandbox.cut(&[API])
    }

    /// Undoes [`Self::cut_from_api`].
    pub fn heal_with_api(&self) -> Result<()> {
        self.sandbox.heal(&[API])
    }

    /// Undoes [`Self::cut_from`].
    pub fn heal_with(&self, other: &Self) -> Result<()> {
        self.sandbox.heal(other.addresses())?;
        other.sandbox.heal(self.addresses())
    }
}
