//! Violations that were planted, and what is none.

use std::sync::Arc;
use std::time::Duration;

use super::{Findings, check};
use crate::history::{
    Accepted, Claim, Epoch, Last, Outcome, Read, Record, Reign, Server, Told, Write,
};

const BOUND: Duration = Duration::from_secs(10);

fn server(ordinal: usize) -> Arc<Server> {
    Arc::new(Server {
        ordinal,
        address: format!("10.0.0.{ordinal}"),
        run: format!("run-{ordinal}"),
    })
}

fn epoch(counter: u64) -> Epoch {
    Epoch {
        counter,
        granter: 0,
    }
}

/// A write that takes a tenth of a second.
fn write(value: u64, sent_at: u64, outcome: Outcome) -> Write {
    let sent_at = Duration::from_secs(sent_at);
    Write {
        value,
        sent_at,
        done_at: sent_at + Duration::from_millis(100),
        outcome,
    }
}

fn acknowledged(value: u64, at: u64, by: usize, history: &str, before: u64) -> Write {
    let outcome = Outcome::Acknowledged {
        server: server(by),
        history: history.into(),
        before,
    };
    write(value, at, outcome)
}

fn read(at: u64, from: usize, history: &str, value: u64) -> Read {
    Read {
        asked_at: Duration::from_secs(at),
        done_at: Duration::from_secs(at + 1),
        server: server(from),
        history: history.into(),
        link: "up".to_owned(),
        values: vec![value],
    }
}

/// Redis-0 reigns in epoch 1 with history a, redis-1 in epoch 2 with b, redis-2 in epoch 3 with c.
fn told(took_over: [bool; 3]) -> Told {
    let mut told = Told::default();
    for (at, history) in ["a", "b", "c"].into_iter().enumerate() {
        let epoch = epoch(at as u64 + 1);
        let before = at.saturating_sub(1);
        let reign = Reign {
            pod: format!("redis-{at}"),
            run: format!("run-{at}"),
            took_over_from: took_over[at].then(|| format!("run-{before}")),
        };
        told.epochs.insert(history.to_owned(), [epoch].into());
        told.reigns.insert(epoch, reign);
    }
    told
}

/// One writer, two of whose writes each master acknowledged, and a reader that saw the last.
fn record(took_over: [bool; 3]) -> Record {
    let writes = vec![
        acknowledged(1, 1, 0, "a", 0),
        acknowledged(2, 2, 0, "a", 1),
        acknowledged(3, 3, 1, "b", 2),
        acknowledged(4, 4, 1, "b", 3),
        acknowledged(5, 5, 2, "c", 4),
        acknowledged(6, 6, 2, "c", 5),
    ];
    Record {
        writes: vec![writes],
        reads: vec![read(7, 0, "c", 6)],
        accepted: Vec::new(),
        told: told(took_over),
        claims: Vec::new(),
        last: Last {
            history: "c".to_owned(),
            lineage: ["a", "b", "c"].map(ToOwned::to_owned).into(),
            logs: vec![vec![1, 2, 3, 4, 5, 6]],
        },
    }
}

/// The same, where the second master begins without the last write of the first.
fn without_the_second(took_over: [bool; 3]) -> Record {
    let mut record = record(took_over);
    record.writes[0][2] = acknowledged(3, 3, 1, "b", 1);
    record.last.logs = vec![vec![1, 3, 4, 5, 6]];
    record
}

fn judge(record: &Record) -> Findings {
    check(record, BOUND)
}

fn finds(record: &Record, violation: &str) {
    let found = judge(record);
    let has = found.violations.iter().any(|v| v.contains(violation));
    assert!(has, "not found: {violation}; {found:#?}");
}

fn finds_nothing(record: &Record) -> Findings {
    let found = judge(record);
    assert_eq!(found.violations, [""; 0]);
    found
}

const BY_HANDOVERS: [bool; 3] = [false, true, true];
const LOST: &str = "an acknowledged write is lost without a failover";

#[test]
fn what_is_well_is_well() {
    let found = finds_nothing(&record(BY_HANDOVERS));
    let counted = (found.acknowledged, found.handovers, found.failovers);
    assert_eq!(counted, (6, 2, 0));
    assert_eq!(found.gap, Duration::from_secs(1));
}

#[test]
fn a_write_that_a_handover_lost_is_found() {
    let record = without_the_second(BY_HANDOVERS);
    finds(&record, LOST);
    let found = judge(&record);
    assert_eq!((found.lost_by_handovers, found.lost_by_failovers), (1, 0));
}

#[test]
fn a_write_that_a_failover_lost_is_counted() {
    let found = finds_nothing(&without_the_second([false, false, true]));
    assert_eq!((found.lost_by_handovers, found.lost_by_failovers), (0, 1));
    assert_eq!((found.handovers, found.failovers), (1, 1));
}

/// A failover elsewhere explains nothing: the write was still there after it.
#[test]
fn a_handover_that_loses_after_a_failover_is_found() {
    let mut record = record([false, false, true]);
    record.writes[0][4] = acknowledged(5, 5, 2, "c", 3);
    record.last.logs = vec![vec![1, 2, 3, 5, 6]];
    finds(&record, LOST);
    // Also where it was written before that failover.
    record.writes[0][4] = acknowledged(5, 5, 2, "c", 1);
    record.last.logs = vec![vec![1, 5, 6]];
    let found = judge(&record);
    assert_eq!((found.lost_by_handovers, found.lost_by_failovers), (3, 0));
    // Nor is one that came later: what was lost before it was lost by the handover.
    let mut record = without_the_second([false, true, false]);
    finds(&record, LOST);
    // The writer had nothing acknowledged in between: the failover may have lost it.
    record.writes[0] = vec![
        acknowledged(1, 1, 0, "a", 0),
        acknowledged(2, 2, 0, "a", 1),
        acknowledged(5, 5, 2, "c", 1),
    ];
    record.reads = vec![read(7, 0, "c", 5)];
    record.last.logs = vec![vec![1, 5]];
    assert_eq!(finds_nothing(&record).lost_by_failovers, 1);
}

#[test]
fn a_handover_that_only_its_caller_was_told_of_is_one() {
    let mut record = without_the_second([false, false, true]);
    record.claims.push(Claim {
        from: "run-0".to_owned(),
        epoch: "2.0".to_owned(),
    });
    finds(&record, LOST);
}

#[test]
fn a_handover_from_another_run_of_the_server_explains_a_loss() {
    let mut record = without_the_second(BY_HANDOVERS);
    let reign = record.told.reigns.get_mut(&epoch(2)).expect("told");
    reign.took_over_from = Some("the run of redis-0 after that".to_owned());
    assert_eq!(finds_nothing(&record).lost_by_failovers, 1);
}

#[test]
fn a_master_that_went_on_in_a_new_epoch_loses_nothing() {
    let mut record = without_the_second([false, false, true]);
    record.told.reigns.get_mut(&epoch(2)).expect("told").run = "run-0".to_owned();
    finds(&record, LOST);
    let found = judge(&record);
    assert_eq!((found.handovers, found.failovers), (1, 0));
}

#[test]
fn a_write_that_is_gone_at_the_end_with_no_change_of_the_master_is_found() {
    let mut record = record(BY_HANDOVERS);
    record.last.logs = vec![vec![1, 2, 3, 4, 5]];
    finds(&record, LOST);
}

/// The master did not have it any more long before the failover.
#[test]
fn a_write_that_its_own_master_lost_before_a_failover_is_found() {
    let mut record = record([false, false, false]);
    record.writes[0][1] = acknowledged(2, 2, 0, "a", 0);
    record.last.logs = vec![vec![2, 3, 4, 5, 6]];
    finds(&record, LOST);
    let mut record = self::record([false, false, false]);
    record.writes[0][3] = acknowledged(4, 4, 1, "b", 1);
    record.last.logs = vec![vec![1, 4, 5, 6]];
    assert_eq!(judge(&record).lost_by_handovers, 2);
}

#[test]
fn what_a_master_that_was_cut_off_still_acknowledged_is_counted() {
    let mut record = record([false, false, true]);
    let late = acknowledged(4, 4, 0, "a", 2);
    record.writes[0][3] = late;
    record.writes[0][4] = acknowledged(5, 5, 2, "c", 3);
    record.last.logs = vec![vec![1, 2, 3, 5, 6]];
    assert_eq!(finds_nothing(&record).lost_by_failovers, 1);
}

#[test]
fn what_a_master_that_nobody_knew_acknowledged_is_counted() {
    let mut record = without_the_second(BY_HANDOVERS);
    record.writes[0][1] = acknowledged(2, 2, 2, "d", 1);
    assert_eq!(finds_nothing(&record).lost_by_failovers, 1);
}

/// Whether the write is there after the first change cannot be told; at the end it is not.
#[test]
fn an_unanswered_write_between_proves_nothing() {
    let mut record = record([false, false, true]);
    record.writes[0][2] = write(3, 3, Outcome::Unknown);
    record.last.logs = vec![vec![1, 3, 4, 5, 6]];
    assert_eq!(finds_nothing(&record).lost_by_failovers, 1);
}

#[test]
fn a_refused_write_that_is_there_is_found() {
    let mut record = record(BY_HANDOVERS);
    record.writes[0].push(write(7, 7, Outcome::Refused));
    finds_nothing(&record);
    record.last.logs[0].push(7);
    finds(&record, "a refused write was carried out");
}

#[test]
fn an_unanswered_write_may_be_there_or_not() {
    let mut record = record(BY_HANDOVERS);
    record.writes[0].push(write(7, 7, Outcome::Unknown));
    finds_nothing(&record);
    record.last.logs[0].push(7);
    finds_nothing(&record);
}

#[test]
fn what_nobody_wrote_and_what_is_out_of_order_is_found() {
    let mut strange = record(BY_HANDOVERS);
    strange.last.logs[0].push(99);
    finds(&strange, "writer 0 never wrote 99");
    let mut twisted = record(BY_HANDOVERS);
    twisted.last.logs[0].swap(0, 1);
    finds(&twisted, "out of order");
}

const TWO: &str = "two servers accepted writes in one epoch";

#[test]
fn two_servers_in_one_epoch_are_found() {
    let mut record = record(BY_HANDOVERS);
    record.writes[0].push(acknowledged(7, 7, 0, "c", 6));
    record.last.logs[0].push(7);
    finds(&record, TWO);
}

#[test]
fn a_second_history_in_one_epoch_is_found() {
    let mut record = record(BY_HANDOVERS);
    record.told.epochs.insert("d".to_owned(), [epoch(3)].into());
    record.accepted.push(accepted(0, "d", 20, 30));
    finds(&record, TWO);
}

fn accepted(by: usize, history: &str, from: u64, to: u64) -> Accepted {
    Accepted {
        server: server(by),
        history: history.into(),
        from: Duration::from_secs(from),
        to: Duration::from_secs(to),
    }
}

#[test]
fn a_master_of_an_unknown_epoch_beside_another_is_found() {
    let mut record = record(BY_HANDOVERS);
    record.accepted.push(accepted(0, "d", 20, 30));
    finds_nothing(&record);
    record.accepted.push(accepted(2, "c", 25, 35));
    finds(&record, "nobody told the epoch");
}

const OLD: &str = "a ready replica showed what was too old";

#[test]
fn a_stale_read_past_the_bound_is_found() {
    let mut record = record(BY_HANDOVERS);
    // The sixth write was answered at 6.1 s.
    record.reads.push(read(16, 0, "c", 5));
    assert_eq!(finds_nothing(&record).stalest, Duration::from_millis(9_900));
    record.reads.push(read(17, 0, "c", 5));
    finds(&record, OLD);
}

#[test]
fn a_read_without_what_an_earlier_master_acknowledged_is_found() {
    let mut record = record(BY_HANDOVERS);
    record.writes[0].truncate(2);
    record.last.logs = vec![vec![1, 2]];
    record.reads.push(read(17, 0, "b", 2));
    finds_nothing(&record);
    record.reads.push(read(17, 0, "b", 1));
    finds(&record, OLD);
}

#[test]
fn a_read_without_what_a_failover_lost_is_none() {
    let mut record = record([false, false, true]);
    record.writes[0].truncate(2);
    record.last.logs = vec![vec![1]];
    record.reads.push(read(17, 0, "b", 1));
    assert_eq!(finds_nothing(&record).lost_by_failovers, 1);
}

/// The replica's history is one that came to nothing.
#[test]
fn a_read_on_a_history_that_was_given_up_is_none() {
    let mut record = record([false, false, false]);
    record.last.lineage = ["a", "c"].map(ToOwned::to_owned).into();
    record.told.epochs.insert("x".to_owned(), [epoch(2)].into());
    record.reads.push(read(17, 0, "x", 1));
    finds_nothing(&record);
}

#[test]
fn a_read_behind_a_later_master_is_measured() {
    let mut record = record(BY_HANDOVERS);
    record.reads.push(read(30, 0, "b", 4));
    let found = finds_nothing(&record);
    assert_eq!(found.stalest_behind, Duration::from_millis(24_900));
}

#[test]
fn a_run_in_which_nothing_happened_proves_nothing() {
    finds(&Record::default(), "no write was ever acknowledged");
}
