//! What the sidecar logs: each change once, and nothing over and over.

use std::time::Duration;

use crate::clock::Time;
use crate::decide::{Action, Decision, Reason};
use crate::report::ReasonReport;

/// While the reasons are of the same kinds and only their words differ (DNS fails in several ways by
/// turns), they are said again only after this time.
const SAME_KINDS: Duration = Duration::from_secs(10);

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Voice {
    said: Vec<ReasonReport>,
    said_at: Time,
    error: Option<(String, Time)>,
}

impl Voice {
    /// Logs a change of what is decided; says whether it is one.
    pub(super) fn say(&mut self, decision: &Decision, reasons: &[ReasonReport], now: Time) -> bool {
        if !self.is_news(reasons, now) {
            return false;
        }
        let join = |each: fn(&ReasonReport) -> &str, all: &[ReasonReport]| {
            all.iter().map(each).collect::<Vec<_>>().join("; ")
        };
        let (was, now_is) = (join(|r| &r.code, &self.said), join(|r| &r.message, reasons));
        let action = decision.action.as_str();
        if decision.reasons.iter().any(Reason::needs_a_hand) {
            tracing::warn!(action, reason = now_is, was, "changed");
        } else {
            tracing::info!(action, reason = now_is, was, "changed");
        }
        self.said = reasons.to_vec();
        self.said_at = now;
        true
    }

    /// Logs whom the server was pointed at.
    pub(super) fn followed(action: &Action) {
        let Action::Follow {
            lost_tail,
            epoch,
            host,
            port,
            ..
        } = action
        else {
            return;
        };
        match lost_tail {
            Some(0) => tracing::info!(host, port, %epoch, "following the master"),
            Some(bytes) => {
                tracing::warn!(host, port, %epoch, bytes, "following the master; this many bytes of own history are given up");
            }
            None => {
                tracing::warn!(host, port, %epoch, "following the master; own history, of unknown length, is given up");
            }
        }
    }

    fn is_news(&self, reasons: &[ReasonReport], now: Time) -> bool {
        let codes = |all: &[ReasonReport]| all.iter().map(|r| r.code.clone()).collect::<Vec<_>>();
        if codes(reasons) == codes(&self.said) {
            reasons != self.said && now.since(self.said_at) >= SAME_KINDS
        } else {
            true
        }
    }

    /// Logs an error, once per change and again every ten seconds while it stays.
    pub(super) fn complain(&mut self, error: &anyhow::Error, what: &'static str, now: Time) {
        let words = format!("{what}: {error:#}");
        let is_known = self
            .error
            .as_ref()
            .is_some_and(|(said, at)| *said == words && now.since(*at) < SAME_KINDS);
        if !is_known {
            tracing::warn!(error = format!("{error:#}"), "{what}");
            self.error = Some((words, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str, message: &str) -> Vec<ReasonReport> {
        vec![ReasonReport {
            code: code.to_owned(),
            message: message.to_owned(),
        }]
    }

    #[test]
    fn a_change_of_kind_is_news_at_once_and_a_change_of_words_later() {
        let at = |seconds| Time(Duration::from_secs(seconds));
        let voice = Voice {
            said: reason("waiting", "SERVFAIL"),
            said_at: at(100),
            error: None,
        };
        assert!(!voice.is_news(&reason("waiting", "SERVFAIL"), at(200)));
        assert!(!voice.is_news(&reason("waiting", "no answer"), at(101)));
        assert!(voice.is_news(&reason("waiting", "no answer"), at(110)));
        assert!(voice.is_news(&reason("master", "SERVFAIL"), at(100)));
    }
}
