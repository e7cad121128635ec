//! What the loop keeps in order beside its decisions: the state file, the running server's settings, and
//! who declined.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Sidecar;
use crate::act::prepare;
use crate::clock::{self, Time};
use crate::decide::{Action, Decision, View};
use crate::state_file::Memory;
use crate::topology::Ordinal;

/// How often what must be so on the running server is made so.
const PREPARE_AGAIN: Duration = Duration::from_secs(10);
/// How long a member that declined a grant is passed over.
const DECLINED: Duration = Duration::from_secs(10);
/// How often an offset alone is worth a write of the state file.
const OFFSET_WRITES: Duration = Duration::from_secs(5);

/// The member that declined the grant which is withdrawn now.
pub(super) fn just_declined(view: &View<'_>, decision: &Decision) -> Option<(Ordinal, Time)> {
    let grant = view.memory.grant.as_ref()?;
    let target = view.report(grant.target)?;
    let declined = target.authority.closed >= Some(grant.epoch) && !target.is_granted_master();
    (decision.action == Action::Withdraw && declined)
        .then_some((grant.target, view.snapshot.started_at))
}

impl Sidecar {
    /// Takes over what was learnt; says whether it could be written.
    pub(super) fn remember(&mut self, learnt: Memory) -> bool {
        let only_offset = self.file.written().is_some_and(|written| {
            Memory {
                offset: written.offset,
                at: written.at,
                ..learnt.clone()
            } == *written
        });
        self.memory = Memory {
            at: clock::unix_seconds(),
            ..learnt
        };
        let now = clock::now();
        if only_offset && now.since(self.offset_written_at) < OFFSET_WRITES {
            return true;
        }
        self.offset_written_at = now;
        if only_offset && !self.file.has_failed() && self.troubles.state_file.is_none() {
            self.file.save_later(&self.memory);
            return true;
        }
        match self.file.save(&self.memory) {
            Ok(()) => {
                self.troubles.state_file = None;
                true
            }
            Err(error) => {
                self.metrics.state_file_errors.inc();
                let error = anyhow::Error::new(error);
                self.troubles.state_file = Some(format!("{error:#}"));
                self.voice.complain(
                    &error,
                    "the state file cannot be written: nothing is promoted or followed",
                    clock::now(),
                );
                // What is not remembered is not published either.
                if let Some(written) = self.file.written() {
                    self.memory.epoch_seen = written.epoch_seen;
                    self.memory.closed = written.closed;
                    self.memory.grant.clone_from(&written.grant);
                }
                false
            }
        }
    }

    /// What must be so on a running server is made so at its first look, and again and again: `ACL
    /// LOAD` takes the replication user away, and a volume may be full for a while.
    pub(super) async fn prepare(&mut self, run_id: &str) {
        let (now, known) = (clock::now(), self.server.is_prepared(run_id));
        if known && now.since(self.prepared_at) < PREPARE_AGAIN {
            return;
        }
        self.prepared_at = now;
        self.troubles.conf = None;
        match crate::conf::write::refence(&self.conf) {
            Ok(true) => tracing::info!("the server runs: its configuration is the fence again"),
            Ok(false) => {}
            Err(error) => {
                let what = "the configuration could not be fenced again (is its directory writable for the sidecar?)";
                self.troubles.conf = Some(self.trouble(error, what));
            }
        }
        self.troubles.user = None;
        match prepare(&mut self.server, run_id, &self.replication).await {
            Ok(()) if known => self.write_passwords(),
            Ok(()) => {
                self.write_passwords();
                tracing::info!(
                    user = self.replication.user,
                    "the server has the set's replication user"
                );
            }
            Err(error) => {
                let what = "the replication user could not be made on the local server, so nobody can follow it";
                self.troubles.user = Some(self.trouble(error, what));
            }
        }
    }

    pub(super) fn trouble(
        &mut self,
        error: impl Into<anyhow::Error>,
        what: &'static str,
    ) -> String {
        let error = error.into();
        self.voice.complain(&error, what, clock::now());
        format!("{what}: {error:#}")
    }

    /// Who declined a grant a moment ago: asked again when everybody else has been, or later.
    pub(super) fn declined(&self, now: Time) -> BTreeSet<Ordinal> {
        let lately = self
            .declined_at
            .iter()
            .filter(|(_, at)| now.since(**at) < DECLINED);
        lately.map(|(ordinal, _)| *ordinal).collect()
    }
}
