//! Exit codes: one documented enum, the same in the README.

use std::process::ExitCode;

/// How a `podzero` process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// An error that fits no other code; the text says what happened.
    Failed = 1,
    /// Flags or their environment twins are wrong, missing or contradict one another.
    Usage = 2,
    /// Waited until the time limit, in vain.
    WaitedInVain = 3,
    /// Refused: going on could cost data, or what was asked cannot be (another set's pod, another
    /// handover under way).
    RefusedForData = 4,
    /// Files, ports, rights: the environment is not as it must be.
    Environment = 5,
    /// The server (or the sidecar) refuses us: a wrong password, a missing right.
    ServerRefuses = 6,
    /// `failover`: there was nothing to do.
    Nothing = 7,
    /// `prestop`, `failover`: another member became the master in another way, and may lack writes.
    PossibleLoss = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code that it leads to.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What was being done, to what, what went wrong and what to check.
    pub error: anyhow::Error,
}

impl Failure {
    /// An error with its code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }
}

/// Gives an error its exit code.
pub trait OrExit<T> {
    /// Maps the error to a [`Failure`] with this code.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, error))
    }
}
