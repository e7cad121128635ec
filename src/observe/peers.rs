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
use crate::words;

/// A status document is some kilobytes; whatever is longer is none.
const LONGEST: usize = 1 << 20;
/// The longest text in it: what a stranger says must not make our own document, which repeats some of it,
/// too long for the others. Our own texts are cut well below ([`crate::decide::Reason`]).
const LONGEST_TEXT: usize = 8 << 10;

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
    #[error("the sidecar at {0} has only just started, or was paused")]
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
    PeerClient::new(address).report(limit, false).await
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
    /// anew once. `hurry` asks the peer to look around at once, since its next report is waited for.
    pub async fn report(&mut self, limit: Duration, hurry: bool) -> Result<Report, PeerError> {
        let reused = self.sender.is_some();
        let answer = timeout(limit, async {
            match self.ask(hurry).await {
                Err(PeerError::Broken(..)) if reused => {
                    self.sender = None;
                    self.ask(hurry).await
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

    async fn ask(&mut self, hurry: bool) -> Result<Report, PeerError> {
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
        let request = Request::get(if hurry { "/status?hurry" } else { "/status" })
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
        parse(address, &body)
    }
}

/// Reads a status document.
pub(crate) fn parse(address: SocketAddr, body: &[u8]) -> Result<Report, PeerError> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u32,
    }
    let not = |e: serde_json::Error| PeerError::NotPodzero(address, words::bounded(&e.to_string()));
    if longest_text(body) > LONGEST_TEXT {
        let why = format!("it has a text of more than {LONGEST_TEXT} bytes");
        return Err(PeerError::NotPodzero(address, why));
    }
    let Schema { schema } = serde_json::from_slice(body).map_err(not)?;
    if schema > SCHEMA {
        return Err(PeerError::NewerSchema(address, schema));
    }
    serde_json::from_slice(body).map_err(not)
}

/// The longest text of a JSON document, in bytes as written.
fn longest_text(document: &[u8]) -> usize {
    let (mut longest, mut begun, mut escaped) = (0, None, false);
    for (at, byte) in document.iter().enumerate() {
        match (begun, byte) {
            (None, b'"') => begun = Some(at + 1),
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(from), b'"') => {
                longest = longest.max(at - from);
                begun = None;
            }
            (None | Some(_), _) => {}
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::decide::fixture::Member;

    const LIMIT: Duration = Duration::from_millis(300);

    /// What a client makes of a server that answers every request on a connection with these bytes,
    /// and then keeps the connection open.
    async fn told(answer: Vec<u8>) -> Result<Report, PeerError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                        let _ = stream.write_all(&answer).await;
                    }
                });
            }
        });
        let report = fetch_report(address, LIMIT).await;
        server.abort();
        report
    }

    fn http(code: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {code}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    #[tokio::test]
    async fn a_report_is_read_and_unknown_fields_are_left_alone() {
        let report = Member::with_data(0, 1, 'a', 5).report();
        let mut document = serde_json::to_value(&report).expect("JSON");
        document["a_later_field"] = true.into();
        let answer = http("200 OK", &document.to_string());
        assert_eq!(told(answer).await, Ok(report));
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_even_when_its_fields_are_others() {
        let answer = http("200 OK", r#"{"schema": 2}"#);
        assert!(matches!(
            told(answer).await,
            Err(PeerError::NewerSchema(_, 2))
        ));
    }

    #[tokio::test]
    async fn who_is_no_podzero_is_told_apart_from_who_is_silent() {
        let report = Member::empty(0).report();
        let half = serde_json::to_string(&report).expect("JSON").split_off(40);
        let no_podzero = [
            http("200 OK", "hello"),
            http("200 OK", "{}"),
            http("200 OK", r#"{"schema": 1}"#),
            http("200 OK", &half),
            http("404 Not Found", ""),
            b"-ERR unknown command\r\n".to_vec(),
        ];
        for answer in no_podzero {
            let words = String::from_utf8_lossy(&answer).into_owned();
            let told = told(answer).await;
            assert!(
                matches!(told, Err(PeerError::NotPodzero(..))),
                "{words}: {told:?}"
            );
        }
        let starting = told(http("503 Service Unavailable", "")).await;
        assert!(
            matches!(starting, Err(PeerError::Starting(_))),
            "{starting:?}"
        );
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
        for silent in [Vec::new(), cut] {
            let told = told(silent).await;
            assert!(matches!(told, Err(PeerError::Silent(..))), "{told:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_ends() {
        let long = "x".repeat(LONGEST + 1);
        let told = told(http("200 OK", &long)).await;
        assert!(matches!(told, Err(PeerError::Broken(..))), "{told:?}");
    }

    #[tokio::test]
    async fn nobody_listening_is_refused_at_once() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let told = fetch_report(address, LIMIT).await;
        assert_eq!(told, Err(PeerError::Refused(address)));
    }
}
