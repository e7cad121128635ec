//! A set over time in one process: the real decision core of each member, in random order with the others,
//! beside a model of the servers, of the Kubernetes API, and of what goes wrong. An observer that sees
//! everything checks the rules.
//!
//!     cargo nextest run --test sim                               a million steps and more
//!     PODZERO_SIM_STEPS=100000000 cargo nextest run --test sim   more of the same
//!     PODZERO_SIM_SEED=17 cargo nextest run --test sim NAME      one run again, told line by line
//!
//! A step is a stage of a member's turn (it looks, decides, acts), a write of the Lease, or a fault. What
//! fails is printed with its seed and the fewest faults that are needed for it.
//!
//! | file | is |
//! |---|---|
//! | `chance` | random numbers that a seed repeats |
//! | `shape` | what a set is like |
//! | `server` | a server, its data and its replication |
//! | `api` | the one Lease, and a member's keeper of it |
//! | `wire` | what is between the two |
//! | `member` | a sidecar: its look, and what it publishes |
//! | `turns` | the steps of its turn |
//! | `deeds` | what an action does |
//! | `world` | all of them, and time |
//! | `faults` | what goes wrong |
//! | `rules` | what must never be so |
//! | `exhaustive` | every order of a few events, instead of many by chance |
//! | `runs` | many seeds, and what is left of one that fails |

mod api;
mod chance;
mod deeds;
mod exhaustive;
mod faults;
mod member;
mod rules;
mod runs;
mod server;
mod shape;
mod turns;
mod wire;
mod world;

use self::exhaustive::{Bounds, explore};
use self::faults::{Fault, Kinds};
use self::runs::{Runs, run};
use self::server::Keeps;
use self::shape::{By, Shape};

/// The usual set.
const THREE: Shape = Shape {
    members: 3,
    by: By::Lease,
    keeps: Keeps::Snapshot,
    old: false,
    told: true,
    writes: true,
};

#[test]
fn with_the_lease_no_order_of_events_breaks_a_rule() {
    let done = run(&Runs::any(By::Lease, Kinds::ALL, 500_000));
    let enough = done.promotions > 300 && done.handed_over > 30;
    assert!(enough || done.is_alone(), "{done:?}");
}

#[test]
fn by_ordinal_no_order_of_events_breaks_a_rule() {
    let done = run(&Runs::any(By::Ordinal, Kinds::ALL, 500_000));
    let enough = done.promotions > 300 && done.handed_over > 30;
    assert!(enough || done.is_alone(), "{done:?}");
}

#[test]
fn what_people_do_with_the_servers_ends_with_one_master() {
    for by in [By::Lease, By::Ordinal] {
        run(&Runs::any(by, Kinds::HANDS, 100_000));
    }
}

#[test]
fn an_outage_of_the_api_alone_changes_no_role() {
    let done = run(&Runs::of(THREE, Kinds::OUTAGE, 30_000));
    assert_eq!(done.promotions, done.runs, "{done:?}");
}

#[test]
fn sidecars_that_are_back_within_the_lease_change_no_role() {
    for by in [By::Lease, By::Ordinal] {
        let done = run(&Runs::of(Shape { by, ..THREE }, Kinds::SIDECARS, 30_000));
        assert_eq!(done.promotions, done.runs, "{done:?}");
    }
}

#[test]
fn a_planned_handover_ends_well() {
    for by in [By::Lease, By::Ordinal] {
        for old in [false, true] {
            let done = run(&Runs::of(Shape { by, old, ..THREE }, Kinds::WISHES, 30_000));
            assert!(done.handed_over >= done.runs / 2, "{done:?}");
            assert!(done.taken <= done.runs + done.known, "{done:?}");
        }
    }
}

#[test]
fn a_hundred_members_keep_the_rules() {
    for by in [By::Lease, By::Ordinal] {
        let shape = Shape {
            members: 100,
            by,
            ..THREE
        };
        run(&Runs::of(shape, Kinds::ALL, 1));
    }
}

/// Looks at every order of so many events.
#[expect(clippy::print_stdout, reason = "what was looked at")]
fn every_order(members: usize, bounds: Bounds, begin: &[Fault]) {
    for by in [By::Lease, By::Ordinal] {
        for old in [false, true] {
            let shape = Shape {
                members,
                by,
                old,
                ..THREE
            };
            let explored = explore(shape, bounds, begin);
            println!("{members} members, {by:?}, before 7.0: {old}, {bounds:?}: {explored:?}");
            assert!(explored.states > 1_000, "{explored:?}");
        }
    }
}

/// So many more events and faults than in the quick run: `PODZERO_SIM_DEEPER`.
fn deeper(depth: usize, faults: usize) -> Bounds {
    let more = std::env::var("PODZERO_SIM_DEEPER").ok();
    let more = more.and_then(|n| n.parse().ok()).unwrap_or(0);
    Bounds {
        depth: depth + more,
        faults,
    }
}

#[test]
fn every_order_of_events_in_a_handover_of_two() {
    let handover = Fault::Handover { of: None, to: None };
    every_order(2, deeper(4, 1), &[handover]);
}

#[test]
fn every_order_of_events_after_a_crash_of_two() {
    every_order(2, deeper(4, 1), &[]);
}

#[test]
fn every_order_of_events_in_a_handover_of_three() {
    let handover = Fault::Handover { of: None, to: None };
    every_order(3, deeper(3, 1), &[handover]);
}
