//! `podzero sidecar`: the loop of observe, decide, act, in one task that owns all state.

mod start;
mod voice;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::voice::Voice;
use crate::act::{Replication, act, prepare};
use crate::clock::{self, Time};
use crate::config::SidecarArgs;
use crate::decide::learn::{learn, own_report};
use crate::decide::ready::{ReadyMemory, conditions, followed, lag};
use crate::decide::{Action, Decision, Local, PeerState, Policy, Reason, Snapshot, View, decide};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::http::Servers;
use crate::metrics::Metrics;
use crate::observe::info::ServerRole;
use crate::observe::local::LocalServer;
use crate::observe::members::{Ask, Members};
use crate::publish::{Published, Request, Shared, Turned};
use crate::report::{LinkState, PeerReport, Report};
use crate::state_file::{Memory, StateFile};
use crate::topology::Ordinal;

/// Between two turns when all is well. Events wake the loop earlier.
const STEADY: Duration = Duration::from_secs(1);
/// Between two turns while something is waited for.
const UNSETTLED: Duration = Duration::from_millis(100);
/// How often an offset alone is worth a write of the state file.
const OFFSET_WRITES: Duration = Duration::from_secs(5);
/// How long an ordinary sidecar outlives the signal that its server gets too: within the 30 s that a
/// pod has by default.
const OUTLIVE: Duration = Duration::from_secs(25);

/// Runs the sidecar until it is told to end.
pub async fn run(args: SidecarArgs) -> Result<(), Failure> {
    let mut sidecar = Sidecar::start(&args).await?;
    let stop = crate::shutdown::listen()?;
    let servers = Servers::bind(args.http, &args.socket)
        .await
        .or_exit(Exit::Environment)?;
    let (requests, mut asked) = mpsc::channel(16);
    let (ended, end) = watch::channel(false);
    let (publish, published) = watch::channel(None);
    let shared = Shared {
        published,
        turned: sidecar.turned.clone(),
        requests,
        metrics: Arc::clone(&sidecar.metrics),
    };
    let serving = tokio::spawn(servers.serve(shared, end));
    sidecar.turn_until_told(&publish, &mut asked, stop).await;
    ended.send_replace(true);
    // The servers end at once; whatever they still answer is not worth waiting for.
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    tracing::info!("ended");
    Ok(())
}

struct Sidecar {
    ask: Ask,
    policy: Policy,
    server: LocalServer,
    members: Members,
    replication: Replication,
    memory: Memory,
    file: StateFile,
    offset_written_at: Time,
    ready: ReadyMemory,
    lost: Arc<Notify>,
    started_at: Time,
    turned: Turned,
    metrics: Arc<Metrics>,
    conf: std::path::PathBuf,
    answered_at: BTreeMap<Ordinal, u64>,
    voice: Voice,
    pointed_at: Option<String>,
    resolve: Option<(Ordinal, oneshot::Sender<Result<String, String>>)>,
}

impl Sidecar {
    async fn turn_until_told(
        &mut self,
        publish: &watch::Sender<Option<Arc<Published>>>,
        asked: &mut mpsc::Receiver<Request>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut told_at: Option<Time> = None;
        loop {
            let (decision, gone) = self.turn(publish, told_at.is_some()).await;
            if let Some(at) = told_at
                && (gone || clock::now().since(at) > OUTLIVE)
            {
                return;
            }
            let steady = decision.action == Action::Wait
                && decision
                    .reasons
                    .iter()
                    .all(|r| matches!(r, Reason::Master(_) | Reason::Following(_)));
            let pause = match decision.action {
                Action::Wait if steady && told_at.is_none() => STEADY,
                Action::Wait => UNSETTLED,
                Action::Fence
                | Action::Unfence { .. }
                | Action::Adopt { .. }
                | Action::Follow { .. }
                | Action::Publish(_)
                | Action::Withdraw
                | Action::Close(_) => Duration::from_millis(5),
            };
            let woken = tokio::select! {
                () = tokio::time::sleep(pause) => None,
                () = self.lost.notified() => None,
                request = asked.recv() => request,
                told = stop.wait_for(|told| *told), if told_at.is_none() => {
                    if told.is_ok() { told_at = Some(clock::now()); }
                    None
                }
            };
            if let Some(Request::Resolve { keep, reply }) = woken {
                self.take_request(&keep, reply);
            }
        }
    }

    fn take_request(
        &mut self,
        keep: &crate::topology::PodName,
        reply: oneshot::Sender<Result<String, String>>,
    ) {
        if keep.set() == self.ask.identity.pod.set() {
            self.resolve = Some((keep.ordinal(), reply));
        } else {
            // A caller that hung up needs no answer.
            let _ = reply.send(Err(format!(
                "{keep} is not a pod of the set {}",
                self.ask.identity.pod.set()
            )));
        }
    }

    /// One turn; says what was decided and whether the local server is gone.
    async fn turn(
        &mut self,
        publish: &watch::Sender<Option<Arc<Published>>>,
        terminating: bool,
    ) -> (Decision, bool) {
        let snapshot = self.observe(terminating).await;
        let learnt = learn(&snapshot, &self.memory);
        let remembered = self.remember(learnt);
        if let Local::Up(server) = &snapshot.local {
            self.prepare(&server.run_id).await;
        }
        let own = own_report(&self.ask.identity, &snapshot, &self.memory);
        let own = Report {
            announced: Some((self.replication.announce.clone(), self.ask.redis_port)),
            ..own
        };
        let view = View {
            snapshot: &snapshot,
            memory: &self.memory,
            policy: &self.policy,
            own: &own,
        };
        let conditions = conditions(&view, &mut self.ready);
        let mut decision = decide(&view);
        if !remembered && decision.action != Action::Fence {
            decision.action = Action::Wait;
        }
        self.answer_request(&decision);
        let set = self.ask.identity.pod.set().to_owned();
        let reasons: Vec<_> = decision.reasons.iter().map(|r| r.report(&set)).collect();
        self.voice.say(&decision, &reasons, clock::now());
        if decision.action != Action::Wait {
            self.act(&decision.action, &snapshot).await;
        }
        // What is published is what is remembered after the action.
        let after = own_report(&self.ask.identity, &snapshot, &self.memory);
        let mut report = Report {
            announced: own.announced,
            reasons,
            ..after
        };
        report.ready = conditions.iter().all(|c| c.ok) && decision.action != Action::Fence;
        report.peers = self.peers(&snapshot);
        report.replication.lag = match &snapshot.local {
            Local::Up(server) => match &server.role {
                ServerRole::Replica {
                    host,
                    port,
                    link: LinkState::Up,
                } => followed(&snapshot, &format!("{host}:{port}"))
                    .and_then(|m| lag(&self.memory, m)),
                ServerRole::Replica { .. } | ServerRole::Fenced | ServerRole::Master => None,
            },
            Local::Loading { .. } | Local::Unreachable { .. } => None,
        };
        let published = Published { report, conditions };
        self.metrics.observe(&published);
        self.metrics.turns.inc();
        publish.send_replace(Some(Arc::new(published)));
        self.turned.now();
        let gone = matches!(snapshot.local, Local::Unreachable { gone: true, .. });
        (decision, gone)
    }

    async fn observe(&mut self, terminating: bool) -> Snapshot {
        let started_at = clock::now();
        let pointed_at = self.pointed_at.clone();
        let (local, (peers, own_name_resolves)) = tokio::join!(
            self.server.look(),
            self.members
                .look(&self.ask, self.policy.replicas, pointed_at.as_deref())
        );
        self.pointed_at = match &local {
            Local::Up(server) => match &server.role {
                ServerRole::Replica { host, port, .. } => Some(format!("{host}:{port}")),
                ServerRole::Fenced | ServerRole::Master => None,
            },
            Local::Loading { .. } | Local::Unreachable { .. } => None,
        };
        Snapshot {
            started_at,
            process_started_at: self.started_at,
            me: self.ask.identity.pod.ordinal(),
            local,
            peers,
            own_name_resolves,
            terminating,
            resolve: self.resolve.as_ref().map(|(keep, _)| *keep),
        }
    }

    /// Takes over what was learnt; says whether it could be written.
    fn remember(&mut self, learnt: Memory) -> bool {
        let only_offset = self.file.written().is_some_and(|written| {
            Memory {
                offset: written.offset,
                at: written.at,
                ..learnt.clone()
            } == *written
        });
        self.memory = Memory {
            at: clock::unix_seconds(),
            ..learnt
        };
        let now = clock::now();
        if only_offset && now.since(self.offset_written_at) < OFFSET_WRITES {
            return true;
        }
        self.offset_written_at = now;
        match self.file.save(&self.memory) {
            Ok(()) => true,
            Err(error) => {
                self.metrics.state_file_errors.inc();
                self.voice.complain(
                    &anyhow::Error::new(error),
                    "the state file cannot be written: nothing is promoted or followed",
                    clock::now(),
                );
                // What is not remembered is not published either.
                if let Some(written) = self.file.written() {
                    self.memory.epoch_seen = written.epoch_seen;
                    self.memory.closed = written.closed;
                    self.memory.grant.clone_from(&written.grant);
                }
                false
            }
        }
    }

    async fn prepare(&mut self, run_id: &str) {
        if self.server.is_prepared(run_id) {
            return;
        }
        match crate::conf::write::refence(&self.conf) {
            Ok(true) => tracing::info!("the server runs: its configuration is the fence again"),
            Ok(false) => {}
            Err(error) => self.voice.complain(
                &anyhow::Error::new(error),
                "the configuration could not be fenced again",
                clock::now(),
            ),
        }
        match prepare(&mut self.server, run_id, &self.replication).await {
            Ok(()) => tracing::info!(
                user = self.replication.user,
                "the server has the set's replication user"
            ),
            Err(error) => self.voice.complain(
                &anyhow::Error::new(error),
                "the replication user could not be made on the local server",
                clock::now(),
            ),
        }
    }

    async fn act(&mut self, action: &Action, snapshot: &Snapshot) {
        let result = act(
            action,
            snapshot,
            &mut self.memory,
            &mut self.file,
            &mut self.server,
        )
        .await;
        self.metrics.acted(action.as_str(), result.is_ok());
        match result {
            Ok(()) => {
                if let Action::Follow { lost_tail, .. } = action {
                    self.metrics.lost_tail.inc_by(lost_tail.unwrap_or(0));
                }
            }
            Err(error) => {
                self.voice
                    .complain(&anyhow::Error::new(error), "an action failed", clock::now());
            }
        }
    }

    fn answer_request(&mut self, decision: &Decision) {
        if let Some((_, reply)) = self.resolve.take() {
            let set = self.ask.identity.pod.set();
            let words = decision
                .reasons
                .first()
                .map(|r| r.message(set))
                .unwrap_or_default();
            let granted = matches!(&decision.action, Action::Publish(grant) if grant.by_hand);
            let answer = if granted { Ok(words) } else { Err(words) };
            // A caller that hung up needs no answer.
            let _ = reply.send(answer);
        }
    }

    fn peers(&mut self, snapshot: &Snapshot) -> Vec<PeerReport> {
        let now = clock::unix_seconds();
        snapshot
            .peers
            .iter()
            .map(|(ordinal, peer)| {
                let report = match &peer.state {
                    PeerState::Answered(report) => Some(report),
                    PeerState::ServerOnly(_) | PeerState::Missing | PeerState::Silent(_) => None,
                };
                if report.is_some() {
                    self.answered_at.insert(*ordinal, now);
                }
                PeerReport {
                    pod: self.ask.identity.pod.sibling(*ordinal),
                    role: report.map(|r| r.role),
                    epoch: report.and_then(|r| r.epoch),
                    offset: report.map(|r| r.replication.offset),
                    answered_at: self.answered_at.get(ordinal).copied(),
                    failure: match &peer.state {
                        PeerState::Answered(_) => None,
                        PeerState::ServerOnly(server) => Some(format!(
                            "its sidecar does not answer; its server ({}) does",
                            server.version
                        )),
                        PeerState::Missing => Some("its name does not exist".to_owned()),
                        PeerState::Silent(why) => Some(why.clone()),
                    },
                }
            })
            .collect()
    }
}
