//! Signals: the first asks for an orderly end, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{Exit, Failure, OrExit as _};

/// Becomes true at the first SIGTERM or SIGINT.
pub fn listen() -> Result<watch::Receiver<bool>, Failure> {
    let mut term = signal(SignalKind::terminate()).or_exit(Exit::Environment)?;
    let mut int = signal(SignalKind::interrupt()).or_exit(Exit::Environment)?;
    let (asked, receiver) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if *asked.borrow() {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(i32::from(Exit::Failed as u8));
            }
            tracing::info!("a signal asks for the end; a second one ends at once");
            asked.send_replace(true);
        }
    });
    Ok(receiver)
}
