//! What may be written into the Lease.

use super::{Checked, is_gone, rule};
use crate::authority::lease::Says;
use crate::decide::Local;
use crate::decide::fixture::Member;
use crate::decide::lease::worlds::World;
use crate::decide::lease::worlds::beings::uid;
use crate::decide::lease::{Claim, Known};
use crate::observe::info::ServerRole;
use crate::report::{Grant, LinkState};

pub(super) fn check(world: &World<'_>, claim: &Claim) -> Checked {
    let there = matches!(
        world.sight.known,
        Known::Lease { .. } | Known::Unreadable { .. }
    );
    let version = there.then_some("7".to_owned());
    rule(claim.over == version, "not over what was read")?;
    rule(
        world.sight.known != Known::Unread,
        "I1: over what was not read",
    )?;
    rule(!world.sight.writing, "two writes at a time")?;
    if let Some(grant) = &claim.offers {
        return offer(world, &claim.says, grant);
    }
    if let Some(keep) = world.resolve {
        return by_hand(world, &claim.says, keep);
    }
    let Some(holder) = &claim.says.holder else {
        return give_up(world, &claim.says);
    };
    rule(*holder == world.sight.me, "gives it to another for nothing")?;
    rule(claim.says.renewed, "takes it without a word")?;
    match world.says() {
        Some(says) if world.is_ours() && claim.says.epoch == says.epoch => renew(world, says),
        Some(_) | None => take(world, &claim.says),
    }
}

/// Whoever holds it goes on.
fn renew(world: &World<'_>, says: &Says) -> Checked {
    let healthy = match &world.me.local {
        Local::Up(_) | Local::Loading { .. } => true,
        Local::Unreachable { .. } => is_gone(&world.me.local),
    };
    rule(healthy, "renews for a server that hangs")?;
    let takes = !says.renewed;
    let goes_on = world.writable() && world.held().is_some();
    let stops = world.me.terminating && !goes_on;
    rule(!(takes && stops), "I7: is being stopped")?;
    let whole = world.is_whole() || says.by_hand;
    rule(!takes || whole, "I3: between two histories")
}

/// Nobody has it then, and anybody may take it at once.
fn give_up(world: &World<'_>, says: &Says) -> Checked {
    // What was offered and not taken is still the giver's.
    let mine =
        |s: &Says| s.handover.is_some() && s.epoch.is_some_and(|e| e.granter == world.me.ordinal);
    let offer = world.says().is_some_and(|s| !s.renewed && mine(s));
    rule(world.is_ours() || offer, "gives up what it has not")?;
    rule(
        world.held().is_none(),
        "I2: gives it up while it accepts writes by it",
    )?;
    let hangs = matches!(&world.me.local, Local::Unreachable { .. }) && !is_gone(&world.me.local);
    rule(!hangs, "I1: gives up for a server that may accept writes")?;
    let epoch = world.says().and_then(|s| s.epoch);
    rule(says.epoch == epoch, "an epoch is forgotten")
}

fn take(world: &World<'_>, says: &Says) -> Checked {
    let me = world.me;
    let held = world.held();
    let missing = world.sight.known == Known::Absent && world.sight.unchanged.is_some();
    let empty = me.memory.last_epoch.is_none();
    let back = takes_back(world);
    let at_once = world.is_ours() || missing && (held.is_some() || empty) || back;
    rule(at_once || world.is_free(), "I1: takes what may be held")?;
    let is_read = world.sight.failure.is_none() || world.is_ours();
    rule(is_read, "I1: takes what it cannot read")?;
    rule(
        !world.promised() || held.is_some() || back,
        "breaks its promise",
    )?;
    if held.is_some() && held == says.epoch {
        let older = world.says().is_none_or(|s| s.epoch <= held);
        return rule(older, "I2: holds what is not the newest");
    }
    rule(says.epoch > world.newest(), "an epoch that is not new")?;
    if held.is_some() {
        return Ok(());
    }
    rule(!me.terminating, "I7: is being stopped")?;
    rule(world.is_whole(), "I3: between two histories")?;
    rule(!world.has_more_for_good() || back, "I3: somebody has more")?;
    rule(!world.has_newer(), "I3: somebody has newer data")?;
    let data = |m: &Member| m.memory.id.is_some() && !m.memory.unfinished;
    rule(
        !(empty && world.answering().any(data)),
        "I3: empty beside data",
    )?;
    let others = world.others.iter().map(|(_, being)| being);
    let by_another = others.filter(|b| b.is_of_another_authority()).count();
    rule(back || by_another == 0, "beside another authority")?;
    let leads = |m: &Member| World::leads(m);
    rule(
        back || !world.answering().any(leads),
        "a master is overthrown",
    )?;
    let members = world.says().map(|s| &s.members).filter(|m| !m.is_empty());
    let recorded = members.is_none_or(|m| m.contains(&world.sight.me.pod));
    rule(recorded || world.writable(), "takes it unrecorded")
}

/// What this member offered comes back before the other one has taken it, or when that gave it up.
fn takes_back(world: &World<'_>) -> bool {
    let offered = world
        .me
        .memory
        .grant
        .as_ref()
        .filter(|g| g.handover.is_some());
    let untaken = |g: &&Grant| {
        let says = world.says().filter(|s| s.epoch == Some(g.epoch));
        says.is_some_and(|s| !s.renewed)
    };
    offered.as_ref().is_some_and(untaken)
}

/// The master gives it to another one.
fn offer(world: &World<'_>, says: &Says, grant: &Grant) -> Checked {
    let me = world.me;
    let again = takes_back(world) && world.says().is_some_and(|s| s.holder.is_none());
    let newest = world.newest();
    rule(world.held().is_some() || again, "offers what it has not")?;
    rule(world.is_ours() || again, "offers what it does not hold")?;
    rule(
        world.sight.failure.is_none(),
        "I1: offers what it cannot read",
    )?;
    rule(me.memory.intent.is_none(), "offers what it takes")?;
    rule(Some(grant.epoch) > newest, "an epoch that is not new")?;
    let same = says.epoch == Some(grant.epoch) && says.handover == grant.handover;
    rule(
        same && !says.renewed && !grant.counts,
        "it counts too early",
    )?;
    let run = grant.handover.as_ref().map(|h| &h.run_id);
    rule(run == world.server().map(|s| &s.run_id), "I4: another run")?;
    let holder = says.holder.as_ref();
    let to = grant.target;
    let named = holder.is_some_and(|h| h.pod == format!("redis-{to}") && h.uid == uid(to.0));
    rule(named, "I9: to another pod")?;
    let target = world.answer(to).ok_or("I1: to who does not answer")?;
    rule(!target.terminating, "I7: to who is being stopped")?;
    let linked = matches!(&target.local, Local::Up(s) if matches!(&s.role, ServerRole::Replica { link: LinkState::Up, .. }));
    rule(linked, "I4: to who has no link")?;
    let same = target.memory.id == me.memory.id && target.memory.epoch == me.memory.epoch;
    rule(same && !target.memory.unfinished, "I3: to another history")?;
    let mut beings = world.others.iter().filter(|(o, _)| *o == to);
    let fit = beings.all(|(_, b)| !b.is_of_another_authority() && !b.forgets());
    rule(fit, "to who cannot take it")
}

/// A person's word.
fn by_hand(world: &World<'_>, says: &Says, keep: crate::topology::Ordinal) -> Checked {
    rule(says.by_hand, "I8: a person's word is not told")?;
    rule(says.epoch > world.newest(), "an epoch that is not new")?;
    let named = says
        .holder
        .as_ref()
        .is_some_and(|h| h.pod == format!("redis-{keep}"));
    rule(named, "gives it to another one")?;
    let mine = keep == world.me.ordinal;
    rule(says.renewed == mine, "it counts too early")?;
    let target = if mine {
        Some(world.me)
    } else {
        world.answer(keep)
    };
    let target = target.ok_or("I1: to who does not answer")?;
    rule(!target.terminating, "I7: to who is being stopped")?;
    rule(
        matches!(target.local, Local::Up(_)),
        "I1: to who has no server",
    )
}
