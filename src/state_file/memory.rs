//! What is remembered.

use serde::{Deserialize, Serialize};

use crate::observe::info::ServerInfo;
use crate::report::{Ancestor, Even, Grant, Intent, Role};
use crate::topology::{Epoch, Ordinal, ReplicationId};

/// The longest descent that is kept; older ancestors lost their backlog long ago.
pub const LINEAGE_KEPT: usize = 16;

/// The master role as this member took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// The server that was un-fenced. Another run of it holds nothing.
    pub run_id: String,
    /// The replication ID that it has written under since; none until it was seen.
    pub id: Option<ReplicationId>,
    /// Set when it was taken in a handover with everything that the master before had: the run of
    /// that one's server.
    #[serde(default)]
    pub took_over_from: Option<String>,
    /// See [`crate::report::Handover::away_from`].
    #[serde(default)]
    pub away_from: Option<String>,
}

/// `min-replicas-to-write` while it is raised to stop writes before a fence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The run of the server; another run has its own configuration again.
    pub run_id: String,
    /// The value before.
    pub before: String,
    /// `min-replicas-max-lag` before, where it had to be set too: with 0 the other one does nothing.
    #[serde(default)]
    pub max_lag: Option<String>,
}

/// Whom this member was told to follow last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The master's ordinal.
    pub master: Ordinal,
    /// The epoch it held.
    pub epoch: Epoch,
    /// Its replication ID at that time.
    pub id: Option<ReplicationId>,
    /// The data was known by a look, and nobody else was followed since: a history that nobody remembers
    /// came from this master.
    #[serde(default)]
    pub only_source: bool,
}

/// Stands for a replication ID that a restart did not keep (AOF, or an RDB without one): in this run
/// of the server, `id` means the recorded history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The run of the server.
    pub run_id: String,
    /// The fresh ID that the server made up at its start.
    pub id: Option<ReplicationId>,
}

/// A member's memory. All of it is persisted before anything that rests on it is done or published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// [`crate::report::SCHEMA`] of the writer.
    pub schema: u32,
    /// `<namespace>/<pod>`: whose file this is.
    pub owner: String,
    /// The epoch of the history that is loaded, as far as it was ever finished.
    pub epoch: Option<Epoch>,
    /// The newest epoch of any history that was whole here. Stays when the data is gone.
    pub last_epoch: Option<Epoch>,
    /// The newest epoch known of; nothing older is obeyed.
    pub epoch_seen: Option<Epoch>,
    /// To whom the newest epoch known of was granted.
    pub holder: Option<Ordinal>,
    /// The role at the last look.
    pub role: Option<Role>,
    /// The master of `epoch`.
    pub master: Option<Ordinal>,
    /// The replication ID of the data.
    pub id: Option<ReplicationId>,
    /// The offset at the last look.
    pub offset: u64,
    /// The histories that the data is made of, oldest first.
    pub lineage: Vec<Ancestor>,
    /// The server's run at the last look with its data loaded.
    pub run_id: Option<String>,
    /// Whether it had a replication backlog then: without one a saved RDB carries no ID.
    pub backlog: bool,
    /// See [`Alias`].
    pub alias: Option<Alias>,
    /// The data is between two histories.
    pub unfinished: bool,
    /// Whom the server was told to follow last, until its data is that one's.
    pub followed: Option<Followed>,
    /// Where it was pointed at for that: host and port.
    pub pointed_at: Option<String>,
    /// The master role, while this member has it.
    pub held: Option<Held>,
    /// The grant that this member publishes.
    pub grant: Option<Grant>,
    /// The promotion under way.
    pub intent: Option<Intent>,
    /// See [`Raised`].
    pub raised: Option<Raised>,
    /// What is held here is held by the Lease, and lost at its deadline.
    pub by_lease: bool,
    /// The newest epoch granted to this member that it will not carry out (again).
    pub closed: Option<Epoch>,
    /// When this was written, in seconds since 1970; for people.
    pub at: u64,
}

impl Memory {
    /// The role is held here from now on, by this run of the server.
    pub fn holds(&mut self, me: Ordinal, epoch: Epoch, run_id: &str) {
        self.intent = None;
        // The role came back from a handover that did not happen: home is where it was before.
        let offered = self.grant.take_if(|grant| grant.handover.is_some());
        let away_from = match self.held.take() {
            Some(held) => held.away_from,
            None => offered.and_then(|grant| grant.handover?.away_from),
        };
        self.held = Some(Held {
            epoch,
            run_id: run_id.to_owned(),
            id: None,
            took_over_from: None,
            away_from: away_from.filter(|_| me != Ordinal::ZERO),
        });
        self.epoch_seen = self.epoch_seen.max(Some(epoch));
        self.holder = Some(me);
        self.followed = None;
        self.pointed_at = None;
    }

    /// The role is held from now on, taken over with everything that the master before had.
    pub fn takes_over(&mut self, me: Ordinal, intent: &Intent) {
        self.holds(me, intent.epoch, &intent.run_id);
        let (Some(held), Some(armed)) = (&mut self.held, &intent.armed) else {
            return;
        };
        held.took_over_from = Some(armed.handover.run_id.clone());
        held.away_from.clone_from(&armed.handover.away_from);
        self.was_even(armed.even.as_ref());
    }

    /// The data reached as far as this.
    pub(crate) fn was_even(&mut self, even: Option<&Even>) {
        if let Some(even) = even.filter(|even| self.id.as_ref() == Some(&even.id)) {
            self.offset = even.offset;
        }
    }

    /// The grant of this epoch is not carried out here (again).
    pub fn closes(&mut self, epoch: Epoch) {
        self.intent = None;
        self.closed = self.closed.max(Some(epoch));
    }

    /// What the server has loaded is what is remembered.
    pub fn knows(&self, server: &ServerInfo) -> bool {
        let alias = self.alias.as_ref().map(|alias| &alias.id);
        self.id == server.id || alias == Some(&server.id)
    }

    /// The server is told to follow a master. `followed.only_source`: what it has loaded is what is
    /// remembered, so that nothing has come from anybody since.
    pub fn follows(&mut self, followed: Followed, at: Option<String>) {
        let again = self.followed.as_ref().is_some_and(|before| {
            let same = (before.master, before.epoch) == (followed.master, followed.epoch);
            same && before.only_source
        });
        self.unfinished = self.unfinished || self.id != followed.id || self.alias.is_some();
        self.pointed_at = at;
        self.followed = Some(Followed {
            only_source: followed.only_source || again,
            ..followed
        });
    }
}
