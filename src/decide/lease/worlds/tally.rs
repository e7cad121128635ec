//! What was decided in how many worlds, and which of them broke a rule.

use std::collections::BTreeMap;

use super::rules;
use super::world::World;
use crate::decide::Local;
use crate::decide::fixture::Member;
use crate::state_file::Memory;

/// What was decided how often, and the first world of each kind that broke a rule.
#[derive(Debug, Default)]
pub(super) struct Tally {
    actions: BTreeMap<&'static str, u64>,
    broken: BTreeMap<(&'static str, &'static str), (u64, String)>,
}

impl Tally {
    pub(super) fn look(&mut self, world: &World<'_>) {
        if !world.can_be() {
            return;
        }
        let decision = world.decide();
        let action = decision.action.as_str();
        *self.actions.entry(action).or_default() += 1;
        if let Err(why) = rules::check(world, &decision) {
            let first = || (0, format!("{decision:?}\n{}", brief(world)));
            self.broken.entry((why, action)).or_insert_with(first).0 += 1;
        }
    }

    /// No rule was broken; and a world in which nothing is decided shows nothing.
    pub(super) fn shows(&self, actions: &[&str]) {
        for ((why, action), (count, first)) in &self.broken {
            eprintln!("{why} ({action}, {count} times):\n{first}\n");
        }
        let broken: Vec<_> = self.broken.keys().collect();
        assert!(broken.is_empty(), "rules are broken: {broken:?}");
        let seen = |action: &&str| self.actions.get(action).is_some_and(|n| *n > 20);
        assert!(actions.iter().all(seen), "{:?}", self.actions);
    }
}

/// What matters of a world, for people.
fn brief(world: &World<'_>) -> String {
    let member = |m: &Member| {
        let local = match &m.local {
            Local::Up(s) => format!("{} {:?} {:?}:{}", s.run_id, s.role, s.id, s.offset),
            Local::Loading { .. } | Local::Unreachable { .. } => format!("{:?}", m.local),
        };
        let Memory {
            epoch,
            epoch_seen,
            unfinished,
            held,
            grant,
            intent,
            raised,
            by_lease,
            closed,
            ..
        } = &m.memory;
        let raised = raised.is_some();
        format!(
            "{local} terminating {} epoch {epoch:?} seen {epoch_seen:?} unfinished {unfinished} by_lease {by_lease} raised {raised} closed {closed:?}\n    held {held:?}\n    grant {grant:?}\n    intent {intent:?}",
            m.terminating
        )
    };
    let others = world.others.map(|(ordinal, being)| match being.member() {
        Some(m) => format!("  {ordinal}: forgets {} {}", being.forgets(), member(m)),
        None => format!(
            "  {ordinal}: {:?}",
            being.server().map(|s| (&s.run_id, &s.role, s.offset))
        ),
    });
    let (me, sight) = (member(world.me), &world.sight);
    format!(
        "  me {}: {me}\n{}\n  {sight:?}\n  wish {:?} resolve {:?}",
        world.me.ordinal,
        others.join("\n"),
        world.wish,
        world.resolve
    )
}
