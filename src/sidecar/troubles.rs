//! What goes wrong beside the decisions: told like the reasons for them.

use std::time::Duration;

use crate::clock::Time;
use crate::decide::Reason;

/// How long a failure is told in the status after it.
const TOLD: Duration = Duration::from_secs(30);

/// What went wrong beside the decisions, in words.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) state_file: Option<String>,
    pub(super) conf: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) certificates: Option<String>,
    pub(super) waits: Option<String>,
    pub(super) unfit: Option<String>,
    /// Which kind of action failed, why, and when.
    pub(super) action: Option<(&'static str, String, Time)>,
}

impl Troubles {
    /// Whether an action of this kind failed and has not been done since.
    pub(super) fn failed(&self, kind: &str) -> bool {
        let same = |(failed, _, _): &(&str, _, _)| *failed == kind;
        self.action.as_ref().is_some_and(same)
    }

    pub(super) fn reasons(&self, now: Time) -> Vec<Reason> {
        let action = self
            .action
            .as_ref()
            .filter(|(_, _, at)| now.since(*at) < TOLD)
            .map(|(_, words, _)| words.clone());
        [
            action.map(Reason::ActionFailed),
            self.user.clone().map(Reason::NotPrepared),
            self.conf.clone().map(Reason::NotPrepared),
            self.password.clone().map(Reason::SecretUnread),
            self.certificates.clone().map(Reason::SecretUnread),
            self.waits.clone().map(Reason::PasswordWaits),
            self.unfit.clone().map(Reason::CertificateUnfit),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
