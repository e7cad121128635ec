//! The one file that speaks to Redis and Valkey servers.
//!
//! A [`Connection`] never reconnects by itself: whoever sends a command that rests on what was read
//! must know that it goes over the connection on which it was read.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
};
use tokio::sync::Notify;

use super::info::{FENCE_HOST, FENCE_PORT, InfoError, ServerInfo};

/// How long a new connection may take. Servers answer within microseconds; a busy one within
/// seconds, and for such a one the next attempt is as good as this one.
const CONNECT: Duration = Duration::from_secs(1);

/// With what a server is logged in to.
#[derive(Clone, Default)]
pub struct Login {
    /// The ACL user; none for the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<redacted>"))
            .finish()
    }
}

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
    /// Whether the server runs a script, and takes no other command meanwhile.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Answered { cause, .. } => cause.starts_with("BUSY "),
            Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NotRedis { .. }
            | Self::Info { .. }
            | Self::Refused { .. }
            | Self::Login { .. } => false,
        }
    }

    /// Whether a command that failed so may have been carried out all the same.
    pub fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NotRedis { .. }
            | Self::Info { .. } => true,
            Self::Refused { .. } | Self::Login { .. } | Self::Answered { .. } => false,
        }
    }
}

/// One connection to one server.
#[derive(Clone)]
pub struct Connection {
    address: SocketAddr,
    limit: Duration,
    inner: MultiplexedConnection,
}

impl Connection {
    /// Connects and logs in. `limit` bounds each later answer. `lost` is notified when the
    /// connection ends.
    pub async fn open(
        address: SocketAddr,
        login: &Login,
        limit: Duration,
        lost: Option<Arc<Notify>>,
    ) -> Result<Self, ServerError> {
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(username) = &login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password);
        }
        let fail = |error: &RedisError| explain(error, address, "HELLO", CONNECT);
        let target = ConnectionAddr::Tcp(address.ip().to_string(), address.port())
            .into_connection_info()
            .map_err(|e| fail(&e))?
            .set_redis_settings(settings);
        let client = Client::open(target).map_err(|e| fail(&e))?;
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(limit));
        if let Some(lost) = lost {
            config = config.set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    lost.notify_one();
                }
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let inner = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|e| fail(&e))?;
        Ok(Self {
            address,
            limit,
            inner,
        })
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server says of itself.
    pub async fn info(&mut self) -> Result<ServerInfo, ServerError> {
        let address = self.address;
        let text: String = self.ask("INFO", &redis::cmd("INFO")).await?;
        ServerInfo::parse(&text).map_err(|source| ServerError::Info { address, source })
    }

    /// `REPLICAOF NO ONE`: the server accepts writes from here on.
    pub async fn promote(&mut self) -> Result<(), ServerError> {
        self.tell(
            "REPLICAOF NO ONE",
            redis::cmd("REPLICAOF").arg("NO").arg("ONE"),
        )
        .await
    }

    /// The server refuses writes and feeds no replica from here on.
    pub async fn fence(&mut self) -> Result<(), ServerError> {
        self.follow(FENCE_HOST, FENCE_PORT).await
    }

    /// The server follows another one from here on.
    pub async fn follow(&mut self, host: &str, port: u16) -> Result<(), ServerError> {
        self.tell("REPLICAOF", redis::cmd("REPLICAOF").arg(host).arg(port))
            .await
    }

    /// Sets one configuration parameter.
    pub async fn config_set(&mut self, name: &str, value: &str) -> Result<(), ServerError> {
        self.tell(
            "CONFIG SET",
            redis::cmd("CONFIG").arg("SET").arg(name).arg(value),
        )
        .await
    }

    /// Reads one configuration parameter; none when the server does not know it.
    pub async fn config_get(&mut self, name: &str) -> Result<Option<String>, ServerError> {
        let mut pairs: HashMap<String, String> = self
            .ask("CONFIG GET", redis::cmd("CONFIG").arg("GET").arg(name))
            .await?;
        Ok(pairs.remove(name))
    }

    /// Closes every client's connection but this one and those of replicas.
    pub async fn kill_clients(&mut self) -> Result<(), ServerError> {
        // Whoever writes comes last: it comes back soonest.
        for kind in ["pubsub", "normal"] {
            let mut command = redis::cmd("CLIENT");
            command.arg("KILL").arg("TYPE").arg(kind);
            self.tell("CLIENT KILL", command.arg("SKIPME").arg("yes"))
                .await?;
        }
        Ok(())
    }

    /// Creates or replaces an ACL user by its rules.
    pub async fn acl_set_user(&mut self, user: &str, rules: &[String]) -> Result<(), ServerError> {
        self.tell(
            "ACL SETUSER",
            redis::cmd("ACL").arg("SETUSER").arg(user).arg(rules),
        )
        .await
    }

    async fn tell(&mut self, name: &'static str, command: &Cmd) -> Result<(), ServerError> {
        self.ask::<Value>(name, command).await.map(|_| ())
    }

    async fn ask<T: redis::FromRedisValue>(
        &mut self,
        name: &'static str,
        command: &Cmd,
    ) -> Result<T, ServerError> {
        command
            .query_async(&mut self.inner)
            .await
            .map_err(|e| explain(&e, self.address, name, self.limit))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the crate's enum grows; what it adds is a broken connection to us"
)]
fn explain(
    error: &RedisError,
    address: SocketAddr,
    command: &'static str,
    limit: Duration,
) -> ServerError {
    use redis::ErrorKind;
    let cause = match error.detail() {
        Some(detail) => format!("{} {detail}", error.code().unwrap_or_default())
            .trim()
            .to_owned(),
        None => error.to_string(),
    };
    if error.is_connection_refusal() {
        return ServerError::Refused { address };
    }
    if error.is_timeout() {
        return ServerError::Silent { address, limit };
    }
    let login = matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "DENIED"));
    match error.kind() {
        ErrorKind::AuthenticationFailed => ServerError::Login { address, cause },
        ErrorKind::Server(_) | ErrorKind::Extension if login => {
            ServerError::Login { address, cause }
        }
        ErrorKind::Server(kind) => ServerError::Answered {
            address,
            command,
            cause,
            loading: kind == redis::ServerErrorKind::BusyLoading,
        },
        ErrorKind::Extension => ServerError::Answered {
            address,
            command,
            cause,
            loading: false,
        },
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType | ErrorKind::RESP3NotSupported => {
            ServerError::NotRedis { address, cause }
        }
        _ => ServerError::Broken { address, cause },
    }
}
