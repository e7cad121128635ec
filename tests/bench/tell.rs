//! What is told while figures are measured.

use std::io::Write as _;

/// Prints to standard output.
pub(crate) fn say(line: &str) {
    // Whoever closed the pipe does not want the rest.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Tells on standard error what takes its time; the table stays clean when it is piped.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "  ... {line}");
}
