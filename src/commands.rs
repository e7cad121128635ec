//! `podzero status`, `resolve`, `prestop` and `failover`: they talk to this pod's sidecar over its Unix socket.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::config::{FailoverArgs, ResolveArgs, SocketArgs, StatusArgs};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::publish::{Outcome, Progress};
use crate::report::{LinkState, Report, Role};
use crate::topology::Epoch;

const LIMIT: Duration = Duration::from_secs(20);

/// Prints the set.
pub async fn status(args: StatusArgs) -> Result<(), Failure> {
    let (status, body) = call(&args.at.socket, Method::GET, "/status", String::new()).await?;
    if status != StatusCode::OK {
        return Err(Failure::new(
            Exit::WaitedInVain,
            anyhow::anyhow!("the sidecar has no status yet: {}", body.trim()),
        ));
    }
    if args.json {
        return print(&format!("{body}\n"));
    }
    let report: Report = serde_json::from_str(&body)
        .map_err(|e| anyhow::anyhow!("what the sidecar answered is no status document: {e}"))
        .or_exit(Exit::Failed)?;
    print(&table(&report))
}

/// Tells the sidecar whose data the set keeps.
pub async fn resolve(args: ResolveArgs) -> Result<(), Failure> {
    let body = serde_json::json!({ "keep": args.keep.to_string() }).to_string();
    let (status, words) = call(&args.at.socket, Method::POST, "/resolve", body).await?;
    match status {
        StatusCode::OK => print(&words),
        StatusCode::GATEWAY_TIMEOUT => Err(Failure::new(
            Exit::WaitedInVain,
            anyhow::anyhow!("{}", words.trim()),
        )),
        _ => Err(Failure::new(
            Exit::RefusedForData,
            anyhow::anyhow!("the sidecar refuses: {}", words.trim()),
        )),
    }
}

/// The preStop hook. Nothing to do is done, too: Kubernetes calls every other code a failed hook.
pub async fn prestop(args: SocketArgs) -> Result<(), Failure> {
    match follow(&args.socket, "/prestop", String::new()).await? {
        Outcome::Done | Outcome::Nothing => Ok(()),
        outcome @ (Outcome::Failed | Outcome::PossibleLoss) => Err(not_done(outcome)),
    }
}

/// Hands the role over.
pub async fn failover(args: FailoverArgs) -> Result<(), Failure> {
    let to = args.to.map(|pod| pod.to_string());
    let body = serde_json::json!({ "to": to }).to_string();
    match follow(&args.at.socket, "/failover", body).await? {
        Outcome::Done => Ok(()),
        outcome @ (Outcome::Nothing | Outcome::Failed | Outcome::PossibleLoss) => {
            Err(not_done(outcome))
        }
    }
}

fn not_done(outcome: Outcome) -> Failure {
    let (exit, words) = match outcome {
        Outcome::Done | Outcome::Nothing => (Exit::Nothing, "there was nothing to do"),
        Outcome::Failed => (Exit::WaitedInVain, "not done; the last line says why"),
        Outcome::PossibleLoss => (Exit::PossibleLoss, "writes may be lost"),
    };
    Failure::new(exit, anyhow::anyhow!("{words}"))
}

/// Prints what the sidecar does, a line a step, to its end.
async fn follow(socket: &Path, path: &str, body: String) -> Result<Outcome, Failure> {
    let response = send(socket, Method::POST, path, body).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut rest = Vec::new();
    loop {
        // The sidecar gives a sign of life every few seconds.
        let Ok(frame) = tokio::time::timeout(LIMIT, body.frame()).await else {
            return Err(silent());
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| anyhow::anyhow!("the sidecar's answer broke off ({e}): is it still running? What is under way goes on when it is back; see podzero status")).or_exit(Exit::WaitedInVain)?;
        rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if status != StatusCode::OK {
            continue;
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if line == b"\n" {
                continue;
            }
            let progress = serde_json::from_slice(&line)
                .map_err(|e| anyhow::anyhow!("what the sidecar answered is not understood: {e}"))
                .or_exit(Exit::Failed)?;
            match progress {
                Progress::Step(line) => print(&format!("{line}\n"))?,
                Progress::Outcome(outcome) => return Ok(outcome),
            }
        }
    }
    let words = String::from_utf8_lossy(&rest);
    Err(match status {
        StatusCode::OK => Failure::new(
            Exit::WaitedInVain,
            anyhow::anyhow!("the sidecar ended before it was done; see podzero status"),
        ),
        StatusCode::GATEWAY_TIMEOUT => {
            Failure::new(Exit::WaitedInVain, anyhow::anyhow!("{}", words.trim()))
        }
        _ => Failure::new(
            Exit::RefusedForData,
            anyhow::anyhow!("the sidecar refuses: {}", words.trim()),
        ),
    })
}

async fn call(
    socket: &Path,
    method: Method,
    path: &str,
    body: String,
) -> Result<(StatusCode, String), Failure> {
    let asked = tokio::time::timeout(LIMIT, async {
        let response = send(socket, method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 1 << 20)
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!("the sidecar's answer broke off: {e}"))
            .or_exit(Exit::Failed)?
            .to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    });
    asked.await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> Failure {
    Failure::new(
        Exit::WaitedInVain,
        anyhow::anyhow!("the sidecar did not answer within {LIMIT:?}"),
    )
}

/// Sends a request and waits for the head of its answer.
async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: String,
) -> Result<Response<Incoming>, Failure> {
    let asked = tokio::time::timeout(LIMIT, async {
        let stream = UnixStream::connect(socket).await.map_err(|e| {
            anyhow::anyhow!("cannot reach the sidecar at {}: {e} (is it running, and is its volume mounted in this container? see --socket)", socket.display())
        }).or_exit(Exit::Environment)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .or_exit(Exit::Failed)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "podzero")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .or_exit(Exit::Failed)?;
        sender.send_request(request).await.or_exit(Exit::Failed)
    });
    asked.await.unwrap_or_else(|_| Err(silent()))
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .or_exit(Exit::Environment)
}

fn epoch(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "-".to_owned(), |e| e.to_string())
}

/// The set in 80 columns.
fn table(report: &Report) -> String {
    let mut rows = vec![["POD", "ROLE", "EPOCH", "OFFSET", "LINK", "READY"].map(ToOwned::to_owned)];
    let link = match report.replication.link {
        Some(LinkState::Up) => "up",
        Some(LinkState::Down) => "down",
        Some(LinkState::Syncing) => "syncing",
        None => "-",
    };
    rows.push([
        format!("{} *", report.pod),
        report.role.as_str().to_owned(),
        epoch(report.epoch),
        report.replication.offset.to_string(),
        link.to_owned(),
        if report.ready { "yes" } else { "no" }.to_owned(),
    ]);
    for peer in &report.peers {
        rows.push([
            peer.pod.clone(),
            peer.role.map_or("?", Role::as_str).to_owned(),
            epoch(peer.epoch),
            peer.offset
                .map_or_else(|| "-".to_owned(), |o| o.to_string()),
            "-".to_owned(),
            "-".to_owned(),
        ]);
    }
    rows[1..].sort();
    let widths: Vec<usize> = (0..6)
        .map(|i| rows.iter().map(|r| r[i].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for reason in &report.reasons {
        text.push_str(&format!("\n{}: {}\n", report.pod, reason.message));
    }
    for peer in report.peers.iter().filter(|p| p.failure.is_some()) {
        text.push_str(&format!(
            "\n{}: {}\n",
            peer.pod,
            peer.failure.as_deref().unwrap_or_default()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixture::Member;
    use crate::report::{PeerReport, ReasonReport};

    #[test]
    fn the_set_in_a_terminal() {
        let mut report = Member::with_data(1, 12, 'a', 1_234_567_890)
            .replica_of(0, LinkState::Up)
            .report();
        let peer = |pod: &str, role, offset, failure: Option<&str>| PeerReport {
            pod: pod.to_owned(),
            role,
            epoch: report.epoch,
            offset,
            answered_at: None,
            failure: failure.map(ToOwned::to_owned),
        };
        report.peers = vec![
            peer("redis-0", Some(Role::Master), Some(1_234_567_890), None),
            peer("redis-2", None, None, Some("its name does not exist")),
        ];
        report.ready = true;
        report.reasons = vec![ReasonReport {
            code: "in_order".to_owned(),
            message: "follows redis-0".to_owned(),
        }];
        let text = table(&report);
        assert!(text.lines().all(|line| line.len() <= 80));
        insta::assert_snapshot!(text);
    }
}
