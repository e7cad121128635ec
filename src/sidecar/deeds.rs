//! What was decided is carried out, and told: to whoever asked for it, and as Kubernetes Events.

use tokio::sync::oneshot;

use super::Sidecar;
use super::lease::LeaseOfSet;
use super::voice::Voice;
use crate::act::act;
use crate::authority::Event;
use crate::clock;
use crate::decide::{Action, Authority, Decision, Snapshot};
use crate::topology::Epoch;

/// A person's decision that is being written into the Lease.
pub(super) struct Written {
    epoch: Epoch,
    words: String,
    reply: oneshot::Sender<Result<String, String>>,
}

impl Sidecar {
    async fn act(&mut self, action: &Action, snapshot: &Snapshot) {
        let result = act(
            action,
            snapshot,
            &mut self.memory,
            &mut self.file,
            &mut self.server,
            &mut self.there,
            self.lease.as_ref().map(LeaseOfSet::keeper),
        )
        .await;
        if self.memory.intent.is_none() && self.memory.raised.is_none() {
            self.there.leave();
        }
        self.metrics.acted(action.as_str(), result.is_ok());
        match result {
            Ok(()) => {
                // What went wrong is told until the same has been done, or it is long ago.
                if self.troubles.failed(action.as_str()) {
                    self.troubles.action = None;
                }
                if let Action::Follow { lost_tail, .. } = action {
                    self.metrics.lost_tail.inc_by(lost_tail.unwrap_or(0));
                    Voice::followed(action);
                }
            }
            Err(error) => {
                let what = match action {
                    Action::Unfence { .. } => "the local server could not be promoted",
                    Action::TakeOver { .. } => "the master role could not be taken over",
                    Action::FenceWhenNear { .. } | Action::FenceWhenEven { .. } => {
                        "the master role could not be handed over"
                    }
                    Action::Lower => "min-replicas-to-write could not be given its value back",
                    Action::Follow { .. } => "the local server could not be pointed at the master",
                    Action::Fence => "the local server could not be fenced",
                    Action::FenceThere { .. } => {
                        "the server of the master before could not be fenced"
                    }
                    Action::Claim(_) => "the Lease could not be written",
                    Action::Wait
                    | Action::Adopt { .. }
                    | Action::Publish(_)
                    | Action::Withdraw
                    | Action::Arm { .. }
                    | Action::Confirm
                    | Action::Close(_) => "a decision could not be carried out",
                };
                let words = self.trouble(error, what);
                self.troubles.action = Some((action.as_str(), words, clock::now()));
            }
        }
    }

    /// Carries it out, and tells people what became of the role.
    pub(super) async fn act_and_tell(&mut self, decision: &Decision, snapshot: &Snapshot) {
        let before = self.memory.held.as_ref().map(|held| held.epoch);
        self.act(&decision.action, snapshot).await;
        let set = self.ask.identity.pod.set().to_owned();
        let why = decision.reasons.first().map(|r| r.message(&set));
        let why = why.unwrap_or_default();
        let pod = self.ask.identity.pod.to_string();
        let held = self.memory.held.as_ref().map(|held| held.epoch);
        let done = !self.troubles.failed(decision.action.as_str());
        let (warns, reason, note) = match (&decision.action, held) {
            (_, Some(epoch)) if held != before => {
                self.was_master = true;
                (
                    false,
                    "Promoted",
                    format!("{pod} is the master in epoch {epoch}"),
                )
            }
            (Action::Fence, _) if done => (
                true,
                "Fenced",
                format!("{pod} accepts no writes from now on: {why}"),
            ),
            (Action::Follow { master, epoch, .. }, _) if done && self.was_master => {
                self.was_master = false;
                let master = self.ask.identity.pod.sibling(*master);
                (
                    false,
                    "Demoted",
                    format!("{pod} follows {master}, the master in epoch {epoch}"),
                )
            }
            _ => return,
        };
        self.tell(Event {
            warns,
            reason,
            note,
        });
    }

    /// Tells people that the server was fenced since its Lease ran out.
    pub(super) fn tell_late(&self) {
        tracing::warn!("the Lease could not be renewed in time: the server is fenced");
        self.tell(Event {
            warns: true,
            reason: "Fenced",
            note: format!(
                "{} accepts no writes from now on: the Lease could not be renewed in time",
                self.ask.identity.pod
            ),
        });
    }

    /// Tells people what somebody must decide or mend.
    pub(super) fn tell_refusals(&self, decision: &Decision) {
        let set = self.ask.identity.pod.set();
        for reason in decision.reasons.iter().filter(|r| r.needs_a_hand()) {
            self.tell(Event {
                warns: true,
                reason: "Refused",
                note: format!("{}: {}", self.ask.identity.pod, reason.message(set)),
            });
        }
    }

    fn tell(&self, event: Event) {
        if let Some(lease) = &self.lease {
            lease.tell(event);
        }
    }

    /// Tells whoever asked for a decision between two histories what became of it; where the Lease is
    /// written for it, once that is over.
    pub(super) fn answer_request(&mut self, decision: &Decision) {
        let Some((_, reply)) = self.resolve.take() else {
            return;
        };
        let set = self.ask.identity.pod.set();
        let words = decision.reasons.first().map(|r| r.message(set));
        let words = words.unwrap_or_default();
        if let Action::Claim(claim) = &decision.action
            && claim.says.by_hand
            && let Some(epoch) = claim.says.epoch
        {
            self.written = Some(Written {
                epoch,
                words,
                reply,
            });
            return;
        }
        let granted = matches!(&decision.action, Action::Publish(grant) if grant.by_hand);
        answer(reply, if granted { Ok(words) } else { Err(words) });
    }

    /// Answers once the write is over.
    pub(super) fn answer_written(&mut self, snapshot: &Snapshot) {
        let Authority::Lease(sight) = &snapshot.authority else {
            return;
        };
        let Some(written) = self.written.take_if(|_| !sight.writing) else {
            return;
        };
        let mut says = sight.says().into_iter();
        if says.any(|says| says.by_hand && says.epoch == Some(written.epoch)) {
            return answer(written.reply, Ok(written.words));
        }
        let why = sight.refused.clone().or_else(|| sight.failure.clone());
        let why = why.unwrap_or_else(|| "it was changed meanwhile".to_owned());
        answer(
            written.reply,
            Err(format!(
                "the Lease was not written, nothing is decided: {why}; try again"
            )),
        );
    }
}

fn answer(reply: oneshot::Sender<Result<String, String>>, words: Result<String, String>) {
    // A caller that hung up needs no answer.
    let _ = reply.send(words);
}
