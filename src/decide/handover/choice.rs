//! To whom the role goes. Pure.

use super::own;
use crate::decide::{PeerState, View, Wish};
use crate::report::{LinkState, Report, Role};
use crate::topology::Ordinal;

/// A replica that is further behind than this is chosen only when nobody else is left: what it lacks
/// has to reach it while nobody accepts writes.
const FAR_BEHIND: u64 = 1 << 20;

/// A report is up to a second old: a busy master is so much ahead of one that has caught up.
const CAUGHT_UP: u64 = 16 << 20;

/// Who takes the role; in words why nobody can.
pub fn target(view: &View<'_>, wish: &Wish, not: Option<Ordinal>) -> Result<Ordinal, String> {
    if let Some(to) = wish.to {
        if to == view.snapshot.me {
            return Err(format!("{} is the master already", view.own.pod));
        }
        let pod = view.pod(to);
        let Some(peer) = view.snapshot.peers.get(&to) else {
            return Err(format!("{pod} is not known"));
        };
        return match (&peer.state, not == Some(to) || wish.tried.contains(&to)) {
            (_, true) => Err(format!("{pod} did not take it")),
            (PeerState::Answered(report), false) => match unfit(view, report) {
                Some(why) => Err(format!("{pod} {why}")),
                None => Ok(to),
            },
            (PeerState::ServerOnly(_), false) => {
                Err(format!("the sidecar of {pod} does not answer"))
            }
            (PeerState::Missing, false) => Err(format!("the name of {pod} does not exist")),
            (PeerState::Silent(why), false) => Err(format!("{pod} does not answer: {why}")),
        };
    }
    let others = || view.reports().filter(|r| r.ordinal != view.snapshot.me);
    let mut why_not = Vec::new();
    let fit: Vec<&Report> = others()
        .filter(|report| {
            let ordinal = report.ordinal;
            let why = if not == Some(ordinal) || wish.tried.contains(&ordinal) {
                Some("did not take it".to_owned())
            } else {
                unfit(view, report)
            };
            why_not.extend(why.as_ref().map(|why| format!("{} {why}", report.pod)));
            why.is_none()
        })
        .collect();
    let most = fit.iter().map(|r| r.replication.offset).max().unwrap_or(0);
    let cannot_read = |report: &Report| {
        let ours = version(report);
        others().any(|other| {
            other.ordinal != report.ordinal && !other.terminating && version(other) < ours
        })
    };
    let stays_away = stays_away(view);
    fit.iter()
        .min_by_key(|r| {
            (
                cannot_read(r),
                most - r.replication.offset > FAR_BEHIND,
                (r.ordinal == Ordinal::ZERO) == stays_away,
                std::cmp::Reverse(r.replication.offset),
                r.ordinal,
            )
        })
        .map(|r| r.ordinal)
        .ok_or_else(|| {
            if why_not.is_empty() {
                "no other member answers".to_owned()
            } else {
                why_not.join("; ")
            }
        })
}

/// Why a member cannot take the role from us now.
pub(super) fn unfit(view: &View<'_>, report: &Report) -> Option<String> {
    let link = report.replication.link;
    if report.authority.kind != view.own.authority.kind {
        return Some("goes by another --authority".to_owned());
    }
    if report.terminating {
        return Some("is being stopped".to_owned());
    }
    if report.forgets {
        return Some("cannot write its state file".to_owned());
    }
    if report.role != Role::Replica {
        return Some(format!("is {}", report.role.as_str()));
    }
    if report.unfinished || link != Some(LinkState::Up) {
        return Some("has no link to the master, or has not finished its copy".to_owned());
    }
    let same = report.replication.id == view.own.replication.id && report.epoch == view.own.epoch;
    if !same {
        return Some("has not got the master's history yet".to_owned());
    }
    let online = view.own.replication.replicas.iter().any(|replica| {
        replica.state == "online"
            && report.announced.as_ref() == Some(&(replica.host.clone(), replica.port))
    });
    (!online).then(|| "is not online at the master".to_owned())
}

/// A server's version as numbers: an older server cannot read a newer one's full copy.
fn version(report: &Report) -> Vec<u32> {
    let words = report.server.as_ref().map_or("", |s| s.version.as_str());
    words
        .split([' ', '.'])
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The run of pod-0's server from which a person sent the role away: while the role is here, and while
/// it is offered.
pub(super) fn away<'a>(view: &View<'a>) -> Option<&'a String> {
    match (&view.memory.held, own(view)) {
        (Some(held), _) => held.away_from.as_ref(),
        (None, Some((_, handover))) => handover.away_from.as_ref(),
        (None, None) => None,
    }
}

/// Whether pod-0's server is still the one from which a person sent the role away.
fn stays_away(view: &View<'_>) -> bool {
    let server = view.report(Ordinal::ZERO).and_then(|r| r.server.as_ref());
    server.is_some_and(|s| away(view) == Some(&s.run_id))
}

/// Whether the role may go home to pod-0. With a Lease it has no home.
pub fn may_go_home(view: &View<'_>) -> bool {
    let pod0 = view.report(Ordinal::ZERO);
    view.snapshot.authority.lease().is_none()
        && view.snapshot.me != Ordinal::ZERO
        && view.own.is_granted_master()
        && !view.snapshot.terminating
        && pod0.is_some_and(|pod0| {
            let behind = view
                .own
                .replication
                .offset
                .saturating_sub(pod0.replication.offset);
            !stays_away(view) && pod0.ready && unfit(view, pod0).is_none() && behind <= CAUGHT_UP
        })
}
