//! Logging to standard error: text for terminals, JSON for everything else.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;
use crate::exit::{Exit, Failure, OrExit as _};

/// Starts logging. A filter that makes no sense is a usage error.
pub fn init(filter: &str, format: Option<LogFormat>) -> Result<(), Failure> {
    let filter: Targets = filter
        .parse()
        .map_err(|e| {
            anyhow::anyhow!(
                "--log {filter:?} is no filter: {e} (write a level such as info or debug)"
            )
        })
        .or_exit(Exit::Usage)?;
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(terminal)).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}
