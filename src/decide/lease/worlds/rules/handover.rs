//! What may be decided in a handover, on either side.

use super::{Checked, is_gone, rule};
use crate::clock::Time;
use crate::decide::Local;
use crate::decide::fixture::Member;
use crate::decide::lease::worlds::{NOW, World};
use crate::observe::info::ServerRole;
use crate::report::{Armed, Grant, Intent, LinkState};
use crate::topology::Epoch;

fn own<'a>(world: &World<'a>) -> Option<&'a Grant> {
    let grant = world.me.memory.grant.as_ref();
    grant.filter(|g| g.handover.is_some())
}

/// The Lease is the target's by its own word.
fn is_taken(world: &World<'_>, grant: &Grant) -> bool {
    let pod = format!("redis-{}", grant.target);
    world.says().is_some_and(|s| {
        s.epoch == Some(grant.epoch) && s.renewed && s.holder.as_ref().is_some_and(|h| h.pod == pod)
    })
}

/// What is published of a handover: that it counts, and that it is called off.
pub(super) fn publish(world: &World<'_>, grant: &Grant) -> Checked {
    let before = own(world).ok_or("publishes what it does not offer")?;
    let same = before.epoch == grant.epoch && before.target == grant.target;
    rule(same, "publishes another offer")?;
    rule(!before.counts || grant.counts, "takes its word back")?;
    rule(
        before.counts || is_taken(world, grant),
        "it counts too early",
    )?;
    let cancelled = |g: &Grant| g.handover.as_ref().is_some_and(|h| h.cancelled);
    let calls_off = cancelled(grant) && !cancelled(before);
    rule(
        !calls_off || world.writable(),
        "I4: too late to call it off",
    )
}

/// A role that is given is not forgotten while the other one may take it.
pub(super) fn withdraw(world: &World<'_>) -> Checked {
    let grant = own(world).ok_or("withdraws nothing")?;
    let run = grant.handover.as_ref().map(|h| &h.run_id);
    let same_run = run == world.server().map(|s| &s.run_id);
    let target = world.answer(grant.target);
    let leads = target.is_some_and(|t| World::leads(t) && t.memory.held.is_some());
    let newer = world.newest() > Some(grant.epoch);
    let is_read = world.sight.failure.is_none() && is_taken(world, grant);
    let apart = world
        .server()
        .is_some_and(|s| matches!(s.role, ServerRole::Replica { .. }));
    rule(
        !(is_read && same_run) || leads || newer || apart,
        "I4: forgets what the other one may take",
    )
}

/// Writes stop for a target that is ready, and for no other one.
pub(super) fn stop(world: &World<'_>, run_id: &str, near: bool) -> Checked {
    let grant = own(world).ok_or("stops without an offer")?;
    rule(world.writable() && world.held().is_some(), "stops nothing")?;
    rule(grant.counts, "I4: stops too early")?;
    let off = grant.handover.as_ref().is_none_or(|h| h.cancelled);
    rule(!off, "I4: it was called off")?;
    let server = world.server().ok_or("no server")?;
    let run = grant.handover.as_ref().map(|h| &h.run_id);
    rule(run == Some(&server.run_id), "I4: another run")?;
    rule(
        world.newest() <= Some(grant.epoch),
        "I2: a newer one is visible",
    )?;
    let target = world
        .answer(grant.target)
        .ok_or("I1: for who does not answer")?;
    let intent = target.memory.intent.as_ref();
    let armed = intent.is_some_and(|i| i.epoch == grant.epoch && i.armed.is_some());
    rule(armed, "I4: for who is not ready")?;
    let there = matches!(&target.local, Local::Up(s) if s.run_id == run_id);
    rule(there, "I9: for another server")?;
    let feeds = !server.version.starts_with("redis 6");
    rule(feeds == near, "the way of another version")
}

/// The target gets ready.
pub(super) fn arm(world: &World<'_>, intent: &Intent) -> Checked {
    let me = world.me;
    let armed = intent.armed.as_ref().ok_or("armed for nothing")?;
    rule(world.holds(intent.epoch), "I2: arms without its grant")?;
    rule(
        world.newest() <= Some(intent.epoch),
        "I2: a newer one is visible",
    )?;
    rule(
        me.memory.closed < Some(intent.epoch),
        "I5: a grant is used twice",
    )?;
    rule(!me.terminating, "I7: is being stopped")?;
    rule(world.is_whole(), "I3: between two histories")?;
    rule(!armed.handover.cancelled, "it was called off")?;
    let run = world.server().map(|s| &s.run_id);
    rule(run == Some(&intent.run_id), "I2: another run")?;
    let giver = world
        .answer(armed.from)
        .ok_or("I1: from who does not answer")?;
    let Local::Up(there) = &giver.local else {
        return Err("I1: from who has no server");
    };
    rule(
        there.run_id == armed.handover.run_id,
        "I4: another run there",
    )?;
    let linked = world.server().is_some_and(|s| {
        matches!(
            &s.role,
            ServerRole::Replica {
                link: LinkState::Up,
                ..
            }
        )
    });
    rule(there.role != ServerRole::Master || linked, "without a link")
}

fn armed<'a>(world: &World<'a>) -> Result<(&'a Intent, &'a Armed), &'static str> {
    let intent = world.me.memory.intent.as_ref().ok_or("without an intent")?;
    Ok((intent, intent.armed.as_ref().ok_or("not armed")?))
}

/// It was promoted from where both had the same, by the run that was told, in time.
pub(super) fn confirm(world: &World<'_>) -> Checked {
    let (intent, armed) = armed(world)?;
    let even = armed
        .even
        .as_ref()
        .ok_or("I4: nothing shows that it had everything")?;
    let server = world.server().ok_or("no server")?;
    rule(server.role == ServerRole::Master, "it was not promoted")?;
    rule(server.run_id == intent.run_id, "I5: another run")?;
    let from = server.id2.as_ref() == Some(&even.id) && server.id2_end == Some(even.offset);
    rule(from, "I4: promoted from elsewhere")?;
    rule(
        world.newest() <= Some(intent.epoch),
        "I2: a newer one is visible",
    )?;
    rule(world.keeps(intent.epoch), "I2: keeps what it does not hold")
}

/// It looks at both servers until it may be promoted.
pub(super) fn take_over(world: &World<'_>, deadline: Time) -> Checked {
    let (intent, armed) = armed(world)?;
    let in_time = NOW < deadline && Some(deadline) <= world.until();
    let keeps = world.keeps(intent.epoch) && (world.is_ours() || world.writable());
    rule(keeps && in_time, "I2: after the deadline")?;
    rule(
        world.newest() <= Some(intent.epoch),
        "I2: a newer one is visible",
    )?;
    rule(
        !world.me.terminating || world.writable(),
        "I7: is being stopped",
    )?;
    let run = &armed.handover.run_id;
    let there = |m: &Member| matches!(&m.local, Local::Up(s) if s.run_id == *run);
    let answers = world.answer(armed.from).is_some_and(there);
    let server = world.servers().any(|s| s.run_id == *run);
    rule(answers || server, "I4: another run there, or none")
}

/// Without the server that hands over: it is gone for certain, and what it had last is here.
pub(super) fn without_server(world: &World<'_>, epoch: Epoch) -> Checked {
    let giver = world
        .answer(epoch.granter)
        .ok_or("I1: from who does not answer")?;
    rule(is_gone(&giver.local), "I4: its server is not gone")?;
    let (mine, theirs) = (&world.me.memory, &giver.memory);
    let all = mine.id.is_some() && mine.id == theirs.id && mine.offset >= theirs.offset;
    rule(all, "I3: it had more")
}

/// A server that accepts writes is not left so by declining.
pub(super) fn close(world: &World<'_>, epoch: Epoch) -> Checked {
    let intent = world.me.memory.intent.as_ref();
    let armed = intent.is_some_and(|i| i.epoch == epoch && i.armed.is_some());
    rule(
        !(armed && world.writable()),
        "I2: leaves a server that accepts writes",
    )
}
