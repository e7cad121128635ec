//! What a member can be, and how another one sees it.

use crate::decide::fixture::{Member, epoch};
use crate::decide::{Local, PeerState, Silence};
use crate::observe::info::{ServerInfo, ServerRole};
use crate::report::LinkState;
use crate::topology::Ordinal;

pub(super) fn uid(ordinal: u32) -> String {
    format!("uid-{ordinal}")
}

/// How a peer is seen.
#[derive(Debug, Clone)]
pub(super) enum Being {
    Answers(Member),
    /// It goes by pod-0's word.
    OtherAuthority(Member),
    /// It cannot write its state file.
    Forgets(Member),
    /// It has not seen the Lease as it is now.
    Late(Member),
    ServerOnly(ServerInfo),
    Silent,
}

impl Being {
    pub(super) fn seen(&self) -> PeerState {
        let report = |member: &Member| {
            let mut report = member.report();
            "lease".clone_into(&mut report.authority.kind);
            report.uid = Some(uid(member.ordinal.0));
            report.authority.lease = Some("7".to_owned());
            report
        };
        let report = match self {
            Self::Answers(member) => report(member),
            Self::OtherAuthority(member) => {
                let mut report = report(member);
                "ordinal".clone_into(&mut report.authority.kind);
                report
            }
            Self::Forgets(member) => crate::report::Report {
                forgets: true,
                ..report(member)
            },
            Self::Late(member) => {
                let mut report = report(member);
                report.authority.lease = Some("6".to_owned());
                report
            }
            Self::ServerOnly(server) => return PeerState::ServerOnly(Box::new(server.clone())),
            Self::Silent => return PeerState::Silent("does not answer".to_owned()),
        };
        PeerState::Answered(Box::new(report))
    }

    pub(super) fn member(&self) -> Option<&Member> {
        match self {
            Self::Answers(member)
            | Self::OtherAuthority(member)
            | Self::Forgets(member)
            | Self::Late(member) => Some(member),
            Self::ServerOnly(_) | Self::Silent => None,
        }
    }

    pub(super) fn is_of_another_authority(&self) -> bool {
        matches!(self, Self::OtherAuthority(_))
    }

    pub(super) fn forgets(&self) -> bool {
        matches!(self, Self::Forgets(_))
    }

    pub(super) fn server(&self) -> Option<&ServerInfo> {
        match self {
            Self::ServerOnly(server) => Some(server),
            Self::Answers(_)
            | Self::OtherAuthority(_)
            | Self::Forgets(_)
            | Self::Late(_)
            | Self::Silent => None,
        }
    }
}

pub(super) fn data(ordinal: u32, counter: u64, letter: char, offset: u64) -> Member {
    Member::with_data(ordinal, counter, letter, offset)
}

/// Data of the first epoch.
pub(super) fn first(ordinal: u32, offset: u64) -> Member {
    data(ordinal, 1, 'a', offset).memory(|m| m.master = Some(Ordinal::ZERO))
}

pub(super) fn gone(member: Member) -> Member {
    Member {
        local: Local::Unreachable {
            silence: Silence::Gone,
            why: "gone".to_owned(),
        },
        ..member
    }
}

pub(super) fn hangs(member: Member) -> Member {
    Member {
        local: Local::Unreachable {
            silence: Silence::Hangs,
            why: "no answer".to_owned(),
        },
        ..member
    }
}

pub(super) fn terminating(member: Member) -> Member {
    Member {
        terminating: true,
        ..member
    }
}

/// Accepts writes, and nobody granted that.
pub(super) fn hand(member: Member) -> Member {
    member.server(|s| s.role = ServerRole::Master)
}

pub(super) fn only(member: Member) -> Being {
    match member.local {
        Local::Up(server) => Being::ServerOnly(server),
        Local::Loading { .. } | Local::Unreachable { .. } => panic!("up"),
    }
}

/// What a member of a set can be that has no handover under way.
pub(super) fn members(ordinal: u32) -> Vec<Member> {
    vec![
        Member::empty(ordinal),
        first(ordinal, 5).replica_of(0, LinkState::Down),
        first(ordinal, 9).replica_of(0, LinkState::Up),
        data(ordinal, 2, 'b', 3),
        first(ordinal, 9).memory(|m| m.unfinished = true),
        first(ordinal, 9).memory(|m| m.closed = Some(epoch(2))),
        first(ordinal, 9).master().memory(|m| m.by_lease = true),
        data(ordinal, 2, 'b', 3)
            .master()
            .memory(|m| m.by_lease = true),
        hand(first(ordinal, 9)),
        terminating(first(ordinal, 9)),
        terminating(first(ordinal, 9).master().memory(|m| m.by_lease = true)),
        gone(first(ordinal, 9)),
        Member {
            local: Local::Loading {
                run_id: "x".to_owned(),
            },
            ..first(ordinal, 9)
        },
    ]
}

/// How it is seen.
pub(super) fn beings(ordinal: u32) -> Vec<Being> {
    let mut all: Vec<_> = members(ordinal).into_iter().map(Being::Answers).collect();
    all.extend([
        Being::Silent,
        only(first(ordinal, 9)),
        only(first(ordinal, 9).master()),
    ]);
    all
}
