//! Who may grant the master role, outside of the decisions: reading and writing the set's Lease.
//!
//! | file | owns |
//! |---|---|
//! | [`lease`] | what a Lease says, and how that is written in it |
//! | `kubernetes` | the Kubernetes API; the only file that knows its client |
//! | `endpoint` | whom the master's Service leads to, and the pods' role labels |
//! | `size` | how many members the set is to have |
//! | `events` | what is told as Kubernetes Events |
//! | `keeper` | keeping an eye on the Lease, and carrying out writes, beside the loop |

mod endpoint;
mod events;
mod keeper;
mod kubernetes;
pub mod lease;
mod size;

pub use endpoint::{Endpoint, Leads, ServiceOf, Wanted};
pub use events::{Event, Teller};
pub use keeper::{Keeper, Seen};
pub use kubernetes::{Access, ApiError, Kubernetes};
pub use size::Size;
