//! What must never be decided: DESIGN's rules for one decision, stated anew.

mod claim;
mod handover;

use super::{NOW, World};
use crate::authority::lease::Says;
use crate::decide::{Action, Decision, Local, Silence};
use crate::observe::info::ServerRole;
use crate::topology::{Epoch, Ordinal};

pub(super) type Checked = Result<(), &'static str>;

pub(super) fn rule(holds: bool, otherwise: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(otherwise) }
}

pub(super) fn check(world: &World<'_>, decision: &Decision) -> Checked {
    let action = &decision.action;
    rule(!decision.reasons.is_empty(), "I8: nothing is said")?;
    if must_stop(world) {
        return rule(*action == Action::Fence, "I2: goes on without its grant");
    }
    match action {
        Action::Wait => Ok(()),
        Action::Fence => fence(world),
        Action::Unfence {
            epoch,
            run_id,
            deadline,
        } => {
            let run = world.server().is_some_and(|s| s.run_id == *run_id);
            rule(run, "I2: another run")?;
            let in_time = Some(*deadline) <= world.until();
            rule(in_time, "I2: after the deadline")?;
            unfence(world, *epoch)
        }
        Action::Adopt { epoch, run_id } => {
            let run = world.server().is_some_and(|s| s.run_id == *run_id);
            rule(run, "I2: another run")?;
            rule(world.holds(*epoch), "I2: not the holder")?;
            rule(world.held() < Some(*epoch), "the epoch is not new")?;
            rule(world.newest() <= Some(*epoch), "I2: a newer one is visible")?;
            rule(world.held().is_some(), "keeps what it has not")
        }
        Action::Follow { master, epoch, .. } => follow(world, *master, *epoch),
        Action::FenceThere { run_id, .. } => {
            let epoch = world.says().and_then(|s| s.epoch);
            let holds = epoch.is_some_and(|epoch| world.holds(epoch));
            rule(holds, "I2: fences others")?;
            let writes = |s: &&_| writable(s) && s.run_id == *run_id;
            rule(
                world.servers().find(writes).is_some(),
                "fences who does not write",
            )
        }
        Action::Claim(claim) => claim::check(world, claim),
        Action::Publish(grant) => handover::publish(world, grant),
        Action::Withdraw => handover::withdraw(world),
        Action::Close(epoch) => handover::close(world, *epoch),
        Action::FenceWhenNear { run_id, .. } => handover::stop(world, run_id, true),
        Action::FenceWhenEven { run_id, .. } => handover::stop(world, run_id, false),
        Action::Lower => rule(world.me.memory.raised.is_some(), "lowers nothing"),
        Action::Arm { intent, .. } => handover::arm(world, intent),
        Action::Confirm => handover::confirm(world),
        Action::TakeOver { deadline, .. } => handover::take_over(world, *deadline),
    }
}

fn writable(server: &crate::observe::info::ServerInfo) -> bool {
    server.role == ServerRole::Master
}

/// The server here accepts writes, and must not: before anything else is done it is fenced.
fn must_stop(world: &World<'_>) -> bool {
    let intent = world.me.memory.intent.as_ref();
    if world.may_write() {
        return world.is_late();
    }
    if !world.writable() {
        return false;
    }
    if intent.is_some_and(|i| i.armed.is_none()) {
        return true;
    }
    let Some(held) = world.held() else {
        return false;
    };
    world.is_late() || intent.is_none() && is_replaced(world, held)
}

/// Another member is the holder by its own word, and not because this one offers it.
fn is_replaced(world: &World<'_>, held: Epoch) -> bool {
    let offered = world.me.memory.grant.as_ref();
    let offered = offered.filter(|g| g.handover.is_some()).map(|g| g.epoch);
    let newer = |s: &Says| s.renewed && s.epoch > Some(held) && s.epoch != offered;
    world.says().is_some_and(newer) && !world.is_ours()
}

/// A master is fenced for a reason: nobody else's outage is one.
fn fence(world: &World<'_>) -> Checked {
    rule(world.writable(), "fences what accepts no writes")?;
    let Some(held) = world.held().filter(|_| world.me.memory.intent.is_none()) else {
        return Ok(());
    };
    let server = world.server().map(|s| &s.run_id);
    let own = world.me.memory.grant.as_ref();
    let own = own.filter(|g| g.handover.as_ref().map(|h| &h.run_id) == server);
    let own = own.map(|g| g.epoch).max(Some(held));
    rule(world.newest() > own, "I6: fences the master for nothing")?;
    let ours = world
        .says()
        .filter(|s| s.renewed && s.epoch == world.newest());
    rule(
        !(world.is_ours() && ours.is_some()),
        "I6: fences who holds the newest grant",
    )
}

fn unfence(world: &World<'_>, epoch: Epoch) -> Checked {
    let me = world.me;
    rule(world.is_granted(epoch), "I2: not the holder")?;
    rule(world.newest() <= Some(epoch), "I2: a newer one is visible")?;
    rule(world.held().is_none(), "un-fences what leads")?;
    rule(me.memory.epoch < Some(epoch), "I3: the epoch is not new")?;
    let told = me.memory.intent.as_ref().filter(|i| i.armed.is_none());
    let used = me.memory.closed.max(told.map(|i| i.epoch));
    rule(used < Some(epoch), "I5: a grant is used twice")?;
    rule(!me.terminating, "I7: is being stopped")?;
    let granter = world.says().and_then(|s| s.handover.as_ref().and(s.epoch));
    let granter = granter.map(|e| format!("redis-{}", e.granter));
    let to = world.sight.promises.promise().map(|p| p.holder);
    rule(!world.promised() || to == granter, "breaks its promise")?;
    rule(
        !world.answering().any(World::leads),
        "a master is overthrown",
    )?;
    if world.says().is_some_and(|s| s.by_hand) {
        let seen = world.sight.epoch_since;
        let waited = seen.is_some_and(|seen| NOW.since(seen).as_secs() >= 6);
        let all_answer = world.answering().count() == 2;
        return rule(waited || all_answer, "I2: the one before may go on");
    }
    let beside = world.servers().find(|s| writable(s));
    rule(beside.is_none(), "I2: beside a server that accepts writes")?;
    rule(world.is_whole(), "I3: between two histories")?;
    rule(!world.has_more(), "I3: somebody has more")?;
    rule(!world.has_newer(), "I3: somebody has newer data")?;
    let handed = world.says().is_some_and(|s| {
        let from = s.handover.as_ref();
        from.is_some() && s.epoch.is_some_and(|e| e.granter != me.ordinal)
    });
    if handed {
        handover::without_server(world, epoch)?;
    }
    Ok(())
}

fn follow(world: &World<'_>, master: Ordinal, epoch: Epoch) -> Checked {
    let me = world.me;
    rule(!world.writable(), "I2: follows while it accepts writes")?;
    rule(master != me.ordinal, "I9: follows itself")?;
    let led = world
        .answer(master)
        .ok_or("I9: follows who does not answer")?;
    let held = led.memory.held.as_ref().map(|h| h.epoch);
    rule(
        World::leads(led) && held == Some(epoch),
        "follows no master",
    )?;
    rule(
        me.memory.epoch_seen <= Some(epoch),
        "I2: obeys an older one",
    )?;
    rule(
        me.memory.epoch <= Some(epoch),
        "I3: older data replaces newer",
    )?;
    let given = world.sight.promises.promise().filter(|_| world.promised());
    let other = given.is_some_and(|p| p.holder != format!("redis-{master}"));
    rule(!other, "breaks its promise")
}

/// Its process is gone for certain, by its own sidecar's word.
pub(super) fn is_gone(local: &Local) -> bool {
    matches!(
        local,
        Local::Unreachable {
            silence: Silence::Gone,
            ..
        }
    )
}
