//! `cargo demo`: three members on loopback addresses form a set, lose a replica, the master's server
//! and pod-0's data, and keep what was written. Ends by itself; `--keep` stays up.

mod pod;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::dns::Dns;
use harness::names::Names;
use harness::wait::{now, pause, wait_until};
use harness::{Manner, Writers};
use pod::{Pod, Shared};

const LIMIT: Duration = Duration::from_mins(1);

/// Whether a signal asked for the end. Everything that waits looks at it, so that the processes and
/// the folder of the demo go with it.
static ENDS: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    std::thread::spawn(listen);
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if ENDS.load(Ordering::Relaxed) => {
            say("\nEnded; its processes and its folder are gone.");
            ExitCode::from(130)
        }
        Err(error) => {
            say(&format!("The demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    // Whoever closed the pipe does not want the rest.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The first signal is orderly, the second ends at once.
fn listen() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            return;
        };
        for _ in 0..2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if ENDS.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        }
    });
}

/// Waits for a condition, or for the end of the demo.
fn wait<T>(what: &str, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let found = wait_until(what, LIMIT, || {
        if ENDS.load(Ordering::Relaxed) {
            return Ok(None);
        }
        condition().map(Some)
    })?;
    found.context("a signal asked for the end")
}

/// A line that may be longer than a terminal is wide.
fn wrapped(line: &str) {
    let mut rest = String::from("  ");
    for word in line.split(' ') {
        if rest.len() + 1 + word.len() > 80 {
            say(&rest);
            rest = String::from("     ");
        }
        rest = format!("{rest} {word}");
    }
    say(&rest);
}

/// The set, and what was shown of it last.
struct Demo {
    shared: Shared,
    pods: Vec<Pod>,
    shown: String,
    acknowledged: u32,
}

fn run() -> Result<()> {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => bail!("{other:?} is unknown; there is --keep"),
    };
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    say("Three redis servers become a set, on loopback addresses of this machine.");
    let podzero = build(project)?;
    let server = pod::server(project, &mut say)?;
    let folder = tempfile::Builder::new().prefix("podzero-demo").tempdir()?;
    let names = Names::new("redis", "demo");
    let (dns, network) = dns(&names)?;
    let shared = Shared {
        podzero,
        server,
        dns: dns_address(network),
        folder: folder.path().to_owned(),
    };
    let pods: Vec<Pod> = (0..3).map(|ordinal| Pod::new(network, ordinal)).collect();
    for pod in &pods {
        names.publish(&pod.name(), &[pod.address()]);
    }
    let mut demo = Demo {
        shared,
        pods,
        shown: String::new(),
        acknowledged: 0,
    };
    let started = now();
    demo.play()?;
    say(&format!(
        "\nDone in {} s: {} writes acknowledged, {} found on every member.",
        started.elapsed().as_secs(),
        demo.acknowledged,
        demo.acknowledged
    ));
    if keep {
        return demo.stay();
    }
    drop(dns);
    Ok(())
}

/// The DNS server, in the first loopback network where no other demo has its own.
fn dns(names: &Names) -> Result<(Dns, u8)> {
    let start = |network| Dns::start_at(names.clone(), &[dns_address(network)]);
    for network in 77..86 {
        if let Ok(dns) = start(network) {
            return Ok((dns, network));
        }
    }
    let dns = start(86).context("starting the demo's DNS server (are ten demos running?)")?;
    Ok((dns, 86))
}

fn dns_address(network: u8) -> SocketAddr {
    ([127, 0, network, 53], 5353).into()
}

fn build(project: &Path) -> Result<PathBuf> {
    say("Building podzero ...");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--bin", "podzero"])
        .current_dir(project)
        .status()
        .context("running cargo build")?;
    ensure!(built.success(), "cargo build failed");
    // The demo lies in target/<profile>/examples.
    let here = std::env::current_exe()?;
    let dir = here.ancestors().nth(2).context("the target directory")?;
    Ok(dir.join("podzero"))
}

impl Demo {
    fn play(&mut self) -> Result<()> {
        say("\n1. All three start at once. Each server starts fenced: it takes no writes.");
        say("   (* is ready; away: its sidecar does not answer)");
        for pod in &mut self.pods {
            pod.start(&self.shared)?;
        }
        self.settle(3)?;
        self.write(200)?;

        let replica = self.other_than(self.master()?);
        say(&format!(
            "\n2. A replica dies: SIGKILL to all of redis-{replica}. The others go on."
        ));
        self.pods[replica].kill()?;
        self.settle(2)?;
        self.write(100)?;
        say(&format!("   redis-{replica} comes back and catches up."));
        self.pods[replica].start(&self.shared)?;
        self.settle(3)?;
        self.found()?;

        let master = self.master()?;
        say(&format!(
            "\n3. The master's server dies: SIGKILL to redis-{master}, whose last writes"
        ));
        say("   were never saved to disk. It comes back fenced; whoever has most leads.");
        self.pods[master].kill_server()?;
        wait("its sidecar sees it", || {
            ensure!(!self.pods[master].status()?.ready(), "it is still ready");
            Ok(())
        })?;
        self.pods[master].start_server(&self.shared)?;
        self.settle(3)?;
        self.found()?;
        self.write(100)?;

        say("\n4. redis-0 loses its volume: killed, its data deleted, started again.");
        say("   An empty member never leads one that has data; it follows.");
        self.pods[0].kill()?;
        self.pods[0].delete_data(&self.shared)?;
        self.pods[0].start(&self.shared)?;
        self.settle(3)?;
        self.found()?;
        self.write(100)?;
        self.rolling_restart()
    }

    /// As a rolling update does, with four writers at it all the time.
    fn rolling_restart(&mut self) -> Result<()> {
        say("\n5. A rolling restart of all three, while four clients write all the time.");
        say("   Before a master is stopped, podzero prestop hands the role over.");
        let addresses: Vec<_> = self.pods.iter().map(Pod::address).collect();
        let manner = Manner {
            pause: Duration::from_millis(1),
            large: None,
        };
        let writers = Writers::start(&addresses, None, 4, &manner);
        for ordinal in [2, 1, 0] {
            let pod = &mut self.pods[ordinal];
            for line in pod.prestop(&self.shared)?.lines() {
                // The other steps are told in podzero's own words; the demo shows how it ended.
                if line.starts_with("done") || line.contains("done") {
                    wrapped(&format!("{}: {line}", pod.name()));
                }
            }
            pod.kill()?;
            pod.start(&self.shared)?;
            self.settle(3)?;
        }
        let gap = writers.take().gap;
        let master = self.master()?;
        let written = writers.finish(self.pods[master].address())?;
        say(&format!(
            "   {} writes acknowledged meanwhile, none lost; no client waited longer",
            written.acknowledged
        ));
        say(&format!("   than {} ms.", gap.as_millis()));
        self.found()
    }

    fn master(&self) -> Result<usize> {
        let is_master = |p: &Pod| {
            p.connect()
                .and_then(|mut c| c.info())
                .is_ok_and(|i| i.is_master())
        };
        self.pods
            .iter()
            .position(is_master)
            .context("nobody is the master")
    }

    fn other_than(&self, master: usize) -> usize {
        (0..self.pods.len())
            .rev()
            .find(|o| *o != master)
            .unwrap_or(0)
    }

    /// Shows the set whenever it changes, until so many are ready.
    fn settle(&mut self, ready: usize) -> Result<()> {
        let (pods, shown) = (&self.pods, &mut self.shown);
        wait("every member is ready", || {
            let (line, count) = topology(pods);
            if line != *shown {
                say(&format!("   {line}"));
                *shown = line;
            }
            ensure!(count == ready, "{count} are ready");
            Ok(())
        })
    }

    /// Writes numbered keys at the master and waits until every member that runs has them.
    fn write(&mut self, count: u32) -> Result<()> {
        let master = self.master()?;
        let mut connection = self.pods[master].connect()?;
        for number in self.acknowledged..self.acknowledged + count {
            connection.tell(&format!("SET demo:{number} {number}"))?;
        }
        self.acknowledged += count;
        say(&format!(
            "   {count} writes acknowledged by redis-{master}, {} in all.",
            self.acknowledged
        ));
        let wanted = self.acknowledged as usize;
        for pod in &self.pods {
            if pod.connect().is_err() {
                continue;
            }
            wait(&format!("{} has every write", pod.name()), || {
                let found = pod.connect()?.count("demo")?;
                ensure!(found == wanted, "it has {found} of {wanted}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Counts what is there.
    fn found(&self) -> Result<()> {
        for pod in &self.pods {
            let found = wait("the count", || pod.connect()?.count("demo"))?;
            ensure!(
                found == self.acknowledged as usize,
                "{} has {found} of {} writes",
                pod.name(),
                self.acknowledged
            );
        }
        say(&format!(
            "   Found on every member: all {} writes.",
            self.acknowledged
        ));
        Ok(())
    }

    fn stay(&self) -> Result<()> {
        say("\nThe set stays up until Ctrl-C:");
        for pod in &self.pods {
            say(&format!("   redis-cli -h {} -p 6379", pod.address()));
        }
        say(&format!(
            "   {} status --socket {}",
            self.shared.podzero.display(),
            self.pods[0].socket(&self.shared).display()
        ));
        while !ENDS.load(Ordering::Relaxed) {
            pause(Duration::from_millis(50));
        }
        bail!("a signal asked for the end")
    }
}

/// The set in one line, and how many of it are ready.
fn topology(pods: &[Pod]) -> (String, usize) {
    let mut ready = 0;
    let words: Vec<_> = pods
        .iter()
        .map(|pod| match pod.status() {
            Ok(status) => {
                ready += usize::from(status.ready());
                let mark = if status.ready() { "*" } else { "" };
                format!("{} {}{mark}", pod.name(), status.role())
            }
            Err(_) => format!("{} away", pod.name()),
        })
        .collect();
    (words.join(" | "), ready)
}
