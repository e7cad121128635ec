//! What stands between pods and the API server: where its mistakes are chosen, and its requests counted.
//!
//! Speaks TLS with the API server's own certificate, so that a client cannot tell. Of the API server's
//! release is only the beta form of `EndpointSlice`s; clients ask for the stable one, and the proxy
//! translates (the fields are the same).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use harness::wait::now;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::kube_proxy::Service;

/// Where the API server listens, in the set's network.
pub(crate) const UPSTREAM: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);

type Body = BoxBody<Bytes, hyper::Error>;

/// What is done to requests that a pod sends.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiTrouble {
    /// Only requests whose path contains this; all without it.
    pub(crate) paths: String,
    /// Only requests that change something.
    pub(crate) only_writes: bool,
    /// They wait so long before they reach the API server.
    pub(crate) delay: Duration,
    /// They do not reach it, and are answered with this code.
    pub(crate) code: Option<u16>,
    /// They are carried out, and the connection ends in place of the answer.
    pub(crate) lose_answer: bool,
    /// Connections end at once.
    pub(crate) refuse: bool,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct ApiRequest {
    /// When.
    pub(crate) at: Instant,
    /// `GET` and the like.
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    /// What it says.
    pub(crate) body: Bytes,
}

impl ApiRequest {
    /// It is to change something.
    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET"
    }
}

#[derive(Debug, Default)]
struct State {
    trouble: ApiTrouble,
    requests: Vec<ApiRequest>,
    service: Option<Arc<Service>>,
}

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ApiProxy {
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Ends {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    state: Arc<Mutex<State>>,
}

impl ApiProxy {
    /// Serves at an address with the certificate and the key of the API server's folder.
    pub(crate) fn start(at: SocketAddr, folder: &Path) -> Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let ends = ends(folder, Arc::clone(&state))?;
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = bound.send(Err(anyhow!(error).context("making a runtime")));
                    return;
                }
            };
            runtime.block_on(async {
                let listener = match TcpListener::bind(at).await {
                    Ok(listener) => listener,
                    Err(error) => {
                        let _ = bound.send(Err(anyhow!(error).context("binding")));
                        return;
                    }
                };
                let _ = bound.send(Ok(()));
                tokio::select! {
                    () = accept(listener, ends) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("api-proxy".to_owned())
            .spawn(body)
            .context("starting the proxy's thread")?;
        is_bound.recv().context("the proxy's thread died")??;
        Ok(Self {
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on.
    pub(crate) fn trouble(&self, trouble: ApiTrouble) {
        self.state().trouble = trouble;
    }

    /// A Service hears of the slices that are written from now on.
    pub(crate) fn tells(&self, service: Arc<Service>) {
        self.state().service = Some(service);
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<ApiRequest> {
        std::mem::take(&mut self.state().requests)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Both ends of TLS, from the files that the API server made.
fn ends(folder: &Path, state: Arc<Mutex<State>>) -> Result<Ends> {
    let file = folder.join("apiserver.crt");
    let chain: Vec<_> = CertificateDer::pem_file_iter(&file)
        .and_then(Iterator::collect)
        .with_context(|| format!("reading {}", file.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(folder.join("apiserver.key")).context("reading the key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain.clone());
    let ours = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let theirs = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Ends {
        acceptor: TlsAcceptor::from(Arc::new(ours)),
        connector: TlsConnector::from(Arc::new(theirs)),
        state,
    })
}

async fn accept(listener: TcpListener, ends: Ends) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let ends = ends.clone();
        tokio::spawn(async move {
            // A connection that ends early, on either side, is what clients must bear.
            let _ = serve(stream, ends).await;
        });
    }
}

async fn serve(stream: TcpStream, ends: Ends) -> Result<()> {
    let trouble = ends
        .state
        .lock()
        .map(|s| s.trouble.clone())
        .unwrap_or_default();
    if trouble.refuse {
        return Ok(());
    }
    // The wait for more to send would be counted as the API server's.
    stream.set_nodelay(true)?;
    let stream = ends.acceptor.accept(stream).await?;
    let service = service_fn(move |request| forward(request, ends.clone()));
    server::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .context("serving")
}

async fn upstream(ends: &Ends) -> Result<SendRequest<Body>> {
    let stream = TcpStream::connect(UPSTREAM).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("kubernetes.default")?;
    let stream = ends.connector.connect(name, stream).await?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn said(code: u16, text: &str) -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": text, "reason": text, "code": code,
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    if code == 429 {
        let again = HeaderValue::from_static("1");
        response.headers_mut().insert("retry-after", again);
    }
    response
}

async fn forward(request: Request<Incoming>, ends: Ends) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query();
    let path = path.map_or("/", |p| p.as_str()).to_owned();
    let is_write = head.method != Method::GET;
    let trouble = {
        let mut state = ends.state.lock().map_err(|_| anyhow!("poisoned"))?;
        state.requests.push(ApiRequest {
            at: now(),
            method: head.method.to_string(),
            path: path.clone(),
            body: body.clone(),
        });
        let trouble = &state.trouble;
        let meant = path.contains(&trouble.paths) && (is_write || !trouble.only_writes);
        if meant {
            trouble.clone()
        } else {
            ApiTrouble::default()
        }
    };
    tokio::time::sleep(trouble.delay).await;
    if trouble.refuse {
        return Err(anyhow!("refused"));
    }
    if let Some(code) = trouble.code {
        return Ok(said(code, "chosen by the test"));
    }
    let says = is_write.then(|| body.clone());
    let response = send(head, body, &path, &ends).await;
    let done = response.as_ref().is_ok_and(|r| r.status().is_success());
    if let (Some(says), true) = (says, done && path.contains("/endpointslices")) {
        let service = ends.state.lock().ok().and_then(|s| s.service.clone());
        if let Some(service) = service {
            service.hears(&says);
        }
    }
    if trouble.lose_answer {
        if let Ok(response) = response {
            // It was carried out to its end.
            let _ = response.into_body().collect().await;
        }
        return Err(anyhow!("the answer is lost"));
    }
    response.or_else(|error| Ok(said(502, &format!("{error:#}"))))
}

const STABLE: &str = "discovery.k8s.io/v1";
const BETA: &str = "discovery.k8s.io/v1beta1";

async fn send(mut head: Parts, mut body: Bytes, path: &str, ends: &Ends) -> Result<Response<Body>> {
    let translated = path.contains(&format!("/apis/{STABLE}/"));
    if translated {
        head.uri = path.replace(STABLE, BETA).parse()?;
        body = replaced(&body, &format!("\"{STABLE}\""), &format!("\"{BETA}\""));
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers
        .insert(HOST, HeaderValue::from_static("kubernetes.default"));
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    let mut sender = upstream(ends).await?;
    let answer = sender.send_request(Request::from_parts(head, body)).await?;
    if !translated {
        return Ok(answer.map(BodyExt::boxed));
    }
    let (mut head, body) = answer.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    // An object of a watch comes in a frame of its own.
    let body = body.map_frame(|frame| frame.map_data(|data| replaced(&data, BETA, STABLE)));
    Ok(Response::from_parts(head, body.boxed()))
}

fn replaced(bytes: &Bytes, from: &str, to: &str) -> Bytes {
    let text = String::from_utf8_lossy(bytes);
    Bytes::from(text.replace(from, to))
}
