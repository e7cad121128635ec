//! Looking for the live master, for the first start of a server beside a sidecar.
//!
//! Owns whom `init` takes for the master: a member whose sidecar says that it holds the newest grant
//! anybody has shown, and whose server proves it. Finding none is no failure: the server then starts
//! fenced, and its sidecar goes on from there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing::info;

use super::say::{self, Saying};
use super::watch::{Here, Sight, Watch};
use crate::clock;
use crate::decide::history::knows;
use crate::login::Login;
use crate::observe::info::ServerRole;
use crate::observe::peers::fetch_report;
use crate::observe::redis::Connection;
use crate::report::{Report, Role};
use crate::state_file::Memory;
use crate::topology::{Epoch, Ordinal, ReplicationId, ServerAt};

/// How long one member may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// How long members that have not answered yet are waited for once a master is found: one of them
/// could know of a newer epoch. Members that are there answer within milliseconds.
const GRACE: Duration = Duration::from_millis(200);

/// A verified live master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Which member.
    pub ordinal: Ordinal,
    /// Where it was verified.
    pub address: IpAddr,
    /// The epoch that it holds.
    pub epoch: Epoch,
    /// Its replication ID.
    pub id: Option<ReplicationId>,
}

/// What a member said, and whether its server bears it out where it says that it is the master.
#[derive(Debug, Clone)]
struct Member {
    report: Report,
    proof: Result<(), String>,
}

type Seen = Sight<Member, String>;

/// How the members are asked.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The sidecars' port.
    pub http: u16,
    /// The servers' port.
    pub redis: u16,
    /// With what servers are logged in to.
    pub login: Login,
}

/// Looks for the live master for at most `limit`. `own` is what this pod remembers: a master of an
/// older epoch, or of another history of the same one, is not followed.
pub async fn live_master(
    here: &Here,
    replicas: Option<u32>,
    ports: Ports,
    own: &Memory,
    limit: Duration,
) -> Option<Master> {
    let begun = clock::now();
    let asked = here.clone();
    let mut watch = Watch::start(here.clone(), replicas, move |ordinal, address| {
        ask(asked.pod(ordinal), asked.clone(), ports.clone(), address)
    });
    let mut saying = Saying::new(begun);
    let mut found_at = None;
    loop {
        let now = clock::now();
        let left = limit.saturating_sub(now.since(begun));
        let others = watch.others();
        let words = match choose(here, &others, own, watch.own_name.as_ref()) {
            Ok(master) => {
                let all_answered = others.iter().all(|(_, sight)| sight.is_some());
                let found_at = *found_at.get_or_insert(now);
                if all_answered || now.since(found_at) >= GRACE || left.is_zero() {
                    return Some(master);
                }
                watch.next(GRACE.min(left)).await;
                continue;
            }
            Err(words) => words,
        };
        found_at = None;
        if is_known_to_be_masterless(&others, watch.beyond().1) {
            info!(because = words, "nobody is the master now");
            return None;
        }
        if left.is_zero() {
            info!(because = words, "found no master in time");
            return None;
        }
        if saying.is_due(&words, now) {
            info!(waiting_for = words, "looking for the master");
        }
        watch.next(left.min(Duration::from_secs(1))).await;
    }
}

/// Everybody was asked and answered, and nobody says that it is the master: there is nothing left
/// to look for, and they may be waiting for this pod.
fn is_known_to_be_masterless(others: &[(Ordinal, Option<&Seen>)], beyond: Option<&Seen>) -> bool {
    use crate::observe::dns::Answer::Missing;
    let is_no_master = |sight: Option<&Seen>| match sight {
        Some(Sight::Seen { what, .. }) => !what.report.is_granted_master(),
        Some(Sight::Unnamed(_) | Sight::NotAPeer(_) | Sight::Failed(_)) | None => false,
    };
    !others.is_empty()
        && others.iter().all(|(_, sight)| is_no_master(*sight))
        && matches!(beyond, Some(Sight::Unnamed(Missing)))
}

async fn ask(pod: String, here: Here, ports: Ports, address: IpAddr) -> Result<Member, String> {
    let report = fetch_report(SocketAddr::new(address, ports.http), ANSWER)
        .await
        .map_err(|error| {
            format!(
                "its sidecar gives no answer: {:#}",
                anyhow::Error::from(error)
            )
        })?;
    let (namespace, service) = (&here.identity.namespace, &here.identity.service);
    if report.pod != pod || report.namespace != *namespace || report.service != *service {
        return Err(format!(
            "at its address {address} answers {:?} of the Service {:?} in namespace {:?}: the address belongs to another pod by now",
            report.pod, report.service, report.namespace
        ));
    }
    let proof = if report.is_granted_master() {
        let at = ServerAt {
            ordinal: report.ordinal,
            address: SocketAddr::new(address, ports.redis),
        };
        prove(&report, at, &ports.login).await
    } else {
        Ok(())
    };
    Ok(Member { report, proof })
}

/// The server itself must be the one that its sidecar means, and a master.
async fn prove(report: &Report, at: ServerAt, login: &Login) -> Result<(), String> {
    let words = |error| format!("its server: {}", say::one_line(&error));
    let mut connection = Connection::open(at, login, ANSWER, None)
        .await
        .map_err(words)?;
    let info = connection.info().await.map_err(words)?;
    if report.server.as_ref().map(|s| &s.run_id) != Some(&info.run_id) {
        return Err(format!(
            "the server at {} is not the one that its sidecar speaks of: it was restarted just now, or another one answers there",
            at.address
        ));
    }
    if info.role != ServerRole::Master {
        return Err("its server is no master any more".to_owned());
    }
    if info.loading {
        return Err("its server reads its data".to_owned());
    }
    Ok(())
}

/// The master among those who answered, or in words why there is none.
fn choose(
    here: &Here,
    others: &[(Ordinal, Option<&Seen>)],
    own: &Memory,
    own_name: Option<&crate::observe::dns::Answer>,
) -> Result<Master, String> {
    let seen = || {
        others.iter().filter_map(|(ordinal, sight)| match sight {
            Some(Sight::Seen { address, what, .. }) => Some((*ordinal, *address, what)),
            Some(Sight::Unnamed(_) | Sight::NotAPeer(_) | Sight::Failed(_)) | None => None,
        })
    };
    let newest = seen()
        .flat_map(|(_, _, m)| {
            [
                m.report.epoch,
                m.report.epoch_seen,
                m.report.authority.epoch,
            ]
        })
        .flatten()
        .chain(own.epoch)
        .chain(own.epoch_seen)
        .max();
    let mut masters = seen().filter(|(_, _, m)| {
        m.report.is_granted_master()
            && m.report.epoch >= newest
            && !m.report.terminating
            && m.proof.is_ok()
            && !is_apart(own, &m.report)
    });
    if let (Some((ordinal, address, member)), None) = (masters.next(), masters.next())
        && let Some(epoch) = member.report.epoch
    {
        return Ok(Master {
            ordinal,
            address,
            epoch,
            id: member.report.replication.id.clone(),
        });
    }
    let words: Vec<_> = others
        .iter()
        .map(|(ordinal, sight)| {
            let pod = here.pod(*ordinal);
            match sight {
                None => format!("{pod}: it is being asked"),
                Some(Sight::Unnamed(answer)) => say::unnamed(here, *ordinal, answer, own_name),
                Some(Sight::NotAPeer(address)) => say::not_a_peer(here, *ordinal, *address),
                Some(Sight::Failed(why)) => format!("{pod}: {why}"),
                Some(Sight::Seen { what, .. }) => format!("{pod}: {}", unfit(what, newest, own)),
            }
        })
        .collect();
    Err(if words.is_empty() {
        "no other member is known (with --replicas, podzero knows how many there are)".to_owned()
    } else {
        say::join(&words)
    })
}

/// Whether both have data of one epoch that does not come from one another: to follow would be to
/// give up what is here.
fn is_apart(own: &Memory, master: &Report) -> bool {
    own.epoch.is_some()
        && own.epoch == master.epoch
        && !own.unfinished
        && own.id.as_ref().is_some_and(|id| !knows(master, id))
}

/// Why a member that answered is not taken for the master.
fn unfit(member: &Member, newest: Option<Epoch>, own: &Memory) -> String {
    let report = &member.report;
    if !report.is_granted_master() {
        let what = match report.role {
            Role::Master => "its server is a master without the grant of its epoch",
            Role::Replica => "it is a replica",
            Role::Fenced => "it is fenced",
            Role::Loading => "its server reads its data",
            Role::Unreachable => "its sidecar cannot reach its server",
        };
        let reason = report.reasons.first().map(|r| r.message.as_str());
        return reason.map_or(what.to_owned(), |reason| format!("{what} ({reason})"));
    }
    if let (Some(own), Some(newest)) = (report.epoch, newest)
        && own < newest
    {
        return format!("it is the master of epoch {own}, but there is a newer one, {newest}");
    }
    if is_apart(own, report) {
        return "it is the master of the epoch of the data here, but of another history: its sidecar and the one here will say more".to_owned();
    }
    if let Err(why) = &member.proof {
        return format!("it says that it is the master, but {why}");
    }
    if report.terminating {
        return "it is the master, and is being stopped".to_owned();
    }
    "it is not the only one that says it is the master of the newest epoch".to_owned()
}

#[cfg(test)]
mod tests;
