//! One handover, from its wish to its outcome, and what its callers are told.

mod over;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Time;
use crate::decide::handover::{armed_for, own};
use crate::decide::{Local, Reason, View, Wish};
use crate::observe::info::ServerRole;
use crate::publish::{Outcome, Told};
use crate::topology::{Epoch, Ordinal};

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sidecar) enum Cause {
    /// This pod is about to be stopped.
    Prestop,
    /// A person's wish.
    Failover,
    /// The role goes home to pod-0.
    Home,
}

/// One handover, from its wish to its outcome.
#[derive(Debug)]
pub(in crate::sidecar) struct Run {
    pub(in crate::sidecar) cause: Cause,
    wish: Wish,
    begun: Time,
    deadline: Time,
    drained: Time,
    told: watch::Sender<Told>,
    /// The run of the server here that was the master when it began.
    pub(super) led_by: Option<String>,
    /// Our newest grant.
    granted: Option<Offer>,
    /// Who did not take it, and when they may be asked again.
    tried: BTreeMap<Ordinal, Option<Time>>,
    fenced_at: Option<Time>,
    step: Option<Step>,
    why: String,
}

/// How long a member that declined is left alone: it may only have waited for its link.
const AGAIN: Duration = Duration::from_secs(2);

/// The role as it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    epoch: Epoch,
    to: Ordinal,
    since: Time,
    called_off: bool,
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
    pub(in crate::sidecar) fn new(
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
                since: now,
                ..Wish::default()
            },
            begun: now,
            deadline: now + budget,
            drained: now + drain.min(budget),
            told: watch::Sender::new(Told::default()),
            led_by: None,
            granted: None,
            tried: BTreeMap::new(),
            fenced_at: None,
            step: None,
            why: "nothing has been looked at yet".to_owned(),
        }
    }

    /// What callers are told, from the first line on.
    pub(in crate::sidecar) fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// A pod that is being stopped takes over what is under way. Who asked for a certain target is told
    /// that it may not be that one.
    pub(in crate::sidecar) fn becomes_prestop(
        &mut self,
        now: Time,
        budget: Duration,
        drain: Duration,
    ) {
        if self.wish.to.is_some() {
            let line = "not done: this pod is being stopped, and the role goes to whoever can take it now (see podzero status)";
            self.end(Outcome::Failed, line.to_owned());
            self.told = watch::Sender::new(Told::default());
            self.step = None;
        }
        self.cause = Cause::Prestop;
        self.wish.stays = false;
        self.wish.to = None;
        self.deadline = self.deadline.max(now + budget);
        self.drained = now + drain.min(budget);
    }

    /// To whom, if that was named.
    pub(in crate::sidecar) fn target(&self) -> Option<Ordinal> {
        self.wish.to
    }

    /// The wish while its time lasts.
    pub(in crate::sidecar) fn wish(&self, now: Time) -> Option<Wish> {
        let tried = self.tried.iter();
        let not_now = tried.filter(|(_, again)| again.is_none_or(|again| now < again));
        (now < self.deadline).then(|| Wish {
            tried: not_now.map(|(ordinal, _)| *ordinal).collect(),
            patience: self.patience(),
            ..self.wish.clone()
        })
    }

    /// Tells something beside the steps.
    pub(in crate::sidecar) fn note(&self, line: &str) {
        self.say(line.to_owned());
    }

    fn say(&self, line: String) {
        tracing::info!(cause = ?self.cause, "handover: {line}");
        self.told.send_modify(|told| told.lines.push(line));
    }

    /// It is over.
    pub(in crate::sidecar) fn end(&self, outcome: Outcome, line: String) -> Outcome {
        self.say(line);
        self.told.send_modify(|told| told.outcome = Some(outcome));
        outcome
    }

    /// After a look and before the action: tells the step, and whether it is over. `closed` says that
    /// the clients of a server that was demoted have been closed.
    pub(in crate::sidecar) fn look(
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
        self.follow_offer(view, now);
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

    /// Notes who did not take what was offered.
    fn follow_offer(&mut self, view: &View<'_>, now: Time) {
        let offer = own(view).map(|(grant, handover)| Offer {
            epoch: grant.epoch,
            to: grant.target,
            since: now,
            called_off: handover.cancelled,
        });
        let same = |a: &Offer, b: &Offer| a.epoch == b.epoch && a.to == b.to;
        let late = self.patience().is_some_and(|(_, until)| now >= until);
        match (&mut self.granted, offer) {
            (Some(before), Some(offer)) if same(before, &offer) => {
                before.called_off = offer.called_off;
            }
            (before, offer) => {
                // Whoever was asked before did not take it. Who was given up is not asked again.
                if let Some(before) = std::mem::replace(before, offer) {
                    let target = view.report(before.to);
                    let declined = target.is_some_and(|t| t.authority.closed >= Some(before.epoch));
                    let slow = late && !declined && self.wish.to.is_none();
                    let again = (!before.called_off && !slow).then(|| now + AGAIN);
                    let tried = self.tried.entry(before.to).or_insert(again);
                    *tried = tried.and(again);
                }
            }
        }
    }

    /// Half of the time that was left when the role was offered is for another one.
    fn patience(&self) -> Option<(Epoch, Time)> {
        let offer = self.granted.as_ref()?;
        let until = offer.since + self.deadline.since(offer.since) / 2;
        Some((offer.epoch, until))
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
