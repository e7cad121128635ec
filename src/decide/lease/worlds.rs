//! Every small world of a Lease: three members in the states that matter, the Lease in each of its own,
//! seen early and late. The checker ([`rules`]) knows nothing of how the core decides.
//!
//! | file | worlds |
//! |---|---|
//! | `beings` | what a member can be, and how it is seen |
//! | `free` | nobody holds the Lease, or somebody may have lost it |
//! | `giving` | the master offers the role |
//! | `taking` | the role is offered, given or half taken here |
//! | `promises` | what is asked and promised while the API is out of reach |

mod beings;
mod free;
mod giving;
mod promises;
mod rules;
mod taking;
mod tally;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use self::beings::uid;
use self::tally::Tally;
use self::world::World;
use super::{Known, Promises, Sight, Unchanged};
use crate::authority::lease::{Holder, Says};
use crate::clock::Time;
use crate::topology::Epoch;

const NOW: Time = Time(Duration::from_secs(1000));

fn ago(millis: u64) -> Time {
    Time(NOW.0.saturating_sub(Duration::from_millis(millis)))
}

fn holder(ordinal: u32) -> Holder {
    Holder {
        pod: format!("redis-{ordinal}"),
        uid: uid(ordinal),
    }
}

/// A Lease that records all three.
fn says(by: Option<u32>, epoch: Epoch, renewed: bool) -> Says {
    Says {
        holder: by.map(holder),
        epoch: Some(epoch),
        renewed,
        members: (0..3).map(|n| format!("redis-{n}")).collect(),
        handover: None,
        by_hand: false,
        duration: None,
    }
}

fn known(says: Says) -> Known {
    Known::Lease {
        version: "7".to_owned(),
        says,
    }
}

/// How a member sees a Lease: for so many milliseconds; none when the last read failed.
fn sight(me: u32, known: Known, seen: Option<u64>) -> Sight {
    Sight {
        me: holder(me),
        known,
        unchanged: seen.map(|millis| Unchanged {
            since: ago(millis),
            read_at: NOW,
        }),
        failure: seen.is_none().then(|| "it failed".to_owned()),
        refused: None,
        writing: false,
        claimed: BTreeSet::new(),
        renewed: None,
        promises: Promises::default(),
        grant: None,
        leads: None,
        epoch_since: seen.map(ago),
    }
}
