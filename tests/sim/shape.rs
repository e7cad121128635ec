//! What a set is like: how many members, who grants the role, which servers.

use super::chance::Chance;
use super::server::Keeps;

/// Who may grant the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Lease,
    Ordinal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) members: usize,
    pub(crate) by: By,
    pub(crate) keeps: Keeps,
    /// Servers from before 7.0.
    pub(crate) old: bool,
    /// `--replicas` is given.
    pub(crate) told: bool,
    /// Clients write at all.
    pub(crate) writes: bool,
}

impl Shape {
    pub(crate) fn any(by: By, chance: &mut Chance) -> Self {
        let keeps = match chance.of(0, 6) {
            0 | 1 => Keeps::AppendOnly,
            2 => Keeps::Nothing,
            _ => Keeps::Snapshot,
        };
        let members = match chance.of(0, 8) {
            0 => 2,
            1 => chance.which(6) + 4,
            _ => 3,
        };
        Self {
            members,
            by,
            keeps,
            old: chance.one_in(3),
            told: by == By::Lease || chance.one_in(2),
            writes: !chance.one_in(12),
        }
    }
}
