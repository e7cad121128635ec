//! The HTTP servers: read-only on the pod network, changes on the Unix socket alone.
//!
//! Handlers read what the loop published, or send it a request; they change nothing themselves and
//! ask neither the server nor a peer.

mod page;
mod places;
pub(crate) mod routes;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use self::places::Places;
use crate::publish::Shared;

/// How long a client may take to send its request's head: probes send theirs at once.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may last in all: longer than a preStop hook waits, which is half of a grace
/// period. Peers' sidecars connect anew.
const CONNECTION_LIMIT: Duration = Duration::from_hours(1);
/// More connections at once than probes, peers and scrapers make together.
const CONNECTIONS: usize = 256;
/// More than a peer, a node's kubelet or a scraper makes from one address.
const FROM_ONE: usize = 32;

/// Why the servers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The TCP address cannot be had.
    #[error("cannot listen on {address} for HTTP: {source} (is the port in use? see --http)")]
    Tcp {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Unix socket cannot be made.
    #[error(
        "cannot make the socket {path:?}: {source} (does the directory exist, and may this user write there? see --socket)"
    )]
    Socket {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another sidecar serves that socket.
    #[error(
        "the socket {path:?} is served by another process: are two sidecars running on one volume?"
    )]
    SocketInUse {
        /// Which file.
        path: PathBuf,
    },
}

/// The bound listeners: a clash of ports is an error at the start.
pub struct Servers {
    tcp: TcpListener,
    unix: UnixListener,
    socket: PathBuf,
}

impl Servers {
    /// Binds both.
    pub async fn bind(http: SocketAddr, socket: &Path) -> Result<Self, HttpError> {
        let tcp = bind_tcp(http).await?;
        let unix = bind_unix(socket).await?;
        Ok(Self {
            tcp,
            unix,
            socket: socket.to_owned(),
        })
    }

    /// Serves until the loop ends; then the socket's file is gone.
    pub async fn serve(self, shared: Shared, mut ended: watch::Receiver<bool>) {
        let pod_network = routes::pod_network(shared.clone());
        let socket_only = routes::socket(shared);
        let (tcp, unix) = (self.tcp, self.unix);
        let many = Places::new(CONNECTIONS, FROM_ONE);
        let serve_tcp = async {
            loop {
                let accepted = tcp.accept().await;
                let from = |from: &SocketAddr| from.ip().to_canonical();
                let address = accepted.as_ref().map_or(NOBODY, |(_, it)| from(it));
                let stream = accepted.map(|(stream, _)| stream);
                accept(stream, address, &pod_network, &many).await;
            }
        };
        // The kubelet's and people's commands must get through when the pod network is flooded.
        let few = Places::new(CONNECTIONS, CONNECTIONS);
        let serve_unix = async {
            loop {
                let stream = unix.accept().await.map(|(stream, _)| stream);
                accept(stream, NOBODY, &socket_only, &few).await;
            }
        };
        tokio::select! {
            () = serve_tcp => {}
            () = serve_unix => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
        // Best effort: a file that stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, HttpError> {
    match TcpListener::bind(address).await {
        // A machine without IPv6: the same port on IPv4.
        Err(error)
            if address.ip().is_unspecified()
                && address.is_ipv6()
                && error.kind() != ErrorKind::AddrInUse =>
        {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            tracing::warn!(%address, %error, "cannot listen on IPv6, so only on IPv4");
            TcpListener::bind(v4)
                .await
                .map_err(|source| HttpError::Tcp {
                    address: v4,
                    source,
                })
        }
        bound => bound.map_err(|source| HttpError::Tcp { address, source }),
    }
}

async fn bind_unix(path: &Path) -> Result<UnixListener, HttpError> {
    let fail = |source| HttpError::Socket {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fail)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(HttpError::SocketInUse {
                    path: path.to_owned(),
                });
            }
            std::fs::remove_file(path).map_err(fail)?;
            UnixListener::bind(path).map_err(fail)?
        }
        bound => bound.map_err(fail)?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    Ok(listener)
}

/// Where connections of the socket are from.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// One connection on the pod network, or on the socket.
pub(crate) async fn serve<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(64)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How a client's connection ends is the client's matter.
    let _ = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
}

async fn accept<S>(stream: std::io::Result<S>, from: IpAddr, router: &Router, places: &Places)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            // Out of file descriptors, most likely: give connections time to end.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            return;
        }
    };
    let Some(place) = places.take(from) else {
        return;
    };
    let router = router.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = serve(stream, router) => {}
            () = place.lost.notified() => {}
        }
    });
}

#[cfg(test)]
mod tests;
