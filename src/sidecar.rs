//! `podzero sidecar`: the loop of observe, decide, act, in one task that owns all state.

mod clients;
mod handover;
mod start;
mod troubles;
mod upkeep;
mod voice;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::clients::Demoted;
use self::handover::{Home, Run, Stopping};
use self::troubles::Troubles;
use self::upkeep::just_declined;
use self::voice::Voice;
use crate::act::{Replication, There, act};
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
/// Between two turns while nobody accepts writes, or soon will not.
const URGENT: Duration = Duration::from_millis(5);
/// An ordinary sidecar outlives the signal that its server gets too, until so much of the pod's grace
/// is left.
const LEFT: Duration = Duration::from_secs(5);

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
        wake: Arc::clone(&sidecar.wake),
        token_file: args.prestop_token_file.clone(),
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
    prepared_at: Time,
    ready: ReadyMemory,
    lost: Arc<Notify>,
    wake: Arc<Notify>,
    there: There,
    grace: Duration,
    drain: Duration,
    handover_on_sigterm: bool,
    run: Option<Run>,
    home: Home,
    stopping: Option<Stopping>,
    urgent_since: Option<Time>,
    demoted: Demoted,
    started_at: Time,
    turned: Turned,
    metrics: Arc<Metrics>,
    masterless_since: Time,
    declined_at: BTreeMap<Ordinal, Time>,
    troubles: Troubles,
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
            if let Some(at) = told_at {
                let outlives = clock::now().since(at) + LEFT < self.grace;
                let done = self.handover_on_sigterm && self.run.is_none();
                if gone || done || !outlives {
                    return;
                }
            }
            let steady = decision.action == Action::Wait
                && decision
                    .reasons
                    .iter()
                    .all(|r| matches!(r, Reason::Master(_) | Reason::Following(_)));
            let urgent = self.is_urgent(&decision);
            let pause = if decision.action != Action::Wait {
                // What failed is tried again, a little later.
                if self.troubles.action.is_some() {
                    UNSETTLED
                } else {
                    URGENT
                }
            } else if steady && told_at.is_none() && self.run.is_none() {
                STEADY
            } else if urgent {
                URGENT
            } else {
                UNSETTLED
            };
            let woken = tokio::select! {
                () = tokio::time::sleep(pause) => None,
                () = self.lost.notified() => None,
                () = self.wake.notified() => None,
                request = asked.recv() => request,
                told = stop.wait_for(|told| *told), if told_at.is_none() => {
                    if told.is_ok() { told_at = Some(clock::now()); }
                    if self.handover_on_sigterm { self.prestop(); }
                    None
                }
            };
            if let Some(request) = woken {
                self.take_request(request);
            }
        }
    }

    // A caller that hung up needs no answer.
    fn take_request(&mut self, request: Request) {
        let set = self.ask.identity.pod.set();
        match request {
            Request::Resolve { keep, reply } if keep.set() == set => {
                self.resolve = Some((keep.ordinal(), reply));
            }
            Request::Resolve { keep, reply } => {
                let _ = reply.send(Err(format!("{keep} is not a pod of the set {set}")));
            }
            Request::Prestop { reply } => {
                let _ = reply.send(self.prestop().told());
            }
            Request::Failover {
                to: Some(to),
                reply,
            } if to.set() != set => {
                let _ = reply.send(Err(format!("{to} is not a pod of the set {set}")));
            }
            Request::Failover { to, reply } => {
                let to = to.map(|pod| pod.ordinal());
                let _ = reply.send(self.failover(to).map(Run::told));
            }
        }
    }

    /// One turn; says what was decided and whether the local server is gone.
    async fn turn(
        &mut self,
        publish: &watch::Sender<Option<Arc<Published>>>,
        terminating: bool,
    ) -> (Decision, bool) {
        let snapshot = self.observe(terminating || self.is_stopping()).await;
        let learnt = learn(&snapshot, &self.memory);
        let remembered = self.remember(learnt);
        if let Local::Up(server) = &snapshot.local {
            self.prepare(&server.run_id).await;
        }
        let own = own_report(&self.ask.identity, &snapshot, &self.memory);
        let own = Report {
            announced: Some((self.replication.announce.clone(), self.ask.redis_port)),
            forgets: !remembered,
            ..own
        };
        let (memory, policy) = (self.memory.clone(), self.policy.clone());
        let view = View {
            snapshot: &snapshot,
            memory: &memory,
            policy: &policy,
            own: &own,
        };
        let conditions = conditions(&view, &mut self.ready);
        let mut decision = decide(&view);
        if view.granted_master().is_some() {
            self.masterless_since = clock::now();
        }
        self.declined_at.extend(just_declined(&view, &decision));
        if !remembered && !matches!(decision.action, Action::Fence | Action::Lower) {
            decision.action = Action::Wait;
        }
        if let Some(why) = self.troubles.state_file.clone().filter(|_| !remembered) {
            decision.reasons.insert(0, Reason::Forgets(why));
        }
        self.answer_request(&decision);
        let closed = self.close_clients(&view).await;
        self.hand_over(&view, &decision, closed);
        let troubles = self.troubles.reasons(snapshot.started_at);
        decision.reasons.splice(0..0, troubles);
        let set = self.ask.identity.pod.set().to_owned();
        let reasons: Vec<_> = decision.reasons.iter().map(|r| r.report(&set)).collect();
        self.voice.say(&decision, &reasons, clock::now());
        if matches!(
            decision.action,
            Action::Fence | Action::FenceWhenNear { .. } | Action::FenceWhenEven { .. }
        ) {
            // Not ready before it stops being the master.
            publish.send_if_modified(|published| {
                if let Some(published) = published {
                    Arc::make_mut(published).report.ready = false;
                }
                true
            });
        }
        if decision.action != Action::Wait {
            self.act(&decision.action, &snapshot).await;
        }
        // What is published is what is remembered after the action.
        let after = own_report(&self.ask.identity, &snapshot, &self.memory);
        let mut report = Report {
            announced: own.announced,
            forgets: own.forgets,
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
        if let Some(next) = self.armed(&decision, &snapshot) {
            // What was just published makes the other side stop its writes: no look at a peer that
            // does not answer may come before the taking.
            self.act(&next, &snapshot).await;
        }
        let gone = matches!(snapshot.local, Local::Unreachable { gone: true, .. });
        (decision, gone)
    }

    async fn observe(&mut self, terminating: bool) -> Snapshot {
        let started_at = clock::now();
        let pointed_at = self.pointed_at.clone();
        let pace = self.pace();
        let (local, seen) = tokio::join!(
            self.server.look(),
            self.members
                .look(&self.ask, self.policy.replicas, pointed_at.as_deref(), pace)
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
            peers: seen.peers,
            own_name_resolves: seen.own_name_resolves,
            names_known: seen.names_known,
            masterless_since: self.masterless_since,
            declined: self.declined(started_at),
            terminating,
            resolve: self.resolve.as_ref().map(|(keep, _)| *keep),
            wish: self.run.as_ref().and_then(|run| run.wish(started_at)),
        }
    }

    async fn act(&mut self, action: &Action, snapshot: &Snapshot) {
        let result = act(
            action,
            snapshot,
            &mut self.memory,
            &mut self.file,
            &mut self.server,
            &mut self.there,
        )
        .await;
        if self.memory.intent.is_none() && self.memory.raised.is_none() {
            self.there.leave();
        }
        self.metrics.acted(action.as_str(), result.is_ok());
        match result {
            Ok(()) => {
                self.troubles.action = None;
                if let Action::Follow { lost_tail, .. } = action {
                    self.metrics.lost_tail.inc_by(lost_tail.unwrap_or(0));
                    Voice::followed(action);
                }
            }
            Err(error) => {
                let what = match action {
                    Action::Unfence { .. } => "the local server could not be promoted",
                    Action::TakeOver { .. } => "the master role could not be taken over",
                    Action::FenceWhenNear { .. } | Action::FenceWhenEven { .. } => {
                        "the master role could not be handed over"
                    }
                    Action::Lower => "min-replicas-to-write could not be given its value back",
                    Action::Follow { .. } => "the local server could not be pointed at the master",
                    Action::Fence => "the local server could not be fenced",
                    Action::Wait
                    | Action::Adopt { .. }
                    | Action::Publish(_)
                    | Action::Withdraw
                    | Action::Arm { .. }
                    | Action::Confirm
                    | Action::Close(_) => "a decision could not be carried out",
                };
                let words = self.trouble(error, what);
                self.troubles.action = Some((words, clock::now()));
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
