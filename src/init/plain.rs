//! `init --without-sidecar`: wait for pod-0, write the replication line, start; made safe.
//!
//! Owns the loop and its time limit. What it means that members are as they are is decided in
//! `plain/decide.rs`, from what their servers alone say: there are no sidecars to ask.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing::info;

use super::disk::OnDisk;
use super::say::Saying;
use super::watch::{Here, Watch};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::login::Login;
use crate::observe::info::ServerInfo;
use crate::observe::redis::{Connection, ServerError};
use crate::topology::{Ordinal, ServerAt};
use decide::{Verdict, World, decide};

mod decide;

/// How long one server may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// How long members that have not answered yet are waited for once the master is found: a second
/// master could be among them.
const GRACE: Duration = Duration::from_millis(200);

/// What the server starts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The writable master.
    Master,
    /// The replica of this member, at this address.
    Replica(Ordinal, IpAddr),
}

/// The time is up.
#[derive(Debug, thiserror::Error)]
enum InVain {
    /// Nobody became the master that this pod waits for.
    #[error("waited {} in vain (--timeout): {words}", humantime::format_duration(*limit))]
    Waited {
        /// How long.
        limit: Duration,
        /// For what.
        words: String,
    },
    /// Going on would lose data.
    #[error(
        "this server is not started, because data would be lost (waited {} for that to change, --timeout): {words}",
        humantime::format_duration(*limit)
    )]
    Data {
        /// How long.
        limit: Duration,
        /// Which data, and what to do.
        words: String,
    },
}

/// The way of looking, beside [`Here`].
#[derive(Debug)]
pub struct Terms<'a> {
    /// The least number of members.
    pub replicas: Option<u32>,
    /// The local server.
    pub local: SocketAddr,
    /// With what every server is logged in to.
    pub login: Login,
    /// What this pod has on disk.
    pub disk: &'a OnDisk,
    /// How long a name must be missing before pod-0 goes on without it.
    pub discover: Duration,
    /// When to give up; zero: never.
    pub timeout: Duration,
}

/// Waits until it is clear what this server starts as.
pub async fn wait(here: &Here, terms: Terms<'_>) -> Result<Start, Failure> {
    let begun = clock::now();
    let port = terms.local.port();
    // A server of this pod may run already (a container that is started again); whoever answers with
    // its run id is this pod itself.
    let own = ServerAt {
        ordinal: here.identity.pod.ordinal(),
        address: terms.local,
    };
    let local = look(own, &terms.login).await.ok();
    let login = terms.login;
    let mut watch = Watch::start(here.clone(), terms.replicas, move |ordinal, address| {
        let login = login.clone();
        let address = SocketAddr::new(address, port);
        async move { look(ServerAt { ordinal, address }, &login).await }
    });
    let mut saying = Saying::new(begun);
    let mut found_at = None;
    loop {
        let now = clock::now();
        let others = watch.others();
        let all_answered = others.iter().all(|(_, sight)| sight.is_some());
        let world = World {
            here,
            own_name: watch.own_name.as_ref(),
            disk: terms.disk,
            others: &others,
            beyond: watch.beyond(),
            service: watch.service.as_ref(),
            is_counted: terms.replicas.is_some(),
            own_run_id: local.as_ref().map(|info| info.run_id.as_str()),
            looked_for: now.since(begun),
            discover: terms.discover,
        };
        let (words, exit) = match decide(&world) {
            Verdict::Lead => return Ok(Start::Master),
            Verdict::Follow(ordinal, address) => {
                let found_at = *found_at.get_or_insert(now);
                if all_answered || now.since(found_at) >= GRACE {
                    return Ok(Start::Replica(ordinal, address));
                }
                watch.next(GRACE).await;
                continue;
            }
            Verdict::Wait { words, exit } => (words, exit),
        };
        found_at = None;
        let limit = terms.timeout;
        let left = limit.saturating_sub(now.since(begun));
        if !limit.is_zero() && left.is_zero() {
            return Err(Failure::new(exit, in_vain(exit, limit, words)));
        }
        if saying.is_due(&words, now) {
            info!(waiting_for = words, "waiting for the master");
        }
        let pause = Duration::from_millis(500);
        let pause = if limit.is_zero() {
            pause
        } else {
            pause.min(left)
        };
        watch.next(pause).await;
    }
}

fn in_vain(exit: Exit, limit: Duration, words: String) -> InVain {
    if exit == Exit::RefusedForData {
        InVain::Data { limit, words }
    } else {
        InVain::Waited { limit, words }
    }
}

async fn look(at: ServerAt, login: &Login) -> Result<ServerInfo, ServerError> {
    Connection::open(at, login, ANSWER, None)
        .await?
        .info()
        .await
}
