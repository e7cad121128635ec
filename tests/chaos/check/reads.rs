//! How old was what ready replicas showed.
//!
//! A replica has to show what was acknowledged on the history that its data is of, and what is left at
//! the end of the histories before that one. What a later master acknowledged is measured only: ready
//! means that the link to the server that the replica follows is well, not that this is the last master.

use std::time::Duration;

use super::{Findings, is_acknowledged};
use crate::history::{Outcome, Read, Record, Write};

/// Why a read should have shown a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It was acknowledged on the history that was read, or on one that went on as that.
    Shown,
    /// It was acknowledged on a later history.
    Later,
}

pub(super) fn check(record: &Record, bound: Duration, found: &mut Findings) {
    found.reads = record.reads.len() as u64;
    let acknowledged: Vec<Vec<&Write>> = record
        .writes
        .iter()
        .map(|writes| writes.iter().filter(|w| is_acknowledged(w)).collect())
        .collect();
    let mut stale = Vec::new();
    for read in &record.reads {
        for (writer, (writes, shown)) in acknowledged.iter().zip(&read.values).enumerate() {
            let is_missing = |w: &&&Write| w.done_at < read.asked_at;
            let from = writes.partition_point(|w| w.value <= *shown);
            let missing = || writes[from..].iter().take_while(is_missing);
            let of = |due| missing().find(move |w| self::due(record, read, writer, w) == Some(due));
            if let Some(write) = of(Due::Later) {
                found.stalest_behind = found
                    .stalest_behind
                    .max(read.asked_at.saturating_sub(write.done_at));
            }
            if let Some(write) = of(Due::Shown) {
                let age = read.asked_at.saturating_sub(write.done_at);
                let words = || format!("{read}: writer {writer} is {age:?} behind: {write}");
                if age > found.stalest {
                    (found.stalest, found.stalest_read) = (age, words());
                }
                if age > bound {
                    stale.push(words());
                }
            }
        }
    }
    found.tell("a ready replica showed what was too old", &stale);
}

fn due(record: &Record, read: &Read, writer: usize, write: &Write) -> Option<Due> {
    let Outcome::Acknowledged { history, .. } = &write.outcome else {
        return None;
    };
    if *history == read.history {
        return Some(Due::Shown);
    }
    let kept = record.last.logs.get(writer);
    let is_kept = kept.is_some_and(|log| log.binary_search(&write.value).is_ok());
    let went_on = record.last.lineage.contains(&*read.history);
    let (Some(of), Some(seen)) = (record.told.epoch(history), record.told.epoch(&read.history))
    else {
        return None;
    };
    if !is_kept || !went_on || of == seen {
        return None;
    }
    Some(if of < seen { Due::Shown } else { Due::Later })
}
