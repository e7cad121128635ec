//! What the fenced server and the one that takes over say beside each other. Pure.

use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Armed, Intent, LinkState};

/// So much a replica may have to receive from the fenced server, in bytes: a slow one takes that in a few
/// reads.
const NEAR: u64 = 64 << 10;

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

/// Whether the server here was promoted from where both had the same, in the run that was told to.
pub fn is_promoted(intent: &Intent, armed: &Armed, here: &ServerInfo) -> bool {
    here.role == ServerRole::Master && was_promoted(intent, armed, here)
}

/// The same, whatever it is by now.
pub fn was_promoted(intent: &Intent, armed: &Armed, here: &ServerInfo) -> bool {
    here.run_id == intent.run_id
        && armed.even.as_ref().is_some_and(|even| {
            here.id2.as_ref() == Some(&even.id) && here.id2_end == Some(even.offset)
        })
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

/// Whether the replica that arms itself lacks so little of what is here that writes may stop for it. They
/// are stopped only at a master: a hand's FAILOVER may have made another one that meanwhile.
pub fn is_near(run_id: &str, here: &ServerInfo, there: &ServerInfo) -> bool {
    here.role == ServerRole::Master
        && there.run_id == run_id
        && here.id.is_some()
        && here.id == there.id
        && there.offset.saturating_add(NEAR) >= here.offset
}

/// Whether it has all of it.
pub fn is_even(run_id: &str, here: &ServerInfo, there: &ServerInfo) -> bool {
    is_near(run_id, here, there) && here.offset == there.offset
}
