//! Which of two members has the newer, or the larger, data.
//!
//! Epochs order histories; offsets order members on the same history, and say nothing across two
//! (Redis documentation, "Replication ID explained"). Pure.

use crate::report::Report;
use crate::topology::{Epoch, Ordinal, ReplicationId};

/// How the data of one member relates to that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The other's data is a prefix of this one's, or equal to it.
    Contains,
    /// This one's data is a true prefix of the other's.
    IsContained,
    /// Both have what the other lacks, or nobody can tell.
    Unrelated,
}

/// How `a`'s data relates to `b`'s, as far as replication IDs tell.
pub fn relation(a: &Report, b: &Report) -> Relation {
    let (ra, rb) = (&a.replication, &b.replication);
    if ra.id.is_some() && ra.id == rb.id {
        return if ra.offset >= rb.offset {
            Relation::Contains
        } else {
            Relation::IsContained
        };
    }
    if descends(a, b) {
        return Relation::Contains;
    }
    if descends(b, a) {
        return Relation::IsContained;
    }
    Relation::Unrelated
}

/// Whether `a`'s data went on from a point of `b`'s history at which `b` had no more than that.
fn descends(a: &Report, b: &Report) -> bool {
    let Some(id) = &b.replication.id else {
        return false;
    };
    if a.replication.id2.as_ref() == Some(id) {
        return a
            .replication
            .id2_end
            .is_some_and(|end| b.replication.offset <= end);
    }
    a.replication.lineage.iter().any(|ancestor| {
        ancestor.id == *id && ancestor.end.is_none_or(|end| b.replication.offset <= end)
    }) && a.replication.id.as_ref() != Some(id)
}

/// Whether `b`'s history is one from which `a`'s data came, however far `b` went on in it.
pub fn knows_history_of(a: &Report, b: &Report) -> bool {
    b.replication.id.as_ref().is_some_and(|id| knows(a, id))
}

/// Whether an ID is one of those under which `a`'s data was written.
pub fn knows(a: &Report, id: &ReplicationId) -> bool {
    a.replication.id.as_ref() == Some(id)
        || a.replication.id2.as_ref() == Some(id)
        || a.replication
            .lineage
            .iter()
            .any(|ancestor| ancestor.id == *id)
}

/// The bytes at the end of `own` that a member which now follows `master` gives up; none when that
/// cannot be told.
pub fn lost_tail(own: &Report, master: &Report) -> Option<u64> {
    let id = own.replication.id.as_ref()?;
    let (offset, theirs) = (own.replication.offset, &master.replication);
    if theirs.id.as_ref() == Some(id) {
        return Some(offset.saturating_sub(theirs.offset));
    }
    if theirs.id2.as_ref() == Some(id) {
        return theirs.id2_end.map(|end| offset.saturating_sub(end));
    }
    let ancestor = theirs.lineage.iter().find(|a| a.id == *id)?;
    ancestor.end.map(|end| offset.saturating_sub(end))
}

/// The epoch of a member's data: its own word for it, or that of anybody who has the same history.
/// A member whose state file is gone still has its data.
pub fn epoch_among(member: &Report, all: &[&Report]) -> Option<Epoch> {
    let same = |other: &&&Report| {
        member.replication.id.is_some() && other.replication.id == member.replication.id
    };
    all.iter()
        .filter(same)
        .filter_map(|r| r.epoch)
        .max()
        .max(member.epoch)
}

/// Whose data the set should go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Best {
    /// This member's.
    Member(Ordinal),
    /// Two members have data that cannot be compared: a person decides.
    TwoHistories(Ordinal, Ordinal),
    /// There is none to choose from.
    Nobody,
}

/// Chooses among members that have data: the newest epoch, as far as `all` know it; on the same history
/// the most data; between equals the recorded master of that epoch, then the lowest ordinal, pod-0 first.
pub fn best(
    candidates: &[&Report],
    all: &[&Report],
    recorded_master: impl Fn(Epoch) -> Option<Ordinal>,
) -> Best {
    let epoch_of = |r: &Report| epoch_among(r, all);
    let newest = candidates.iter().map(|r| epoch_of(r)).max().flatten();
    let newest: Vec<&Report> = candidates
        .iter()
        .copied()
        .filter(|r| epoch_of(r) == newest)
        .collect();
    let Some(first) = newest.first() else {
        return Best::Nobody;
    };
    let master = epoch_of(first).and_then(recorded_master);
    let mut chosen = *first;
    for &other in &newest[1..] {
        match compare(chosen, other, master) {
            Compared::KeepFirst => {}
            Compared::TakeSecond => chosen = other,
            Compared::Unrelated => return Best::TwoHistories(chosen.ordinal, other.ordinal),
        }
    }
    // The comparison is not transitive when a bound is inexact: whoever was chosen must hold against
    // everyone.
    for &other in newest.iter().filter(|r| r.ordinal != chosen.ordinal) {
        if compare(chosen, other, master) != Compared::KeepFirst {
            return Best::TwoHistories(chosen.ordinal, other.ordinal);
        }
    }
    Best::Member(chosen.ordinal)
}

#[derive(PartialEq, Eq)]
enum Compared {
    KeepFirst,
    TakeSecond,
    Unrelated,
}

fn compare(a: &Report, b: &Report, master: Option<Ordinal>) -> Compared {
    let prefer = |first: bool| {
        if first {
            Compared::KeepFirst
        } else {
            Compared::TakeSecond
        }
    };
    if !a.replication.exact
        && !b.replication.exact
        && (a.replication.id == b.replication.id || knows_either(a, b))
    {
        // Two lower bounds, recorded at different times, do not order the data. Within an epoch no
        // replica has what its master has not.
        if let Some(master) = master.filter(|m| *m == a.ordinal || *m == b.ordinal) {
            return prefer(a.ordinal == master);
        }
    }
    match relation(a, b) {
        Relation::Contains
            if a.replication.id == b.replication.id
                && a.replication.offset == b.replication.offset =>
        {
            match master {
                Some(master) if master == b.ordinal => Compared::TakeSecond,
                Some(master) if master == a.ordinal => Compared::KeepFirst,
                _ => prefer(a.ordinal < b.ordinal),
            }
        }
        Relation::Contains => Compared::KeepFirst,
        Relation::IsContained => Compared::TakeSecond,
        // In one epoch there was one master, and all data of that epoch came from it.
        Relation::Unrelated => match master {
            Some(master) if master == a.ordinal => Compared::KeepFirst,
            Some(master) if master == b.ordinal => Compared::TakeSecond,
            _ => Compared::Unrelated,
        },
    }
}

fn knows_either(a: &Report, b: &Report) -> bool {
    knows_history_of(a, b) || knows_history_of(b, a)
}
