//! Why something is done, waited for or refused: one word for machines and one sentence for people,
//! the same in `/status`, `/readyz`, the log and the metrics.

use crate::report::ReasonReport;
use crate::topology::{Epoch, Ordinal};
use crate::words;

/// A reason. Each has a row in the decision table's tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// This member is the master.
    Master(Epoch),
    /// It follows the master; the link is up.
    Following(Ordinal),
    /// It follows the master and receives the first full copy.
    Syncing(Ordinal),
    /// It follows the master, whose link is down.
    LinkDown(Ordinal),
    /// The server is about to be pointed at the master.
    Follows(Ordinal),
    /// The server was granted the role.
    Granted(Epoch),
    /// The local server does not answer.
    ServerUnreachable(String),
    /// The local server reads its data.
    ServerLoading,
    /// A promotion was begun, and nobody knows whether it happened.
    PromotionUnknown(Epoch),
    /// Somebody holds, or was granted, a newer epoch.
    NewerGrant {
        /// Ours.
        ours: Option<Epoch>,
        /// The newer one.
        newer: Epoch,
    },
    /// It accepts writes without a grant, beside a master that has one.
    UngrantedBesideMaster(Ordinal),
    /// It accepts writes without a grant; nobody else does, and its history goes on from the newest.
    Adopted(Epoch),
    /// It accepts writes without a grant and cannot be taken as the master.
    UngrantedMaster(String),
    /// Another member accepts writes without a grant.
    UngrantedPeer(Ordinal),
    /// There is no master to follow.
    NoMaster {
        /// What pod-0 says it waits for, where it answers.
        pod0: String,
    },
    /// The master's history is older than this member's.
    MasterIsOlder {
        /// The master.
        master: Ordinal,
        /// Its epoch.
        theirs: Option<Epoch>,
        /// This member's.
        ours: Option<Epoch>,
    },
    /// Two members have data of the same epoch of which neither contains the other.
    TwoHistories(Ordinal, Ordinal),
    /// The master's grant is older than one that was already seen.
    ObeysNewer {
        /// The master.
        master: Ordinal,
        /// The newest epoch seen.
        seen: Epoch,
    },
    /// Who answers at the master's address could not be verified.
    MasterUnverified {
        /// The master.
        master: Ordinal,
        /// Why.
        why: String,
    },
    /// A server is master, but its sidecar does not answer.
    MasterWithoutSidecar(Ordinal),
    /// A promotion was refused.
    GrantRefused {
        /// The grant's epoch.
        epoch: Epoch,
        /// Why.
        why: String,
    },
    /// This pod is being stopped.
    Terminating,
    /// Members have not answered yet.
    WaitingForMembers(String),
    /// The newest master does not answer.
    WaitingForMaster {
        /// Who it is.
        master: Ordinal,
        /// What is known of it.
        why: String,
    },
    /// Other members may appear in the DNS yet.
    Discovering,
    /// This pod's own name does not resolve yet.
    OwnNameMissing,
    /// No member's data can be chosen.
    NobodyToChoose(String),
    /// The member that was granted the role did not take it.
    Declined {
        /// Who.
        target: Ordinal,
        /// What it says.
        why: String,
    },
    /// The state file cannot be written.
    Forgets(String),
    /// The last action on the local server failed.
    ActionFailed(String),
    /// The replication user could not be made, or the configuration not fenced again.
    NotPrepared(String),
    /// A password or a certificate was replaced and cannot be used; the one from before goes on.
    SecretUnread(String),
    /// A new password is not in use yet: not every member is known to accept it.
    PasswordWaits(String),
    /// A certificate is valid for a short time only, not any more, or for somebody else.
    CertificateUnfit(String),
    /// A grant waits for members to acknowledge it.
    GrantNotSeen {
        /// The grant's epoch.
        epoch: Epoch,
        /// Who has not shown it.
        by: String,
    },
    /// A grant waits for its target to act.
    GrantWaits {
        /// The grant's epoch.
        epoch: Epoch,
        /// The target.
        target: Ordinal,
    },
    /// A member was granted the role.
    Grants {
        /// The grant's epoch.
        epoch: Epoch,
        /// The target.
        target: Ordinal,
        /// Why it.
        why: String,
        /// Members that do not answer were left out: their writes may be lost.
        at_risk: bool,
    },
    /// The role is being handed over.
    HandingOver {
        /// By whom.
        from: Ordinal,
        /// To whom.
        to: Ordinal,
    },
    /// Nobody can take the role now.
    NoTarget(String),
    /// The Lease cannot be read, or not be understood.
    LeaseUnread(String),
    /// This member holds it and could not renew it at the last attempt.
    LeaseUnwritten(String),
    /// It is being read for the first time.
    ReadingLease,
    /// There is none, and that is no first boot as far as is known.
    NoLease,
    /// Somebody holds it, and there is no master to be seen.
    LeaseHeld {
        /// The pod.
        holder: String,
        /// It is one of the set.
        known: bool,
    },
    /// The deadline of the last renewal has passed.
    LeaseLost(Epoch),
    /// Only members that a holder has recorded may take it.
    NotRecorded,
    /// The holder was promised that it is not taken for a while.
    Promised,
    /// A member of the set goes by another authority.
    OtherAuthority(Ordinal),
    /// The set's pods are started one after the other: one may wait for another that waits for it.
    PodsInOrder,
    /// The master's Service cannot be led to the master.
    ServiceNotLed(String),
    /// The Service is about to lead to the target of a handover.
    Leading(Ordinal),
    /// Another member has better data, or as good and comes first.
    BetterCandidate(Ordinal),
    /// A setting that stopped writes is given back.
    Lowers,
    /// A grant ended.
    GrantEnds {
        /// The grant's epoch.
        epoch: Epoch,
        /// How.
        how: String,
    },
}

/// Writes [`Reason::code`] and, for the tests, the list of all codes: a variant cannot be in one and
/// not in the other.
macro_rules! codes {
    ($($variant:pat => $code:literal,)*) => {
        /// Every code. The tests hold a row for each.
        #[cfg(test)]
        pub(super) const CODES: &[&str] = &[$($code),*];

        impl Reason {
            /// The word for machines: the label of the metric. Never changes its meaning.
            pub fn code(&self) -> &'static str {
                match self {
                    $($variant => $code,)*
                }
            }
        }
    };
}

codes! {
    Reason::Master(_) => "master",
    Reason::Following(_) => "following",
    Reason::Syncing(_) => "first_sync",
    Reason::LinkDown(_) => "link_down",
    Reason::Follows(_) => "follows",
    Reason::Granted(_) => "granted",
    Reason::ServerUnreachable(_) => "server_unreachable",
    Reason::ServerLoading => "loading",
    Reason::PromotionUnknown(_) => "promotion_unknown",
    Reason::NewerGrant { .. } => "newer_grant",
    Reason::UngrantedBesideMaster(_) => "ungranted_beside_master",
    Reason::Adopted(_) => "adopted",
    Reason::UngrantedMaster(_) => "ungranted_master",
    Reason::UngrantedPeer(_) => "ungranted_peer",
    Reason::NoMaster { .. } => "no_master",
    Reason::MasterIsOlder { .. } => "master_is_older",
    Reason::TwoHistories(..) => "two_histories",
    Reason::ObeysNewer { .. } => "obeys_newer",
    Reason::MasterUnverified { .. } => "master_unverified",
    Reason::MasterWithoutSidecar(_) => "master_without_sidecar",
    Reason::GrantRefused { .. } => "grant_refused",
    Reason::Terminating => "terminating",
    Reason::WaitingForMembers(_) => "waiting_for_members",
    Reason::WaitingForMaster { .. } => "waiting_for_master",
    Reason::Discovering => "discovering",
    Reason::OwnNameMissing => "own_name_missing",
    Reason::NobodyToChoose(_) => "nobody_to_choose",
    Reason::Declined { .. } => "declined",
    Reason::Forgets(_) => "state_file_unwritable",
    Reason::ActionFailed(_) => "action_failed",
    Reason::NotPrepared(_) => "not_prepared",
    Reason::SecretUnread(_) => "secret_unread",
    Reason::PasswordWaits(_) => "password_waits",
    Reason::CertificateUnfit(_) => "certificate_unfit",
    Reason::GrantNotSeen { .. } => "grant_not_seen",
    Reason::GrantWaits { .. } => "grant_waits",
    Reason::Grants { .. } => "grants",
    Reason::GrantEnds { .. } => "grant_ends",
    Reason::HandingOver { .. } => "handing_over",
    Reason::NoTarget(_) => "no_target",
    Reason::LeaseUnread(_) => "lease_unread",
    Reason::ReadingLease => "reading_lease",
    Reason::NoLease => "no_lease",
    Reason::LeaseUnwritten(_) => "lease_unwritten",
    Reason::LeaseHeld { .. } => "lease_held",
    Reason::LeaseLost(_) => "lease_lost",
    Reason::NotRecorded => "not_recorded",
    Reason::Promised => "promised",
    Reason::OtherAuthority(_) => "other_authority",
    Reason::ServiceNotLed(_) => "service_not_led",
    Reason::PodsInOrder => "pods_in_order",
    Reason::Leading(_) => "leading",
    Reason::BetterCandidate(_) => "better_candidate",
    Reason::Lowers => "lowers",
}

impl Reason {
    /// Whether somebody must decide or mend something: such a reason is logged as a warning.
    pub fn needs_a_hand(&self) -> bool {
        matches!(
            self,
            Self::UngrantedMaster(_)
                | Self::MasterIsOlder { .. }
                | Self::TwoHistories(..)
                | Self::NobodyToChoose(_)
                | Self::WaitingForMaster { .. }
                | Self::UngrantedBesideMaster(_)
                | Self::Declined { .. }
                | Self::Forgets(_)
                | Self::NotRecorded
                | Self::ActionFailed(_)
                | Self::NotPrepared(_)
                | Self::SecretUnread(_)
                | Self::CertificateUnfit(_)
                | Self::LeaseUnread(_)
                | Self::LeaseUnwritten(_)
                | Self::LeaseLost(_)
                | Self::OtherAuthority(_)
                | Self::PodsInOrder
                | Self::ServiceNotLed(_)
                | Self::Grants { at_risk: true, .. }
        )
    }

    /// The reason as it is published: peers read texts up to a length only.
    pub fn report(&self, set: &str) -> ReasonReport {
        const LONGEST: usize = 1000;
        ReasonReport {
            code: self.code().to_owned(),
            message: words::at_most(&self.message(set), LONGEST),
        }
    }

    /// The sentence for people; `set` is the name of the `StatefulSet`, to name pods by.
    #[expect(clippy::too_many_lines, reason = "an arm a reason")]
    pub fn message(&self, set: &str) -> String {
        let pod = |ordinal: &Ordinal| format!("{set}-{ordinal}");
        let epoch = |e: &Option<Epoch>| e.map_or_else(|| "none".to_owned(), |e| e.to_string());
        match self {
            Self::Master(e) => format!("is the master of epoch {e}"),
            Self::Following(m) => format!("follows {}", pod(m)),
            Self::Syncing(m) => format!("receives the first full copy from {}", pod(m)),
            Self::LinkDown(m) => format!("follows {}, but the link is down", pod(m)),
            Self::Follows(m) => format!("is pointed at the master {}", pod(m)),
            Self::Granted(e) => format!("was granted the master role of epoch {e}"),
            Self::ServerUnreachable(why) => format!("the local server does not answer: {why}"),
            Self::ServerLoading => "the local server is loading its data".to_owned(),
            Self::PromotionUnknown(e) => {
                format!("the promotion of epoch {e} was not answered: the server is fenced first")
            }
            Self::NewerGrant { ours, newer } => format!(
                "epoch {newer} was granted and is newer than ours ({})",
                epoch(ours)
            ),
            Self::UngrantedBesideMaster(m) => format!(
                "accepted writes without a grant while {} is the master: fenced, these writes are given up",
                pod(m)
            ),
            Self::Adopted(e) => format!(
                "was made master by hand and goes on from the newest history: taken over as epoch {e}"
            ),
            Self::UngrantedMaster(why) => format!(
                "accepts writes without a grant and is not taken as the master: {why}; decide with: podzero resolve --keep POD"
            ),
            Self::UngrantedPeer(m) => format!(
                "{} accepts writes without a grant, so nobody else may",
                pod(m)
            ),
            Self::NoMaster { pod0 } => format!("there is no master to follow; {pod0}"),
            Self::MasterIsOlder {
                master,
                theirs,
                ours,
            } => format!(
                "refuses to follow {}: its history (epoch {}) is older than the data here (epoch {}); decide with: podzero resolve --keep POD",
                pod(master),
                epoch(theirs),
                epoch(ours)
            ),
            Self::TwoHistories(a, b) => format!(
                "the data of {} and of {} went apart, and neither contains the other; decide with: podzero resolve --keep POD",
                pod(a),
                pod(b)
            ),
            Self::ObeysNewer { master, seen } => format!(
                "does not follow {}: epoch {seen} was granted after its own",
                pod(master)
            ),
            Self::MasterUnverified { master, why } => format!(
                "does not follow {} yet: its server could not be verified: {why}",
                pod(master)
            ),
            Self::MasterWithoutSidecar(m) => format!(
                "the server of {} is a master, but its sidecar does not answer: links are kept, none is made",
                pod(m)
            ),
            Self::GrantRefused { epoch, why } => {
                format!("refuses the master role of epoch {epoch}: {why}")
            }
            Self::Terminating => "this pod is being stopped".to_owned(),
            Self::WaitingForMembers(who) => format!("waits until every member has answered: {who}"),
            Self::WaitingForMaster { master, why } => format!(
                "waits for {}, the newest master, without limit: {why}; if it is lost for good, decide with: podzero resolve --keep POD",
                pod(master)
            ),
            Self::Discovering => {
                "waits whether other members appear in the DNS (--replicas would tell)".to_owned()
            }
            Self::OwnNameMissing => format!(
                "this pod's own name does not resolve yet, so a name that is missing says nothing: is the headless Service of {set} there, with publishNotReadyAddresses: true?"
            ),
            Self::Declined { target, why } => format!(
                "{} was granted the master role and did not take it; it is asked again soon. It says: {why}",
                pod(target)
            ),
            Self::Forgets(why) => {
                format!("{why}; until then this member neither leads nor follows anybody new")
            }
            Self::ActionFailed(why)
            | Self::NotPrepared(why)
            | Self::SecretUnread(why)
            | Self::PasswordWaits(why)
            | Self::CertificateUnfit(why) => why.clone(),
            Self::NobodyToChoose(why) => format!("no member can be made the master: {why}"),
            Self::GrantNotSeen { epoch, by } => format!(
                "the grant of epoch {epoch} waits until all who answer have seen it; not yet: {by}"
            ),
            Self::GrantWaits { epoch, target } => format!(
                "waits for {} to take the master role of epoch {epoch}",
                pod(target)
            ),
            Self::Grants {
                epoch, target, why, ..
            } => format!(
                "grants {} the master role of epoch {epoch}: {why}",
                pod(target)
            ),
            Self::HandingOver { from, to } => format!(
                "the master role is being handed over from {} to {}",
                pod(from),
                pod(to)
            ),
            Self::NoTarget(why) => format!("nobody can take the master role now: {why}"),
            Self::LeaseUnread(why) => format!("the Lease could not be read: {why}"),
            Self::LeaseUnwritten(why) => format!("the Lease could not be renewed: {why}"),
            Self::LeaseHeld {
                holder,
                known: true,
            } => format!("waits until {holder} leads, or its Lease runs out"),
            Self::LeaseHeld { holder, .. } => format!(
                "waits until the Lease runs out: its holder is no pod of the set ({holder})"
            ),
            Self::LeaseLost(e) => format!(
                "the Lease could not be renewed in time: fenced, the role of epoch {e} is given up"
            ),
            Self::NotRecorded => {
                "may not take the Lease: no master has recorded this member as one with all data; if no other can take it, decide with: podzero resolve --keep POD".to_owned()
            }
            Self::Promised => {
                "promised the holder of the Lease not to take it for a while".to_owned()
            }
            Self::OtherAuthority(m) => format!(
                "{} goes by another --authority; nobody is made the master before all go by the same",
                pod(m)
            ),
            Self::ServiceNotLed(why) => format!("the master's Service may lead elsewhere: {why}"),
            Self::ReadingLease => "reads the Lease".to_owned(),
            Self::NoLease => "there is no Lease: waits until every member is seen to be empty (a first boot), or for the Lease's duration (it was deleted)".to_owned(),
            Self::PodsInOrder => "the StatefulSet starts its pods one after the other, and none before the one before it is ready: set its podManagementPolicy to Parallel (it must be made anew for that)".to_owned(),
            Self::Leading(m) => format!("the master's Service is led to {}", pod(m)),
            Self::BetterCandidate(m) => format!("waits for {} to take the Lease", pod(m)),
            Self::Lowers => {
                "gives back min-replicas-to-write, which was raised for a handover".to_owned()
            }
            Self::GrantEnds { epoch, how } => format!("the grant of epoch {epoch} ends: {how}"),
        }
    }
}
