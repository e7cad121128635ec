//! Who may become the master: authority `ordinal`.
//!
//! Pod-0 alone ends a masterless state, by publishing a grant that the target's own sidecar obeys; a
//! person's word (`podzero resolve`) is published the same way by the member that was told. A grant
//! counts once every member that answers has shown its epoch, which is a promise to obey nothing
//! older. Pure.

use super::choice::{choose, newest_masters, visible_loss};
use super::{
    Action, Decision, GRANT_VALID, Local, Peer, PeerState, Reason, View, answers_for_its_data,
    handover, ordinal_of, wait,
};
use crate::report::{Grant, Report, Role};
use crate::topology::{Epoch, Ordinal};

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
                    at_risk: false,
                }],
                action: Action::Publish(grant),
            },
            Err(why) => wait(Reason::NobodyToChoose(why)),
        };
    }
    if let Some(grant) = &view.memory.grant {
        return match &grant.handover {
            Some(handover) => handover::pending(view, grant, handover),
            None => pending(view, grant),
        };
    }
    if let Some(wish) = &view.snapshot.wish
        && let Some(decision) = handover::begin(view, wish)
    {
        return decision;
    }
    if view.snapshot.me != Ordinal::ZERO || view.granted_master().is_some() {
        return quiet();
    }
    if view.snapshot.terminating {
        return wait(Reason::Terminating);
    }
    match masterless(view) {
        Err(reason) => wait(reason),
        Ok(Choice {
            target,
            why,
            at_risk,
        }) => {
            let epoch = Epoch::after(view.newest_epoch(), view.snapshot.me);
            let grant = Grant {
                epoch,
                target,
                counts: false,
                by_hand: false,
                handover: None,
            };
            Decision {
                action: Action::Publish(grant),
                reasons: vec![Reason::Grants {
                    epoch,
                    target,
                    why,
                    at_risk,
                }],
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
    if let Err(Reason::MasterWithoutSidecar(other)) = refuse_beside_a_master(view)
        && other != keep
    {
        return Err(format!(
            "the server of {0} accepts writes, and its sidecar, which alone may stop that, does not answer: there would be two masters. Bring the sidecar of {0} back, or stop its server first",
            view.pod(other)
        ));
    }
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
        handover: None,
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
        .filter(|r| r.epoch_seen != Some(epoch) && !is_given_up(view, r))
        .map(|r| r.pod.as_str())
        .collect();
    if let Some(pod) = may_still_act(view) {
        let by = format!("{pod}, which fell silent a moment ago and may still act");
        return wait(Reason::GrantNotSeen { epoch, by });
    }
    if unseen.is_empty() && target.is_some() {
        // A report that shows this epoch was made after the grant was published, so it tells the data
        // as it is without a master. The one on which the choice was made may be older than the last
        // writes: choose again.
        if !grant.by_hand {
            match masterless(view) {
                Ok(again) if again.target == grant.target => {}
                Ok(other) => {
                    let other = view.pod(other.target);
                    return ends(format!("the latest answers choose {other}"));
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

/// Who fell silent a moment ago may still carry out what was granted to it before: whoever is waited for
/// longer than that holds cannot.
fn may_still_act(view: &View<'_>) -> Option<String> {
    let now = view.snapshot.started_at;
    let recent = |peer: &Peer| match &peer.state {
        PeerState::Answered(_) => false,
        PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => {
            now.since(peer.since) <= GRANT_VALID
        }
    };
    let mut peers = view.snapshot.peers.iter();
    let (ordinal, _) = peers.find(|(_, peer)| recent(peer))?;
    Some(view.pod(*ordinal))
}

/// A member that cannot remember can do nothing: after the wait it counts as one that is silent.
fn is_given_up(view: &View<'_>, report: &Report) -> bool {
    let since = view.snapshot.peers.get(&report.ordinal).map(|p| p.since);
    report.forgets && since.is_some_and(|since| view.waited(since) >= view.policy.peer_wait)
}

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

/// Whom pod-0 grants the role.
struct Choice {
    target: Ordinal,
    why: String,
    /// Members were left out that may have had more.
    at_risk: bool,
}

/// Nobody is the master as far as pod-0 can see: whom to grant the role, or what to wait for.
fn masterless(view: &View<'_>) -> Result<Choice, Reason> {
    if let Some((from, to)) = handover::under_way(view) {
        return Err(Reason::HandingOver { from, to });
    }
    let other = |r: &&Report| r.authority.kind != view.own.authority.kind;
    if let Some(other) = view.reports().find(other) {
        return Err(Reason::OtherAuthority(other.ordinal));
    }
    refuse_beside_a_master(view)?;
    wait_for_newest_master(view)?;
    let waiting = Waiting {
        limit: view.policy.peer_wait,
        members: None,
        gone_too: true,
        over: None,
    };
    let left_out = wait_for_members(view, &waiting)?;
    let (target, mut why) = choose(view)?;
    if let Some(report) = view.report(target) {
        if view.snapshot.declined.contains(&target) {
            let why = report.reasons.first().map(|r| r.message.clone());
            let why = why.unwrap_or_else(|| "it does not say why".to_owned());
            return Err(Reason::Declined { target, why });
        }
        if let Some(why) = visible_loss(view, report) {
            return Err(Reason::NobodyToChoose(format!(
                "{why}; bring it back, or decide with: podzero resolve --keep POD"
            )));
        }
    }
    has_the_newest(view, view.report(target), &left_out)?;
    if !left_out.is_empty() {
        why = format!(
            "{why}; chosen without {}, whose writes may be lost",
            left_out.join(", ")
        );
    }
    Ok(Choice {
        target,
        why,
        at_risk: !left_out.is_empty(),
    })
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
