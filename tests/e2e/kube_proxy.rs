//! What a node's proxy does for a Service: it leads each new connection to the endpoint of the slice,
//! some time after the slice was written. Connections that exist stay where they are.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::wait::now;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const PORT: u16 = 6379;

/// A served Service; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct KubeProxy {
    service: Arc<Service>,
    _stop: oneshot::Sender<()>,
}

/// What the proxy knows of it.
#[derive(Debug, Default)]
pub(crate) struct Service {
    lag: Mutex<Duration>,
    /// From when on it leads to whom.
    leads: Mutex<Vec<(Instant, Option<IpAddr>)>>,
}

impl Service {
    /// A slice was written.
    pub(crate) fn hears(&self, slice: &Bytes) {
        let slice: Value = serde_json::from_slice(slice).unwrap_or_default();
        let address = slice["endpoints"][0]["addresses"][0].as_str();
        let address = address.and_then(|a| a.parse().ok());
        let lag = self.lag.lock().map(|lag| *lag).unwrap_or_default();
        if let Ok(mut leads) = self.leads.lock() {
            leads.push((now() + lag, address));
        }
    }

    fn leads_to(&self) -> Option<SocketAddr> {
        let leads = self.leads.lock().ok()?;
        let at = now();
        let valid = leads.iter().rev().find(|(from, _)| *from <= at);
        Some(SocketAddr::new(valid?.1?, PORT))
    }
}

impl KubeProxy {
    /// Serves at an address.
    pub(crate) fn start(at: IpAddr) -> Result<Self> {
        let service = Arc::<Service>::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind((at, PORT)).context("serving the Service")?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let known = Arc::clone(&service);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, known) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            service,
            _stop: stop,
        })
    }

    /// The part that hears of slices.
    pub(crate) fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// How long it takes from now on until a new slice counts.
    pub(crate) fn lags(&self, lag: Duration) {
        if let Ok(mut now) = self.service.lag.lock() {
            *now = lag;
        }
    }
}

async fn serve(listener: std::net::TcpListener, service: Arc<Service>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let to = service.leads_to();
        tokio::spawn(async move {
            let Some(to) = to else { return };
            if let Ok(mut server) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
