//! Acknowledged writes that are gone: where they were last, where they were missing first, and what lies
//! between. A failover may lose what no replica had received; a handover, or no change of the master at
//! all, may not.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, is_acknowledged};
use crate::history::{Epoch, Outcome, Record, Server, Write};

/// What lies between a write and its loss.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Between {
    /// At least one master that did not take over with every write.
    Failover,
    /// Handovers alone, or nothing.
    NoFailover { from: Epoch, to: Option<Epoch> },
}

/// What one writer wrote.
struct Log<'a> {
    writes: &'a [Write],

    /// The first and the last write that were acknowledged in each epoch.
    ends: BTreeMap<Epoch, (&'a Write, &'a Write)>,
}

pub(super) fn check(record: &Record, found: &mut Findings) {
    let (mut lost, mut false_refusals, mut strange) = (Vec::new(), Vec::new(), Vec::new());
    for (writer, writes) in record.writes.iter().enumerate() {
        let kept = record.last.logs.get(writer).map_or(&[][..], Vec::as_slice);
        let log = Log::new(record, writes);
        if !kept.is_sorted_by(|one, next| one < next) {
            strange.push(format!("the log of writer {writer} is out of order"));
            continue;
        }
        for write in writes {
            let is_kept = kept.binary_search(&write.value).is_ok();
            match &write.outcome {
                Outcome::Acknowledged { .. } if !is_kept => match log.between(record, write) {
                    Between::Failover => found.lost_by_failovers += 1,
                    Between::NoFailover { from, to } => {
                        let to = to.map_or_else(|| "the end".to_owned(), |to| to.to_string());
                        lost.push(format!(
                            "writer {writer}: {write}; it was there in epoch {from}, and not any more in {to}"
                        ));
                    }
                },
                Outcome::Refused if is_kept => {
                    false_refusals.push(format!("writer {writer}: {write}"));
                }
                Outcome::Acknowledged { .. } | Outcome::Refused | Outcome::Unknown => {}
            }
        }
        let known = |value: &&u64| writes.binary_search_by_key(*value, |w| w.value).is_err();
        let unknown = kept.iter().filter(known);
        strange.extend(unknown.map(|v| format!("writer {writer} never wrote {v}")));
    }
    found.lost_by_handovers = lost.len() as u64;
    found.tell("an acknowledged write is lost without a failover", &lost);
    found.tell("a refused write was carried out", &false_refusals);
    found.tell("what nobody wrote is there", &strange);
}

impl<'a> Log<'a> {
    fn new(record: &Record, writes: &'a [Write]) -> Self {
        let mut ends = BTreeMap::new();
        for write in writes.iter().filter(|w| is_acknowledged(w)) {
            if let Some(epoch) = epoch_of(record, write) {
                ends.entry(epoch).or_insert((write, write)).1 = write;
            }
        }
        Self { writes, ends }
    }

    /// What lies between a write that is gone and its loss. Of a history whose epoch nobody told, the
    /// master died before it could: that was a failover.
    fn between(&self, record: &Record, lost: &Write) -> Between {
        let (Some(mut from), Some(mut server)) = (epoch_of(record, lost), server_of(lost)) else {
            return Between::Failover;
        };
        let mut to = record.told.epoch(&record.last.history);
        for (epoch, (first, last)) in self.ends.range(from..) {
            let began_with_it = if *epoch == from {
                Some(true)
            } else {
                self.follows(first, lost.value)
            };
            match began_with_it {
                Some(true) => {
                    from = *epoch;
                    server = server_of(first).unwrap_or(server);
                    if self.follows(last, lost.value) == Some(false) {
                        to = Some(from);
                        break;
                    }
                }
                Some(false) => {
                    to = Some(*epoch);
                    break;
                }
                None => {}
            }
        }
        let all_handed_over = to.is_none_or(|to| only_handovers(record, server, from, to));
        if all_handed_over {
            Between::NoFailover { from, to }
        } else {
            Between::Failover
        }
    }

    /// Whether a write is a value's own, or was put behind it; none where that cannot be told, because an
    /// unanswered one is between the two.
    fn follows(&self, write: &Write, value: u64) -> Option<bool> {
        let mut at = write;
        while at.value != value {
            let Outcome::Acknowledged { before, .. } = &at.outcome else {
                return None;
            };
            if *before <= value {
                return Some(*before == value);
            }
            let place = self.writes.binary_search_by_key(before, |w| w.value).ok()?;
            at = &self.writes[place];
        }
        Some(true)
    }
}

fn epoch_of(record: &Record, write: &Write) -> Option<Epoch> {
    match &write.outcome {
        Outcome::Acknowledged { history, .. } => record.told.epoch(history),
        Outcome::Refused | Outcome::Unknown => None,
    }
}

fn server_of(write: &Write) -> Option<&Server> {
    match &write.outcome {
        Outcome::Acknowledged { server, .. } => Some(server),
        Outcome::Refused | Outcome::Unknown => None,
    }
}

/// Whether each master after that of `from` up to that of `to` took over with every write, or is the one
/// before it, which went on.
fn only_handovers(record: &Record, first: &Server, from: Epoch, to: Epoch) -> bool {
    let told = &record.told;
    let mut epochs: BTreeSet<Epoch> = told.reigns.keys().copied().collect();
    epochs.extend(told.epochs.values().flatten());
    let mut run = first.run.as_str();
    for epoch in epochs.into_iter().filter(|e| from < *e && *e <= to) {
        let Some(reign) = told.reigns.get(&epoch) else {
            return false;
        };
        let claimed = record
            .claims
            .iter()
            .filter(|c| c.epoch == epoch.to_string());
        let claimed = claimed.map(|c| c.from.as_str());
        let took_over = reign.took_over_from.as_deref();
        let is_handover = took_over.into_iter().chain(claimed).any(|of| of == run);
        if !is_handover && reign.run != run {
            return false;
        }
        run = &reign.run;
    }
    true
}
