//! podzero turns a `StatefulSet` of plain `redis` or `valkey` servers into a master with replicas
//! that starts by itself and cannot be wiped by a restart.
//!
//! # How it flows
//!
//! `init` ([`init`]) runs once, before the server: it finds the live master, or fences the server:
//! makes it the replica of an address that nothing can occupy. A fenced server loads its data and
//! accepts no write. So a server never starts as a writable master by itself.
//!
//! The sidecar ([`sidecar`]) runs beside the server, in one loop in one task:
//!
//! ```text
//!       DNS   the Lease   peers' /status   local server     state file
//!         \         |           |               |               /
//! observe       `-------- Snapshot ---------'   Memory -----'
//!                             |                    |
//! decide             learn -> decide  (pure: no clock, no I/O, no log)
//!                             |
//! act              fence | un-fence | follow | publish a grant | hand over, take over
//!                             |
//! publish        /status  /readyz  /metrics  (peers read /status)
//! ```
//!
//! # What may never break
//!
//! * Not knowing never promotes: "could not ask" and "no" are different values
//!   ([`decide::PeerState`], [`observe::dns::Answer`]), and a command without an answer counts as the
//!   worse outcome ([`observe::redis::ServerError::outcome_is_unknown`]).
//! * A server is un-fenced by its own sidecar only, for a grant that counts and is the newest known,
//!   over the connection on which the snapshot was read ([`act`]).
//! * Data is never replaced by emptier or older data ([`decide::history`], [`decide::learn`]).
//! * A handover loses no acknowledged write ([`decide::handover`]).
//! * Starting, stopping or killing sidecars changes no role.
//! * Whatever waits or is refused says why, in the same words everywhere ([`decide::Reason`]).
//! * A member never replicates from itself, and knows a peer by its identity, not by an address.
//!
//! # Words
//!
//! An *epoch* ([`topology::Epoch`]) grows each time the master role changes hands. A *grant*
//! ([`report::Grant`]) begins one: pod-0 publishes it, every member that answers shows that it has
//! seen it, and only then does the target's sidecar obey. With authority `lease` the holder of the set's
//! Kubernetes Lease is the grant, which counts once the holder has written it ([`decide::lease`]); what
//! reads and writes it runs beside the loop ([`authority`]). A member's *lineage*
//! ([`report::Ancestor`]) lists the replication IDs of which its data is made. Data is *unfinished*
//! while it is between two histories.
//!
//! # Reading order
//!
//! [`topology`], [`report`], [`state_file`], then [`decide`] with its table of reasons, [`observe`],
//! [`authority`], [`act`], [`sidecar`]; beside them [`init`] with [`conf`], and the edges: [`config`],
//! [`secret`] and [`login`], [`http`], [`commands`], [`metrics`], [`log`], [`exit`].

pub mod act;
pub mod authority;
pub mod clock;
pub mod commands;
pub mod conf;
pub mod config;
pub mod decide;
pub mod exit;
pub mod fault;
#[cfg(feature = "faults")]
pub mod fuzz;
pub mod http;
pub mod init;
pub mod log;
pub mod login;
pub mod metrics;
pub mod observe;
pub mod pod;
pub mod publish;
pub mod rdb;
pub mod report;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod sidecar;
pub mod state_file;
pub mod topology;
pub mod words;
