//! A child process with its output in a file: signals, waiting, and the certainty that it ends.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_until;

/// A running or ended child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: RefCell<Child>,
}

impl Process {
    /// Starts `command`; everything that it prints is appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let err = out.try_clone().context("sharing the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child: RefCell::new(child),
        })
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.child.borrow().id()
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.borrow_mut().try_wait().ok().flatten()
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.ended().is_none()
    }

    /// Waits for its end.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        wait_until(&format!("the end of {}", self.name), limit, || {
            self.ended().context("it runs")
        })
        .with_context(|| format!("{}'s log:\n{}", self.name, self.log_tail(20)))
    }

    /// Waits for its end and gives the exit code.
    pub fn exit_code(&self, limit: Duration) -> Result<i32> {
        let status = self.wait(limit)?;
        status
            .code()
            .with_context(|| format!("{} ended by a signal: {status}", self.name))
    }

    /// Sends a signal; an error when the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.is_running(), "{} has ended already", self.name);
        let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) else {
            bail!("{} has no usable process ID", self.name)
        };
        kill_process(pid, signal).with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).map(|_| ())
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// SIGTERM, and SIGKILL when it is still there after the grace.
    pub fn terminate_within(&self, grace: Duration) -> Result<()> {
        let ended = self.terminate(grace);
        if self.is_running() {
            return self.kill();
        }
        ended.map(|_| ())
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// The last lines of what it has printed.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        if matches!(child.try_wait(), Ok(None)) {
            // Errors mean that it is gone, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A file's text as far as it is text; empty when there is none.
pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = read(path);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a command to its end; an error carries its output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
