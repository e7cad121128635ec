//! Two servers that acknowledged writes in one epoch are two masters, at whatever times they did it.
//! A server that was started again is another one: each time that one is made writable begins an epoch.

use std::collections::BTreeMap;

use super::Findings;
use crate::history::{Accepted, Epoch, Outcome, Record};

/// Everybody who accepted writes: those whom the probes found, and those who answered the writers.
fn all(record: &Record) -> Vec<Accepted> {
    let mut all = BTreeMap::<(&str, &str), Accepted>::new();
    for accepted in &record.accepted {
        let key = (accepted.server.run.as_str(), &*accepted.history);
        all.insert(key, accepted.clone());
    }
    for write in record.writes.iter().flatten() {
        if let Outcome::Acknowledged {
            server, history, ..
        } = &write.outcome
        {
            let first = || Accepted {
                server: server.clone(),
                history: history.clone(),
                from: write.done_at,
                to: write.sent_at,
            };
            let known = all.entry((&server.run, history)).or_insert_with(first);
            known.from = known.from.min(write.done_at);
            known.to = known.to.max(write.sent_at);
        }
    }
    all.into_values().collect()
}

pub(super) fn check(record: &Record, found: &mut Findings) {
    let all = all(record);
    let mut masters = BTreeMap::<Epoch, &Accepted>::new();
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for accepted in &all {
        let history = &accepted.history;
        let Some(epochs) = record.told.epochs.get(&**history) else {
            // Whoever died before it could tell was alone.
            let beside = all.iter().find(|other| accepted.is_beside(other));
            unknown.extend(beside.map(|other| format!("{accepted}, beside {other}")));
            continue;
        };
        for epoch in epochs {
            let first = masters.entry(*epoch).or_insert(accepted);
            if first.server.run != accepted.server.run {
                wrong.push(format!("epoch {epoch}: {first} and {accepted}"));
            }
        }
    }
    found.tell("nobody told the epoch of a master", &unknown);
    found.tell("two servers accepted writes in one epoch", &wrong);
}
