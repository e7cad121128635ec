//! One run: a set, its clients, faults for some time, and the judgement.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::http::Status;
use harness::wait::{SOON, pause, wait_until};
use harness::{Member, Set};

use crate::check::check;
use crate::clients::{Clients, Known, WRITERS, key};
use crate::faults::{Ground, Hands};
use crate::history::{Last, Record};
use crate::plan::{By, Plan};
use crate::table::Sum;
use crate::watch::Watch;

/// Who grants the role in the run of a seed: run after run it is the other one.
pub(crate) fn authority(seed: u64) -> By {
    if seed.is_multiple_of(2) {
        By::Ordinal
    } else {
        By::Lease
    }
}

/// What the servers keep on disk: snapshots, and in some runs every write.
fn base(seed: u64) -> &'static str {
    if seed % 6 < 4 { "" } else { "appendonly yes" }
}

/// Runs for so long, and sums up. An error tells the seed, the story, and what was not as it must be.
pub(crate) fn run(seed: u64, length: Duration) -> Result<Sum> {
    let by = authority(seed);
    let mut ground = Ground::start(by, base(seed)).with_context(|| format!("seed {seed}"))?;
    let set = ground.set();
    let places = set.members().iter().map(Member::address).collect();
    let known = Known::new(places, set.password());
    let (clients, watch) = (Clients::start(&known), Watch::start(&known));
    let mut hands = Hands::new(&mut ground, &known);
    let done = trouble(&mut hands, Plan::new(seed, by), &known, length)
        .and_then(|()| judge(&mut hands, &known, clients, watch));
    let story = hands.story.join("\n");
    known.ends();
    done.with_context(|| format!("PODZERO_CHAOS_SEED={seed} ({by:?}); what was done:\n{story}\n"))
}

/// Rounds of faults until the time is over; all is mended then.
fn trouble(hands: &mut Hands<'_>, plan: Plan, known: &Known, length: Duration) -> Result<()> {
    for round in plan {
        if known.at() >= length {
            break;
        }
        let mut begun = Vec::new();
        for (after, fault) in round.faults {
            pause(after);
            hands.begin(fault).with_context(|| format!("{fault:?}"))?;
            begun.push(fault);
        }
        pause(round.holds.min(length.saturating_sub(known.at())));
        for fault in begun.into_iter().rev() {
            let ended = hands.end(fault);
            ended.with_context(|| format!("mending {fault:?}"))?;
            pause(round.between);
        }
        hands.hear()?;
        if round.settles {
            let master = hands.ground.set().converge()?;
            hands.tell(&format!("all is well, redis-{master} is the master"));
        }
    }
    Ok(())
}

/// Waits until all is well, ends the clients, and judges what they remember.
fn judge(hands: &mut Hands<'_>, known: &Known, clients: Clients, watch: Watch) -> Result<Sum> {
    let set = hands.ground.set();
    set.converge()?;
    // Readers see the healed set too, and its master acknowledges.
    pause(Duration::from_secs(1));
    let writes_end_at = known.at();
    known.clients_end();
    let (writes, reads) = clients.end()?;
    let last = wait_until("all members have the same logs", SOON, || {
        last(set, &watch, known)
    })
    .with_context(|| set.describe())?;
    known.ends();
    let (accepted, told) = watch.end()?;
    let record = Record {
        writes,
        reads,
        accepted,
        told,
        claims: hands.claims.clone(),
        last,
    };
    let found = check(&record, crate::BOUND);
    if !found.violations.is_empty() {
        let violations = found.violations.join("\n");
        let reigns = &record.told.reigns;
        let set = hands.ground.set().describe();
        bail!("{violations}\n{found:#?}\nreigns: {reigns:#?}\n{set}");
    }
    Ok(Sum {
        runs: 1,
        length: writes_end_at,
        faults: hands.faults.clone(),
        answers: hands.answers.clone(),
        found,
    })
}

/// What the master has, once everybody has it and its history is known.
fn last(set: &Set, watch: &Watch, known: &Known) -> Result<Last> {
    let masters = set.masters();
    ensure!(masters.len() == 1, "masters: {masters:?}");
    let lineage = Status::read(known.place(masters[0]))?.lineage();
    let mut last = Last {
        history: set
            .member(masters[0])
            .info()?
            .get("master_replid")
            .to_owned(),
        lineage: lineage.into_iter().map(|(id, _)| id).collect(),
        logs: logs(set.member(masters[0]))?,
    };
    last.lineage.insert(last.history.clone());
    let told = watch.told();
    ensure!(told.epoch(&last.history).is_some(), "its epoch is unknown");
    for member in set.members() {
        let same = logs(member)? == last.logs;
        ensure!(same, "{} has other logs than the master", member.pod());
    }
    Ok(last)
}

fn logs(member: &Member) -> Result<Vec<Vec<u64>>> {
    let mut conn = member.connect()?;
    let log = |writer| conn.ask(&format!("LRANGE {} 0 -1", key(writer)));
    (0..WRITERS).map(log).collect()
}
