//! Saying what `init` waits for: at each change, and again every 10 s; and the sentences that both
//! ways of looking share.

use std::collections::HashMap;
use std::time::Duration;

use super::watch::Here;
use crate::clock::Time;
use crate::observe::dns::Answer;
use crate::topology::Ordinal;

/// After this time the same words are said again.
const AGAIN: Duration = Duration::from_secs(10);

/// How many members are named; the others are counted.
const NAMED: usize = 3;

/// Before this time nothing is said: everybody is just being asked.
const FIRST: Duration = Duration::from_millis(100);

/// Which words were said when. Words that come and go (a DNS server that fails now and then) are
/// changes only once in `AGAIN`.
#[derive(Debug)]
pub struct Saying {
    begun: Time,
    said: HashMap<String, Time>,
    last: String,
    last_at: Time,
}

impl Saying {
    /// Nothing was said yet.
    pub fn new(now: Time) -> Self {
        Self {
            begun: now,
            said: HashMap::new(),
            last: String::new(),
            last_at: now,
        }
    }

    /// Whether these words are to be said now. The caller says them.
    pub fn is_due(&mut self, words: &str, now: Time) -> bool {
        if now.since(self.begun) < FIRST {
            return false;
        }
        self.said.retain(|_, at| now.since(*at) < AGAIN);
        let is_due = if words == self.last {
            now.since(self.last_at) >= AGAIN
        } else {
            !self.said.contains_key(words)
        };
        if is_due {
            self.said.insert(words.to_owned(), now);
            words.clone_into(&mut self.last);
            self.last_at = now;
        }
        is_due
    }
}

/// An error on one line, whatever its parts look like.
pub fn one_line(error: &impl ToString) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is said of several members, as one sentence.
pub fn join(words: &[String]) -> String {
    let named = words.get(..NAMED).unwrap_or(words).join("; ");
    match words.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{named}; and {more} more"),
        Some(0) | None => named,
    }
}

/// Why a member's name gives no address, and what to check. `own_name` is what DNS says of this
/// pod's own name: that it has none, although the pod runs, tells on the headless Service.
pub fn unnamed(
    here: &Here,
    ordinal: Ordinal,
    answer: &Answer,
    own_name: Option<&Answer>,
) -> String {
    let pod = here.pod(ordinal);
    let name = here.identity.stable_name(ordinal);
    let name = name.trim_end_matches('.');
    let service = &here.identity.service;
    let because = match own_name {
        Some(Answer::Missing | Answer::NoAddress) => format!(
            "neither does this pod's own: is the headless Service {service:?} there in namespace {:?}, with publishNotReadyAddresses: true?",
            here.identity.namespace
        ),
        Some(Answer::Addresses(_)) => "that pod is not there yet".to_owned(),
        Some(Answer::Unknown(_)) | None => format!(
            "is the headless Service {service:?} there, with publishNotReadyAddresses: true?"
        ),
    };
    match answer {
        Answer::Missing => {
            format!("{pod}: its name {name} does not resolve yet (NXDOMAIN): {because}")
        }
        Answer::NoAddress | Answer::Addresses(_) => {
            format!("{pod}: its name {name} has no address yet (NODATA): {because}")
        }
        Answer::Unknown(why) => {
            format!("{pod}: its name {name} could not be looked up: {why}")
        }
    }
}

/// That a member's name leads where no member can be.
pub fn not_a_peer(here: &Here, ordinal: Ordinal, address: std::net::IpAddr) -> String {
    format!(
        "{}: its name leads to {address}, which is this pod itself or no pod's address: a server that followed it would replicate from itself; check DNS and the pod's hosts",
        here.pod(ordinal)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn a_change_is_said_once_and_the_same_every_ten_seconds() {
        let mut saying = Saying::new(at(90));
        assert!(saying.is_due("a", at(100)));
        assert!(!saying.is_due("a", at(105)));
        assert!(saying.is_due("b", at(106)));
        assert!(!saying.is_due("a", at(107)), "it came and went");
        assert!(!saying.is_due("b", at(108)));
        assert!(saying.is_due("a", at(111)));
        assert!(saying.is_due("a", at(121)));
    }

    #[test]
    fn many_members_are_counted() {
        let words: Vec<_> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(join(&words[..2]), "a; b");
        assert_eq!(join(&words[..3]), "a; b; c");
        assert_eq!(join(&words), "a; b; c; and 2 more");
    }
}
