//! Asking a peer's sidecar for its `/status`: the one HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::report::{Report, SCHEMA};

/// A status document is some kilobytes; whatever is longer is none.
const LONGEST: usize = 1 << 20;

/// Why a sidecar's report is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nothing listens there.
    #[error("no sidecar listens on {0} (connection refused)")]
    Refused(SocketAddr),
    /// No answer in time.
    #[error("the sidecar at {0} did not answer within {1:?}")]
    Silent(SocketAddr, Duration),
    /// The connection could not be made, or broke.
    #[error("the connection to the sidecar at {0} broke: {1}")]
    Broken(SocketAddr, String),
    /// Something answers, but no podzero sidecar.
    #[error("what answers at {0} is no podzero sidecar: {1}")]
    NotPodzero(SocketAddr, String),
    /// It is a sidecar, and has not had its first look yet.
    #[error("the sidecar at {0} has only just started")]
    Starting(SocketAddr),
    /// A newer release writes a document that this one does not know.
    #[error("the sidecar at {0} writes schema {1}, this release knows {SCHEMA}: update this pod")]
    NewerSchema(SocketAddr, u32),
}

/// A connection to one sidecar, kept between asks.
#[derive(Debug)]
pub struct PeerClient {
    address: SocketAddr,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

/// Asks once.
pub async fn fetch_report(address: SocketAddr, limit: Duration) -> Result<Report, PeerError> {
    PeerClient::new(address).report(limit).await
}

impl PeerClient {
    /// A client that is not connected yet.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            sender: None,
        }
    }

    /// Where it asks.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The peer's report, within `limit` in all. A connection that broke between two asks is made
    /// anew once.
    pub async fn report(&mut self, limit: Duration) -> Result<Report, PeerError> {
        let reused = self.sender.is_some();
        let answer = timeout(limit, async {
            match self.ask().await {
                Err(PeerError::Broken(..)) if reused => {
                    self.sender = None;
                    self.ask().await
                }
                answer => answer,
            }
        })
        .await
        .unwrap_or(Err(PeerError::Silent(self.address, limit)));
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn ask(&mut self) -> Result<Report, PeerError> {
        let address = self.address;
        let broken = |e: &dyn std::fmt::Display| PeerError::Broken(address, e.to_string());
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(address).await.map_err(|e| {
                if e.kind() == std::io::ErrorKind::ConnectionRefused {
                    PeerError::Refused(address)
                } else {
                    broken(&e)
                }
            })?;
            let (sender, connection) = handshake(TokioIo::new(stream))
                .await
                .map_err(|e| broken(&e))?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        let Some(sender) = &mut self.sender else {
            return Err(broken(&"no connection"));
        };
        sender.ready().await.map_err(|e| broken(&e))?;
        let request = Request::get("/status")
            .header("host", address.to_string())
            .body(Empty::new())
            .map_err(|e| broken(&e))?;
        let response = sender.send_request(request).await.map_err(|e| {
            if e.is_parse() {
                PeerError::NotPodzero(address, format!("it does not speak HTTP ({e})"))
            } else {
                broken(&e)
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST)
            .collect()
            .await
            .map_err(|e| broken(&e))?
            .to_bytes();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(PeerError::Starting(address));
        }
        if status != StatusCode::OK {
            return Err(PeerError::NotPodzero(
                address,
                format!("HTTP status {status}"),
            ));
        }
        read(address, &body)
    }
}

fn read(address: SocketAddr, body: &[u8]) -> Result<Report, PeerError> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u32,
    }
    let not = |e: serde_json::Error| PeerError::NotPodzero(address, e.to_string());
    let Schema { schema } = serde_json::from_slice(body).map_err(not)?;
    if schema > SCHEMA {
        return Err(PeerError::NewerSchema(address, schema));
    }
    serde_json::from_slice(body).map_err(not)
}
