//! What the observer of a world could know, read from the published documents alone. It shares no code
//! with the core: an error in a helper of the core is not repeated here.

use crate::decide::{Local, PeerState};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::{Grant, Report, Role};
use crate::state_file::Memory;
use crate::topology::{Epoch, Ordinal};

use super::world::World;

/// Everything that the observer could know, in one place.
pub(super) struct Known<'a> {
    pub(super) world: &'a World,
    /// What it remembered before it looked.
    pub(super) before: &'a Memory,
    pub(super) own: Report,
    /// Every document that was read, the own one included.
    pub(super) all: Vec<Report>,
}

pub(super) fn loaded(report: &Report) -> bool {
    matches!(report.role, Role::Master | Role::Replica | Role::Fenced)
}

/// Whole data: not between two histories, not nothing.
pub(super) fn complete(report: &Report) -> bool {
    loaded(report) && !report.unfinished && !report.empty
}

pub(super) fn same_history(a: &Report, b: &Report) -> bool {
    a.replication.id.is_some() && a.replication.id == b.replication.id
}

/// `a` certainly has more of the same history than `b`: a lower bound of `b`'s proves nothing, unless
/// the answer is as uncertain both times.
pub(super) fn has_more(a: &Report, b: &Report) -> bool {
    same_history(a, b)
        && a.replication.offset > b.replication.offset
        && (a.replication.exact || b.replication.exact)
}

/// Everything that `b` has is in `a`.
pub(super) fn contains(a: &Report, b: &Report) -> bool {
    let (ra, rb) = (&a.replication, &b.replication);
    if same_history(a, b) {
        return ra.offset >= rb.offset;
    }
    let Some(id) = &rb.id else { return false };
    if ra.id2.as_ref() == Some(id) {
        return ra.id2_end.is_some_and(|end| rb.offset <= end);
    }
    ra.lineage
        .iter()
        .any(|step| step.id == *id && step.end.is_none_or(|end| rb.offset <= end))
}

pub(super) fn knows_history(a: &Report, b: &Report) -> bool {
    let id = &b.replication.id;
    id.is_some()
        && (a.replication.id == *id
            || a.replication.id2 == *id
            || a.replication
                .lineage
                .iter()
                .any(|step| Some(&step.id) == id.as_ref()))
}

pub(super) fn named(pod: Option<&String>) -> Option<Ordinal> {
    pod?.rsplit_once('-')?.1.parse().ok().map(Ordinal)
}

impl<'a> Known<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let own = world.own();
        let answers = world
            .snapshot
            .peers
            .values()
            .filter_map(|p| match &p.state {
                PeerState::Answered(report) => Some(report.as_ref().clone()),
                PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
            });
        let all = answers.chain([own.clone()]).collect();
        Self {
            world,
            before: &world.me.memory,
            own,
            all,
        }
    }

    pub(super) fn server(&self) -> &ServerInfo {
        match &self.world.snapshot.local {
            Local::Up(server) => server,
            Local::Loading { .. } | Local::Unreachable { .. } => {
                panic!("a server that does not answer is told something")
            }
        }
    }

    pub(super) fn others(&self) -> impl Iterator<Item = &Report> {
        self.all.iter().filter(|r| r.ordinal != self.own.ordinal)
    }

    pub(super) fn report(&self, ordinal: Ordinal) -> Option<&Report> {
        self.all.iter().find(|r| r.ordinal == ordinal)
    }

    /// Servers without a sidecar that visibly have keys which this member has not.
    pub(super) fn shows_more(&self, leader: &Report) -> bool {
        let peers = self.world.snapshot.peers.values();
        let servers = peers.filter_map(|p| match &p.state {
            PeerState::ServerOnly(server) if !server.loading && server.keys > 0 => Some(server),
            PeerState::Answered(_)
            | PeerState::ServerOnly(_)
            | PeerState::Missing
            | PeerState::Silent(_) => None,
        });
        servers.into_iter().any(|server| {
            let r = &leader.replication;
            let from = |id: &crate::topology::ReplicationId| {
                r.lineage.iter().any(|step| step.id == *id) || r.id2.as_ref() == Some(id)
            };
            match &server.id {
                Some(id) if r.id.as_ref() == Some(id) => server.offset > r.offset,
                Some(id) => !from(id),
                None => true,
            }
        })
    }

    /// The newest epoch that anything readable shows.
    pub(super) fn newest(&self) -> Option<Epoch> {
        let of = |r: &Report| {
            [
                r.epoch,
                r.epoch_seen,
                r.authority.epoch,
                r.authority.grant.as_ref().map(|g| g.epoch),
            ]
        };
        let m = self.before;
        let mine = [
            m.epoch,
            m.last_epoch,
            m.epoch_seen,
            m.held.as_ref().map(|h| h.epoch),
        ];
        self.all.iter().flat_map(of).chain(mine).max().flatten()
    }

    /// The epoch of a member's data: the best label that anybody gives this history.
    pub(super) fn label(&self, of: &Report) -> Option<Epoch> {
        let same = self.all.iter().filter(|r| same_history(r, of));
        same.map(|r| r.epoch).chain([of.epoch]).max().flatten()
    }

    /// Whose data would be replaced by older or emptier data if this member led.
    pub(super) fn loses_by(&self, leader: &Report) -> Option<&Report> {
        self.all
            .iter()
            .filter(|r| r.ordinal != leader.ordinal && complete(r))
            .find(|r| {
                leader.empty
                    || has_more(r, leader)
                    || (self.label(r) > self.label(leader) && !contains(leader, r))
            })
    }

    /// Who accepts writes, the observer included.
    pub(super) fn writable(&self) -> Vec<Ordinal> {
        let peers = self
            .world
            .snapshot
            .peers
            .iter()
            .filter(|(_, p)| match &p.state {
                PeerState::Answered(r) => r.role == Role::Master,
                PeerState::ServerOnly(s) => s.role == ServerRole::Master,
                PeerState::Missing | PeerState::Silent(_) => false,
            });
        let mut all: Vec<_> = peers.map(|(o, _)| *o).collect();
        if self.own.role == Role::Master {
            all.push(self.own.ordinal);
        }
        all
    }

    /// Members of whom nothing is known, and for whom it is too early to go on without them.
    pub(super) fn unknown(&self) -> Vec<Ordinal> {
        let (snapshot, policy) = (&self.world.snapshot, &self.world.policy);
        let first_boot = self.all.iter().all(|r| r.empty);
        let seen = snapshot.peers.keys().map(|o| o.0 + 1).max().unwrap_or(0);
        let expected = seen
            .max(self.own.ordinal.0 + 1)
            .max(policy.replicas.unwrap_or(0));
        let known = |ordinal: &Ordinal| {
            let peer = snapshot.peers.get(ordinal);
            let since = peer.map_or(snapshot.process_started_at, |p| p.since);
            let since = since.max(snapshot.masterless_since);
            let length = snapshot.started_at.since(since);
            match (self.report(*ordinal), peer.map(|p| &p.state)) {
                (Some(report), _) if loaded(report) => true,
                (Some(report), _) if report.role == Role::Loading => false,
                (None, Some(PeerState::Missing))
                    if first_boot && snapshot.own_name_resolves && length >= policy.discover =>
                {
                    true
                }
                _ => length >= policy.peer_wait,
            }
        };
        (0..expected).map(Ordinal).filter(|o| !known(o)).collect()
    }

    /// The holder of the newest grant and the master of the newest data, as anybody says.
    pub(super) fn newest_masters(&self) -> Vec<Ordinal> {
        let holder = |r: &Report| Some((r.authority.epoch?, named(r.authority.holder.as_ref())?));
        let master = |r: &Report| Some((r.epoch?, named(r.master.as_ref())?));
        let holders = self.all.iter().filter_map(holder).max();
        let masters = self.all.iter().filter_map(master).max();
        [holders, masters]
            .into_iter()
            .flatten()
            .map(|(_, who)| who)
            .collect()
    }

    pub(super) fn counted_grant(&self, epoch: Epoch) -> Option<&Grant> {
        self.all.iter().find_map(|r| {
            let grant = r.authority.grant.as_ref()?;
            let obeyed = grant.counts && grant.epoch == epoch && grant.target == self.own.ordinal;
            (obeyed && grant.epoch.granter == r.ordinal).then_some(grant)
        })
    }
}
