//! What a turn ends in: one action, and why.

use super::Reason;
use super::lease::Claim;
use crate::clock::Time;
use crate::report::{Grant, Intent};
use crate::topology::{Epoch, Ordinal, ServerAt};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Wait,
    /// Make the local server refuse writes.
    Fence,
    /// Let the local server accept writes, as the master of an epoch.
    Unfence {
        /// The epoch.
        epoch: Epoch,
        /// The run of the server on which the decision rests.
        run_id: String,
        /// Past this time the server is fenced again.
        deadline: Time,
    },
    /// Take a master that nobody granted as the master of a new epoch.
    Adopt {
        /// The new epoch.
        epoch: Epoch,
        /// The run of the server.
        run_id: String,
    },
    /// Point the local server at a master.
    Follow {
        /// Whom.
        master: Ordinal,
        /// The epoch it holds.
        epoch: Epoch,
        /// Where, as `REPLICAOF` wants it.
        host: String,
        /// The port.
        port: u16,
        /// Bytes of our own history that are given up; none when that cannot be told.
        lost_tail: Option<u64>,
    },
    /// Publish a grant, or a change of it.
    Publish(Grant),
    /// Publish our grant no longer.
    Withdraw,
    /// Write the Lease.
    Claim(Box<Claim>),
    /// Never carry out what was granted to us in this epoch.
    Close(Epoch),
    /// Make the local server refuse writes once a replica is close behind: it receives the rest from the
    /// fenced server.
    FenceWhenNear {
        /// Where the replica is reached.
        there: ServerAt,
        /// Its run.
        run_id: String,
    },
    /// Make the local server refuse writes once a replica has everything: for servers that stop
    /// feeding their replicas when they are fenced.
    FenceWhenEven {
        /// Where the replica is reached.
        there: ServerAt,
        /// Its run.
        run_id: String,
    },
    /// Make another member's server refuse writes: its sidecar does not answer, and we hold the grant.
    FenceThere {
        /// Where it is reached.
        there: ServerAt,
        /// Its run.
        run_id: String,
    },
    /// Give back what was raised to stop writes before a fence.
    Lower,
    /// Be ready to take the role in a handover, if the server that hands over can be reached.
    Arm {
        /// What is remembered.
        intent: Intent,
        /// Where that server is reached.
        there: ServerAt,
    },
    /// The promotion that was begun has happened, with everything: the role is held.
    Confirm,
    /// Look at the fenced server and at the local one until the local one has everything, and promote
    /// it then.
    TakeOver {
        /// Where the server is reached that hands over.
        there: ServerAt,
        /// Past this time a new snapshot is needed.
        deadline: Time,
    },
}

impl Action {
    /// The word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Fence => "fence",
            Self::Unfence { .. } => "unfence",
            Self::Adopt { .. } => "adopt",
            Self::Follow { .. } => "follow",
            Self::Publish(_) => "publish",
            Self::Withdraw => "withdraw",
            Self::Claim(_) => "claim",
            Self::Close(_) => "close",
            Self::FenceWhenNear { .. } => "fence_when_near",
            Self::FenceWhenEven { .. } => "fence_when_even",
            Self::FenceThere { .. } => "fence_there",
            Self::Lower => "lower",
            Self::Arm { .. } => "arm",
            Self::Confirm => "confirm",
            Self::TakeOver { .. } => "take_over",
        }
    }
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The one action of this turn.
    pub action: Action,
    /// Why this, or why nothing: the first concerns the action, the others what else waits.
    pub reasons: Vec<Reason>,
}

pub(super) fn act(action: Action, reason: Reason) -> Decision {
    Decision {
        action,
        reasons: vec![reason],
    }
}

pub(super) fn wait(reason: Reason) -> Decision {
    act(Action::Wait, reason)
}
