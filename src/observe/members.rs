//! The peers of one turn: their names, their sidecars, and where needed their servers, asked in
//! parallel, each with its own time limit. A peer that did not answer is data.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;

use super::dns::{Answer, Dns, Family};
use super::info::{ServerInfo, ServerRole};
use super::names::Name;
use super::peers::PeerClient;
use super::redis::Connection;
use crate::clock::{self, Time};
use crate::config::AddressForm;
use crate::decide::{Peer, PeerState};
use crate::login::Login;
use crate::report::Report;
use crate::topology::{Identity, Ordinal, ServerAt, can_be_a_peer};
use crate::words;

/// How long a peer's sidecar or server may take. They answer from memory within a millisecond; what
/// takes this long is asked again in the next turn.
const LIMIT: Duration = Duration::from_millis(900);

/// The same in a handover: who is silent then must not hold up the two that are at it.
const SHORT: Duration = Duration::from_millis(250);

/// How the peers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In passing.
    Steady,
    /// Something here waits for what they show next: they are to look around at once.
    Hurry,
    /// A handover is under way: as in a hurry, nobody is waited for long, and who was just silent is
    /// not waited for again, but for the other side, if this member is one.
    Handover(Option<Ordinal>),
}

impl Pace {
    fn limit(self) -> Duration {
        match self {
            Self::Steady | Self::Hurry => LIMIT,
            Self::Handover(_) => SHORT,
        }
    }
}

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
    contacts: HashMap<Ordinal, Contact>,
    service: Name,
    own_name: Name,
    kinds: HashMap<Ordinal, (u8, Time)>,
    seen: u32,
}

/// How one peer is reached.
#[derive(Default)]
struct Contact {
    name: Name,
    client: Option<PeerClient>,
    silent: Option<(Time, String)>,
}

/// So long a handover goes on without asking somebody who was silent.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// What a look at the others found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Every other member that is expected or has been seen.
    pub peers: BTreeMap<Ordinal, Peer>,
    /// This pod's own stable name resolves.
    pub own_name_resolves: bool,
    /// DNS said how many members there are.
    pub names_known: bool,
}

struct Asked {
    ordinal: Ordinal,
    name_unknown: bool,
    state: PeerState,
    address: Option<IpAddr>,
    verified: Option<Verified>,
    contact: Contact,
}

/// What the server of a member says that is the master by its sidecar's word, up to a second old.
enum Verified {
    Master(String),
    NoMaster(String),
    Unknown(String),
}

impl Members {
    /// Asks everybody. `pointed_at` is what the local server follows.
    pub async fn look(
        &mut self,
        ask: &Ask,
        replicas: Option<u32>,
        pointed_at: Option<&str>,
        pace: Pace,
    ) -> Seen {
        let me = ask.identity.pod.ordinal();
        let family = ask.own.first().map_or(Family::V4, |a| Family::of(*a));
        let expected = self.seen.max(me.0 + 1).max(replicas.unwrap_or(0)).min(MOST);
        let mut asking = JoinSet::new();
        let mut begin = |ordinals: std::ops::Range<u32>| {
            for ordinal in ordinals.map(Ordinal).filter(|o| *o != me) {
                let contact = self.contacts.remove(&ordinal).unwrap_or_default();
                let (ask, pointed_at) = (ask.clone(), pointed_at.map(ToOwned::to_owned));
                asking.spawn(async move {
                    one(&ask, ordinal, family, contact, pointed_at.as_deref(), pace).await
                });
            }
        };
        // One name past those expected, so that a set that grows is noticed.
        begin(0..expected + 1);
        let (service, own) = (ask.identity.service_name(), ask.identity.stable_name(me));
        let (listed, own_name) = tokio::join!(
            self.service.look_up(&ask.dns, &service, family),
            self.own_name.look_up(&ask.dns, &own, family)
        );
        let mut names_known = !matches!(listed, Answer::Unknown(_));
        let listed = match listed {
            Answer::Addresses(addresses) => {
                let v4 = addresses.iter().filter(|a| a.is_ipv4()).count();
                u32::try_from(v4.max(addresses.len() - v4)).unwrap_or(MOST)
            }
            Answer::Missing | Answer::NoAddress | Answer::Unknown(_) => 0,
        };
        begin(expected + 1..listed.min(MOST) + 1);
        let own_name_resolves = matches!(own_name, Answer::Addresses(_));
        let mut peers = BTreeMap::new();
        while let Some(asked) = asking.join_next().await {
            let Ok(asked) = asked else { continue };
            self.contacts.insert(asked.ordinal, asked.contact);
            if asked.address.is_some() {
                self.seen = self.seen.max(asked.ordinal.0 + 1);
            }
            if asked.ordinal.0 >= expected.max(self.seen) {
                // One past those expected: not to know whether it exists is not to know how many
                // there are.
                names_known &= !asked.name_unknown;
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
            let demoted = matches!(asked.verified, Some(Verified::NoMaster(_)));
            let (verified_run, unverified) = match asked.verified {
                Some(Verified::Master(run)) => (Some(run), None),
                Some(Verified::NoMaster(why) | Verified::Unknown(why)) => (None, Some(why)),
                None => (None, None),
            };
            peers.insert(
                asked.ordinal,
                Peer {
                    state: asked.state,
                    since,
                    target,
                    server: asked.address.map(|a| server_at(ask, asked.ordinal, a)),
                    verified_run,
                    unverified,
                    demoted,
                },
            );
        }
        Seen {
            peers,
            own_name_resolves,
            names_known,
        }
    }

    fn since(&mut self, ordinal: Ordinal, state: &PeerState) -> Time {
        let kind = match state {
            PeerState::Answered(report)
                if crate::decide::answers_for_its_data(report.role) && !report.forgets =>
            {
                0
            }
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
    contact: Contact,
    pointed_at: Option<&str>,
    pace: Pace,
) -> Asked {
    let mut asked = Asked {
        ordinal,
        name_unknown: false,
        state: PeerState::Missing,
        address: None,
        verified: None,
        contact,
    };
    let name = ask.identity.stable_name(ordinal);
    let address = match asked.contact.name.look_up(&ask.dns, &name, family).await {
        Answer::Addresses(addresses) => addresses[0],
        Answer::Missing | Answer::NoAddress => return asked,
        Answer::Unknown(why) => {
            asked.name_unknown = true;
            asked.state = PeerState::Silent(format!("DNS cannot say where {name} is: {why}"));
            return asked;
        }
    };
    let passed_over = match (pace, &asked.contact.silent) {
        (Pace::Handover(side), Some((at, why)))
            if side != Some(ordinal) && clock::now().since(*at) < PASSED_OVER =>
        {
            Some(why.clone())
        }
        (Pace::Handover(_) | Pace::Hurry | Pace::Steady, _) => None,
    };
    if let Some(why) = passed_over {
        asked.address = Some(address);
        asked.state = PeerState::Silent(why);
        return asked;
    }
    if can_be_a_peer(address, &ask.own) {
        asked.address = Some(address);
        asked.state = report(ask, ordinal, address, &mut asked.contact.client, pace).await;
    } else {
        asked.state = PeerState::Silent(format!(
            "DNS leads from {name} to {address}, which is this pod itself or nobody"
        ));
    }
    asked.contact.silent = match &asked.state {
        PeerState::Silent(why) => Some((clock::now(), why.clone())),
        PeerState::Answered(_) | PeerState::ServerOnly(_) | PeerState::Missing => None,
    };
    if let PeerState::Answered(report) = &asked.state {
        asked.contact.name.is_right();
        // Whoever is followed already was verified when it was chosen.
        let here = format!("{}:{}", address.to_canonical(), ask.redis_port);
        if report.is_granted_master() && pointed_at != Some(here.as_str()) {
            asked.verified = Some(verify(ask, server_at(ask, ordinal, address)).await);
        }
    } else {
        asked.contact.name.is_doubtful();
    }
    asked
}

/// What the sidecar at the address says; without one, what its server does.
async fn report(
    ask: &Ask,
    ordinal: Ordinal,
    address: IpAddr,
    client: &mut Option<PeerClient>,
    pace: Pace,
) -> PeerState {
    let http = SocketAddr::new(address, ask.http_port);
    let mut asked = client
        .take()
        .filter(|c| c.address() == http)
        .unwrap_or_else(|| PeerClient::new(http));
    match asked.report(pace.limit(), pace != Pace::Steady).await {
        Ok(report) => {
            *client = Some(asked);
            stranger(ask, ordinal, &report).map_or_else(
                || PeerState::Answered(Box::new(report)),
                |who| PeerState::Silent(words::bounded(&who)),
            )
        }
        Err(error) => {
            let at = server_at(ask, ordinal, address);
            server_only(ask, at, error.to_string(), pace.limit()).await
        }
    }
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

/// Whether a master answers at the address, by its run id.
async fn verify(ask: &Ask, at: ServerAt) -> Verified {
    match server(ask, at, LIMIT).await {
        Ok(info) if info.role == ServerRole::Master => Verified::Master(info.run_id),
        Ok(_) => Verified::NoMaster(format!("the server at {} is no master", at.address.ip())),
        Err(why) => Verified::Unknown(words::bounded(&why)),
    }
}

async fn server_only(ask: &Ask, at: ServerAt, why: String, limit: Duration) -> PeerState {
    server(ask, at, limit).await.map_or_else(
        |_| PeerState::Silent(words::bounded(&why)),
        |info| PeerState::ServerOnly(Box::new(info)),
    )
}

fn server_at(ask: &Ask, ordinal: Ordinal, address: IpAddr) -> ServerAt {
    ServerAt {
        ordinal,
        address: SocketAddr::new(address, ask.redis_port),
    }
}

/// What a peer's server says of itself.
async fn server(ask: &Ask, at: ServerAt, limit: Duration) -> Result<ServerInfo, String> {
    tokio::time::timeout(limit, async {
        Connection::open(at, &ask.login, limit, None)
            .await?
            .info()
            .await
    })
    .await
    .map_err(|_| format!("{} did not answer within {limit:?}", at.address))?
    .map_err(|e| e.to_string())
}
