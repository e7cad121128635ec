//! Logging to standard error: text for terminals, JSON for everything else.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::exit::{Exit, Failure, OrExit as _};

/// Starts logging. A filter that makes no sense is a usage error.
pub fn init(filter: &str, format: Option<LogFormat>) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(terminal).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
    Ok(())
}
