//! Moving the master role from one member to another without losing a write.
//!
//! The master (the giving side) publishes a grant that says so. It goes on writing until the target
//! has *armed* itself: has written down that it will take the role. Then the master's server is
//! fenced, its replicas drain what is left, and the target's own sidecar promotes its server when it
//! has exactly what the fenced one has ([`judge`]). From the moment a grant counts only the target
//! ends it: by promoting, or by declining. Pure.
//!
//! | file | decides |
//! |---|---|
//! | `choice` | who takes the role, and whether it may go home |
//! | `giving` | what becomes of the master's own grant |
//! | `taking` | when the target arms itself, takes the role, or declines |
//! | `compare` | what two servers say beside each other |

mod choice;
mod compare;
mod giving;
mod taking;

pub use choice::{may_go_home, target};
pub use compare::{Verdict, feeds_when_fenced, is_even, is_near, is_promoted, judge, was_promoted};
pub use giving::{begin, gives_up, pending};
pub use taking::{arm, armed};

use super::View;
use crate::report::{Grant, Handover, Report};
use crate::topology::{Epoch, Ordinal};

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

/// Whether a member has armed itself for an epoch.
pub fn armed_for(report: &Report, epoch: Epoch) -> bool {
    let intent = report.authority.intent.as_ref();
    intent.is_some_and(|i| i.epoch == epoch && i.armed.is_some())
}
