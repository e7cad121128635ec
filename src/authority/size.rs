//! How many members the set is to have, read now and then beside the loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::kubernetes::{Kubernetes, Spec, StatefulSets};

/// Between two looks. A set is scaled by a person or once a minute by a machine.
const LOOK: Duration = Duration::from_secs(30);

/// The loop's end of it.
pub struct Size {
    spec: watch::Receiver<Option<Spec>>,
}

impl Size {
    /// Begins to look. `wake` is told of every change.
    pub fn start(kubernetes: Kubernetes, set: String, wake: Arc<Notify>) -> Self {
        let (told, spec) = watch::channel(None);
        tokio::spawn(look_on(StatefulSets::new(kubernetes, set), told, wake));
        Self { spec }
    }

    /// `spec.replicas`, where it could be read.
    pub fn replicas(&self) -> Option<u32> {
        self.spec.borrow().and_then(|spec| spec.replicas)
    }

    /// Its pods are started one after the other: none before the one before it is ready.
    pub fn is_in_order(&self) -> bool {
        self.spec.borrow().is_some_and(|spec| spec.in_order)
    }
}

async fn look_on(sets: StatefulSets, told: watch::Sender<Option<Spec>>, wake: Arc<Notify>) {
    let mut complained = false;
    loop {
        match sets.read().await {
            Ok(spec) => {
                let changed = told.send_if_modified(|before| {
                    let changed = *before != spec;
                    *before = spec;
                    changed
                });
                if changed {
                    wake.notify_one();
                }
            }
            // What was read stays: a set that grew is seen by its members' names, too.
            Err(error) if !complained => {
                complained = true;
                tracing::info!(%error, "the StatefulSet's spec.replicas is not known");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}
