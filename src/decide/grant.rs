//! Who may become the master: authority `ordinal`.
//!
//! Pod-0 alone ends a masterless state, by publishing a grant that the target's own sidecar obeys; a
//! person's word (`podzero resolve`) is published the same way by the member that was told. A grant
//! counts once every member that answers has shown its epoch, which is a promise to obey nothing
//! older. Pure.

use super::history::{Best, best};
use super::{Action, Decision, Local, PeerState, Reason, View, answers_for_its_data, ordinal_of};
use crate::report::{Grant, Report, Role};
use crate::topology::{Epoch, Ordinal};

fn wait(reason: Reason) -> Decision {
    Decision {
        action: Action::Wait,
        reasons: vec![reason],
    }
}

fn quiet() -> Decision {
    Decision {
        action: Action::Wait,
        reasons: Vec::new(),
    }
}

/// What this member publishes, withdraws or waits for as a granter.
pub fn step(view: &View<'_>) -> Decision {
    if let Some(keep) = view.snapshot.resolve {
        return match by_hand(view, keep) {
            Ok(grant) => Decision {
                reasons: vec![Reason::Grants {
                    epoch: grant.epoch,
                    target: keep,
                    why: "a person decided so (podzero resolve)".to_owned(),
                }],
                action: Action::Publish(grant),
            },
            Err(why) => wait(Reason::NobodyToChoose(why)),
        };
    }
    if let Some(grant) = &view.memory.grant {
        return pending(view, grant);
    }
    if view.snapshot.me != Ordinal::ZERO || view.granted_master().is_some() {
        return quiet();
    }
    if view.snapshot.terminating {
        return wait(Reason::Terminating);
    }
    match masterless(view) {
        Err(reason) => wait(reason),
        Ok((target, why)) => {
            let epoch = Epoch::after(view.newest_epoch(), view.snapshot.me);
            let grant = Grant {
                epoch,
                target,
                counts: false,
                by_hand: false,
            };
            Decision {
                action: Action::Publish(grant),
                reasons: vec![Reason::Grants { epoch, target, why }],
            }
        }
    }
}

/// A person's word: refused, with the reason, where there is nothing to decide.
pub fn by_hand(view: &View<'_>, keep: Ordinal) -> Result<Grant, String> {
    let Some(target) = view.report(keep) else {
        return Err(format!("the sidecar of {} does not answer", view.pod(keep)));
    };
    if target.terminating {
        return Err(format!("{} is being stopped", target.pod));
    }
    if !answers_for_its_data(target.role) {
        return Err(format!(
            "the server of {} is {}",
            target.pod,
            target.role.as_str()
        ));
    }
    let refuses = |r: &Report| {
        r.reasons.iter().any(|reason| {
            matches!(
                reason.code.as_str(),
                "two_histories" | "master_is_older" | "ungranted_master"
            )
        })
    };
    if let Some(master) = view.granted_master()
        && !view.reports().any(refuses)
    {
        return Err(format!(
            "there is nothing to decide: {} is the master and nobody refuses it",
            master.pod
        ));
    }
    Ok(Grant {
        epoch: Epoch::after(view.newest_epoch(), view.snapshot.me),
        target: keep,
        counts: false,
        by_hand: true,
    })
}

/// A grant of ours that is published.
fn pending(view: &View<'_>, grant: &Grant) -> Decision {
    let epoch = grant.epoch;
    let ends = |how: String| Decision {
        action: Action::Withdraw,
        reasons: vec![Reason::GrantEnds { epoch, how }],
    };
    if let Some(newer) = view.newest_epoch().filter(|newest| *newest > epoch) {
        return ends(format!("epoch {newer} is newer"));
    }
    let target = view.report(grant.target);
    if let Some(target) = target {
        if target.is_granted_master() && target.epoch == Some(epoch) {
            return ends(format!("{} is the master", target.pod));
        }
        if target.authority.closed >= Some(epoch) {
            return ends(format!("{} will not carry it out", target.pod));
        }
    }
    if grant.counts {
        return wait(Reason::GrantWaits {
            epoch,
            target: grant.target,
        });
    }
    if !grant.by_hand {
        if let Some(master) = view.granted_master() {
            return ends(format!("{} turned out to be the master", master.pod));
        }
        if let Err(reason) = refuse_beside_a_master(view) {
            return ends(format!("it is no longer right ({})", reason.code()));
        }
    }
    let unseen: Vec<_> = view
        .reports()
        .filter(|r| r.epoch_seen != Some(epoch))
        .map(|r| r.pod.as_str())
        .collect();
    if unseen.is_empty() && target.is_some() {
        // A report that shows this epoch was made after the grant was published, so it tells the data
        // as it is without a master. The one on which the choice was made may be older than the last
        // writes: choose again.
        if !grant.by_hand {
            match masterless(view) {
                Ok((again, _)) if again == grant.target => {}
                Ok((other, _)) => {
                    return ends(format!("the latest answers choose {}", view.pod(other)));
                }
                Err(reason) => return ends(format!("it is no longer right ({})", reason.code())),
            }
        }
        return Decision {
            action: Action::Publish(Grant {
                counts: true,
                ..grant.clone()
            }),
            reasons: vec![Reason::GrantWaits {
                epoch,
                target: grant.target,
            }],
        };
    }
    let by = if unseen.is_empty() {
        "the target does not answer".to_owned()
    } else {
        unseen.join(", ")
    };
    wait(Reason::GrantNotSeen { epoch, by })
}

/// How many members are expected: ordinals seen, the own one, and what was set.
fn expected(view: &View<'_>) -> u32 {
    let seen = view
        .snapshot
        .peers
        .keys()
        .map(|o| o.0 + 1)
        .max()
        .unwrap_or(0);
    seen.max(view.snapshot.me.0 + 1)
        .max(view.policy.replicas.unwrap_or(0))
}

/// Nobody is the master as far as pod-0 can see: whom to grant the role, or what to wait for.
fn masterless(view: &View<'_>) -> Result<(Ordinal, String), Reason> {
    refuse_beside_a_master(view)?;
    wait_for_newest_master(view)?;
    let left_out = wait_for_members(view)?;
    let (target, mut why) = choose(view)?;
    if !left_out.is_empty() {
        why = format!(
            "{why}; chosen without {}, whose writes may be lost",
            left_out.join(", ")
        );
    }
    Ok((target, why))
}

/// A server that accepts writes, whatever its sidecar says of it, is somebody's master.
fn refuse_beside_a_master(view: &View<'_>) -> Result<(), Reason> {
    if let Local::Up(server) = &view.snapshot.local
        && server.role == crate::observe::info::ServerRole::Master
    {
        return Err(Reason::UngrantedPeer(view.snapshot.me));
    }
    for (ordinal, peer) in &view.snapshot.peers {
        match &peer.state {
            PeerState::Answered(report) if report.role == Role::Master => {
                return Err(Reason::UngrantedPeer(*ordinal));
            }
            PeerState::ServerOnly(server)
                if server.role == crate::observe::info::ServerRole::Master =>
            {
                return Err(Reason::MasterWithoutSidecar(*ordinal));
            }
            PeerState::Answered(_)
            | PeerState::ServerOnly(_)
            | PeerState::Missing
            | PeerState::Silent(_) => {}
        }
    }
    Ok(())
}

/// The holder of the newest grant and the master of the newest data, as far as anybody knows.
fn newest_masters(view: &View<'_>) -> Vec<Ordinal> {
    let holder = view
        .reports()
        .filter_map(|r| {
            Some((
                r.authority.epoch?,
                ordinal_of(r.authority.holder.as_deref()?)?,
            ))
        })
        .max();
    let master = view
        .reports()
        .filter_map(|r| Some((r.epoch?, ordinal_of(r.master.as_deref()?)?)))
        .max();
    let mut who: Vec<_> = [holder, master]
        .into_iter()
        .flatten()
        .map(|(_, who)| who)
        .collect();
    who.dedup();
    who
}

/// Whoever may have acknowledged the newest writes is waited for without limit.
fn wait_for_newest_master(view: &View<'_>) -> Result<(), Reason> {
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
fn wait_for_members(view: &View<'_>) -> Result<Vec<String>, Reason> {
    let now = view.snapshot.started_at;
    let first_boot = view.own.empty && view.reports().all(|r| r.empty);
    let mut waiting = Vec::new();
    let mut left_out = Vec::new();
    let mut name_missing = false;
    for ordinal in (0..expected(view)).map(Ordinal) {
        let (why, since) = match view.report(ordinal) {
            Some(report) if answers_for_its_data(report.role) => continue,
            Some(report) if report.role == Role::Loading => {
                // It can be asked, and says that it will know: no limit.
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
        if now.since(since) >= view.policy.peer_wait {
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
    if view.policy.replicas.is_none() && looking {
        return Err(Reason::Discovering);
    }
    Ok(left_out)
}

/// Whose data the set goes on with.
fn choose(view: &View<'_>) -> Result<(Ordinal, String), Reason> {
    let answering: Vec<&Report> = view
        .reports()
        .filter(|r| answers_for_its_data(r.role))
        .collect();
    // A server that does not answer its sidecar cannot be chosen, but what is recorded of its data is
    // known: nothing older may replace it, however long it is waited for.
    let newest_recorded = view
        .reports()
        .filter(|r| !r.unfinished)
        .max_by_key(|r| r.epoch);
    let newest_answering = answering
        .iter()
        .filter(|r| !r.unfinished)
        .filter_map(|r| r.epoch)
        .max();
    if let Some(recorded) = newest_recorded.filter(|r| r.epoch > newest_answering) {
        return Err(Reason::NobodyToChoose(format!(
            "{} had the newest data, and its server does not answer; decide with: podzero resolve --keep POD",
            recorded.pod
        )));
    }
    if answering.iter().all(|r| r.empty && !r.unfinished) {
        return if view.snapshot.terminating {
            Err(Reason::Terminating)
        } else if view.own.role == Role::Fenced || view.own.role == Role::Replica {
            Ok((
                view.snapshot.me,
                "a first boot: every member is empty".to_owned(),
            ))
        } else {
            Err(Reason::NobodyToChoose(
                "the server of pod-0 does not answer".to_owned(),
            ))
        };
    }
    let whole: Vec<&Report> = answering
        .iter()
        .copied()
        .filter(|r| !r.empty && !r.unfinished)
        .collect();
    // A member between two histories may hold the only copy of what it had before.
    let newest_whole = whole.iter().filter_map(|r| r.epoch).max();
    if let Some(unfinished) = answering
        .iter()
        .find(|r| r.unfinished && !r.empty && (whole.is_empty() || r.epoch > newest_whole))
    {
        return Err(Reason::NobodyToChoose(format!(
            "the copy that {} was receiving was cut off, and nobody has newer whole data; decide with: podzero resolve --keep POD",
            unfinished.pod
        )));
    }
    let masters = newest_masters(view);
    let recorded = |_: Epoch| masters.last().copied();
    let all: Vec<&Report> = view.reports().collect();
    match best(&whole, &all, recorded) {
        Best::Member(target) => {
            let report = view.report(target);
            if report.is_some_and(|r| r.terminating) {
                return Err(Reason::NobodyToChoose(
                    "the member with the best data is being stopped".to_owned(),
                ));
            }
            let epoch = report
                .and_then(|r| r.epoch)
                .map_or_else(|| "no epoch".to_owned(), |e| format!("epoch {e}"));
            let offset = report.map_or(0, |r| r.replication.offset);
            Ok((
                target,
                format!("it has the best data of those who answer ({epoch}, offset {offset})"),
            ))
        }
        Best::TwoHistories(a, b) => Err(Reason::TwoHistories(a, b)),
        Best::Nobody => Err(Reason::NobodyToChoose("nobody has whole data".to_owned())),
    }
}
