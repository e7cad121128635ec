//! Many seeds, and what is left of one that fails.

use super::chance::Chance;
use super::faults::{Fault, Kinds, plan};
use super::shape::{By, Shape};
use super::world::World;

/// For how long things go wrong, in milliseconds.
const TROUBLE: u64 = 40_000;
/// Until a first master is there at the latest.
const FIRST: u64 = 30_000;
/// Until all is well again at the latest: longer than a Lease, and than members are looked for.
const CALM: u64 = 400_000;

/// Runs of one kind.
#[derive(Debug)]
pub(crate) struct Runs {
    by: By,
    shape: Option<Shape>,
    kinds: Kinds,
    steps: u64,
}

impl Runs {
    /// Of sets of any shape.
    pub(crate) fn any(by: By, kinds: Kinds, steps: u64) -> Self {
        Self {
            by,
            shape: None,
            kinds,
            steps,
        }
    }

    pub(crate) fn of(shape: Shape, kinds: Kinds, steps: u64) -> Self {
        Self {
            by: shape.by,
            shape: Some(shape),
            kinds,
            steps,
        }
    }

    fn shape(&self, seed: u64) -> Shape {
        self.shape
            .unwrap_or_else(|| Shape::any(self.by, &mut Chance::new(seed ^ 0xA11)))
    }
}

/// What many runs came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) runs: u64,
    pub(crate) steps: u64,
    pub(crate) promotions: u64,
    pub(crate) handed_over: u64,
    pub(crate) taken: u64,
    /// What is known to break, and was seen to.
    pub(crate) known: u64,
    pub(crate) written: u64,
    /// Runs that a hand had to end.
    pub(crate) decided_by_hand: u64,
}

impl Done {
    /// One seed was asked for.
    pub(crate) fn is_alone(&self) -> bool {
        self.runs == 1
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs until there are enough steps; panics with the first that breaks a rule.
#[expect(clippy::print_stdout, reason = "what was done")]
pub(crate) fn run(runs: &Runs) -> Done {
    if let Some(seed) = number("PODZERO_SIM_SEED") {
        let world = one(runs, seed, None, true);
        assert_eq!(world.broken, None, "seed {seed}, {:?}", world.shape);
        return tally(Done::default(), &world);
    }
    let enough = number("PODZERO_SIM_STEPS").map_or(runs.steps, |all| all.max(runs.steps));
    let mut done = Done::default();
    let mut seed = 0;
    while done.steps < enough {
        let world = one(runs, seed, None, false);
        if let Some(why) = &world.broken {
            let fewest = reduce(runs, seed);
            panic!(
                "seed {seed} (PODZERO_SIM_SEED={seed}), {:?}: {why}\nthe fewest faults: {fewest:#?}",
                world.shape
            );
        }
        done = tally(done, &world);
        seed += 1;
    }
    println!("{done:?}");
    done
}

fn tally(mut done: Done, world: &World) -> Done {
    done.runs += 1;
    done.steps += world.steps;
    done.promotions += world.reigns.len() as u64;
    done.handed_over += u64::from(world.handed_over);
    done.taken += u64::from(world.taken);
    done.known += world.open.len() as u64;
    done.written += world.written;
    done.decided_by_hand += u64::from(world.decided);
    done
}

fn planned(runs: &Runs, seed: u64) -> Vec<(u64, Fault)> {
    let mut chance = Chance::new(seed ^ 0xFA17);
    plan(&mut chance, runs.shape(seed), runs.kinds, 0, TROUBLE)
}

/// One run: a first boot, trouble, and a calm in which all is well again.
fn one(runs: &Runs, seed: u64, faults: Option<Vec<(u64, Fault)>>, tells: bool) -> World {
    let mut world = World::new(seed, runs.shape(seed), runs.kinds);
    world.tells = tells;
    world.tells_all = tells && std::env::var_os("PODZERO_SIM_ALL").is_some();
    until_well(&mut world, FIRST);
    if world.broken.is_some() {
        return world;
    }
    let begun = world.now;
    let faults = faults.unwrap_or_else(|| planned(runs, seed));
    world.plan = faults.into_iter().map(|(at, f)| (at + begun, f)).collect();
    world.calm = false;
    world.run(TROUBLE);
    world.heal();
    let was = world.broken.clone();
    until_well(&mut world, CALM);
    if was.is_none() && world.broken.is_some() && world.stuck() && world.asks_for_a_hand() {
        // People decide as `podzero resolve` lets them.
        world.broken = None;
        world.by_hand = true;
        world.decided = true;
        let keep = world.best();
        world.tell(&|| format!("a person keeps {keep}"));
        world.members[keep].resolve = Some(world.members[keep].ordinal);
        world.run(1000);
        until_well(&mut world, CALM);
    }
    if world.broken.is_some() {
        world.tell_state();
    }
    world
}

/// Runs until all is well, and says so when it is not within the limit.
fn until_well(world: &mut World, limit: u64) {
    let end = world.now + limit;
    while world.now < end && world.broken.is_none() {
        world.run(500);
        if world.is_well().is_ok() {
            return;
        }
    }
    if let Err(why) = world.is_well() {
        world.is_stuck(&why);
    }
}

/// The fewest faults with which this seed still fails: halves of them are left out, and halves of these.
fn reduce(runs: &Runs, seed: u64) -> Vec<(u64, Fault)> {
    let mut faults = planned(runs, seed);
    let mut size = faults.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < faults.len() {
            let mut fewer = faults.clone();
            fewer.drain(at..(at + size).min(faults.len()));
            if one(runs, seed, Some(fewer.clone()), false).broken.is_some() {
                faults = fewer;
            } else {
                at += size;
            }
        }
        if size == 1 {
            return faults;
        }
        size /= 2;
    }
}
