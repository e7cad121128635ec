//! A set as one of its members sees it, and what an observer of everything can say of it.

use super::beings::Being;
use super::{NOW, Sight};
use crate::authority::lease::Says;
use crate::clock::Time;
use crate::decide::fixture::{Member, decided, peer, policy, times};
use crate::decide::learn::learn;
use crate::decide::lease::Known;
use crate::decide::{Authority, Decision, Local, Silence, Snapshot, Wish};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::LinkState;
use crate::topology::{Epoch, Ordinal, ReplicationId};

/// A set as one of its members sees it.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) me: &'a Member,
    pub(super) others: [(Ordinal, &'a Being); 2],
    pub(super) sight: Sight,
    pub(super) wish: Option<Wish>,
    pub(super) resolve: Option<Ordinal>,
}

impl World<'_> {
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.me.alone();
        snapshot.started_at = NOW;
        snapshot.had_master = true;
        for (ordinal, being) in self.others {
            let peer = peer(being.seen(), ordinal);
            snapshot.peers.insert(ordinal, peer);
        }
        snapshot.wish.clone_from(&self.wish);
        snapshot.resolve = self.resolve;
        snapshot.authority = Authority::Lease(Box::new(self.sight.clone().granted()));
        snapshot
    }

    /// Nobody arms itself before it has written the Lease; and
    /// whoever holds the grant of the epoch in which its data was written has taken the role by it, and
    /// remembers that.
    pub(super) fn can_be(&self) -> bool {
        let memory = &self.me.memory;
        let epoch = self.says().and_then(|s| s.epoch);
        let armed = memory.intent.as_ref().filter(|i| i.armed.is_some());
        let half = |s: &Says| !s.renewed || s.handover.is_none();
        if armed.is_some_and(|i| Some(i.epoch) == epoch) && self.says().is_some_and(half) {
            return false;
        }
        let taken = self.is_ours() && epoch.is_some() && epoch <= memory.epoch;
        !taken || memory.held.is_some() || memory.closed >= epoch
    }

    /// One turn of the loop.
    pub(super) fn decide(&self) -> Decision {
        let snapshot = self.snapshot();
        let me = Member {
            memory: learn(&snapshot, &self.me.memory),
            ..self.me.clone()
        };
        decided(&me, &snapshot, &policy())
    }

    pub(super) fn answering(&self) -> impl Iterator<Item = &Member> {
        self.others.iter().filter_map(|(_, being)| being.member())
    }

    pub(super) fn answer(&self, ordinal: Ordinal) -> Option<&Member> {
        self.answering().find(|m| m.ordinal == ordinal)
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &ServerInfo> {
        self.others.iter().filter_map(|(_, being)| being.server())
    }

    pub(super) fn server(&self) -> Option<&ServerInfo> {
        match &self.me.local {
            Local::Up(server) => Some(server),
            Local::Loading { .. } | Local::Unreachable { .. } => None,
        }
    }

    pub(super) fn says(&self) -> Option<&Says> {
        match &self.sight.known {
            Known::Lease { says, .. } => Some(says),
            Known::Unread | Known::Absent | Known::Unreadable { .. } => None,
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.says()
            .is_some_and(|s| s.holder.as_ref() == Some(&self.sight.me))
    }

    /// The Lease of this epoch is ours, and we have written it ourselves.
    pub(super) fn is_granted(&self, epoch: Epoch) -> bool {
        let says = self.says().filter(|s| s.renewed && s.epoch == Some(epoch));
        self.is_ours() && says.is_some()
    }

    /// The same, and our time is not over.
    pub(super) fn holds(&self, epoch: Epoch) -> bool {
        self.is_granted(epoch) && self.until().is_some_and(|until| NOW < until)
    }

    /// Nobody else can be the holder: nobody is, or this member waited for longer than that one may.
    pub(super) fn is_free(&self) -> bool {
        let waited = self.sight.unchanged.map(|u| u.read_at.since(u.since));
        let given_up = self.says().is_some_and(|s| s.holder.is_none());
        self.sight.unchanged.is_some() && (given_up || waited >= Some(times().duration))
    }

    pub(super) fn until(&self) -> Option<Time> {
        let renewed = self.sight.renewed.map(|(at, _)| at);
        Some(renewed.max(self.sight.promises.kept_since())? + times().deadline)
    }

    /// What is held here is over, or nobody knows that it is not.
    pub(super) fn is_late(&self) -> bool {
        let by_lease = self.me.memory.by_lease || self.is_ours() && self.sight.renewed.is_some();
        self.until().map_or(by_lease, |until| NOW >= until)
    }

    pub(super) fn writable(&self) -> bool {
        self.server().is_some_and(|s| s.role == ServerRole::Master)
    }

    /// The role is held here by a server that does not answer, and may accept writes.
    pub(super) fn may_write(&self) -> bool {
        let Local::Unreachable { silence, .. } = &self.me.local else {
            return false;
        };
        *silence != Silence::Gone && self.me.memory.held.is_some()
    }

    /// The epoch of the role that is held here.
    pub(super) fn held(&self) -> Option<Epoch> {
        let server = self.server().filter(|s| s.role == ServerRole::Master)?;
        let held = self.me.memory.held.as_ref()?;
        (held.run_id == server.run_id).then_some(held.epoch)
    }

    /// The newest epoch that this member can know of.
    pub(super) fn newest(&self) -> Option<Epoch> {
        let of = |m: &Member| {
            let grant = m.memory.grant.as_ref().map(|g| g.epoch);
            m.memory.epoch_seen.max(m.memory.last_epoch).max(grant)
        };
        let others = self.answering().map(of).max().flatten();
        let lease = self.says().and_then(|s| s.epoch);
        others.max(lease).max(self.me.memory.epoch_seen)
    }

    /// Somebody who can be asked has more on the same history.
    pub(super) fn has_more(&self) -> bool {
        self.member_has_more()
            || self
                .servers()
                .any(|s| self.is_more(s.id.as_ref(), s.offset))
    }

    /// The same; but what this server still receives from another one can be waited for.
    pub(super) fn has_more_for_good(&self) -> bool {
        let linked = self.server().is_some_and(
            |s| matches!(&s.role, ServerRole::Replica { link, .. } if *link == LinkState::Up),
        );
        let more = |s: &ServerInfo| self.is_more(s.id.as_ref(), s.offset);
        self.member_has_more() || !linked && self.servers().any(more)
    }

    fn is_more(&self, id: Option<&ReplicationId>, offset: u64) -> bool {
        let mine = &self.me.memory;
        id.is_some() && id == mine.id.as_ref() && offset > mine.offset
    }

    fn member_has_more(&self) -> bool {
        self.answering().any(|m| {
            let whole = matches!(m.local, Local::Up(_)) && !m.memory.unfinished;
            whole && self.is_more(m.memory.id.as_ref(), m.memory.offset)
        })
    }

    /// Its data is no copy under way: the link is up, with the history that is known.
    pub(super) fn is_whole(&self) -> bool {
        let linked = self.server().is_some_and(|s| {
            let up = matches!(&s.role, ServerRole::Replica { link, .. } if *link == LinkState::Up);
            up && s.id.is_some() && s.id == self.me.memory.id
        });
        !self.me.memory.unfinished || linked
    }

    /// A sidecar that was started again keeps the grant that it had until its first look.
    pub(super) fn keeps(&self, epoch: Epoch) -> bool {
        let had = self.sight.renewed.is_some_and(|(_, of)| of == epoch);
        let ours = self.is_ours() || self.sight.known == Known::Unread && had;
        ours && self.until().is_some_and(|until| NOW < until)
    }

    /// Somebody who can be asked has data of a newer epoch.
    pub(super) fn has_newer(&self) -> bool {
        self.answering().any(|m| {
            matches!(m.local, Local::Up(_))
                && !m.memory.unfinished
                && m.memory.epoch > self.me.memory.epoch
                && !self
                    .me
                    .memory
                    .lineage
                    .iter()
                    .any(|a| Some(a.epoch) == m.memory.epoch)
        })
    }

    /// A granted master, or one made by hand, that answers.
    pub(super) fn leads(member: &Member) -> bool {
        matches!(&member.local, Local::Up(s) if s.role == ServerRole::Master)
    }

    pub(super) fn promised(&self) -> bool {
        self.sight.promises.binds(NOW, times().duration)
    }
}
