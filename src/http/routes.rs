//! What is answered on which path.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::page;
use crate::publish::{Request, Shared, TURN_LIMIT};
use crate::topology::PodName;

/// How long a command may wait for the loop.
const REPLY_LIMIT: Duration = Duration::from_secs(15);

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
pub(super) fn pod_network(shared: Shared) -> Router {
    let refuse = any(|| async {
        (
            StatusCode::FORBIDDEN,
            "refused: whatever can move the master is accepted on the pod's Unix socket only (see podzero --help)\n",
        )
    });
    reading()
        .route("/resolve", refuse.clone())
        .route("/failover", refuse.clone())
        .route("/prestop", refuse)
        .with_state(shared)
}

/// The same, and commands, for the containers of this pod.
pub(super) fn socket(shared: Shared) -> Router {
    reading()
        .route("/resolve", post(resolve))
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

async fn status(State(shared): State<Shared>) -> Response {
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
struct Keep {
    keep: String,
}

async fn resolve(State(shared): State<Shared>, Json(Keep { keep }): Json<Keep>) -> Response {
    let keep: PodName = match keep.parse() {
        Ok(keep) => keep,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let (reply, answer) = oneshot::channel();
    let sent = shared
        .requests
        .send(Request::Resolve { keep, reply })
        .await
        .is_ok();
    let answered = if sent {
        tokio::time::timeout(REPLY_LIMIT, answer).await
    } else {
        Ok(Ok(Err("the sidecar is ending".to_owned())))
    };
    match answered {
        Ok(Ok(Ok(done))) => format!("{done}\n").into_response(),
        Ok(Ok(Err(why))) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
        Ok(Err(_)) | Err(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the sidecar's loop did not answer\n",
        )
            .into_response(),
    }
}
