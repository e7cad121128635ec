use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::decide::fixture::Member;
use crate::decide::ready::Condition;
use crate::metrics::Metrics;
use crate::publish::{Published, Request, Turned};
use crate::report::ReasonReport;

/// The real servers, on a free port and in a folder of their own.
struct Run {
    tcp: SocketAddr,
    socket: PathBuf,
    turned: Turned,
    publish: watch::Sender<Option<Arc<Published>>>,
    requests: mpsc::Receiver<Request>,
    ended: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn run() -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("made/podzero.sock");
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let servers = Servers::bind(any, &socket).await.expect("binds");
    let tcp = servers.tcp.local_addr().expect("an address");
    let (publish, published) = watch::channel(None);
    let (sender, requests) = mpsc::channel(1);
    let (ended, has_ended) = watch::channel(false);
    let turned = Turned::default();
    let shared = Shared {
        published,
        turned: turned.clone(),
        valid: Duration::from_secs(2),
        requests: sender,
        metrics: Arc::new(Metrics::default()),
        wake: Arc::default(),
        token_file: None,
    };
    Run {
        tcp,
        socket,
        publish,
        turned,
        requests,
        ended,
        serving: tokio::spawn(servers.serve(shared, has_ended)),
        _folder: folder,
    }
}

impl Run {
    /// The code and the body that a request on the pod network gets.
    async fn tcp(&self, method: &str, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.tcp).await.expect("connects");
        ask(stream, method, path, "").await
    }

    async fn unix(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let stream = UnixStream::connect(&self.socket).await.expect("connects");
        ask(stream, method, path, body).await
    }

    fn publish(&self, ready: bool) {
        let mut report = Member::with_data(0, 1, 'a', 5).master().report();
        report.ready = ready;
        report.reasons = vec![ReasonReport {
            code: "is_master".to_owned(),
            message: "is the master".to_owned(),
        }];
        let condition = |name, ok, message: &str| Condition {
            name,
            ok,
            message: message.to_owned(),
        };
        let conditions = vec![
            condition("server", true, ""),
            condition("link", ready, if ready { "" } else { "down for 7 s" }),
        ];
        self.publish
            .send_replace(Some(Arc::new(Published { report, conditions })));
    }
}

async fn ask<S>(mut stream: S, method: &str, path: &str, body: &str) -> (u16, String)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).expect("a code");
    (code.parse().expect("a number"), body.to_owned())
}

#[tokio::test]
async fn before_the_first_turn_only_the_process_is_alive() {
    let run = run().await;
    assert_eq!(run.tcp("GET", "/livez").await, (200, "ok\n".to_owned()));
    for path in ["/startupz", "/readyz", "/readyz?verbose", "/status", "/"] {
        let (code, body) = run.tcp("GET", path).await;
        assert_eq!(code, 503, "{path}");
        assert!(body.contains("has not turned yet"), "{path}: {body}");
    }
}

/// This process was paused: peers are not told what was so before.
#[tokio::test]
async fn what_was_published_long_ago_is_not_told() {
    let run = run().await;
    run.publish(true);
    run.turned.now();
    assert_eq!(run.tcp("GET", "/status").await.0, 200);
    loop {
        let (code, body) = run.tcp("GET", "/status").await;
        if code == 503 {
            assert!(body.contains("out of date"), "{body}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.turned.now();
    assert_eq!(run.tcp("GET", "/status").await.0, 200);
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let run = run().await;
    run.publish(true);
    assert_eq!(run.tcp("GET", "/startupz").await.0, 200);
    assert_eq!(run.tcp("GET", "/readyz").await, (200, "ok\n".to_owned()));
    let (_, verbose) = run.tcp("GET", "/readyz?verbose").await;
    insta::assert_snapshot!(verbose, @r"
    [+]server ok
    [+]link ok
    ok
    ");
    run.publish(false);
    let (code, body) = run.tcp("GET", "/readyz?verbose").await;
    assert_eq!(code, 503);
    insta::assert_snapshot!(body, @r"
    [+]server ok
    [-]link: down for 7 s
    not ready
    link: down for 7 s
    is_master: is the master
    ");
}

#[tokio::test]
async fn what_is_published_is_read_back_the_same() {
    let run = run().await;
    run.publish(true);
    let (code, body) = run.tcp("GET", "/status").await;
    assert_eq!(code, 200);
    let told: crate::report::Report = serde_json::from_str(&body).expect("a report");
    let published = run.publish.borrow().clone().expect("published");
    assert_eq!(told, published.report);
    let (code, page) = run.tcp("GET", "/").await;
    assert_eq!(code, 200);
    assert!(page.contains("redis-0") && page.contains("master"));
}

#[tokio::test]
async fn the_pod_network_changes_nothing() {
    let mut run = run().await;
    for path in ["/resolve", "/failover", "/prestop"] {
        for method in ["GET", "POST", "PUT"] {
            let (code, body) = run.tcp(method, path).await;
            assert_eq!(code, 403, "{method} {path}");
            assert!(body.contains("Unix socket only"), "{body}");
        }
    }
    assert_eq!(run.tcp("POST", "/status").await.0, 405);
    let (code, body) = run.tcp("GET", "/nothing").await;
    assert_eq!(code, 404);
    assert!(body.contains("/readyz"), "{body}");
    assert!(run.requests.try_recv().is_err());
}

#[tokio::test]
async fn the_socket_takes_commands_and_says_why_not() {
    let mut run = run().await;
    for bad in ["", "{}", "[]", "{\"keep\": 7}", "{\"keep\": \"redis\"}"] {
        let (code, body) = run.unix("POST", "/resolve", bad).await;
        assert!((400..500).contains(&code), "{bad}: {code} {body}");
    }
    assert!(
        run.requests.try_recv().is_err(),
        "nothing of that came through"
    );
    for (answer, code) in [(Ok("done".to_owned()), 200), (Err("no".to_owned()), 409)] {
        let words = answer.clone().unwrap_or_else(|no| no);
        let stream = UnixStream::connect(&run.socket).await.expect("connects");
        let body = "{\"keep\": \"redis-1\"}";
        let asking = tokio::spawn(async move { ask(stream, "POST", "/resolve", body).await });
        let Some(Request::Resolve { keep, reply }) = run.requests.recv().await else {
            panic!("no request came")
        };
        assert_eq!(keep.to_string(), "redis-1");
        reply.send(answer).expect("somebody waits");
        let told = asking.await.expect("asked");
        assert_eq!(told, (code, format!("{words}\n")));
    }
}

#[tokio::test]
async fn a_socket_in_use_is_refused_and_one_that_was_left_is_replaced() {
    let run = run().await;
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let refused = Servers::bind(any, &run.socket)
        .await
        .err()
        .expect("refused");
    assert!(
        matches!(refused, HttpError::SocketInUse { .. }),
        "{refused}"
    );
    let mode = std::fs::metadata(&run.socket)
        .expect("the file")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o660);
    let other = run.socket.with_file_name("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&other).expect("binds"));
    Servers::bind(any, &other).await.expect("replaces it");
    run.ended.send_replace(true);
    run.serving.await.expect("ends");
    assert!(!run.socket.exists(), "the socket's file goes with it");
}

/// Eight addresses take all places; whoever comes from a ninth is served.
#[tokio::test]
async fn many_addresses_together_keep_nobody_out() {
    let run = run().await;
    run.publish(true);
    let mut held = Vec::new();
    for from in 2..10 {
        for _ in 0..FROM_ONE {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            let own = SocketAddr::new(Ipv4Addr::new(127, 0, 0, from).into(), 0);
            socket.bind(own).expect("an address");
            held.push(socket.connect(run.tcp).await.expect("connects"));
        }
    }
    assert_eq!(held.len(), CONNECTIONS);
    for _ in 0..3 {
        let (code, body) = run.tcp("GET", "/livez").await;
        assert_eq!(code, 200, "{body}");
    }
}
