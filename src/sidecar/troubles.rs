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
    pub(super) action: Option<(String, Time)>,
}

impl Troubles {
    pub(super) fn reasons(&self, now: Time) -> Vec<Reason> {
        let action = self
            .action
            .as_ref()
            .filter(|(_, at)| now.since(*at) < TOLD)
            .map(|(words, _)| words.clone());
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
