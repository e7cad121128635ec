//! The peers of one turn: their names, their sidecars, and where needed their servers, asked in
//! parallel, each with its own time limit. A peer that did not answer is data.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;

use super::dns::{Answer, Dns, Family};
use super::info::ServerRole;
use super::peers::PeerClient;
use super::redis::{Connection, Login};
use crate::clock::{self, Time};
use crate::config::AddressForm;
use crate::decide::{Peer, PeerState};
use crate::report::Report;
use crate::topology::{Identity, Ordinal, can_be_a_peer};

/// How long a peer's sidecar or server may take. They answer from memory within a millisecond; what
/// takes this long is asked again in the next turn.
const LIMIT: Duration = Duration::from_millis(900);

/// More members than a set can have: DNS that answers every name must not make us ask for ever.
const MOST: u32 = 1000;

/// What is needed to ask.
#[derive(Clone)]
pub struct Ask {
    /// This member.
    pub identity: Identity,
    /// This pod's addresses.
    pub own: Vec<IpAddr>,
    /// DNS.
    pub dns: Dns,
    /// The login at peers' servers.
    pub login: Login,
    /// The port of all servers.
    pub redis_port: u16,
    /// The port of all sidecars.
    pub http_port: u16,
    /// How servers are pointed at members.
    pub form: AddressForm,
}

/// What is known of the peers between two turns.
#[derive(Default)]
pub struct Members {
    clients: HashMap<Ordinal, PeerClient>,
    kinds: HashMap<Ordinal, (u8, Time)>,
    seen: u32,
}

struct Asked {
    ordinal: Ordinal,
    state: PeerState,
    address: Option<IpAddr>,
    verified: Option<Result<String, String>>,
    client: Option<PeerClient>,
}

impl Members {
    /// Asks everybody; says also whether this pod's own name resolves. `pointed_at` is what the
    /// local server follows.
    pub async fn look(
        &mut self,
        ask: &Ask,
        replicas: Option<u32>,
        pointed_at: Option<&str>,
    ) -> (BTreeMap<Ordinal, Peer>, bool) {
        let me = ask.identity.pod.ordinal();
        let family = ask.own.first().map_or(Family::V4, |a| Family::of(*a));
        let listed = match ask.dns.lookup(&ask.identity.service_name(), family).await {
            Answer::Addresses(addresses) => {
                let v4 = addresses.iter().filter(|a| a.is_ipv4()).count();
                u32::try_from(v4.max(addresses.len() - v4)).unwrap_or(MOST)
            }
            Answer::Missing | Answer::NoAddress | Answer::Unknown(_) => 0,
        };
        let expected = self.seen.max(me.0 + 1).max(replicas.unwrap_or(0));
        // One name past those expected, so that a set that grows is noticed.
        let probe = expected.max(listed).saturating_add(1).min(MOST);
        let mut asking = JoinSet::new();
        for ordinal in (0..probe).map(Ordinal).filter(|o| *o != me) {
            let (ask, client) = (ask.clone(), self.clients.remove(&ordinal));
            let pointed_at = pointed_at.map(ToOwned::to_owned);
            asking.spawn(
                async move { one(&ask, ordinal, family, client, pointed_at.as_deref()).await },
            );
        }
        let own_name = ask.dns.lookup(&ask.identity.stable_name(me), family).await;
        let mut peers = BTreeMap::new();
        while let Some(asked) = asking.join_next().await {
            let Ok(asked) = asked else { continue };
            if let Some(client) = asked.client {
                self.clients.insert(asked.ordinal, client);
            }
            if asked.address.is_some() {
                self.seen = self.seen.max(asked.ordinal.0 + 1);
            }
            if asked.ordinal.0 >= expected.max(self.seen) {
                continue;
            }
            let since = self.since(asked.ordinal, &asked.state);
            let target = asked.address.map(|address| match ask.form {
                AddressForm::Ip => (address.to_canonical().to_string(), ask.redis_port),
                AddressForm::Name => (
                    ask.identity
                        .stable_name(asked.ordinal)
                        .trim_end_matches('.')
                        .to_owned(),
                    ask.redis_port,
                ),
            });
            let (verified_run, unverified) = match asked.verified {
                Some(Ok(run)) => (Some(run), None),
                Some(Err(why)) => (None, Some(why)),
                None => (None, None),
            };
            peers.insert(
                asked.ordinal,
                Peer {
                    state: asked.state,
                    since,
                    target,
                    verified_run,
                    unverified,
                },
            );
        }
        (peers, matches!(own_name, Answer::Addresses(_)))
    }

    fn since(&mut self, ordinal: Ordinal, state: &PeerState) -> Time {
        let kind = match state {
            PeerState::Answered(report) if crate::decide::answers_for_its_data(report.role) => 0,
            PeerState::Answered(_) => 1,
            PeerState::ServerOnly(_) | PeerState::Silent(_) => 2,
            PeerState::Missing => 3,
        };
        let now = clock::now();
        let entry = self.kinds.entry(ordinal).or_insert((kind, now));
        // Silent and missing are both "no answer": a name that vanishes does not begin a new wait.
        let same = entry.0 == kind || (entry.0 >= 2 && kind == 2);
        if !same {
            *entry = (kind, now);
        }
        entry.1
    }
}

async fn one(
    ask: &Ask,
    ordinal: Ordinal,
    family: Family,
    client: Option<PeerClient>,
    pointed_at: Option<&str>,
) -> Asked {
    let name = ask.identity.stable_name(ordinal);
    let mut asked = Asked {
        ordinal,
        state: PeerState::Missing,
        address: None,
        verified: None,
        client: None,
    };
    let address = match ask.dns.lookup(&name, family).await {
        Answer::Addresses(addresses) => addresses[0],
        Answer::Missing | Answer::NoAddress => return asked,
        Answer::Unknown(why) => {
            asked.state = PeerState::Silent(format!("DNS cannot say where {name} is: {why}"));
            return asked;
        }
    };
    if !can_be_a_peer(address, &ask.own) {
        asked.state = PeerState::Silent(format!(
            "DNS leads from {name} to {address}, which is this pod itself or nobody"
        ));
        return asked;
    }
    asked.address = Some(address);
    let http = SocketAddr::new(address, ask.http_port);
    let mut client = client
        .filter(|c| c.address() == http)
        .unwrap_or_else(|| PeerClient::new(http));
    match client.report(LIMIT).await {
        Ok(report) => {
            asked.client = Some(client);
            if let Some(why) = stranger(ask, ordinal, &report) {
                asked.state = PeerState::Silent(why);
            } else {
                // Whoever is followed already was verified when it was chosen.
                let here = format!("{}:{}", address.to_canonical(), ask.redis_port);
                if report.is_granted_master() && pointed_at != Some(here.as_str()) {
                    asked.verified = Some(verify(ask, address).await);
                }
                asked.state = PeerState::Answered(Box::new(report));
            }
        }
        Err(error) => asked.state = server_only(ask, address, error.to_string()).await,
    }
    asked
}

/// Why the report is not that of the expected member: an address can be reused by a stranger.
fn stranger(ask: &Ask, ordinal: Ordinal, report: &Report) -> Option<String> {
    let expected = ask.identity.pod.sibling(ordinal);
    let ours = report.pod == expected
        && report.ordinal == ordinal
        && report.namespace == ask.identity.namespace
        && report.service == ask.identity.service;
    (!ours).then(|| {
        format!(
            "at the address of {expected} answers {}/{}: the address was reused, or DNS is late",
            report.namespace, report.pod
        )
    })
}

async fn verify(ask: &Ask, address: IpAddr) -> Result<String, String> {
    let server = SocketAddr::new(address, ask.redis_port);
    let info = tokio::time::timeout(LIMIT, async {
        Connection::open(server, &ask.login, LIMIT, None)
            .await?
            .info()
            .await
    })
    .await
    .map_err(|_| format!("{server} did not answer within {LIMIT:?}"))?
    .map_err(|e| e.to_string())?;
    if info.role == ServerRole::Master {
        Ok(info.run_id)
    } else {
        Err(format!("the server at {server} is no master"))
    }
}

async fn server_only(ask: &Ask, address: IpAddr, why: String) -> PeerState {
    let server = SocketAddr::new(address, ask.redis_port);
    let info = tokio::time::timeout(LIMIT, async {
        Connection::open(server, &ask.login, LIMIT, None)
            .await?
            .info()
            .await
    })
    .await;
    match info {
        Ok(Ok(info)) => PeerState::ServerOnly(Box::new(info)),
        Ok(Err(_)) | Err(_) => PeerState::Silent(why),
    }
}
