//! Whom to wait for before somebody is chosen, and for how long. Pure.

use super::choice::newest_masters;
use super::{PeerState, Reason, View, answers_for_its_data, ordinal_of};
use crate::report::{Report, Role};
use crate::topology::Ordinal;

/// Whom to wait for before somebody is chosen.
pub(super) struct Waiting {
    /// How long, for each that does not answer.
    pub(super) limit: std::time::Duration,
    /// Those that are known to have taken part, where that is known; else all that are expected.
    pub(super) members: Option<Vec<Ordinal>>,
    /// Also for a server whose own sidecar says that it is gone; and without limit for one that loads,
    /// which can be asked and will know.
    pub(super) gone_too: bool,
    /// Who has been waited for long enough in another way.
    pub(super) over: Option<Ordinal>,
}

/// How many members are expected: ordinals seen, the own one, those that somebody remembers as the
/// master, and what was set.
fn expected(view: &View<'_>) -> u32 {
    let remembered = view
        .reports()
        .flat_map(|r| [&r.authority.holder, &r.master])
        .filter_map(|pod| ordinal_of(pod.as_deref()?))
        .map(|o| o.0 + 1)
        .max()
        .unwrap_or(0);
    let seen = view
        .snapshot
        .peers
        .keys()
        .map(|o| o.0 + 1)
        .max()
        .unwrap_or(0);
    seen.max(remembered)
        .max(view.snapshot.me.0 + 1)
        .max(view.replicas().unwrap_or(0))
}

/// Whoever may have acknowledged the newest writes is waited for without limit.
pub(super) fn wait_for_newest_master(view: &View<'_>) -> Result<(), Reason> {
    for master in newest_masters(view) {
        let why = match view.report(master) {
            Some(report) if answers_for_its_data(report.role) => continue,
            Some(report) => format!("its server is {}", report.role.as_str()),
            None => match view.snapshot.peers.get(&master).map(|p| &p.state) {
                Some(PeerState::Missing) => "its name does not exist".to_owned(),
                Some(PeerState::Silent(why)) => why.clone(),
                Some(PeerState::ServerOnly(_)) => "its sidecar does not answer".to_owned(),
                Some(PeerState::Answered(_)) | None => "it has not been asked yet".to_owned(),
            },
        };
        return Err(Reason::WaitingForMaster { master, why });
    }
    Ok(())
}

/// Waits until everybody who is expected has answered; says who was left out because the wait is over.
pub(super) fn wait_for_members(
    view: &View<'_>,
    waiting_for: &Waiting,
) -> Result<Vec<String>, Reason> {
    let now = view.snapshot.started_at;
    let first_boot = view.own.empty && view.reports().all(|r| r.empty);
    let mut waiting = Vec::new();
    let mut left_out = Vec::new();
    let mut name_missing = false;
    let everybody = || (0..expected(view)).map(Ordinal).collect();
    let members = waiting_for.members.clone().unwrap_or_else(everybody);
    for ordinal in members {
        let (why, since) = match view.report(ordinal) {
            Some(report) if answers_for_its_data(report.role) && !report.forgets => continue,
            Some(report) if report.gone && !waiting_for.gone_too => continue,
            Some(report) if report.forgets => (
                format!("{} cannot write its state file", report.pod),
                view.snapshot.peers.get(&ordinal).map(|p| p.since),
            ),
            Some(report) if report.role == Role::Loading && waiting_for.gone_too => {
                waiting.push(format!("{} is loading its data", report.pod));
                continue;
            }
            Some(report) => (
                format!("the server of {} does not answer its sidecar", report.pod),
                view.snapshot.peers.get(&ordinal).map(|p| p.since),
            ),
            None => {
                let peer = view.snapshot.peers.get(&ordinal);
                let why = match peer.map(|p| &p.state) {
                    Some(PeerState::Missing) => {
                        let long = peer.is_some_and(|p| now.since(p.since) >= view.policy.discover);
                        name_missing = true;
                        if first_boot && long && view.snapshot.own_name_resolves {
                            continue;
                        }
                        "its name does not exist".to_owned()
                    }
                    Some(PeerState::Silent(why)) => why.clone(),
                    Some(PeerState::ServerOnly(_)) => "its sidecar does not answer".to_owned(),
                    Some(PeerState::Answered(_)) | None => "it has not been asked yet".to_owned(),
                };
                (
                    format!("{}: {why}", view.pod(ordinal)),
                    peer.map(|p| p.since),
                )
            }
        };
        let since = since.unwrap_or(view.snapshot.process_started_at);
        if waiting_for.over == Some(ordinal) || view.waited(since) >= waiting_for.limit {
            left_out.push(why);
        } else {
            waiting.push(why);
        }
    }
    if !waiting.is_empty() {
        if name_missing && first_boot && !view.snapshot.own_name_resolves {
            return Err(Reason::OwnNameMissing);
        }
        return Err(Reason::WaitingForMembers(waiting.join("; ")));
    }
    let looking = now.since(view.snapshot.process_started_at) < view.policy.discover;
    let unknown = waiting_for.members.is_none() && view.replicas().is_none();
    if unknown && (looking || !view.snapshot.names_known) {
        return Err(Reason::Discovering);
    }
    Ok(left_out)
}

/// Nobody without data of the newest epoch is chosen while others may have it.
pub(super) fn has_the_newest(
    view: &View<'_>,
    chosen: Option<&Report>,
    left_out: &[String],
) -> Result<(), Reason> {
    let newest = view.reports().filter_map(|r| r.last_epoch).max();
    let older = chosen.filter(|r| r.epoch.is_none() || r.epoch < newest);
    match older {
        Some(report) if !left_out.is_empty() => Err(Reason::NobodyToChoose(format!(
            "{} has no data of the newest epoch, and others that may have it do not answer ({}); bring them back, or decide with: podzero resolve --keep POD",
            report.pod,
            left_out.join(", ")
        ))),
        Some(_) | None => Ok(()),
    }
}
