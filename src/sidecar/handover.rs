//! Who asked for a handover, how long it may take, and when the role goes home. The steps themselves are
//! decided in [`crate::decide::handover`]; [`Run`] tells them to the callers, a line a step.

mod run;

use std::time::Duration;

pub(super) use run::{Cause, Run};

use super::Sidecar;
use crate::clock::{self, Time};
use crate::decide::handover::may_go_home;
use crate::decide::{Action, Decision, GRANT_VALID, Reason, Snapshot, View};
use crate::observe::members::Pace;
use crate::publish::Outcome;
use crate::topology::Ordinal;

/// How long pod-0 must have been caught up before the role goes home.
const HOME_AFTER: Duration = Duration::from_secs(10);
/// After an attempt that failed.
const HOME_AGAIN: Duration = Duration::from_mins(1);

/// A handover takes a fraction of a second; one that waits for somebody needs no hurry.
const URGENT_FOR: Duration = Duration::from_secs(10);

/// Since when the role could go home.
#[derive(Debug, Default)]
pub(super) struct Home {
    since: Option<Time>,
    not_before: Time,
}

impl Home {
    /// Whether it is time.
    pub(super) fn is_due(&mut self, view: &View<'_>, now: Time) -> bool {
        if !may_go_home(view) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now >= self.not_before && now.since(since) >= HOME_AFTER
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, outcome: Outcome, now: Time) {
        self.since = None;
        if outcome != Outcome::Done {
            self.not_before = now + HOME_AGAIN;
        }
    }
}

/// The preStop hook was called: the pod is being stopped, unless time tells otherwise.
#[derive(Debug)]
pub(super) struct Stopping {
    until: Time,
    /// The server's run at that time.
    run_id: Option<String>,
}

impl Sidecar {
    /// Kubernetes calls the hook for a container that it only starts again, too; and a person may.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
            .as_ref()
            .is_some_and(|s| clock::now() < s.until && s.run_id == self.memory.run_id)
    }

    /// How peers are asked in the next look.
    pub(super) fn pace(&self) -> Pace {
        let memory = &self.memory;
        let grant = memory.grant.as_ref();
        let handover = grant.and_then(|g| g.handover.as_ref());
        let long = self
            .urgent_since
            .is_some_and(|since| clock::now().since(since) >= URGENT_FOR);
        if long || handover.is_some_and(|h| h.cancelled) {
            return Pace::Steady;
        }
        // A holder that fell silent is not waited for in each look: the Lease says when it is over.
        let waits = self.waits_for_lease || self.is_late || self.urgent_since.is_some();
        if waits || memory.intent.is_some() || handover.is_some() {
            let from = memory.intent.as_ref().and_then(|i| i.armed.as_ref());
            let to = grant.filter(|g| g.handover.is_some()).map(|g| g.target);
            Pace::Handover(from.map(|armed| armed.from).or(to))
        } else if grant.is_some() {
            Pace::Hurry
        } else {
            Pace::Steady
        }
    }

    /// The next step of a member that has armed itself in this turn.
    pub(super) fn armed(&mut self, decision: &Decision, snapshot: &Snapshot) -> Option<Action> {
        let Action::Arm { intent, there } = &decision.action else {
            return None;
        };
        let is_armed = self.memory.intent.as_ref() == Some(intent);
        let valid = snapshot.started_at + GRANT_VALID;
        let until = match &mut self.lease {
            Some(lease) => lease.until()?.min(valid),
            None => valid,
        };
        is_armed.then_some(Action::TakeOver {
            there: *there,
            deadline: until,
        })
    }

    /// Whether somebody accepts no writes, or soon will not, until this member goes on.
    pub(super) fn is_urgent(&mut self, decision: &Decision) -> bool {
        let grant = self.memory.grant.as_ref();
        let waits = self.memory.intent.is_some()
            || grant.is_some_and(|g| g.handover.is_some())
            || decision
                .reasons
                .iter()
                .any(|r| matches!(r, Reason::HandingOver { .. }));
        // A Lease that nobody holds: each look of somebody else's is waited for.
        let free = |r: &Reason| {
            matches!(
                r,
                Reason::WaitingForMembers(_)
                    | Reason::BetterCandidate(_)
                    | Reason::Grants { .. }
                    | Reason::Granted(_)
            )
        };
        let waits = waits || self.lease.is_some() && decision.reasons.iter().any(free);
        if !waits {
            self.urgent_since = None;
            return false;
        }
        let now = clock::now();
        now.since(*self.urgent_since.get_or_insert(now)) < URGENT_FOR
    }

    /// Half of the grace: the rest is for the server's own orderly end.
    pub(super) fn budget(&self) -> Duration {
        self.grace / 2
    }

    pub(super) fn prestop(&mut self) -> &Run {
        let now = clock::now();
        let (budget, drain) = (self.budget(), self.drain);
        self.stopping = Some(Stopping {
            until: now + self.grace,
            run_id: self.memory.run_id.clone(),
        });
        if let Some(run) = self.run.as_mut().filter(|run| run.cause != Cause::Prestop) {
            run.becomes_prestop(now, budget, drain);
        }
        self.run
            .get_or_insert_with(|| Run::new(Cause::Prestop, None, now, budget, drain))
    }

    /// One at a time: a second caller joins the handover that is under way.
    pub(super) fn failover(&mut self, to: Option<Ordinal>) -> Result<&Run, String> {
        let (now, budget, drain) = (clock::now(), self.budget(), self.drain);
        let pod = &self.ask.identity.pod;
        if let Some(run) = &self.run
            && to.is_some()
            && run.target() != to
        {
            let target = run
                .target()
                .map_or("the best member".to_owned(), |t| pod.sibling(t));
            return Err(format!(
                "a handover to {target} is under way: wait for its end"
            ));
        }
        Ok(self
            .run
            .get_or_insert_with(|| Run::new(Cause::Failover, to, now, budget, drain)))
    }

    /// Goes on with the handover that was asked for, or begins the one that brings the role home.
    pub(super) fn hand_over(&mut self, view: &View<'_>, decision: &Decision, closed: bool) {
        let now = view.snapshot.started_at;
        if self.run.is_none() && self.home.is_due(view, now) {
            let run = Run::new(
                Cause::Home,
                Some(Ordinal::ZERO),
                now,
                self.budget(),
                self.drain,
            );
            self.run = Some(run);
        }
        let Some(run) = &mut self.run else { return };
        let Some(outcome) = run.look(view, &decision.reasons, closed, now) else {
            return;
        };
        if run.cause == Cause::Home {
            self.home.ended(outcome, now);
        }
        if run.led_by.is_some() && outcome != Outcome::Nothing {
            self.metrics.handed_over(outcome);
        }
        self.run = None;
    }
}
