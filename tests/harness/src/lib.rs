//! A `StatefulSet` on one machine: what the tests (and later the demo) run podzero in.
//!
//! Each member is what a pod is: a network namespace with an address of its own, a private `/run` and
//! `/etc/resolv.conf`, and in it, in this order, `podzero init` to its end, `podzero sidecar` and a
//! real server. The set's names are answered by a real DNS server whose mistakes are chosen.
//!
//! Read [`set`] first (how a set is made, started and described), then [`member`] (what can be done to
//! one pod), [`names`] and [`dns`] (what the cluster's DNS says), [`sandbox`] (how a pod is walled in),
//! [`client`] and [`http`] (what is seen from outside), [`observer`] (two masters) and [`wait`].
//!
//! Everything is cleaned up when the [`Set`] goes out of scope, after a panic too; and since each
//! process dies with the one that started it, also when the test itself is killed.

pub mod client;
pub mod dns;
pub mod http;
pub mod member;
pub mod names;
pub mod observer;
pub mod process;
pub mod sandbox;
pub mod secured;
pub mod set;
pub mod told;
pub mod wait;
pub mod writers;

pub use client::Conn;
pub use http::Status;
pub use member::Member;
pub use observer::Observer;
pub use process::Process;
pub use set::{Builder, Set};
pub use wait::wait_until;
pub use writers::{Manner, Writers, Written};
