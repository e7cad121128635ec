//! A set of three over time: the real core of each member, in random order with the others, beside a model
//! of the servers, of the Kubernetes API, and of what can go wrong.
//!
//! | file | is |
//! |---|---|
//! | `chance` | random numbers that a seed repeats |
//! | `server` | a server, its data and its replication |
//! | `api` | the one Lease, and a member's keeper of it |
//! | `member` | a sidecar: its look, its turn, what it publishes |
//! | `deeds` | what an action does |
//! | `turns` | the steps of its turn |
//! | `wire` | what is between it and the API |
//! | `set` | all of them, and time |
//! | `faults` | what goes wrong |
//! | `rules` | what must never be so |

mod api;
mod chance;
mod deeds;
mod faults;
mod member;
mod rules;
mod server;
mod set;
mod turns;
mod wire;

use self::faults::Faults;
use self::set::Set;

/// So many runs of each kind; more by `LEASE_RUNS`.
fn runs(few: u64) -> u64 {
    let more = std::env::var("LEASE_RUNS").ok();
    more.and_then(|n| n.parse().ok()).unwrap_or(few)
}

/// The first of all seeds, to look at one of them again.
fn first() -> u64 {
    let seed = std::env::var("LEASE_SEED").ok();
    seed.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Runs with many seeds; panics with those that broke a rule.
fn run(few: u64, faults: Faults, seconds: u64, calm: u64) -> Vec<Set> {
    let mut done = Vec::new();
    let mut broken = Vec::new();
    for seed in first()..first() + runs(few) {
        let mut set = Set::new(seed, faults);
        set.settle();
        set.run(seconds * 1000);
        set.heal();
        set.run(calm * 1000);
        set.check_end(calm > 0);
        if std::env::var_os("LEASE_SEED").is_some() {
            for line in &set.story {
                eprintln!("{line}");
            }
        }
        if let Some(why) = &set.broken {
            broken.push(format!("seed {seed}: {why}"));
        }
        for what in &set.open {
            eprintln!("seed {seed}: known: {what}");
        }
        done.push(set);
    }
    assert!(broken.is_empty(), "{} runs: {broken:#?}", broken.len());
    done
}

#[test]
fn whatever_goes_wrong_there_are_never_two_masters() {
    let done = run(40, Faults::ALL, 40, 40);
    let promotions: usize = done.iter().map(|s| s.promotions.len()).sum();
    let handed: u32 = done.iter().map(|s| s.handed_over).sum();
    assert!(promotions > 60 && handed > 5, "{promotions} {handed}");
}

#[test]
fn an_outage_of_the_api_alone_changes_no_role() {
    for set in run(8, Faults::OUTAGE, 60, 0) {
        assert_eq!(set.promotions.len(), 1, "seed {}", set.seed);
    }
}

#[test]
fn sidecars_that_are_back_within_the_lease_change_no_role() {
    for set in run(8, Faults::SIDECARS, 60, 0) {
        assert_eq!(set.promotions.len(), 1, "seed {}", set.seed);
    }
}

#[test]
fn a_planned_handover_ends_well() {
    let done = run(10, Faults::WISHES, 60, 10);
    for set in &done {
        let known = !set.open.is_empty();
        assert!(set.taken == 1 || known, "seed {}", set.seed);
    }
    let handed: u32 = done.iter().map(|s| s.handed_over).sum();
    assert!(handed > 10, "{handed}");
}
