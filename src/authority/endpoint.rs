//! Where plain clients find the master: its Service, and the pods' role labels.
//!
//! A Service without a selector, whose `EndpointSlice` belongs to the set: one for each family of
//! addresses, each written in one write, never over one of a newer epoch. The loop says whom it is to
//! lead to; it is made so, and again when somebody edits or deletes it. Where the rights for
//! `EndpointSlice`s cannot be had, the Service selects by the role label.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::kubernetes::{ApiError, Kubernetes, Pods, Services};
use crate::login::Login;
use crate::observe::redis::Connection;
use crate::topology::{Epoch, PodName, ServerAt};

/// How often it is looked at while this member answers for it.
const REPAIR: Duration = Duration::from_secs(5);
/// Between two attempts to make it so.
const AGAIN: Duration = Duration::from_millis(200);
/// Between two attempts to find the pod through the Service.
const TRY: Duration = Duration::from_millis(20);
/// How often the labels are looked at; a Service that selects by them is looked at as often as one
/// that does not.
const LABELS: Duration = Duration::from_mins(1);

/// Whom the Service is to lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The pod's name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its server's run, by which it is known when it answers.
    pub run_id: Option<String>,
    /// The epoch in which that is said.
    pub epoch: Epoch,
    /// The other pods of the set.
    pub others: BTreeSet<String>,
}

/// What is known of the Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leads {
    /// The pod that it leads to since the last look, and the epoch in which that was said.
    pub to: Option<(String, Epoch)>,
    /// That pod answered at the Service's own address, tried from here; or it has none.
    pub answers: bool,
    /// Why that could not be made so at the last attempt.
    pub failure: Option<String>,
}

/// The Service.
pub struct ServiceOf {
    /// Its name.
    pub name: String,
    /// It selects by the role label; otherwise its `EndpointSlice`s are written.
    pub selects: bool,
    /// The servers' port.
    pub port: u16,
    /// With what they are logged in to.
    pub login: Login,
}

/// The loop's end of it.
pub struct Endpoint {
    wanted: watch::Sender<Option<Wanted>>,
    leads: watch::Receiver<Leads>,
    leads_clients: bool,
}

impl Endpoint {
    /// Begins to look after the labels, and after a Service where there is one. `wake` is told of every
    /// change.
    pub fn start(kubernetes: Kubernetes, service: Option<ServiceOf>, wake: Arc<Notify>) -> Self {
        let (wanted, asked) = watch::channel(None);
        let (told, leads) = watch::channel(Leads::default());
        let leads_clients = service.is_some();
        let keeping = Keeping {
            pods: Pods::new(kubernetes.clone()),
            labels_lead: service.as_ref().is_some_and(|s| s.selects),
            service: service.map(|s| (Services::new(kubernetes, s.name, s.port), s.login)),
            told,
            wake,
        };
        tokio::spawn(keeping.look_after(asked));
        Self {
            wanted,
            leads,
            leads_clients,
        }
    }

    /// Whom it is to lead to from now on; none where that is another member's to say.
    pub fn want(&self, wanted: Option<Wanted>) {
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// What is known now; none where clients are not led from here.
    pub fn leads(&self) -> Option<Leads> {
        self.leads_clients.then(|| self.leads.borrow().clone())
    }
}

struct Keeping {
    pods: Pods,
    labels_lead: bool,
    service: Option<(Services, Login)>,
    told: watch::Sender<Leads>,
    wake: Arc<Notify>,
}

impl Keeping {
    async fn look_after(self, mut asked: watch::Receiver<Option<Wanted>>) {
        let mut labels_at = None;
        let mut complained = false;
        loop {
            let wanted = asked.borrow_and_update().clone();
            let mut again = REPAIR;
            if let Some(wanted) = wanted {
                if let Err(error) = self.lead(&wanted, &mut asked).await {
                    // What the API server refuses it refuses again.
                    let refused = matches!(error, ApiError::Refused { .. });
                    again = if refused { REPAIR } else { AGAIN };
                    self.tell(Leads {
                        failure: Some(error.to_string()),
                        ..Leads::default()
                    });
                }
                let due =
                    labels_at
                        .as_ref()
                        .is_none_or(|(of, at): &(Wanted, tokio::time::Instant)| {
                            *of != wanted || at.elapsed() >= LABELS
                        });
                if due && !self.labels_lead && !asked.has_changed().unwrap_or(false) {
                    let labelled = self.label(&wanted).await;
                    labels_at = Some((wanted, tokio::time::Instant::now()));
                    match labelled {
                        Err(error) if !complained => {
                            complained = true;
                            tracing::info!(%error, "the pods' labels podzero/role are not kept");
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
            } else {
                labels_at = None;
            }
            tokio::select! {
                changed = asked.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    async fn label(&self, wanted: &Wanted) -> Result<(), ApiError> {
        let others = wanted.others.iter().map(String::as_str);
        self.pods.label(wanted.epoch, &wanted.pod, others).await
    }

    /// Makes it so, and waits until it is seen to be so, or somebody else is wanted.
    async fn lead(
        &self,
        wanted: &Wanted,
        asked: &mut watch::Receiver<Option<Wanted>>,
    ) -> Result<(), ApiError> {
        let to = Some((wanted.pod.clone(), wanted.epoch));
        let known = self.told.borrow().to == to;
        let Some((service, login)) = &self.service else {
            return Ok(());
        };
        let address = if self.labels_lead {
            self.label(wanted).await?;
            service.address().await?
        } else {
            service.lead_to(wanted).await?
        };
        if known && self.told.borrow().answers {
            return Ok(());
        }
        let told = |answers| Leads {
            to: to.clone(),
            answers,
            failure: None,
        };
        let pod = wanted.pod.parse::<PodName>().ok();
        if let (Some(address), Some(run_id), Some(pod)) = (address, &wanted.run_id, pod) {
            self.tell(told(false));
            // Whoever answers there is to be that pod.
            let at = ServerAt {
                ordinal: pod.ordinal(),
                address,
            };
            tokio::select! {
                () = answers(at, login, run_id) => {}
                // Whoever waits for it decides how long.
                () = tokio::time::sleep(REPAIR) => return Ok(()),
                _ = asked.changed() => {
                    asked.mark_changed();
                    return Ok(());
                }
            }
        }
        self.tell(told(true));
        Ok(())
    }

    fn tell(&self, leads: Leads) {
        let changed = self.told.send_if_modified(|before| {
            let changed = *before != leads;
            *before = leads;
            changed
        });
        if changed {
            self.wake.notify_one();
        }
    }
}

/// Waits until a new connection to an address finds a certain run of a server.
async fn answers(at: ServerAt, login: &Login, run_id: &str) {
    loop {
        if let Ok(mut connection) = Connection::open(at, login, TRY * 50, None).await
            && let Ok(info) = connection.info().await
            && info.run_id == run_id
        {
            return;
        }
        tokio::time::sleep(TRY).await;
    }
}
