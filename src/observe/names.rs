//! How often DNS is asked for each name.
//!
//! Addresses are kept for their TTL, and only as long as the right member answers there: one that
//! moved is looked up again at once. Whatever is no address (the name is missing, DNS fails) is asked
//! for again with growing, jittered delays, at most [`UNRESOLVED_CAP`] apart; no TTL of such an
//! answer is ever honoured.

use std::collections::HashMap;
use std::time::Duration;

use super::dns::{Answer, Dns, Family, Told};
use crate::clock::{self, Time};
use crate::retry::{Retry, UNRESOLVED_CAP};

/// The first delay before a name is asked for again.
const FIRST: Duration = Duration::from_millis(50);

/// One name: when to ask for it next, and what was said last.
#[derive(Debug)]
pub struct Name {
    answer: Answer,
    ask_at: Time,
    retry: Retry,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            answer: Answer::Unknown("it was not asked yet".to_owned()),
            ask_at: Time::default(),
            retry: Retry::new(FIRST, UNRESOLVED_CAP),
        }
    }
}

impl Name {
    /// What DNS says of the name; asks it when that is due.
    pub async fn look_up(&mut self, dns: &Dns, name: &str, family: Family) -> &Answer {
        if clock::now() >= self.ask_at {
            let told = dns.lookup_with_ttl(name, family).await;
            self.take(told, clock::now());
        }
        &self.answer
    }

    fn take(&mut self, told: Told, now: Time) {
        let pause = if matches!(told.answer, Answer::Addresses(_)) {
            told.ttl
        } else {
            self.retry.next_delay()
        };
        self.ask_at = now + pause;
        // DNS that fails says nothing new, and who answers at an address is verified anyway.
        let fails = matches!(told.answer, Answer::Unknown(_));
        if !(fails && matches!(self.answer, Answer::Addresses(_))) {
            self.answer = told.answer;
        }
    }

    /// The right member answers at the address.
    pub fn is_right(&mut self) {
        self.retry.reset();
    }

    /// Nobody answers at the address, or somebody else: it is not kept for the whole of its TTL.
    pub fn is_doubtful(&mut self) {
        let soon = clock::now() + self.retry.next_delay();
        self.ask_at = self.ask_at.min(soon);
    }
}

/// The names of a set, each by its absolute form.
pub type Names = HashMap<String, Name>;

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn found(ttl: u64) -> Told {
        Told {
            answer: Answer::Addresses(vec![[10, 0, 0, 1].into()]),
            ttl: S(ttl),
        }
    }

    #[test]
    fn addresses_are_kept_for_their_ttl_and_nothing_else_for_longer_than_the_cap() {
        let (mut name, start) = (Name::default(), clock::now());
        name.take(found(30), start);
        assert_eq!(name.ask_at, start + S(30));
        for answer in [
            Answer::Missing,
            Answer::NoAddress,
            Answer::Unknown("SERVFAIL".to_owned()),
        ] {
            for _ in 0..20 {
                name.take(answer.clone().into(), start);
                assert!(name.ask_at <= start + UNRESOLVED_CAP);
            }
            assert!(name.ask_at > start + FIRST, "the delays do not grow");
        }
    }

    #[test]
    fn an_address_where_nobody_answers_is_asked_for_again_soon() {
        let mut name = Name::default();
        name.take(found(3600), clock::now());
        name.is_doubtful();
        assert!(name.ask_at <= clock::now() + UNRESOLVED_CAP);
    }
}
