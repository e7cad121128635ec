//! Tells people through Kubernetes Events what happened to the role, without flooding.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::kubernetes::{ApiError, Events, Kubernetes};
use super::lease::Holder;
use crate::clock::{self, Time};

/// The same is told again only after this time.
const SAME: Duration = Duration::from_mins(10);
/// So many may follow one another at once...
const BURST: u32 = 10;
/// ...and one more after each of these.
const REFILL: Duration = Duration::from_secs(30);
/// Between two attempts while the API cannot be reached, and how many there are: ten minutes.
const AGAIN: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 120;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Somebody should look.
    pub warns: bool,
    /// A word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub note: String,
}

/// The loop's end of it.
pub struct Teller {
    events: mpsc::Sender<Event>,
}

impl Teller {
    /// Begins to listen.
    pub fn start(kubernetes: Kubernetes, me: Holder) -> Self {
        let (events, told) = mpsc::channel(32);
        tokio::spawn(write_on(Events::new(kubernetes, me), told));
        Self { events }
    }

    /// Tells it, unless it was told a moment ago or too much was.
    pub fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            tracing::debug!("an Event was left out: too many are waiting");
        }
    }
}

async fn write_on(events: Events, mut told: mpsc::Receiver<Event>) {
    let mut limit = Limit::new(clock::now());
    let mut complained = false;
    while let Some(event) = told.recv().await {
        let Some(left_out) = limit.lets(&event, clock::now()) else {
            continue;
        };
        let note = match left_out {
            0 => event.note,
            n => format!("{} ({n} more were not told)", event.note),
        };
        for _ in 0..ATTEMPTS {
            let Err(error) = events.write(event.warns, event.reason, &note).await else {
                break;
            };
            if !complained {
                complained = true;
                tracing::info!(%error, "Kubernetes Events are not written");
            }
            if matches!(error, ApiError::Refused { .. }) {
                break;
            }
            // What happened while the API was out of reach is what people ask for later.
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// What was told, and how much more may be.
struct Limit {
    told: BTreeMap<(&'static str, String), Time>,
    left: u32,
    refilled: Time,
    left_out: u32,
}

impl Limit {
    fn new(now: Time) -> Self {
        Self {
            told: BTreeMap::new(),
            left: BURST,
            refilled: now,
            left_out: 0,
        }
    }

    /// How many were left out since the last one; none where this one is left out, too.
    fn lets(&mut self, event: &Event, now: Time) -> Option<u32> {
        self.told.retain(|_, at| now.since(*at) < SAME);
        while self.left < BURST && now.since(self.refilled) >= REFILL {
            self.left += 1;
            self.refilled = self.refilled + REFILL;
        }
        if self.left == BURST {
            self.refilled = now;
        }
        let what = (event.reason, event.note.clone());
        if self.told.contains_key(&what) {
            return None;
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        self.told.insert(what, now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_a_flood_is_counted() {
        let at = |seconds: u64| Time(Duration::from_secs(1000 + seconds));
        let event = |n: u32| Event {
            warns: false,
            reason: "Promoted",
            note: format!("epoch {n}"),
        };
        let mut limit = Limit::new(at(0));
        assert_eq!(limit.lets(&event(0), at(0)), Some(0));
        assert_eq!(limit.lets(&event(0), at(599)), None, "the same");
        assert_eq!(limit.lets(&event(0), at(600)), Some(0), "after a while");
        for n in 1..BURST {
            assert_eq!(limit.lets(&event(n), at(600)), Some(0), "{n}");
        }
        assert_eq!(limit.lets(&event(90), at(601)), None, "too many");
        assert_eq!(limit.lets(&event(91), at(602)), None, "too many");
        assert_eq!(limit.lets(&event(92), at(631)), Some(2), "one more");
        assert_eq!(limit.lets(&event(93), at(632)), None, "and no more");
    }
}
