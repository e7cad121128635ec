//! The Lease as the loop sees it: what the keeper knows, this member's own renewals across restarts, and
//! what is promised in an outage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::lease::Holder;
use crate::authority::{Endpoint, Event, Keeper, Seen, Size, Teller, Wanted};
use crate::clock::{self, Time};
use crate::decide::lease::{Known, Promises, Sight, Times, leads_to};
use crate::decide::{Authority, PeerState, View};
use crate::topology::Epoch;

/// Beside the state file: the last renewal, see [`Note`].
const NOTE_NAME: &str = "podzero-lease.json";

/// A renewal that outlives this process. It is not synced: it means something only while the machine
/// runs on, as the clock by which it is read starts anew with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    boot: String,
    sent: Duration,
    epoch: Epoch,
}

/// Under another authority nothing is renewed: what was so before means nothing later.
pub(super) fn forget_note(data_dir: &Path) {
    let _ = std::fs::remove_file(data_dir.join(NOTE_NAME));
}

/// The authority of the set, as this sidecar has it.
pub(super) struct LeaseOfSet {
    outside: Outside,
    me: Holder,
    times: Times,
    file: PathBuf,
    boot: String,
    renewed: Option<(Time, Epoch)>,
    promises: Promises,
    questions: u64,
    epoch_since: Option<(Epoch, Time)>,
}

/// What goes on beside the loop.
pub(super) struct Outside {
    pub(super) keeper: Keeper,
    pub(super) endpoint: Endpoint,
    pub(super) size: Size,
    pub(super) teller: Teller,
}

impl LeaseOfSet {
    pub(super) fn new(outside: Outside, me: Holder, times: Times, data_dir: &Path) -> Self {
        let file = data_dir.join(NOTE_NAME);
        let boot = clock::boot();
        let read = std::fs::read(&file).ok();
        let note = read.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let renewed = note
            .filter(|note| note.boot == boot && !boot.is_empty())
            .map(|note| (Time(note.sent), note.epoch));
        Self {
            outside,
            me,
            times,
            file,
            boot,
            renewed,
            promises: Promises::default(),
            questions: clock::unix_seconds() << 20,
            epoch_since: None,
        }
    }

    /// Until when the role that is held here may be kept.
    pub(super) fn until(&mut self) -> Option<Time> {
        let times = self.times;
        self.sight().until(&times)
    }

    /// Whether something is asked of the others, or will be soon.
    pub(super) fn asks(&self) -> bool {
        let late = |(at, _): (Time, Epoch)| clock::now().since(at) > self.times.retry * 3 / 2;
        self.promises.asks().is_some()
            || self.outside.keeper.is_ours(&self.me) && self.renewed.is_some_and(late)
    }

    /// Until the Lease is to be renewed, while it is held here.
    pub(super) fn renews_in(&self) -> Option<Duration> {
        let seen = self.outside.keeper.seen();
        let ours = self.outside.keeper.is_ours(&self.me);
        let at = match seen.renewed {
            Some((at, _)) if !seen.writing => at,
            Some(_) | None => clock::now(),
        };
        // A moment later: a turn that is too early by less would wait for the next one.
        let due = at + self.times.retry + Duration::from_millis(2);
        ours.then(|| due.since(clock::now()))
    }

    /// `spec.replicas` of the set, where it is known.
    pub(super) fn replicas(&self) -> Option<u32> {
        self.outside.size.replicas()
    }

    /// The set's pods are started one after the other.
    pub(super) fn is_in_order(&self) -> bool {
        self.outside.size.is_in_order()
    }

    /// Tells people.
    pub(super) fn tell(&self, event: Event) {
        self.outside.teller.tell(event);
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.outside.keeper
    }

    /// What this turn knows.
    pub(super) fn sight(&mut self) -> Sight {
        let Seen {
            known,
            unchanged,
            failure,
            refused,
            reading,
            writing,
            claimed,
            renewed,
        } = self.outside.keeper.seen();
        if renewed.is_some() && renewed != self.renewed {
            self.renewed = renewed;
            self.note();
        }
        let epoch = match &known {
            Known::Lease { says, .. } => says.epoch,
            Known::Unread | Known::Absent | Known::Unreadable { .. } => None,
        };
        if epoch != self.epoch_since.map(|(epoch, _)| epoch) {
            self.epoch_since = epoch.map(|epoch| (epoch, clock::now()));
        }
        let slow = reading.filter(|since| clock::now().since(*since) >= self.times.retry);
        let slow = slow.map(|_| "the API server takes long to answer".to_owned());
        Sight {
            me: self.me.clone(),
            known,
            unchanged,
            failure: failure.or(slow),
            refused,
            writing,
            claimed,
            renewed: self.renewed,
            promises: self.promises.clone(),
            grant: None,
            epoch_since: self.epoch_since.map(|(_, at)| at),
            leads: self.outside.endpoint.leads(),
        }
        .granted()
    }

    /// A note that cannot be written costs a restarted sidecar the time that it had left.
    fn note(&self) {
        let Some((Time(sent), epoch)) = self.renewed else {
            return;
        };
        let boot = self.boot.clone();
        if let Ok(text) = serde_json::to_vec(&Note { boot, sent, epoch }) {
            // Whole or not at all: this process may be ended at any time.
            let new = self.file.with_extension("json.new");
            let _ = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.file));
        }
    }

    /// Whom the master's Service leads to from now on.
    pub(super) fn lead(&self, view: &View<'_>) {
        let wanted = leads_to(view).and_then(|(to, epoch)| {
            let report = view.report(to)?;
            let others = view.snapshot.peers.iter();
            let others = others.filter(|(_, peer)| peer.state != PeerState::Missing);
            let others = others.map(|(other, _)| *other).chain([view.snapshot.me]);
            Some(Wanted {
                run_id: report.server.as_ref().map(|s| s.run_id.clone()),
                others: others.filter(|o| *o != to).map(|o| view.pod(o)).collect(),
                pod: report.pod.clone(),
                uid: report.uid.clone()?,
                addresses: report.addresses.clone(),
                epoch,
            })
        });
        self.outside.endpoint.want(wanted);
    }

    /// What is asked and promised from now on.
    pub(super) fn promise(&mut self, view: &View<'_>) {
        let Authority::Lease(sight) = &view.snapshot.authority else {
            return;
        };
        let before = self.promises.clone();
        self.promises = before.clone().after(view, sight, self.questions);
        if self.promises != before {
            self.questions += 1;
        }
    }
}
