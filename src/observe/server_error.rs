//! Why a server did not do or tell what it was asked, and what follows from that.

use std::net::SocketAddr;
use std::time::Duration;

use super::info::InfoError;
use crate::words;

/// Why a server did not do or tell what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServerError {
    /// Nothing listens there: the machine said so.
    #[error("nothing listens on {address} (connection refused)")]
    Refused {
        /// Where.
        address: SocketAddr,
    },
    /// No answer in time. Whether a command was carried out is unknown.
    #[error("{address} did not answer within {limit:?}")]
    Silent {
        /// Who.
        address: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke. Whether a command was carried out is unknown.
    #[error("the connection to {address} broke: {cause}")]
    Broken {
        /// Who.
        address: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// Nobody proved to be the server that was meant. Nothing was sent.
    #[error(
        "no TLS with {address} as {name}: {cause} (check --tls-ca-file, the names in the server's certificate, and that this port is its tls-port)"
    )]
    Tls {
        /// Where.
        address: SocketAddr,
        /// Who was meant.
        name: String,
        /// What was wrong.
        cause: String,
    },
    /// The server does not accept the login.
    #[error("{address} refuses the login: {cause} (check --username and --password-file)")]
    Login {
        /// Who.
        address: SocketAddr,
        /// What the server said.
        cause: String,
    },
    /// The server answered with an error: the command was not carried out.
    #[error("{address} answered {cause:?} to {command}")]
    Answered {
        /// Who.
        address: SocketAddr,
        /// The command's name, without its arguments.
        command: &'static str,
        /// The server's words.
        cause: String,
        /// It is reading its data and takes no commands yet.
        loading: bool,
    },
    /// What answers is no Redis or Valkey server.
    #[error("{address} does not speak the Redis protocol: {cause}")]
    NotRedis {
        /// Who.
        address: SocketAddr,
        /// What was read.
        cause: String,
    },
    /// A reply that cannot be used.
    #[error("{address}: {source}")]
    Info {
        /// Who.
        address: SocketAddr,
        /// What is wrong with it.
        source: InfoError,
    },
}

impl ServerError {
    /// Whether a server lives there that does not do what it is told: it runs a script, or refuses the
    /// login or the certificate.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Answered { .. } | Self::Tls { .. } | Self::Login { .. } => true,
            Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NotRedis { .. }
            | Self::Info { .. }
            | Self::Refused { .. } => false,
        }
    }

    /// The same of a command that carries a secret.
    pub(super) fn without_arguments(mut self) -> Self {
        match &mut self {
            Self::Answered { cause, .. }
            | Self::Login { cause, .. }
            | Self::Broken { cause, .. }
            | Self::NotRedis { cause, .. }
            | Self::Tls { cause, .. } => *cause = words::without_arguments(cause),
            Self::Refused { .. } | Self::Silent { .. } | Self::Info { .. } => {}
        }
        self
    }

    /// Whether a command that failed so may have been carried out all the same.
    pub fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NotRedis { .. }
            | Self::Info { .. } => true,
            Self::Refused { .. }
            | Self::Tls { .. }
            | Self::Login { .. }
            | Self::Answered { .. } => false,
        }
    }
}
