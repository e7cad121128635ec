//! Keeps an eye on the Lease beside the loop: a watch, with reads where it is silent; and carries out
//! the loop's writes, one at a time. Decides nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc, watch};

use super::kubernetes::{ApiError, Event, Kubernetes, Leases, Object};
use super::lease::{Holder, Says, Unreadable};
use crate::clock::{self, Time};
use crate::decide::lease::{Claim, Known, Times, Unchanged};
use crate::topology::Epoch;

/// What is known of the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it says.
    pub known: Known,
    /// Since when; none since a read failed.
    pub unchanged: Option<Unchanged>,
    /// Why it could not be read at the last attempt.
    pub failure: Option<String>,
    /// Why it could not be written at the last attempt.
    pub refused: Option<String>,
    /// Since when a read has been under way.
    pub reading: Option<Time>,
    /// A write is under way, or nobody knows yet what became of it.
    pub writing: bool,
    /// The members that it would record.
    pub claimed: BTreeSet<String>,
    /// When the last write as the holder that was carried out was sent, and its epoch.
    pub renewed: Option<(Time, Epoch)>,
}

struct State {
    seen: watch::Sender<Seen>,
    object: Mutex<Option<Object>>,
    wake: Arc<Notify>,
    times: Times,
}

/// The loop's end of it.
pub struct Keeper {
    state: Arc<State>,
    claims: mpsc::Sender<Claim>,
}

impl Keeper {
    /// Begins to read and watch. `wake` is told of every change but a renewal, which nobody waits for.
    pub fn start(kubernetes: Kubernetes, name: String, times: Times, wake: Arc<Notify>) -> Self {
        let leases = Leases::new(kubernetes, name);
        let nothing = Seen {
            known: Known::Unread,
            unchanged: None,
            failure: None,
            refused: None,
            reading: None,
            writing: false,
            claimed: BTreeSet::new(),
            renewed: None,
        };
        let state = Arc::new(State {
            seen: watch::Sender::new(nothing),
            object: Mutex::new(None),
            wake,
            times,
        });
        let (claims, asked) = mpsc::channel(1);
        tokio::spawn(write_all(Arc::clone(&state), leases.clone(), asked));
        tokio::spawn(read_on(Arc::clone(&state), leases));
        Self { state, claims }
    }

    /// What is known now.
    pub fn seen(&self) -> Seen {
        self.state.seen.borrow().clone()
    }

    /// Whether a pod holds it, as far as is known.
    pub fn is_ours(&self, me: &Holder) -> bool {
        match &self.state.seen.borrow().known {
            Known::Lease { says, .. } => says.holder.as_ref() == Some(me),
            Known::Unread | Known::Absent | Known::Unreadable { .. } => false,
        }
    }

    /// Writes; the outcome shows in what is seen.
    pub fn claim(&self, claim: Claim) {
        self.state.seen.send_modify(|seen| {
            seen.writing = true;
            seen.claimed.clone_from(&claim.says.members);
        });
        if self.claims.try_send(claim).is_err() {
            // One is under way already: the core is asked again when that is over.
            tracing::debug!("a write of the Lease is under way already");
        }
    }
}

impl State {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        let mut changed = false;
        self.seen.send_modify(|seen| {
            let before = seen.clone();
            change(seen);
            changed = !says_the_same(&seen.known, &before.known)
                || seen.failure != before.failure
                || seen.refused != before.refused
                || seen.renewed.map(|(_, epoch)| epoch) != before.renewed.map(|(_, epoch)| epoch);
        });
        if changed {
            self.wake.notify_one();
        }
    }

    /// The Lease as an answer or an event showed it.
    fn is(&self, object: Option<Object>, sent: Time) {
        let known = known(object.as_ref());
        *self.object.lock().unwrap_or_else(PoisonError::into_inner) = object;
        let now = clock::now();
        self.change(|seen| {
            seen.unchanged = match seen.unchanged {
                Some(before) if seen.known == known => Some(Unchanged {
                    read_at: sent.max(before.read_at),
                    ..before
                }),
                Some(_) | None => Some(Unchanged {
                    since: now,
                    read_at: sent,
                }),
            };
            seen.known = known;
            seen.failure = None;
        });
    }

    /// Whether an event shows what an answer has replaced already. Versions are numbers that grow, in
    /// every store there is; where they are none, the next read mends it.
    fn is_past(&self, event: &Object) -> bool {
        let object = self.object.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |object: &Object| object.version().parse::<u64>().ok();
        let known = object.as_ref().and_then(number);
        known
            .zip(number(event))
            .is_some_and(|(known, event)| event < known)
    }

    fn failed(&self, error: &ApiError) {
        let why = error.to_string();
        self.change(|seen| {
            seen.failure = Some(why);
            seen.unchanged = None;
        });
    }

    /// When to read although the watch says nothing.
    fn next_read(&self) -> Duration {
        let seen = self.seen.borrow();
        let Some(unchanged) = seen.unchanged else {
            return self.times.retry;
        };
        let now = clock::now();
        let heard = unchanged.since.max(unchanged.read_at);
        let usual = (heard + self.times.retry * 3 / 2).since(now);
        let over = (unchanged.since + self.times.duration).since(now);
        if over.is_zero() {
            return self.times.retry.saturating_sub(now.since(heard));
        }
        usual.min(over)
    }
}

fn known(object: Option<&Object>) -> Known {
    let Some(object) = object else {
        return Known::Absent;
    };
    let version = object.version();
    match object.says() {
        Ok(says) => Known::Lease { version, says },
        Err(Unreadable { why, newer }) => Known::Unreadable {
            version,
            why,
            newer,
        },
    }
}

/// Whatever its version is.
fn says_the_same(one: &Known, other: &Known) -> bool {
    match (one, other) {
        (Known::Lease { says: one, .. }, Known::Lease { says: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

/// Reads, and watches from what was read on.
async fn read_on(state: Arc<State>, leases: Leases) {
    loop {
        read(&state, &leases).await;
        let version = {
            let object = state.object.lock().unwrap_or_else(PoisonError::into_inner);
            object.as_ref().map(Object::version)
        };
        if state.seen.borrow().failure.is_none() {
            watch_from(&state, &leases, version.as_deref()).await;
        }
        tokio::time::sleep(state.next_read()).await;
    }
}

async fn read(state: &State, leases: &Leases) {
    let before = state.seen.borrow().known.clone();
    let sent = clock::now();
    state.change(|seen| seen.reading = Some(sent));
    let reading = leases.read();
    tokio::pin!(reading);
    let read = tokio::select! {
        read = &mut reading => read,
        // Whoever asks is to know that it takes long.
        () = tokio::time::sleep(state.times.retry) => {
            state.wake.notify_one();
            reading.await
        }
    };
    state.change(|seen| seen.reading = None);
    match read {
        // A write was carried out meanwhile: its answer is newer.
        Ok(_) if state.seen.borrow().known != before => {}
        Ok(object) => state.is(object, sent),
        Err(error) => state.failed(&error),
    }
}

/// Follows the watch to its end; reads where it is silent for longer than a holder would be.
async fn watch_from(state: &State, leases: &Leases, version: Option<&str>) {
    // Without a Lease there is no version to begin from: 0 is any.
    let mut events = match leases.watch(version.unwrap_or("0")).await {
        Ok(events) => Box::pin(events),
        Err(error) => {
            tracing::debug!(%error, "the Lease cannot be watched; it is read instead");
            return;
        }
    };
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Is(object))) => {
                    if !state.is_past(&object) {
                        state.is(Some(*object), clock::now());
                    }
                }
                Some(Ok(Event::Gone)) => state.is(None, clock::now()),
                Some(Ok(Event::Nothing)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "the watch of the Lease ended");
                    return;
                }
                None => return,
            },
            () = tokio::time::sleep(state.next_read()) => {
                read(state, leases).await;
                if state.seen.borrow().failure.is_some() {
                    return;
                }
            }
        }
    }
}

async fn write_all(state: Arc<State>, leases: Leases, mut claims: mpsc::Receiver<Claim>) {
    while let Some(claim) = claims.recv().await {
        let before = state.seen.borrow().known.clone();
        write(&state, &leases, &claim).await;
        state.change(|seen| {
            seen.writing = false;
            seen.claimed.clear();
        });
        let seen = state.seen.borrow();
        let renewed = says_the_same(&seen.known, &before) && seen.refused.is_none();
        if !renewed || seen.known == before {
            state.wake.notify_one();
        }
    }
}

async fn write(state: &State, leases: &Leases, claim: &Claim) {
    let before = {
        let object = state.object.lock().unwrap_or_else(PoisonError::into_inner);
        object.clone()
    };
    if before.as_ref().map(Object::version) != claim.over {
        // It changed since the decision.
        return;
    }
    let says = Says {
        duration: Some(state.times.duration),
        ..claim.says.clone()
    };
    let object = leases.saying(before.as_ref(), &says);
    let sent = clock::now();
    let mut refused = false;
    let done = match leases.write(&object).await {
        Ok(written) => {
            state.is(Some(written), sent);
            true
        }
        Err(error) => {
            let words = error.to_string();
            let known = matches!(error, ApiError::Refused { .. } | ApiError::Conflict { .. });
            state.change(|seen| seen.refused = Some(words));
            // Read again before concluding; what may have been carried out is not over before that.
            read(state, leases).await;
            while !known && state.seen.borrow().failure.is_some() {
                tokio::time::sleep(state.times.retry).await;
                read(state, leases).await;
            }
            let now = state
                .object
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let landed = now.as_ref().and_then(Object::stamp) == object.stamp();
            let same = now.as_ref().map(Object::version) == claim.over;
            // The same would be refused, or get lost, again.
            refused = same;
            !known && landed && object.stamp().is_some()
        }
    };
    if refused {
        tokio::time::sleep(state.times.retry).await;
    }
    if done {
        state.change(|seen| {
            seen.refused = None;
            if let (true, Some(epoch)) = (claim.says.renewed, claim.says.epoch) {
                seen.renewed = Some((sent, epoch));
            }
        });
    }
}
