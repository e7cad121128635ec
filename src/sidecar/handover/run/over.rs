//! How a handover ends, and what its callers are told then.

use super::{Cause, Run};
use crate::clock::Time;
use crate::decide::handover::own;
use crate::decide::{Local, PeerState, Silence, View};
use crate::observe::info::ServerRole;
use crate::publish::Outcome;
use crate::report::Report;

impl Run {
    /// Whether it is over, and how.
    pub(super) fn over(&self, view: &View<'_>, closed: bool, now: Time) -> Option<Outcome> {
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
        if let Local::Unreachable {
            silence: Silence::Gone,
            ..
        } = view.snapshot.local
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
        let serves = match &view.snapshot.local {
            Local::Up(server) => server.role != ServerRole::Master,
            Local::Loading { .. } => true,
            Local::Unreachable { .. } => view.memory.held.is_none(),
        } || self.cause != Cause::Prestop;
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
