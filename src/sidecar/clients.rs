//! The clients of a server that was the master: closed, so that they come back through whatever leads to
//! the new one.

use std::time::Duration;

use super::Sidecar;
use crate::clock::Time;
use crate::decide::{Local, View};
use crate::observe::info::ServerRole;
use crate::report::Role;
use crate::state_file::Memory;

/// When the clients of a demoted server are closed again: other nodes' proxies may be late.
const CLOSE_AGAIN: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Whose clients have to be closed: those of a server that was the master.
#[derive(Debug, Default)]
pub(super) struct Demoted {
    /// The server accepted writes at the last look.
    was_writable: bool,
    /// When it was seen not to, with another master there; and how often its clients have been closed
    /// since.
    closing: Option<(Time, usize)>,
}

impl Demoted {
    /// What a sidecar that was started again knows of it.
    pub(super) fn after(memory: &Memory) -> Self {
        let handing_over = memory.grant.as_ref().is_some_and(|g| g.handover.is_some());
        Self {
            was_writable: memory.role == Some(Role::Master) || handing_over,
            closing: None,
        }
    }
}

impl Sidecar {
    /// Closes the clients of a server that was the master, once there is another one to go to. Says
    /// whether that is done, or was not needed.
    pub(super) async fn close_clients(&mut self, view: &View<'_>) -> bool {
        let Local::Up(server) = &view.snapshot.local else {
            self.demoted = Demoted::default();
            return true;
        };
        let (now, me) = (view.snapshot.started_at, view.snapshot.me);
        let writable = server.role == ServerRole::Master;
        let was = std::mem::replace(&mut self.demoted.was_writable, writable);
        if writable {
            self.demoted.closing = None;
            return true;
        }
        if was {
            self.demoted.closing = Some((now, 0));
        }
        let Some((since, times)) = self.demoted.closing else {
            return true;
        };
        if view.granted_master().is_none_or(|m| m.ordinal == me) {
            // Nobody to go to yet: the time begins when there is.
            self.demoted.closing = Some((now, times));
            return false;
        }
        let Some(after) = CLOSE_AGAIN.get(times) else {
            self.demoted.closing = None;
            return true;
        };
        if now.since(since) < *after {
            return times > 0;
        }
        if let Some(connection) = self.server.connection()
            && let Err(error) = connection.kill_clients().await
        {
            let what = "the clients of the old master could not be closed, and get READONLY until they connect anew (see the rights in the README)";
            let words = self.trouble(error, what);
            if let Some(run) = self.run.as_ref().filter(|_| times == 0) {
                run.note(&words);
            }
        }
        self.demoted.closing = Some((since, times + 1));
        true
    }
}
