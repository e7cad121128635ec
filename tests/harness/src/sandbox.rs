//! Walls: a network per set, and in it a place per pod with its own address, `/run` and resolv.conf.
//!
//! Nothing here has a name on the machine: a namespace lives as long as the process that holds it,
//! which ends when its standard input closes, that is with the test. No packet leaves the network.
//! Needs root, and `ip`, `nsenter`, `unshare` and `setpriv`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::run;

/// Where the harness itself is, in each set's network.
const GATEWAY: [&str; 2] = ["10.244.0.1/16", "fd00:244::1/64 nodad"];
/// Where the DNS server is.
pub const DNS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 244, 0, 53)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 0x53)),
];
/// Where an API server is, if a test starts one.
pub const API: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 80));
/// Where a Service is, if a test serves one.
pub const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 81));
/// A hardware address that nobody has: packets to it vanish without a word.
const NOBODY: &str = "02:00:00:00:00:01";

/// The address number `n` of a family.
pub fn address(v6: bool, n: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 1, u16::from(n)).into()
    } else {
        Ipv4Addr::new(10, 244, 1, n).into()
    }
}

/// A process that holds namespaces.
#[derive(Debug)]
struct Holder(Child);

impl Holder {
    /// Runs `script` in new namespaces, then stays until the harness ends.
    fn start(unshare: &[&str], script: &str) -> Result<Self> {
        let mut child = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-ec"])
            .arg(format!("{script}\necho ready\nexec cat"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare (util-linux)")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let holder = Self(child);
        ensure!(
            line.trim() == "ready",
            "making namespaces failed: the harness needs root, iproute2 and util-linux"
        );
        Ok(holder)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One set's network. The thread that made it is in it: clients, threads and processes that this
/// thread starts are there as well. Dropping it brings the thread back.
#[derive(Debug)]
pub struct Network {
    holder: Holder,
    outside: File,
}

impl Network {
    /// Makes a network and moves the calling thread into it.
    pub fn enter() -> Result<Self> {
        // Without an address of its own the bridge takes the lowest of its ports', which changes when
        // a pod comes or goes, and everybody talks to the old one for a while.
        let mut script = "ip link set lo up\n\
             ip link add br0 address 02:00:00:00:00:02 type bridge mcast_snooping 0\n\
             ip link set br0 up\n"
            .to_owned();
        for own in GATEWAY {
            script += &format!("ip addr add {own} dev br0\n");
        }
        for dns in DNS {
            let length = if dns.is_ipv6() { "64 nodad" } else { "16" };
            script += &format!("ip addr add {dns}/{length} dev br0\n");
        }
        for own in [API, SERVICE] {
            script += &format!("ip addr add {own}/16 dev br0\n");
        }
        let holder = Holder::start(&["--net"], &script)?;
        let outside = File::open("/proc/thread-self/ns/net").context("the own namespace")?;
        let inside = File::open(format!("/proc/{}/ns/net", holder.pid()))?;
        move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network))
            .context("joining the set's network (needs root)")?;
        Ok(Self { holder, outside })
    }

    fn run(&self, ip: &str) -> Result<()> {
        let pid = self.holder.pid();
        run(Command::new("nsenter")
            .args(["--target", &pid, "--net", "ip"])
            .args(ip.split(' ')))
        .map(|_| ())
    }

    /// Forgets which hardware addresses were learned: one of them has moved.
    fn forget_neighbours(&self) -> Result<()> {
        self.run("neigh flush all")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = move_into_link_name_space(self.outside.as_fd(), Some(LinkNameSpaceType::Network));
    }
}

/// The same files under a root of its own, in which there is a place for everything that is mounted.
fn root_of_its_own(folder: &Path, mounts: &[(PathBuf, String)]) -> String {
    let root = folder.join("root");
    let root = root.display();
    let mut script = format!(
        "mkdir {root}\nmount -t tmpfs root {root}\n\
         for each in /*; do\n\
         if [ -L \"$each\" ]; then cp -P \"$each\" {root}/\n\
         elif [ -d \"$each\" ]; then mkdir {root}\"$each\"; mount --rbind \"$each\" {root}\"$each\"\n\
         fi; done\n\
         mkdir {root}/.old\ncd {root}\npivot_root . .old\numount -l /.old\n"
    );
    for (from, to) in mounts {
        let from = from.display();
        script += &format!("mkdir -p {to}\nmount --bind {from} {to}\n");
    }
    script
}

/// Where the kubelet mounts what the service account has; `/var/run` is a link to `/run`.
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// The walls of one pod: what Kubernetes calls its sandbox.
#[derive(Debug)]
pub struct Sandbox {
    holder: Holder,
    data: PathBuf,
}

impl Sandbox {
    /// Makes one. `folder` has `run/` (its /run/podzero), `data/` and `resolv.conf`; `account` is what the
    /// kubelet puts there of the service account; `port` is a name for its end of the wire, of its own in
    /// this network.
    pub fn new(
        network: &Network,
        port: &str,
        folder: &Path,
        account: &Path,
        mounts: &[(PathBuf, String)],
    ) -> Result<Self> {
        let (at, account) = (folder.display(), account.display());
        let mut script = format!(
            "mount -t tmpfs tmpfs /run\n\
             mkdir /run/podzero\n\
             mount --bind {at}/run /run/podzero\n\
             mount --bind {at}/resolv.conf /etc/resolv.conf\n\
             mkdir -p {ACCOUNT}\n\
             mount --bind {account} {ACCOUNT}\n\
             ip link set lo up\n"
        );
        if !mounts.is_empty() {
            script += &root_of_its_own(folder, mounts);
        }
        let holder = Holder::start(&["--net", "--mount", "--propagation", "private"], &script)?;
        let pid = holder.pid();
        network.run(&format!(
            "link add {port} type veth peer name eth0 netns {pid}"
        ))?;
        network.run(&format!("link set {port} master br0 up"))?;
        let sandbox = Self {
            holder,
            data: folder.join("data"),
        };
        sandbox.ip("link set eth0 up")?;
        Ok(sandbox)
    }

    /// A command that will run inside, in the data directory, with an environment of its own, and
    /// that dies with the thread that starts it.
    pub fn command(&self, program: &Path, as_user: Option<u32>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.pid(), "--net", "--mount", "--"])
            .args(["env", "-C"])
            .arg(&self.data)
            .args(["setpriv", "--pdeathsig", "KILL"]);
        if let Some(id) = as_user {
            command.args([
                format!("--reuid={id}"),
                format!("--regid={id}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.arg(program);
        command.env_clear();
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
    }

    fn ip(&self, words: &str) -> Result<()> {
        let pid = self.holder.pid();
        run(Command::new("nsenter")
            .args(["--target", &pid, "--net", "ip"])
            .args(words.split(' ')))
        .map(|_| ())
    }

    /// Takes other addresses in place of those that it had.
    pub fn set_addresses(&self, network: &Network, addresses: &[IpAddr]) -> Result<()> {
        self.ip("addr flush dev eth0 scope global")?;
        for address in addresses {
            let length = if address.is_ipv6() { 64 } else { 16 };
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            self.ip(&format!("addr add {address}/{length} dev eth0{nodad}"))?;
        }
        network.forget_neighbours()
    }

    /// Forgets which hardware addresses were learned (not those of a cut).
    pub fn forget_neighbours(&self) -> Result<()> {
        self.ip("neigh flush all")
    }

    /// Packets to these addresses vanish without a word.
    pub fn cut(&self, addresses: &[IpAddr]) -> Result<()> {
        addresses.iter().try_for_each(|to| {
            self.ip(&format!(
                "neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"
            ))
        })
    }

    /// Undoes [`Self::cut`].
    pub fn heal(&self, addresses: &[IpAddr]) -> Result<()> {
        addresses
            .iter()
            .try_for_each(|to| self.ip(&format!("neigh del {to} dev eth0")))
    }
}
