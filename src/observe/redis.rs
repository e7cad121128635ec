//! The one file that speaks to Redis and Valkey servers.
//!
//! A [`Connection`] never reconnects by itself: whoever sends a command that rests on what was read
//! must know that it goes over the connection on which it was read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, RedisResult, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::bounded::Bounded;
use super::info::{FENCE_HOST, FENCE_PORT, ServerInfo};
pub use super::server_error::ServerError;
use super::tls::Certificate;
use crate::login::Login;
use crate::secret::Secret;
use crate::topology::ServerAt;
use crate::words;

/// How long a new connection may take. Servers answer within microseconds; a busy one within
/// seconds, and for such a one the next attempt is as good as this one.
const CONNECT: Duration = Duration::from_secs(1);

/// One connection to one server.
#[derive(Clone)]
pub struct Connection {
    at: ServerAt,
    limit: Duration,
    inner: MultiplexedConnection,
    certificate: Option<Certificate>,
    driver: Arc<Driver>,
}

/// What moves the bytes, for as long as somebody has the connection.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects and logs in. `limit` bounds each later answer. `lost` is notified when the
    /// connection ends.
    pub async fn open(
        at: ServerAt,
        login: &Login,
        limit: Duration,
        lost: Option<Arc<Notify>>,
    ) -> Result<Self, ServerError> {
        let passwords = login.passwords();
        let current = passwords.current.as_ref();
        let opened = Self::open_with(at, login, current, limit, lost.clone()).await;
        if !matches!(opened, Err(ServerError::Login { .. })) {
            return opened;
        }
        // A server whose sidecar has not seen the new one yet.
        for old in &passwords.old {
            let again = Self::open_with(at, login, Some(old), limit, lost.clone()).await;
            if again.is_ok() {
                return again;
            }
        }
        opened
    }

    async fn open_with(
        at: ServerAt,
        login: &Login,
        password: Option<&Secret>,
        limit: Duration,
        lost: Option<Arc<Notify>>,
    ) -> Result<Self, ServerError> {
        let address = at.address;
        let opening = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|e| unreached(&e, address))?;
            // Commands are small, and waited for.
            let _ = stream.set_nodelay(true);
            let Some(tls) = login.tls() else {
                return Self::begin(at, stream, None, login, password, limit, lost).await;
            };
            let name = login.server_name(at.ordinal);
            let (stream, certificate) = tls
                .connect(stream, &name, login.is_own(at))
                .await
                .map_err(|e| ServerError::Tls {
                    address,
                    name,
                    cause: e.to_string(),
                })?;
            Self::begin(at, stream, certificate, login, password, limit, lost).await
        };
        let silent = |_| ServerError::Silent {
            address,
            limit: CONNECT,
        };
        tokio::time::timeout(CONNECT, opening)
            .await
            .map_err(silent)?
    }

    /// Logs in over what has been connected.
    async fn begin<S>(
        at: ServerAt,
        stream: S,
        certificate: Option<Certificate>,
        login: &Login,
        password: Option<&Secret>,
        limit: Duration,
        lost: Option<Arc<Notify>>,
    ) -> Result<Self, ServerError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(username) = login.username() {
            settings = settings.set_username(username);
        }
        if let Some(password) = password {
            settings = settings.set_password(password.expose());
        }
        let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(limit));
        if let Some(lost) = lost.clone() {
            config = config.set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    lost.notify_one();
                }
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let begun: RedisResult<_> =
            MultiplexedConnection::new_with_config(&settings, Bounded::new(stream), config).await;
        let (inner, driver) = begun.map_err(|e| {
            let error = explain(&e, at.address, "HELLO", CONNECT).without_arguments();
            not_private(error, at, login)
        })?;
        let driver = tokio::spawn(async move {
            driver.await;
            // However it ended: the crate does not tell each way.
            if let Some(lost) = lost {
                lost.notify_one();
            }
        });
        let driver = driver.abort_handle();
        Ok(Self {
            at,
            limit,
            inner,
            certificate,
            driver: Arc::new(Driver(driver)),
        })
    }

    /// What is sent may still arrive.
    pub fn is_alive(&self) -> bool {
        !self.driver.0.is_finished()
    }

    /// Whose server this is, and where.
    pub fn at(&self) -> ServerAt {
        self.at
    }

    /// The certificate that it showed; none without TLS.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// What the server says of itself.
    pub async fn info(&mut self) -> Result<ServerInfo, ServerError> {
        let address = self.at.address;
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
        .map_err(ServerError::without_arguments)
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
        .map_err(ServerError::without_arguments)
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
            .map_err(|e| explain(&e, self.at.address, name, self.limit))
    }
}

fn unreached(error: &std::io::Error, address: SocketAddr) -> ServerError {
    if error.kind() == std::io::ErrorKind::ConnectionRefused {
        return ServerError::Refused { address };
    }
    ServerError::Broken {
        address,
        cause: error.to_string(),
    }
}

/// A connection that ends before its first answer: with TLS, a server that wants a certificate says so
/// only then; without, it may be one that wants TLS.
fn not_private(error: ServerError, at: ServerAt, login: &Login) -> ServerError {
    let ServerError::Broken { address, cause } = error else {
        return error;
    };
    if login.tls().is_some() {
        ServerError::Tls {
            address,
            name: login.server_name(at.ordinal),
            cause: format!("{cause}; does it want a certificate (--tls-cert-file)?"),
        }
    } else {
        ServerError::Broken {
            address,
            cause: format!("{cause} (before any answer: is this its tls-port? See --tls-ca-file)"),
        }
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
    let cause = words::bounded(&cause);
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::topology::{Identity, Ordinal};

    const SHORT: Duration = Duration::from_millis(200);

    /// What comes of a server that answers everything with these bytes, over and over or once.
    async fn answered(bytes: &'static [u8], for_ever: bool) -> Result<ServerInfo, ServerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).await;
            while stream.write_all(bytes).await.is_ok() && for_ever {}
            // Whoever is silent keeps the connection.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let identity = Identity {
            pod: "redis-1".parse().expect("a pod's name"),
            uid: None,
            namespace: "shop".to_owned(),
            service: "redis".to_owned(),
            domain: "cluster.local".to_owned(),
        };
        let login = Login::new(&identity, None, None, None);
        let at = ServerAt {
            ordinal: Ordinal::ZERO,
            address,
        };
        Connection::open(at, &login, SHORT, None)
            .await?
            .info()
            .await
    }

    #[tokio::test]
    async fn whatever_answers_is_no_harm() {
        let long: &[u8] = b"$500000000\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let nested: &[u8] = b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n";
        for (bytes, for_ever, words) in [
            (
                b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
                false,
                "Redis protocol",
            ),
            (long, true, "without end"),
            (nested, true, ""),
            (b"", false, "did not answer"),
        ] {
            let error = answered(bytes, for_ever).await.expect_err("no server");
            let error = error.to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
