//! Who may become the master: authority `ordinal`.
//!
//! Pod-0 alone ends a masterless state, by publishing a grant that the target's own sidecar obeys; a
//! person's word (`podzero resolve`) is published the same way by the member that was told. A grant
//! counts once every member that answers has shown its epoch, which is a promise to obey nothing
//! older. Pure.

use super::choice::{choose, visible_loss};
use super::waiting::{Waiting, has_the_newest, wait_for_members, wait_for_newest_master};
use super::{
    Action, Decision, GRANT_VALID, Local, Peer, PeerState, Reason, View, answers_for_its_data,
    handover, wait,
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
    // Whoever may have carried it out is waited for: the choice was made for its data.
    let silent = Reason::WaitingForMaster {
        master: grant.target,
        why: "the role was granted to it, and it does not answer".to_owned(),
    };
    if grant.counts {
        let target = grant.target;
        return wait(if view.report(target).is_some() {
            Reason::GrantWaits { epoch, target }
        } else {
            silent
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
    if unseen.is_empty() {
        return wait(silent);
    }
    let by = unseen.join(", ");
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
