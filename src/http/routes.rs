//! What is answered on which path.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::page;
use crate::publish::{Outcome, Progress, Request, Shared, TURN_LIMIT, Told};
use crate::topology::PodName;

/// How long a command may wait for the loop.
const REPLY_LIMIT: Duration = Duration::from_secs(15);

/// Between two signs of life while a caller waits for the next step.
const ALIVE: Duration = Duration::from_secs(5);
/// A loop that turned so lately does not turn again for a peer.
const HURRIED: Duration = Duration::from_millis(40);

const PATHS: &str = "there are: /livez /readyz /startupz /status /metrics /\n";

fn reading() -> Router<Shared> {
    Router::new()
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/", get(root))
        .fallback(|| async { (StatusCode::NOT_FOUND, PATHS) })
        .method_not_allowed_fallback(|| async {
            (
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are answered here\n",
            )
        })
        .layer(DefaultBodyLimit::max(16 * 1024))
}

/// What everybody in the pod network may read.
pub(crate) fn pod_network(shared: Shared) -> Router {
    let refuse = any(|| async {
        (
            StatusCode::FORBIDDEN,
            "refused: whatever can move the master is accepted on the pod's Unix socket only (see podzero --help)\n",
        )
    });
    let router = reading()
        .route("/resolve", refuse.clone())
        .route("/failover", refuse.clone());
    let router = if shared.token_file.is_some() {
        router.route("/prestop", get(prestop_by_token).post(prestop_by_token))
    } else {
        router.route("/prestop", refuse)
    };
    router.with_state(shared)
}

/// The same, and commands, for the containers of this pod.
pub(crate) fn socket(shared: Shared) -> Router {
    reading()
        .route("/resolve", post(resolve))
        .route("/prestop", post(prestop))
        .route("/failover", post(failover))
        .with_state(shared)
}

async fn livez(State(shared): State<Shared>) -> Response {
    match shared.turned.ago() {
        Some(ago) if ago > TURN_LIMIT => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the loop has not turned for {} s\n", ago.as_secs()),
        )
            .into_response(),
        Some(_) | None => "ok\n".into_response(),
    }
}

async fn startupz(State(shared): State<Shared>) -> Response {
    if shared.published.borrow().is_some() {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the loop has not turned yet\n",
        )
            .into_response()
    }
}

#[derive(Deserialize)]
struct Verbose {
    verbose: Option<String>,
}

async fn readyz(State(shared): State<Shared>, Query(query): Query<Verbose>) -> Response {
    let Some(published) = shared.published.borrow().clone() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the loop has not turned yet\n",
        )
            .into_response();
    };
    let mut body = String::new();
    if query.verbose.is_some() {
        for condition in &published.conditions {
            let (mark, gap) = if condition.ok {
                ("[+]", " ok")
            } else {
                ("[-]", ": ")
            };
            body.push_str(&format!(
                "{mark}{}{gap}{}\n",
                condition.name, condition.message
            ));
        }
    }
    if published.report.ready {
        body.push_str("ok\n");
        return body.into_response();
    }
    body.push_str("not ready\n");
    for condition in published.conditions.iter().filter(|c| !c.ok) {
        body.push_str(&format!("{}: {}\n", condition.name, condition.message));
    }
    for reason in &published.report.reasons {
        body.push_str(&format!("{}: {}\n", reason.code, reason.message));
    }
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

#[derive(Deserialize)]
struct Look {
    hurry: Option<String>,
}

/// A peer that waits for what this member shows next may ask it to hurry, which does no harm: the
/// loop turns a little earlier, at most 25 times a second.
async fn status(State(shared): State<Shared>, Query(look): Query<Look>) -> Response {
    if look.hurry.is_some() && shared.turned.ago().is_some_and(|ago| ago > HURRIED) {
        shared.wake.notify_one();
    }
    let late = shared.turned.ago().filter(|ago| *ago > shared.valid);
    if let Some(ago) = late {
        let seconds = ago.as_secs();
        let why = format!("the loop has not turned for {seconds} s: what it knew is out of date\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    match shared.published.borrow().clone() {
        Some(published) => Json(&published.report).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the loop has not turned yet\n",
        )
            .into_response(),
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}

async fn root(State(shared): State<Shared>) -> Response {
    match shared.published.borrow().clone() {
        Some(published) => Html(page::page(&published)).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the loop has not turned yet\n",
        )
            .into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keep {
    keep: String,
}

async fn resolve(State(shared): State<Shared>, Json(Keep { keep }): Json<Keep>) -> Response {
    let keep: PodName = match keep.parse() {
        Ok(keep) => keep,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let (reply, answer) = oneshot::channel();
    match told_by_loop(&shared, Request::Resolve { keep, reply }, answer).await {
        Some(Ok(done)) => format!("{done}\n").into_response(),
        Some(Err(why)) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
        None => ending(),
    }
}

async fn prestop(State(shared): State<Shared>) -> Response {
    match begin_prestop(&shared).await {
        Some(told) => stream(told),
        None => ending(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    to: Option<String>,
}

async fn failover(State(shared): State<Shared>, Json(To { to }): Json<To>) -> Response {
    let to: Option<PodName> = match to.map(|to| to.parse()).transpose() {
        Ok(to) => to,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let (reply, answer) = oneshot::channel();
    match told_by_loop(&shared, Request::Failover { to, reply }, answer).await {
        Some(Ok(told)) => stream(told),
        Some(Err(why)) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
        None => ending(),
    }
}

async fn begin_prestop(shared: &Shared) -> Option<watch::Receiver<Told>> {
    let (reply, answer) = oneshot::channel();
    told_by_loop(shared, Request::Prestop { reply }, answer).await
}

/// The loop's answer; none when it has ended, or takes neither the request nor its time.
async fn told_by_loop<T>(
    shared: &Shared,
    request: Request,
    answer: oneshot::Receiver<T>,
) -> Option<T> {
    let told = async {
        shared.requests.send(request).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(REPLY_LIMIT, told).await.ok()?
}

fn ending() -> Response {
    (
        StatusCode::GATEWAY_TIMEOUT,
        "the sidecar's loop did not answer\n",
    )
        .into_response()
}

/// A line of JSON for each step while it is done. It goes on when the caller hangs up.
fn stream(mut told: watch::Receiver<Told>) -> Response {
    let (lines, body) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(16);
    tokio::spawn(async move {
        let mut shown = 0;
        loop {
            let now = told.borrow_and_update().clone();
            let steps = now.lines.iter().skip(shown).cloned().map(Progress::Step);
            let outcome = now.outcome.map(Progress::Outcome);
            shown = now.lines.len();
            for progress in steps.chain(outcome) {
                let Ok(mut line) = serde_json::to_vec(&progress) else {
                    return;
                };
                line.push(b'\n');
                if lines.send(Ok(Frame::data(line.into()))).await.is_err() {
                    return;
                }
            }
            if now.outcome.is_some() {
                return;
            }
            match tokio::time::timeout(ALIVE, told.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                // An empty line says that there is still somebody.
                Err(_) => {
                    if lines
                        .send(Ok(Frame::data(Bytes::from_static(b"\n"))))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
        }
    });
    Response::new(Body::new(Lines(body)))
}

/// A body made of what comes over a channel.
struct Lines(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context)
    }
}

/// For `httpGet` hooks, which know no socket: everything at once, when it is over.
async fn prestop_by_token(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let refuse = |why: String| (StatusCode::FORBIDDEN, format!("refused: {why}\n")).into_response();
    let Some(file) = &shared.token_file else {
        return refuse("there is no --prestop-token-file".to_owned());
    };
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    // Read anew each time, since it may be changed; whoever asks is not told why it cannot be.
    let token = crate::secret::read(file);
    if !sent.is_some_and(|sent| token.is_ok_and(|token| token.is(sent))) {
        return refuse("send the token: Authorization: Bearer TOKEN".to_owned());
    }
    let Some(mut told) = begin_prestop(&shared).await else {
        return ending();
    };
    let ended = match told.wait_for(|told| told.outcome.is_some()).await {
        Ok(ended) => ended.clone(),
        Err(_) => return ending(),
    };
    let code = match ended.outcome {
        Some(Outcome::Done | Outcome::Nothing) => StatusCode::OK,
        Some(Outcome::Failed | Outcome::PossibleLoss) | None => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, format!("{}\n", ended.lines.join("\n"))).into_response()
}
