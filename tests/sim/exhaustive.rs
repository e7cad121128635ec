//! Every order of a few events in a small set that has started: no step takes time but the one that says so,
//! and the API answers at once, so that orders which come to the same are one state.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::faults::{Fault, Kinds};
use super::member::Stage;
use super::server::Doing;
use super::shape::Shape;
use super::world::World;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A member's sidecar looks and decides, and does not act yet.
    Decide(usize),
    /// It ends its turn, or does a whole one.
    Turn(usize),
    /// A client writes at whoever accepts it.
    Write,
    /// What a replica lacks reaches it, or it comes nearer to that.
    Replicate(usize),
    /// So many milliseconds pass.
    Time(u64),
    Goes(Fault),
}

/// What was looked at.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) events: u64,
    pub(crate) promotions: u64,
    pub(crate) handed_over: u64,
}

/// How far to go from a set that has started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Events in a row.
    pub(crate) depth: usize,
    /// Of these, things that go wrong.
    pub(crate) faults: usize,
}

struct Search {
    /// With how many events and faults left a state was looked at.
    seen: HashMap<u64, (usize, usize)>,
    path: Vec<Event>,
    explored: Explored,
}

/// Looks at all orders; panics with the first that breaks a rule.
pub(crate) fn explore(shape: Shape, bounds: Bounds, begin: &[Fault]) -> Explored {
    let few = Shape {
        writes: false,
        ..shape
    };
    let mut world = World::new(1, few, Kinds::NONE);
    world.run(20_000);
    world.writes();
    world.run(1000);
    assert_eq!(world.is_well(), Ok(()), "it has not started");
    world.becomes_instant();
    for fault in begin {
        world.strikes(fault);
    }
    let mut search = Search {
        seen: HashMap::new(),
        path: Vec::new(),
        explored: Explored::default(),
    };
    search.from(&world, bounds.depth, bounds.faults);
    search.explored.states = search.seen.len();
    search.explored
}

impl Search {
    fn from(&mut self, world: &World, depth: usize, faults: usize) {
        let left = (depth, faults);
        let before = self.seen.entry(key(world)).or_default();
        if before.0 >= left.0 && before.1 >= left.1 && *before != (0, 0) {
            return;
        }
        *before = left;
        if depth == 0 {
            return;
        }
        for event in events(world, faults > 0) {
            let mut next = world.clone();
            let is_fault = matches!(event, Event::Goes(_));
            self.path.push(event.clone());
            self.explored.events += 1;
            happens(&mut next, &event);
            if let Some(why) = &next.broken {
                panic!("{why}, {:?}, after {:#?}", world.shape, self.path);
            }
            self.explored.promotions += (next.reigns.len() - world.reigns.len()) as u64;
            self.explored.handed_over += u64::from(next.handed_over - world.handed_over);
            self.from(&next, depth - 1, faults - usize::from(is_fault));
            self.path.pop();
        }
    }
}

fn events(world: &World, faults: bool) -> Vec<Event> {
    let all = 0..world.shape.members;
    let mut events = Vec::new();
    for n in all.clone().filter(|n| world.members[*n].runs(world.now)) {
        events.push(Event::Turn(n));
        if matches!(world.members[n].stage, Stage::Idle) {
            events.push(Event::Decide(n));
        }
    }
    if world.leader().is_some() {
        events.push(Event::Write);
    }
    let follows = |n: &usize| matches!(world.servers[*n].doing, Doing::Follows(_));
    events.extend(all.clone().filter(follows).map(Event::Replicate));
    events.extend([Event::Time(1000), Event::Time(7000)]);
    if faults {
        for n in all {
            events.push(Event::Goes(Fault::Crash {
                server: n,
                down: 0,
                load: 0,
            }));
            events.push(Event::Goes(Fault::SidecarDies { of: n, length: 0 }));
            events.push(Event::Goes(Fault::SidecarPauses {
                of: n,
                length: 10_000,
            }));
        }
    }
    events
}

fn happens(world: &mut World, event: &Event) {
    match event {
        Event::Decide(n) => {
            world.turn(*n);
            world.turn(*n);
        }
        Event::Turn(n) => {
            // What looks at two servers goes on for long: then that is where the turn stands.
            let mut looks = 0;
            while looks < 3 {
                world.turn(*n);
                match world.members[*n].stage {
                    Stage::Idle => break,
                    Stage::Looked(_) | Stage::Decided(..) => {}
                    Stage::Takes { .. } | Stage::Evens { .. } => looks += 1,
                }
            }
        }
        Event::Write => world.writes(),
        Event::Replicate(n) => world.replicates(*n, 9),
        Event::Time(millis) => world.now += millis,
        Event::Goes(fault) => world.strikes(fault),
    }
    for n in 0..world.shape.members {
        world.keep_time(n);
        // A request, its answer, and what follows from it.
        for _ in 0..3 {
            if world.members[n].runs(world.now) {
                world.serve(n);
            }
        }
    }
    world.check();
}

/// What tells states apart: everything but what the observer counts.
fn key(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.now.hash(&mut hasher);
    for (member, server) in world.members.iter().zip(&world.servers) {
        let stage = member.stage.look().map(|_| &member.stage);
        let sidecar = (
            &member.memory,
            &member.published,
            &member.keeper,
            &member.promises,
            &member.wish,
            (member.terminating, member.down_until, member.paused_until),
        );
        write!(Into(&mut hasher), "{stage:?}{sidecar:?}{server:?}").expect("it takes all");
    }
    write!(Into(&mut hasher), "{:?}{:?}", world.api, world.queued).expect("it takes all");
    hasher.finish()
}

/// Text that is hashed while it is written.
struct Into<'a>(&'a mut DefaultHasher);

impl std::fmt::Write for Into<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
