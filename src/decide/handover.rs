//! Moving the master role from one member to another without losing a write.
//!
//! The master (the giving side) publishes a grant that says so. It goes on writing until the target
//! has *armed* itself: has written down that it will take the role. Then the master's server is
//! fenced, its replicas drain what is left, and the target's own sidecar promotes its server when it
//! has exactly what the fenced one has ([`judge`]). From the moment a grant counts only the target
//! ends it: by promoting, or by declining. Pure.

use super::{
    Action, Decision, GRANT_VALID, Local, PeerState, Reason, View, Wish, answers_for_its_data,
};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Armed, Grant, Handover, Intent, LinkState, Report, Role};
use crate::topology::{Epoch, Ordinal};

/// A replica that is further behind than this is chosen only when nobody else is left: what it lacks
/// has to reach it while nobody accepts writes.
const FAR_BEHIND: u64 = 1 << 20;

/// So much a replica may have to receive from the fenced server, in bytes: a slow one takes that in a few
/// reads.
const NEAR: u64 = 64 << 10;

/// A report is up to a second old: a busy master is so much ahead of one that has caught up.
const CAUGHT_UP: u64 = 16 << 20;

fn act(action: Action, reason: Reason) -> Decision {
    Decision {
        action,
        reasons: vec![reason],
    }
}

fn wait(reason: Reason) -> Decision {
    act(Action::Wait, reason)
}

// ---- the giving side ----

/// This member's own grant, if it is a handover.
pub fn own<'a>(view: &View<'a>) -> Option<(&'a Grant, &'a Handover)> {
    let grant = view.memory.grant.as_ref()?;
    Some((grant, grant.handover.as_ref()?))
}

/// A handover that is under way somewhere: pod-0 does not choose beside it.
pub fn under_way(view: &View<'_>) -> Option<(Ordinal, Ordinal)> {
    let grant = view.newest_grant()?;
    let newest = Some(grant.epoch) == view.newest_epoch();
    let declined = view
        .report(grant.target)
        .is_some_and(|target| target.authority.closed >= Some(grant.epoch));
    (grant.handover.is_some() && newest && !declined).then_some((grant.epoch.granter, grant.target))
}

/// The first grant of a wish: only the granted master has a role to hand over.
pub fn begin(view: &View<'_>, wish: &Wish) -> Option<Decision> {
    let Local::Up(server) = &view.snapshot.local else {
        return None;
    };
    if !view.own.is_granted_master() || view.memory.intent.is_some() {
        return None;
    }
    Some(match target(view, wish, None) {
        Ok(target) => publish(view, wish, server, target),
        Err(why) => wait(Reason::NoTarget(why)),
    })
}

fn publish(view: &View<'_>, wish: &Wish, server: &ServerInfo, target: Ordinal) -> Decision {
    let grant = Grant {
        epoch: Epoch::after(view.newest_epoch(), view.snapshot.me),
        target,
        counts: false,
        by_hand: false,
        handover: Some(Handover {
            run_id: server.run_id.clone(),
            cancelled: false,
            away_from: away_from(view, wish, target),
        }),
    };
    let reason = Reason::HandingOver {
        from: view.snapshot.me,
        to: target,
    };
    act(Action::Publish(grant), reason)
}

/// A person who sends the role elsewhere wants it to stay there, until pod-0 is another.
fn away_from(view: &View<'_>, wish: &Wish, target: Ordinal) -> Option<String> {
    if !wish.stays || target == Ordinal::ZERO {
        return None;
    }
    let pod0 = view.report(Ordinal::ZERO)?;
    Some(pod0.server.as_ref()?.run_id.clone())
}

/// What becomes of our own handover.
pub fn pending(view: &View<'_>, grant: &Grant, handover: &Handover) -> Decision {
    let epoch = grant.epoch;
    let ends = |how: String| act(Action::Withdraw, Reason::GrantEnds { epoch, how });
    let under_way = Reason::HandingOver {
        from: view.snapshot.me,
        to: grant.target,
    };
    if let Some(newer) = view.newest_epoch().filter(|newest| *newest > epoch) {
        return ends(format!("epoch {newer} is newer"));
    }
    let target = view.report(grant.target);
    if target.is_some_and(|t| t.is_granted_master() && t.epoch == Some(epoch)) {
        return ends(format!("{} is the master", view.pod(grant.target)));
    }
    let declined = target.is_some_and(|t| t.authority.closed >= Some(epoch));
    let server = match &view.snapshot.local {
        Local::Up(server) if server.run_id == handover.run_id => server,
        // Another run has forgotten what it acknowledged last: the role is not ours to give any more.
        Local::Up(_) if declined || !grant.counts => {
            return ends("the server here was started again".to_owned());
        }
        Local::Up(_) | Local::Loading { .. } | Local::Unreachable { .. } => return wait(under_way),
    };
    if matches!(server.role, ServerRole::Replica { .. }) && (declined || !grant.counts) {
        return ends("the server here was pointed elsewhere".to_owned());
    }
    let writable = server.role == ServerRole::Master;
    let other = view
        .reports()
        .find(|r| r.role == Role::Master && r.ordinal != view.snapshot.me);
    if let Some(other) = other.filter(|_| declined || !grant.counts) {
        // Made one by hand: it promises nothing, so that no grant can count beside it.
        let how = format!("{} accepts writes", other.pod);
        if !writable {
            return ends(how);
        }
        let epoch = Epoch::after(view.newest_epoch(), view.snapshot.me);
        let run_id = server.run_id.clone();
        return act(
            Action::Adopt { epoch, run_id },
            Reason::GrantEnds { epoch, how },
        );
    }
    if declined && grant.target == view.snapshot.me {
        return ends("it was not taken back here".to_owned());
    }
    if declined {
        return next(view, server, grant);
    }
    if grant.counts {
        let over = view.snapshot.wish.is_none() && grant.target != view.snapshot.me;
        if over && writable && !handover.cancelled {
            let cancelled = Handover {
                cancelled: true,
                ..handover.clone()
            };
            let grant = Grant {
                handover: Some(cancelled),
                ..grant.clone()
            };
            return act(Action::Publish(grant), under_way);
        }
        return wait(under_way);
    }
    if grant.target != view.snapshot.me
        && (view.snapshot.wish.is_none() || target.is_none_or(|t| unfit(view, t).is_some()))
    {
        return next(view, server, grant);
    }
    let unseen: Vec<_> = view
        .reports()
        // Who cannot remember can do nothing, and is not waited for.
        .filter(|r| r.epoch_seen != Some(epoch) && !r.forgets)
        .map(|r| r.pod.as_str())
        .collect();
    if unseen.is_empty() {
        let grant = Grant {
            counts: true,
            ..grant.clone()
        };
        return act(Action::Publish(grant), under_way);
    }
    let by = unseen.join(", ");
    Decision {
        action: Action::Wait,
        reasons: vec![under_way, Reason::GrantNotSeen { epoch, by }],
    }
}

/// Whether a member has armed itself for an epoch.
pub fn armed_for(report: &Report, epoch: Epoch) -> bool {
    let intent = report.authority.intent.as_ref();
    intent.is_some_and(|i| i.epoch == epoch && i.armed.is_some())
}

/// The target declined, or was never asked in earnest: another one, or the role stays here.
fn next(view: &View<'_>, server: &ServerInfo, grant: &Grant) -> Decision {
    let another = view
        .snapshot
        .wish
        .as_ref()
        .map(|wish| (wish, target(view, wish, Some(grant.target))));
    if let Some((wish, Ok(target))) = another {
        return publish(view, wish, server, target);
    }
    let epoch = Epoch::after(view.newest_epoch(), view.snapshot.me);
    let how = format!("{} does not take it", view.pod(grant.target));
    let reason = Reason::GrantEnds {
        epoch: grant.epoch,
        how,
    };
    if server.role == ServerRole::Master {
        let run_id = server.run_id.clone();
        return act(Action::Adopt { epoch, run_id }, reason);
    }
    if view.snapshot.terminating {
        return wait(Reason::Terminating);
    }
    let back = Grant {
        epoch,
        target: view.snapshot.me,
        counts: false,
        by_hand: false,
        handover: Some(Handover {
            run_id: server.run_id.clone(),
            cancelled: false,
            away_from: None,
        }),
    };
    act(Action::Publish(back), reason)
}

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
    fit.iter()
        .min_by_key(|r| {
            (
                cannot_read(r),
                most - r.replication.offset > FAR_BEHIND,
                r.ordinal != Ordinal::ZERO,
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
fn unfit(view: &View<'_>, report: &Report) -> Option<String> {
    let link = report.replication.link;
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

/// Whether the role may go home to pod-0 (authority `ordinal`).
pub fn may_go_home(view: &View<'_>) -> bool {
    let away = view.memory.held.as_ref().and_then(|h| h.away_from.as_ref());
    let pod0 = view.report(Ordinal::ZERO);
    view.snapshot.me != Ordinal::ZERO
        && view.own.is_granted_master()
        && !view.snapshot.terminating
        && pod0.is_some_and(|pod0| {
            let stays = pod0
                .server
                .as_ref()
                .is_some_and(|s| away == Some(&s.run_id));
            let behind = view
                .own
                .replication
                .offset
                .saturating_sub(pod0.replication.offset);
            !stays && pod0.ready && unfit(view, pod0).is_none() && behind <= CAUGHT_UP
        })
}

// ---- the taking side ----

/// A handover to this member counts: it arms itself, or declines.
pub fn arm(view: &View<'_>, server: &ServerInfo, grant: &Grant, handover: &Handover) -> Decision {
    let from = grant.epoch.granter;
    let decline = |why: &str| decline(grant.epoch, why);
    if view.snapshot.terminating {
        return decline("this pod is being stopped");
    }
    if view.memory.unfinished {
        return decline("the data here is between two histories");
    }
    if handover.cancelled {
        return decline("it was called off");
    }
    let granter = view.report(from);
    let run = granter.and_then(|g| g.server.as_ref()).map(|s| &s.run_id);
    let Some(granter) = granter.filter(|_| run == Some(&handover.run_id)) else {
        return decline("the server that hands over was started again");
    };
    let target = view
        .snapshot
        .peers
        .get(&from)
        .and_then(|p| p.target.as_ref());
    let linked = match &server.role {
        ServerRole::Replica { host, port, link } => {
            *link == LinkState::Up && target.is_some_and(|(h, p)| h == host && p == port)
        }
        ServerRole::Fenced | ServerRole::Master => false,
    };
    if granter.role == Role::Master && !linked {
        return decline("there is no link to the server that hands over");
    }
    act(
        Action::Arm(Intent {
            epoch: grant.epoch,
            run_id: server.run_id.clone(),
            armed: Some(Armed {
                from,
                handover: handover.clone(),
            }),
        }),
        Reason::HandingOver {
            from,
            to: view.snapshot.me,
        },
    )
}

fn decline(epoch: Epoch, why: &str) -> Decision {
    let why = why.to_owned();
    act(Action::Close(epoch), Reason::GrantRefused { epoch, why })
}

/// This member is armed: it takes the role when it can, declines when it cannot any more, and waits
/// while it does not know.
pub fn armed(view: &View<'_>, server: &ServerInfo, intent: &Intent, armed: &Armed) -> Decision {
    let epoch = intent.epoch;
    let under_way = Reason::HandingOver {
        from: armed.from,
        to: view.snapshot.me,
    };
    // A server that accepts writes is never left as it is by declining.
    let decline = |why: &str| match server.role {
        ServerRole::Master => act(Action::Fence, Reason::PromotionUnknown(epoch)),
        ServerRole::Fenced | ServerRole::Replica { .. } => decline(epoch, why),
    };
    if view.newest_epoch() > Some(epoch) {
        return decline("a newer epoch was granted");
    }
    if view.snapshot.terminating && server.role != ServerRole::Master {
        return decline("this pod is being stopped");
    }
    let run_id = &armed.handover.run_id;
    let peer = view.snapshot.peers.get(&armed.from);
    let alive = match peer.map(|p| &p.state) {
        Some(PeerState::Answered(granter)) => {
            let grant = granter.authority.grant.as_ref();
            let Some(grant) = grant.filter(|g| g.epoch == epoch) else {
                return decline("it is not granted any more");
            };
            let called_off = grant.handover.as_ref().is_some_and(|h| h.cancelled);
            if called_off && granter.role == Role::Master {
                return decline("it was called off");
            }
            if granter.gone && server.role != ServerRole::Master {
                return without_server(view, server, granter, epoch);
            }
            let run = granter.server.as_ref().map(|s| &s.run_id);
            if run.is_some_and(|run| run != run_id) {
                return decline("the server that hands over was started again");
            }
            answers_for_its_data(granter.role)
        }
        Some(PeerState::ServerOnly(info)) if info.run_id != *run_id => {
            return decline("the server that hands over was started again");
        }
        Some(PeerState::ServerOnly(_)) => true,
        Some(PeerState::Missing | PeerState::Silent(_)) | None => false,
    };
    match peer.and_then(|p| p.server) {
        Some(there) if alive => act(
            Action::TakeOver {
                there,
                deadline: view.snapshot.started_at + GRANT_VALID,
            },
            under_way,
        ),
        // Nobody can say how this server became writable: not knowing counts as the worse.
        Some(_) | None if server.role == ServerRole::Master => {
            act(Action::Fence, Reason::PromotionUnknown(epoch))
        }
        Some(_) | None => wait(under_way),
    }
}

/// The server that hands over is gone, as its own sidecar says: whoever has what it had last may go
/// on, though nobody can tell whether it acknowledged more.
fn without_server(
    view: &View<'_>,
    server: &ServerInfo,
    granter: &Report,
    epoch: Epoch,
) -> Decision {
    let (ours, theirs) = (&view.own.replication, &granter.replication);
    if theirs.id.is_none() || ours.id != theirs.id || ours.offset < theirs.offset {
        return decline(epoch, "the server that hands over is gone, and had more");
    }
    act(
        Action::Unfence {
            epoch,
            run_id: server.run_id.clone(),
            deadline: view.snapshot.started_at + GRANT_VALID,
        },
        Reason::Granted(epoch),
    )
}

/// What a look at both servers says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Wait,
    /// The server here has everything: promote it.
    Promote,
    /// It has been promoted, with everything.
    Promoted,
    /// It cannot become the master by this grant.
    Decline(&'static str),
}

/// Compares the fenced server with the one here. Whatever both have said is of one moment only: the
/// fenced one cannot change any more, and is asked first.
pub fn judge(intent: &Intent, armed: &Armed, there: &ServerInfo, here: &ServerInfo) -> Verdict {
    if here.run_id != intent.run_id {
        return Verdict::Decline("the server here was started again");
    }
    if there.run_id != armed.handover.run_id {
        return Verdict::Decline("the server that hands over was started again");
    }
    let whole = there.id.is_some() && !there.loading && !here.loading;
    match (&there.role, &here.role) {
        (ServerRole::Master, ServerRole::Master) => {
            Verdict::Decline("the server here was promoted by somebody else")
        }
        (ServerRole::Master, _) => Verdict::Wait,
        (ServerRole::Replica { .. }, _) => {
            Verdict::Decline("the server that hands over was pointed elsewhere")
        }
        (ServerRole::Fenced, ServerRole::Master) => {
            if whole && here.id2 == there.id && here.id2_end == Some(there.offset) {
                Verdict::Promoted
            } else {
                Verdict::Decline("the server here was promoted by somebody else")
            }
        }
        (ServerRole::Fenced, _) if !whole || here.id != there.id || here.offset > there.offset => {
            Verdict::Decline("the two servers went apart")
        }
        (ServerRole::Fenced, _) if here.offset == there.offset => Verdict::Promote,
        (ServerRole::Fenced, ServerRole::Replica { link, .. }) if *link != LinkState::Down => {
            Verdict::Wait
        }
        (ServerRole::Fenced, _) => Verdict::Decline("the link broke before everything had arrived"),
    }
}

/// Whether a fenced server of this version goes on feeding its replicas: from Redis 7.0 on.
pub fn feeds_when_fenced(server: &ServerInfo) -> bool {
    let mut words = server.version.split([' ', '.']);
    let (name, major) = (words.next(), words.next());
    name == Some("valkey")
        || major
            .and_then(|m| m.parse::<u32>().ok())
            .is_some_and(|m| m >= 7)
}

/// Whether the replica that arms itself lacks so little of what is here that writes may stop for it.
pub fn is_near(run_id: &str, here: &ServerInfo, there: &ServerInfo) -> bool {
    there.run_id == run_id
        && here.id.is_some()
        && here.id == there.id
        && there.offset.saturating_add(NEAR) >= here.offset
}

/// Whether it has all of it.
pub fn is_even(run_id: &str, here: &ServerInfo, there: &ServerInfo) -> bool {
    is_near(run_id, here, there) && here.offset == there.offset
}
