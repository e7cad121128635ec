//! Watches every member: writes to its server all the time, to learn who accepts writes under which
//! history, and reads its `/status`, to learn who reigns in which epoch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use harness::http::Status;
use harness::wait::pause;
use serde_json::Value;

use crate::clients::Known;
use crate::history::{Accepted, Epoch, Reign, Told};

/// Between two writes to a server, and two readings of a page.
const PACE: Duration = Duration::from_millis(25);

/// Watchers at work.
#[derive(Debug)]
pub(crate) struct Watch {
    told: Arc<Mutex<Told>>,
    probes: Vec<JoinHandle<Vec<Accepted>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins, from the network of the calling thread.
    pub(crate) fn start(known: &Known) -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let probe = |ordinal| {
            let known = known.clone();
            std::thread::spawn(move || probe(ordinal, &known))
        };
        let reader = |ordinal| {
            let (known, told) = (known.clone(), Arc::clone(&told));
            std::thread::spawn(move || listen(ordinal, &known, &told))
        };
        Self {
            probes: (0..known.members()).map(probe).collect(),
            readers: (0..known.members()).map(reader).collect(),
            told,
        }
    }

    /// What was told up to now.
    pub(crate) fn told(&self) -> Told {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// What was seen and told, once the watchers were told to end.
    pub(crate) fn end(self) -> Result<(Vec<Accepted>, Told)> {
        let mut accepted = Vec::new();
        for probe in self.probes {
            accepted.extend(probe.join().map_err(|_| anyhow!("a probe panicked"))?);
        }
        for reader in self.readers {
            reader.join().map_err(|_| anyhow!("a watcher panicked"))?;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((accepted, told.clone()))
    }
}

/// Writes to a member's server, over and over.
fn probe(ordinal: usize, known: &Known) -> Vec<Accepted> {
    let (mut seen, mut link) = (BTreeMap::<(String, String), Accepted>::new(), None);
    while !known.is_over() {
        pause(PACE);
        if link.is_none() {
            link = known.link(ordinal).ok();
        }
        let Some(open) = &mut link else { continue };
        let sent_at = known.at();
        match open.conn.try_write() {
            Ok(None) => {}
            Ok(Some(history)) => {
                let first = Accepted {
                    server: Arc::clone(&open.server),
                    history: history.as_str().into(),
                    from: known.at(),
                    to: sent_at,
                };
                seen.entry((open.server.run.clone(), history))
                    .and_modify(|accepted| accepted.to = sent_at)
                    .or_insert(first);
            }
            Err(_) => link = None,
        }
    }
    seen.into_values().collect()
}

/// Reads a member's page, over and over.
fn listen(ordinal: usize, known: &Known, told: &Mutex<Told>) {
    while !known.is_over() {
        if let Ok(status) = Status::read(known.place(ordinal)) {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            hear(&status.0, &mut told);
        }
        pause(PACE);
    }
}

fn epoch(of: &Value) -> Option<Epoch> {
    Some(Epoch {
        counter: of["counter"].as_u64()?,
        granter: of["granter"].as_u64()?,
    })
}

fn text(of: &Value) -> Option<String> {
    of.as_str().map(ToOwned::to_owned)
}

/// Notes what a member tells: of the descent of its data, and of itself, where it is the master that
/// holds the grant of its epoch.
fn hear(status: &Value, told: &mut Told) {
    let lineage = status.pointer("/replication/lineage");
    let all = lineage.and_then(Value::as_array).into_iter().flatten();
    for ancestor in all.filter(|ancestor| ancestor["at_least"] != true) {
        if let (Some(id), Some(epoch)) = (text(&ancestor["id"]), epoch(&ancestor["epoch"])) {
            told.epochs.entry(id).or_default().insert(epoch);
        }
    }
    let authority = &status["authority"];
    let is_master = status["role"] == "master"
        && status["epoch"] == authority["epoch"]
        && status["pod"] == authority["holder"];
    let reign = (
        epoch(&status["epoch"]),
        text(&status["pod"]),
        text(&status["server"]["run_id"]),
    );
    if let (true, (Some(epoch), Some(pod), Some(run))) = (is_master, reign) {
        let took_over_from = text(&authority["took_over_from"]);
        let reign = Reign {
            pod,
            run,
            took_over_from,
        };
        let known = told.reigns.entry(epoch).or_insert_with(|| reign.clone());
        known.took_over_from = known.took_over_from.take().or(reign.took_over_from);
    }
}
