//! The decision table, by theme: each reason has a row. What is learnt has its tests beside it.

mod adoption;
mod choosing;
mod fencing;
mod first_boot;
mod following;
mod granting;
mod handover;
mod learning;
mod lease;
mod obeying;
mod ready;
mod resolve;

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::{Member, decided, epoch, id, identity, peer, policy, sees, target};
use super::learn::learn;
use super::own_report::own_report;
use super::ready::{ReadyMemory, conditions};
use super::{Action, Decision, Local, PeerState, Policy, Silence, Snapshot, View};
use crate::clock::Time;
use crate::observe::info::ServerRole;
use crate::report::{Grant, Intent, LinkState, ReplicaReport};
use crate::state_file::Alias;
use crate::topology::{Epoch, Ordinal};

/// One row: what is so, and what is decided: the action's word and the first reason's code.
struct Row {
    name: &'static str,
    me: Member,
    snapshot: Snapshot,
    policy: Policy,
    action: &'static str,
    code: &'static str,
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn row(
        &mut self,
        name: &'static str,
        me: &Member,
        snapshot: Snapshot,
        action: &'static str,
        code: &'static str,
    ) -> &mut Row {
        self.0.push(Row {
            name,
            me: me.clone(),
            snapshot,
            policy: policy(),
            action,
            code,
        });
        self.0.last_mut().expect("just pushed")
    }
}

fn data(ordinal: u32, offset: u64) -> Member {
    Member::with_data(ordinal, 1, 'a', offset)
}

fn master(ordinal: u32) -> Member {
    data(ordinal, 9).master()
}

fn grant(counter: u64, target: u32, counts: bool) -> Grant {
    Grant {
        epoch: epoch(counter),
        target: Ordinal(target),
        counts,
        by_hand: false,
        handover: None,
    }
}

/// Pod-0 with data, publishing a grant.
fn granting(grant: Grant) -> Member {
    Member::with_data(0, 1, 'a', 5).memory(|m| {
        m.epoch_seen = Some(grant.epoch);
        m.holder = Some(grant.target);
        m.grant = Some(grant);
    })
}

/// Started again with AOF, which does not keep the ID: the state file's offset is a lower bound.
fn at_least(member: Member) -> Member {
    let alias = member.memory.run_id.clone().map(|run_id| Alias {
        run_id,
        id: Some(id('f')),
    });
    member.memory(|m| m.alias = alias).server(|s| {
        s.aof = true;
        s.id = Some(id('f'));
        s.offset = 0;
    })
}

/// Has seen an epoch.
fn seen(member: Member, counter: u64) -> Member {
    member.memory(|m| m.epoch_seen = Some(epoch(counter)))
}

fn with(mut snapshot: Snapshot, ordinal: u32, state: PeerState) -> Snapshot {
    snapshot
        .peers
        .insert(Ordinal(ordinal), peer(state, Ordinal(ordinal)));
    snapshot
}

fn later(mut snapshot: Snapshot, length: Duration) -> Snapshot {
    snapshot.started_at = Time(Duration::from_secs(100)) + length;
    snapshot
}

fn silent() -> PeerState {
    PeerState::Silent("does not answer".to_owned())
}

/// The server of a member whose sidecar does not answer.
fn server_only(member: &Member) -> PeerState {
    let Local::Up(server) = &member.local else {
        panic!("the server is up")
    };
    PeerState::ServerOnly(Box::new(server.clone()))
}

fn ungranted(ordinal: u32, offset: u64) -> Member {
    Member::with_data(ordinal, 1, 'a', offset).server(|s| {
        s.role = ServerRole::Master;
        s.id2 = s.id.clone();
        s.id2_end = Some(offset);
        s.id = Some(id('c'));
    })
}

fn table() -> Vec<Row> {
    let mut table = Table::default();
    fencing::rows(&mut table);
    adoption::rows(&mut table);
    following::rows(&mut table);
    obeying::rows(&mut table);
    obeying::went_on_rows(&mut table);
    first_boot::rows(&mut table);
    choosing::rows(&mut table);
    granting::rows(&mut table);
    handover::rows(&mut table);
    resolve::rows(&mut table);
    lease::rows(&mut table);
    table.0
}

#[test]
fn the_table() {
    let mut wrong = Vec::new();
    for row in table() {
        let Decision { action, reasons } = decided(&row.me, &row.snapshot, &row.policy);
        let codes: Vec<_> = reasons.iter().map(super::Reason::code).collect();
        if (action.as_str(), codes.first()) != (row.action, Some(&row.code)) {
            let words = (row.action, row.code);
            wrong.push(format!("{}: {words:?}, got {action:?} {codes:?}", row.name));
        }
        for reason in &reasons {
            assert!(!reason.message("redis").is_empty());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_has_a_row() {
    // These are no decisions: the loop adds them.
    let troubles = [
        "state_file_unwritable",
        "action_failed",
        "not_prepared",
        "secret_unread",
        "password_waits",
        "certificate_unfit",
    ];
    let rows: BTreeSet<_> = table().iter().map(|r| r.code).chain(troubles).collect();
    let codes: BTreeSet<_> = super::reason::CODES.iter().copied().collect();
    assert_eq!(codes.len(), super::reason::CODES.len(), "a code twice");
    assert_eq!(rows, codes);
}
