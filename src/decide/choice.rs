//! Whose data the set goes on with, when everybody who is waited for has been asked. Pure.

use super::history::{Best, Relation, best, knows, relation};
use super::{PeerState, Reason, View, answers_for_its_data, ordinal_of};
use crate::observe::info::ServerRole;
use crate::report::{LinkState, Report, Role};
use crate::topology::{Epoch, Ordinal};

/// A member, and why it.
type Chosen = Result<(Ordinal, String), Reason>;

fn nobody(why: impl Into<String>) -> Reason {
    Reason::NobodyToChoose(why.into())
}

/// The member whose data is the newest and the most, of those who answer.
pub(super) fn choose(view: &View<'_>) -> Chosen {
    let answering: Vec<&Report> = view
        .reports()
        .filter(|r| answers_for_its_data(r.role))
        .collect();
    // A server that does not answer its sidecar cannot be chosen, but what is recorded of its data is
    // known: nothing older may replace it, however long it is waited for.
    let whole = |r: &&Report| !r.unfinished;
    let newest_recorded = view.reports().filter(whole).max_by_key(|r| r.epoch);
    let newest_answering = answering.iter().copied().filter(whole);
    let newest_answering = newest_answering.filter_map(|r| r.epoch).max();
    if let Some(recorded) = newest_recorded.filter(|r| r.epoch > newest_answering) {
        return Err(nobody(format!(
            "{} had the newest data, and its server does not answer; decide with: podzero resolve --keep POD",
            recorded.pod
        )));
    }
    if answering
        .iter()
        .all(|r| (r.empty || r.is_bare()) && !r.unfinished)
    {
        return without_data(view);
    }
    let whole: Vec<&Report> = answering
        .iter()
        .copied()
        .filter(|r| !r.empty && !r.is_bare() && !r.unfinished && !r.forgets)
        .collect();
    // A member between two histories may hold the only copy of what it had before.
    let newest_whole = whole.iter().filter_map(|r| r.epoch).max();
    if let Some(unfinished) = answering
        .iter()
        .find(|r| r.unfinished && !r.empty && (whole.is_empty() || r.epoch > newest_whole))
    {
        let (pod, own) = (&unfinished.pod, &unfinished.replication);
        let what = match (&own.following, own.link) {
            (Some(master), Some(LinkState::Up | LinkState::Syncing)) => {
                format!(
                    "{pod} copies from {master}, which no member that answers knows as the master"
                )
            }
            (Some(_) | None, _) => format!("the copy that {pod} was receiving was cut off"),
        };
        return Err(nobody(format!(
            "{what}, and nobody has newer whole data; decide with: podzero resolve --keep POD"
        )));
    }
    with_data(view, &whole)
}

/// A first boot, or nothing was kept anywhere.
fn without_data(view: &View<'_>) -> Chosen {
    let before = newest_masters(view).last().copied();
    let before = before
        .and_then(|o| view.report(o))
        .filter(|r| !r.terminating && !r.forgets);
    if let Some(before) = before {
        let why = "nobody has any data, and it was the master before";
        return Ok((before.ordinal, why.to_owned()));
    }
    let stays = view.reports().filter(|r| !r.terminating);
    let Some(first) = stays.min_by_key(|r| r.ordinal) else {
        return Err(Reason::Terminating);
    };
    match first.role {
        Role::Fenced | Role::Replica => Ok((
            first.ordinal,
            "a first boot: every member is empty".to_owned(),
        )),
        Role::Master | Role::Loading | Role::Unreachable => Err(nobody(format!(
            "the server of {} does not answer",
            first.pod
        ))),
    }
}

fn with_data(view: &View<'_>, whole: &[&Report]) -> Chosen {
    let masters = newest_masters(view);
    let recorded = |_: Epoch| masters.last().copied();
    let all: Vec<&Report> = view.reports().collect();
    let target = match best(whole, &all, recorded) {
        Best::Member(target) => target,
        Best::TwoHistories(a, b) => return Err(Reason::TwoHistories(a, b)),
        Best::Nobody => return Err(nobody("nobody has whole data")),
    };
    let stops = |o: Ordinal| view.report(o).is_some_and(|r| r.terminating);
    if view.snapshot.declined.contains(&target) || stops(target) {
        let (other, why) = instead_of(view, target, whole);
        if other != target || !stops(target) {
            return Ok((other, why));
        }
    }
    let report = view.report(target);
    if stops(target) {
        return Err(nobody("the member with the best data is being stopped"));
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

/// Who has as much as a member that declined; that member again, where nobody has.
fn instead_of(view: &View<'_>, first: Ordinal, whole: &[&Report]) -> (Ordinal, String) {
    let declined = |r: &&&Report| view.snapshot.declined.contains(&r.ordinal) || r.ordinal == first;
    let has_all = |r: &&&Report| {
        let mut others = whole.iter().filter(declined);
        others.all(|other| relation(r, other) == Relation::Contains)
    };
    let mut able = whole.iter().filter(|r| !declined(r) && !r.terminating);
    let target = able.find(has_all).map_or(first, |r| r.ordinal);
    let why = format!(
        "it has what {} has, which does not take it",
        view.pod(first)
    );
    (target, why)
}

/// The holder of the newest grant and the master of the newest data, as far as anybody knows.
pub(super) fn newest_masters(view: &View<'_>) -> Vec<Ordinal> {
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

/// The server without a sidecar that accepts writes and feeds a member: with a Lease it is stopped before
/// that member leads, and what it has is received first.
pub(super) fn feeds(view: &View<'_>, target: &Report) -> Option<Ordinal> {
    let own = &target.replication;
    let linked = own.link == Some(LinkState::Up) && own.id.is_some();
    let mut peers = view.snapshot.peers.iter().filter(|_| linked);
    peers.find_map(|(ordinal, peer)| match &peer.state {
        PeerState::ServerOnly(server) if server.role == ServerRole::Master => {
            (server.id == own.id).then_some(*ordinal)
        }
        PeerState::Answered(_)
        | PeerState::ServerOnly(_)
        | PeerState::Missing
        | PeerState::Silent(_) => None,
    })
}

/// What would be lost if this member led, of those that show what they have and cannot be asked
/// further: servers without a sidecar, and members that cannot remember.
pub(super) fn visible_loss(view: &View<'_>, target: &Report) -> Option<String> {
    visible_loss_but(view, target, None)
}

/// The same, without one member.
pub(super) fn visible_loss_but(
    view: &View<'_>,
    target: &Report,
    but: Option<Ordinal>,
) -> Option<String> {
    let own = &target.replication;
    let mut peers = view.snapshot.peers.iter().filter(|(o, _)| Some(**o) != but);
    peers.find_map(|(ordinal, peer)| {
        let pod = view.pod(*ordinal);
        match &peer.state {
            PeerState::ServerOnly(server) if !server.loading && server.keys > 0 => {
                let same = server.id.is_some() && server.id == own.id;
                let known = server.id.as_ref().is_some_and(|id| knows(target, id));
                let more = same && server.offset > own.offset;
                let words = if target.keys == Some(0) && !known {
                    format!("has {} keys, and {} has none", server.keys, target.pod)
                } else if more {
                    format!("has more than {}", target.pod)
                } else if !known {
                    format!("has data that {} does not know", target.pod)
                } else {
                    return None;
                };
                Some(format!(
                    "the server of {pod} {words}, and its sidecar does not answer"
                ))
            }
            PeerState::Answered(other)
                if other.forgets
                    && answers_for_its_data(other.role)
                    && !other.empty
                    && *ordinal != target.ordinal =>
            {
                let loses =
                    other.epoch >= target.epoch && relation(target, other) != Relation::Contains;
                loses.then(|| {
                    format!(
                        "{pod} has data that {} has not, and cannot write its state file",
                        target.pod
                    )
                })
            }
            PeerState::Answered(_)
            | PeerState::ServerOnly(_)
            | PeerState::Missing
            | PeerState::Silent(_) => None,
        }
    })
}
