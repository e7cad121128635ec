//! A handover from its wish to its outcome: who asked, how long it may take, and what callers are
//! told, a line a step. The steps themselves are decided in [`crate::decide::handover`].

use std::time::Duration;

use tokio::sync::watch;

use super::Sidecar;
use crate::clock::{self, Time};
use crate::decide::handover::{armed_for, may_go_home, own};
use crate::decide::{
    Action, Decision, GRANT_VALID, Local, PeerState, Reason, Snapshot, View, Wish,
};
use crate::observe::info::ServerRole;
use crate::observe::members::Pace;
use crate::publish::{Outcome, Told};
use crate::report::Report;
use crate::topology::{Epoch, Ordinal};

/// How long pod-0 must have been caught up before the role goes home.
const HOME_AFTER: Duration = Duration::from_secs(10);
/// After an attempt that failed.
const HOME_AGAIN: Duration = Duration::from_mins(1);

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This pod is about to be stopped.
    Prestop,
    /// A person's wish.
    Failover,
    /// The role goes home to pod-0.
    Home,
}

/// One handover, from its wish to its outcome.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) cause: Cause,
    wish: Wish,
    begun: Time,
    deadline: Time,
    drained: Time,
    told: watch::Sender<Told>,
    /// The run of the server here that was the master when it began.
    led_by: Option<String>,
    /// Our newest grant.
    granted: Option<(Epoch, Ordinal)>,
    fenced_at: Option<Time>,
    step: Option<Step>,
    why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Waiting,
    Granted(Epoch),
    Counts(Epoch),
    Armed(Epoch),
    Fenced(Epoch),
}

impl Run {
    pub(super) fn new(
        cause: Cause,
        to: Option<Ordinal>,
        now: Time,
        budget: Duration,
        drain: Duration,
    ) -> Self {
        Self {
            cause,
            wish: Wish {
                to,
                stays: cause == Cause::Failover && to.is_some(),
                ..Wish::default()
            },
            begun: now,
            deadline: now + budget,
            drained: now + drain.min(budget),
            told: watch::Sender::new(Told::default()),
            led_by: None,
            granted: None,
            fenced_at: None,
            step: None,
            why: "nothing has been looked at yet".to_owned(),
        }
    }

    /// What callers are told, from the first line on.
    pub(super) fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// A pod that is being stopped takes over what is under way.
    pub(super) fn becomes_prestop(&mut self, now: Time, budget: Duration, drain: Duration) {
        self.cause = Cause::Prestop;
        self.wish.stays = false;
        self.wish.to = None;
        self.deadline = self.deadline.max(now + budget);
        self.drained = now + drain.min(budget);
    }

    /// To whom, if that was named.
    pub(super) fn target(&self) -> Option<Ordinal> {
        self.wish.to
    }

    /// The wish while its time lasts.
    pub(super) fn wish(&self, now: Time) -> Option<Wish> {
        (now < self.deadline).then(|| self.wish.clone())
    }

    /// Tells something beside the steps.
    pub(super) fn note(&self, line: &str) {
        self.say(line.to_owned());
    }

    fn say(&self, line: String) {
        tracing::info!(cause = ?self.cause, "handover: {line}");
        self.told.send_modify(|told| told.lines.push(line));
    }

    /// It is over.
    pub(super) fn end(&self, outcome: Outcome, line: String) -> Outcome {
        self.say(line);
        self.told.send_modify(|told| told.outcome = Some(outcome));
        outcome
    }

    /// After a look and before the action: tells the step, and whether it is over. `closed` says that
    /// the clients of a server that was demoted have been closed.
    pub(super) fn look(
        &mut self,
        view: &View<'_>,
        reasons: &[Reason],
        closed: bool,
        now: Time,
    ) -> Option<Outcome> {
        let set = view.own.pod.rsplit_once('-').map_or("", |(set, _)| set);
        let waits = |r: &&Reason| {
            !matches!(
                r,
                Reason::Master(_) | Reason::HandingOver { .. } | Reason::GrantEnds { .. }
            )
        };
        let is_way = |r: &&Reason| matches!(r, Reason::HandingOver { .. });
        let reason = reasons.iter().find(waits);
        if let Some(reason) = reason.or_else(|| reasons.iter().find(is_way)) {
            self.why = reason.message(set);
        }
        if let Some((_, handover)) = own(view) {
            self.led_by.get_or_insert_with(|| handover.run_id.clone());
        }
        if self.led_by.is_none() && view.own.is_granted_master() {
            self.led_by = view.own.server.as_ref().map(|s| s.run_id.clone());
        }
        if let Some((grant, _)) = own(view) {
            let granted = (grant.epoch, grant.target);
            if self.granted != Some(granted) {
                // Whoever was asked before did not take it.
                if let Some((_, before)) = self.granted.replace(granted) {
                    self.wish.tried.insert(before);
                }
            }
        } else if let Some((_, before)) = self.granted.take() {
            self.wish.tried.insert(before);
        }
        if let Some(outcome) = self.over(view, closed, now) {
            return Some(outcome);
        }
        self.tell(view, now);
        if now < self.deadline {
            return None;
        }
        let line = match own(view) {
            Some((grant, _)) if grant.counts => format!(
                "not done in time: only {0} can say whether it takes the role ({1}); it goes on when {0} answers; if that is lost for good: podzero resolve --keep {2}",
                view.pod(grant.target),
                self.why,
                view.own.pod
            ),
            Some(_) | None => format!("not done in time: {}", self.why),
        };
        Some(self.end(Outcome::Failed, line))
    }

    fn over(&self, view: &View<'_>, closed: bool, now: Time) -> Option<Outcome> {
        let me = view.snapshot.me;
        let master = view.granted_master().filter(|m| m.ordinal != me);
        if let (Some(run_id), Some(master)) = (&self.led_by, master) {
            let ours = view.own.is_granted_master()
                || matches!(&view.snapshot.local, Local::Up(s) if s.role == ServerRole::Master);
            if ours || !closed {
                return None;
            }
            return Some(self.moved(run_id, master, now));
        }
        if let Local::Unreachable { gone: true, .. } = view.snapshot.local
            && self.fenced_at.is_none()
        {
            return Some(self.end(
                Outcome::Nothing,
                "the server here is gone already: nothing to do".to_owned(),
            ));
        }
        if self.led_by.is_some() {
            if self.wish.to == Some(me) {
                return Some(self.end(
                    Outcome::Nothing,
                    format!("{} is the master already: nothing to do", view.own.pod),
                ));
            }
            let named = self.wish.to.filter(|_| view.own.is_granted_master());
            if let Some(to) = named.filter(|to| self.wish.tried.contains(to)) {
                let line = format!(
                    "not done: {} did not take the role: {}",
                    view.pod(to),
                    self.why
                );
                return Some(self.end(Outcome::Failed, line));
            }
            if let Some(to) = named.filter(|to| !view.snapshot.peers.contains_key(to)) {
                let line = format!("not done: {} is no member of the set", view.pod(to));
                return Some(self.end(Outcome::Failed, line));
            }
            let offered = own(view).is_some_and(|(grant, _)| {
                let target = view.report(grant.target);
                target.is_none_or(|t| t.authority.closed < Some(grant.epoch))
            });
            let alone = self.cause == Cause::Prestop && !offered && nobody_stays(view);
            return alone.then(|| {
                self.end(
                    Outcome::Nothing,
                    "no other member is there and stays: nothing to do".to_owned(),
                )
            });
        }
        // Only a master has a role to hand over.
        let serves = matches!(&view.snapshot.local, Local::Up(s) if s.role != ServerRole::Master)
            || self.cause != Cause::Prestop;
        match (self.cause, master) {
            (Cause::Prestop, _) if serves && now >= self.drained => Some(self.end(
                Outcome::Done,
                "not the master, and not ready for some time now: done".to_owned(),
            )),
            (Cause::Failover, Some(master)) if self.wish.to == Some(master.ordinal) => {
                Some(self.end(
                    Outcome::Nothing,
                    format!("{} is the master already: nothing to do", master.pod),
                ))
            }
            (Cause::Failover, Some(master)) => Some(self.end(
                Outcome::Failed,
                format!(
                    "{} is not the master; {} is: run podzero failover there",
                    view.own.pod, master.pod
                ),
            )),
            (Cause::Failover | Cause::Home, None) if !view.own.is_granted_master() => {
                Some(self.end(
                    Outcome::Failed,
                    format!("{} is not the master: {}", view.own.pod, self.why),
                ))
            }
            (Cause::Prestop | Cause::Failover | Cause::Home, _) => None,
        }
    }

    /// Somebody else is the master now.
    fn moved(&self, run_id: &str, master: &Report, now: Time) -> Outcome {
        let epoch = master.epoch.map(|e| e.to_string()).unwrap_or_default();
        let took = master.authority.took_over_from.as_ref() == Some(&run_id.to_owned());
        if took {
            let stopped = self.fenced_at.map_or(0, |at| now.since(at).as_millis());
            let all = now.since(self.begun).as_millis();
            let line = format!(
                "done: {} is the master of epoch {epoch}, with every write; {all} ms in all, the last {stopped} of them without writes here",
                master.pod
            );
            return self.end(Outcome::Done, line);
        }
        let line = format!(
            "{} became the master of epoch {epoch} in another way: writes that were acknowledged last may be lost",
            master.pod
        );
        self.end(Outcome::PossibleLoss, line)
    }

    fn tell(&mut self, view: &View<'_>, now: Time) {
        let writable = matches!(&view.snapshot.local, Local::Up(s) if s.role == ServerRole::Master);
        let (step, line) = match own(view) {
            _ if self.led_by.is_none() => (
                Step::Waiting,
                format!(
                    "{} is not the master; it is not ready any more, so that clients leave it",
                    view.own.pod
                ),
            ),
            None => (
                Step::Waiting,
                "looks for a member that can take the role".to_owned(),
            ),
            Some((grant, _)) => {
                let (epoch, to) = (grant.epoch, view.pod(grant.target));
                let armed = view
                    .report(grant.target)
                    .is_some_and(|t| armed_for(t, epoch));
                if !writable {
                    self.fenced_at.get_or_insert(now);
                    (
                        Step::Fenced(epoch),
                        format!(
                            "writes are stopped here; {to} takes the role when it has received the rest"
                        ),
                    )
                } else if armed {
                    (
                        Step::Armed(epoch),
                        format!("{to} is ready to take the role"),
                    )
                } else if grant.counts {
                    (
                        Step::Counts(epoch),
                        format!("every member that answers knows of it; waits until {to} is ready"),
                    )
                } else {
                    (
                        Step::Granted(epoch),
                        format!("offers the role of epoch {epoch} to {to}"),
                    )
                }
            }
        };
        if writable {
            self.fenced_at = None;
        }
        if self.step.as_ref() != Some(&step) {
            self.step = Some(step);
            self.say(line);
        }
    }
}

/// Whether every other member is missing, or being stopped as well.
fn nobody_stays(view: &View<'_>) -> bool {
    // A name may be missing for a moment: whoever is attached is there. And DNS that does not say how
    // many members there are does not say that there is none.
    let peers = &view.snapshot.peers;
    let none_else = view.own.replication.replicas.is_empty() && view.snapshot.names_known;
    let gone = peers.values().all(|peer| match &peer.state {
        PeerState::Missing => none_else,
        PeerState::Answered(report) => report.terminating,
        PeerState::ServerOnly(_) | PeerState::Silent(_) => false,
    });
    gone && (none_else || !peers.is_empty())
}

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
        if self.urgent_since.is_some() || memory.intent.is_some() || handover.is_some() {
            Pace::Handover
        } else if grant.is_some() {
            Pace::Hurry
        } else {
            Pace::Steady
        }
    }

    /// The next step of a member that has armed itself in this turn.
    pub(super) fn armed(&self, decision: &Decision, snapshot: &Snapshot) -> Option<Action> {
        let Action::Arm(intent) = &decision.action else {
            return None;
        };
        let is_armed = self.memory.intent.as_ref() == Some(intent);
        let from = intent.armed.as_ref().filter(|_| is_armed)?.from;
        Some(Action::TakeOver {
            there: snapshot.peers.get(&from)?.server?,
            deadline: snapshot.started_at + GRANT_VALID,
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
