//! The cluster's DNS server: serves [`Names`] over UDP and TCP, with their troubles.
//!
//! Runs on a thread of its own, in the network namespace of the thread that starts it. Negative
//! answers carry an SOA record that would let a resolver keep them for an hour: whoever caches them
//! is seen at once. Positive answers live for [`TTL`].

use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::SOA;
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;

use crate::names::{Answer, DOMAIN, Names};

/// How long an address may be kept, in seconds (the default of Kubernetes' own DNS server).
pub const TTL: u32 = 5;

/// How long a missing name may be kept, in seconds.
const NEGATIVE_TTL: u32 = 3600;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Dns {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Binds port 53 of each address and serves; returns when all are bound.
    pub fn start(names: Names, addresses: &[IpAddr]) -> Result<Self> {
        let at: Vec<_> = addresses.iter().map(|a| SocketAddr::new(*a, 53)).collect();
        Self::start_at(names, &at)
    }

    /// The same on ports that need no rights.
    pub fn start_at(names: Names, addresses: &[SocketAddr]) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let addresses = addresses.to_vec();
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
                let mut server = Server::new(Handler(names));
                let _ = bound.send(bind(&mut server, &addresses).await);
                let _ = stopped.await;
            });
        };
        let thread = std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(body)
            .context("starting the DNS thread")?;
        is_bound.recv().context("the DNS thread died")??;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn bind(server: &mut Server<Handler>, addresses: &[SocketAddr]) -> Result<()> {
    for &at in addresses {
        let udp = UdpSocket::bind(at).await;
        server.register_socket(udp.with_context(|| format!("binding UDP {at}"))?);
        let tcp = TcpListener::bind(at).await;
        let tcp = tcp.with_context(|| format!("binding TCP {at}"))?;
        server.register_listener(tcp, Duration::from_secs(10), 64);
    }
    Ok(())
}

struct Handler(Names);

impl Handler {
    /// The answer's code and records, and whether it is to be cut.
    fn answer(&self, name: &Name, kind: RecordType) -> (ResponseCode, Vec<Record>) {
        let trouble = self.0.troubles();
        if trouble.refuse {
            return (ResponseCode::Refused, Vec::new());
        }
        if self.0.is_unlucky() {
            return (ResponseCode::ServFail, Vec::new());
        }
        match self.0.look_up(&name.to_string()) {
            Answer::Foreign => (ResponseCode::ServFail, Vec::new()),
            Answer::NoSuchName => (ResponseCode::NXDomain, Vec::new()),
            Answer::Addresses(all) => {
                let record = |data| Record::from_rdata(name.clone(), TTL, data);
                let wanted = all.into_iter().filter_map(|address| match address {
                    IpAddr::V4(v4) if kind == RecordType::A => Some(record(RData::A(v4.into()))),
                    IpAddr::V6(v6) if kind == RecordType::AAAA => {
                        Some(record(RData::AAAA(v6.into())))
                    }
                    IpAddr::V4(_) | IpAddr::V6(_) => None,
                });
                (ResponseCode::NoError, wanted.collect())
            }
        }
    }
}

fn soa() -> Option<Record> {
    let zone: Name = format!("{DOMAIN}.").parse().ok()?;
    let server: Name = format!("ns.dns.{DOMAIN}.").parse().ok()?;
    let data = SOA::new(server.clone(), server, 1, 7200, 1800, 86400, NEGATIVE_TTL);
    Some(Record::from_rdata(zone, NEGATIVE_TTL, RData::SOA(data)))
}

fn unsent(metadata: Metadata) -> ResponseInfo {
    Header {
        metadata,
        counts: HeaderCounts::default(),
    }
    .into()
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let trouble = self.0.troubles();
        tokio::time::sleep(trouble.delay).await;
        let Ok(info) = request.request_info() else {
            return unsent(metadata);
        };
        if trouble.silent {
            return unsent(metadata);
        }
        let name: Name = info.query.name().into();
        let (code, mut records) = self.answer(&name, info.query.query_type());
        metadata.response_code = code;
        let negative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        let mut soa = soa().filter(|_| negative && records.is_empty());
        if trouble.truncate && info.protocol == Protocol::Udp {
            metadata.truncation = true;
            records.clear();
            soa = None;
        }
        let message = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &records,
            [],
            soa.iter(),
            [],
        );
        // Who asked may be gone by now.
        response
            .send_response(message)
            .await
            .unwrap_or_else(|_| unsent(metadata))
    }
}
