//! Authority `lease` under faults in random order.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::api_proxy::ApiTrouble;
use crate::cluster::Cluster;
use crate::handover::{podzero, writers};
use crate::handover_sets::{Dice, seed};
use crate::handover_troubles::small;

/// What is wrong in one round, until it is mended.
#[derive(Debug, Clone, Copy)]
enum Fault {
    ServerDies,
    SidecarDies,
    MemberDies,
    ServerHangs,
    SidecarHangs,
    MemberHangs,
    CutFromApi,
    ApiStops,
    ApiErrs(u16),
    ApiIsSlow,
    AnswersAreLost,
    HandedOver,
}

const FAULTS: [Fault; 14] = [
    Fault::ServerDies,
    Fault::SidecarDies,
    Fault::MemberDies,
    Fault::ServerHangs,
    Fault::SidecarHangs,
    Fault::MemberHangs,
    Fault::CutFromApi,
    Fault::ApiStops,
    Fault::ApiErrs(409),
    Fault::ApiErrs(429),
    Fault::ApiErrs(500),
    Fault::ApiIsSlow,
    Fault::AnswersAreLost,
    Fault::HandedOver,
];

fn begin(cluster: &mut Cluster, fault: Fault, whom: usize) -> Result<()> {
    let api = |trouble: ApiTrouble| cluster.proxy().map(|proxy| proxy.trouble(trouble));
    match fault {
        Fault::ServerDies => cluster.set.member_mut(whom).kill_server(),
        Fault::SidecarDies => cluster.set.member_mut(whom).kill_sidecar(),
        Fault::MemberDies => cluster.set.member_mut(whom).kill(),
        Fault::ServerHangs => cluster.set.member(whom).server()?.pause(),
        Fault::SidecarHangs => cluster.set.member(whom).sidecar()?.pause(),
        Fault::MemberHangs => {
            cluster.set.member(whom).sidecar()?.pause()?;
            cluster.set.member(whom).server()?.pause()
        }
        Fault::CutFromApi => cluster.set.member(whom).cut_from_api(),
        Fault::ApiStops => cluster.apiserver().pause(),
        Fault::ApiErrs(code) => api(ApiTrouble {
            code: Some(code),
            ..ApiTrouble::default()
        }),
        Fault::ApiIsSlow => api(ApiTrouble {
            delay: Duration::from_secs(2),
            ..ApiTrouble::default()
        }),
        Fault::AnswersAreLost => api(ApiTrouble {
            lose_answer: true,
            only_writes: true,
            ..ApiTrouble::default()
        }),
        Fault::HandedOver => {
            // It may come to nothing, as a part of what goes wrong.
            podzero(&cluster.set, whom, &["failover"]).map(|_| ())
        }
    }
}

fn end(cluster: &mut Cluster, fault: Fault, whom: usize) -> Result<()> {
    match fault {
        Fault::ServerDies => cluster.set.member_mut(whom).start_server(),
        Fault::SidecarDies => cluster.set.member_mut(whom).start_sidecar(),
        Fault::MemberDies => cluster.set.member_mut(whom).start(),
        Fault::ServerHangs => cluster.set.member(whom).server()?.resume(),
        Fault::SidecarHangs => cluster.set.member(whom).sidecar()?.resume(),
        Fault::MemberHangs => {
            cluster.set.member(whom).server()?.resume()?;
            cluster.set.member(whom).sidecar()?.resume()
        }
        Fault::CutFromApi => cluster.set.member(whom).heal_with_api(),
        Fault::ApiStops => cluster.apiserver().resume(),
        Fault::ApiErrs(_) | Fault::ApiIsSlow | Fault::AnswersAreLost => {
            cluster.proxy()?.trouble(ApiTrouble::default());
            Ok(())
        }
        Fault::HandedOver => Ok(()),
    }
}

/// Whatever fails, one at a time or two: never two masters, and the set comes back by itself. What was
/// lost is counted: a failover may lose what no replica had received.
#[test]
fn random_faults_with_the_lease_leave_one_master() -> Result<()> {
    let seed = seed();
    let mut dice = Dice(seed);
    let mut cluster = Cluster::start()?;
    let writers = writers(&cluster.set, 2, &small());
    let mut story = Vec::new();
    for round in 0..crate::repetitions(5, 40) {
        let observer = cluster.set.observe();
        let mut faults = Vec::new();
        for _ in 0..=dice.roll(2) {
            let fault = FAULTS[usize::try_from(dice.roll(FAULTS.len() as u64))?];
            let whom = usize::try_from(dice.roll(3))?;
            // Two that touch the same process, or the same proxy, are one.
            if faults.is_empty() || matches!(fault, Fault::ApiStops) {
                let chapter = format!("{round}: {fault:?} {whom}");
                println!("{chapter}");
                story.push(chapter);
                faults.push((fault, whom));
            }
        }
        let told = || format!("seed {seed}: {story:#?}");
        for (fault, whom) in &faults {
            begin(&mut cluster, *fault, *whom).with_context(told)?;
            harness::wait::pause(Duration::from_millis(dice.roll(400)));
        }
        harness::wait::pause(Duration::from_millis(match dice.roll(3) {
            0 => dice.roll(300),
            1 => dice.roll(3000),
            _ => 4000 + dice.roll(6000),
        }));
        for (fault, whom) in faults.iter().rev() {
            end(&mut cluster, *fault, *whom).with_context(told)?;
            harness::wait::pause(Duration::from_millis(dice.roll(500)));
        }
        cluster.set.converge().with_context(told)?;
        observer.finish().with_context(told)?;
    }
    let master = cluster.set.converge()?;
    let written = writers.end(cluster.set.member(master).address())?;
    ensure!(written.acknowledged > 0, "{written:?}");
    println!("{written:?}");
    Ok(())
}
