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
/// How often what must be so on the running server is made so.
const PREPARE_AGAIN: Duration = Duration::from_secs(10);
/// How long a member that declined a grant is passed over.
const DECLINED: Duration = Duration::from_secs(10);
/// How long a failure is told in the status after it.
const TOLD: Duration = Duration::from_secs(30);
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
    prepared_at: Time,
    ready: ReadyMemory,
    lost: Arc<Notify>,
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

/// What went wrong beside the decisions, in words.
#[derive(Debug, Default)]
struct Troubles {
    state_file: Option<String>,
    conf: Option<String>,
    user: Option<String>,
    action: Option<(String, Time)>,
}

impl Troubles {
    fn reasons(&self, now: Time) -> Vec<Reason> {
        let action = self
            .action
            .as_ref()
            .filter(|(_, at)| now.since(*at) < TOLD)
            .map(|(words, _)| words.clone());
        [
            action.map(Reason::ActionFailed),
            self.user.clone().map(Reason::NotPrepared),
            self.conf.clone().map(Reason::NotPrepared),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The member that declined the grant which is withdrawn now.
fn just_declined(view: &View<'_>, decision: &Decision) -> Option<(Ordinal, Time)> {
    let grant = view.memory.grant.as_ref()?;
    let target = view.report(grant.target)?;
    let declined = target.authority.closed >= Some(grant.epoch) && !target.is_granted_master();
    (decision.action == Action::Withdraw && declined)
        .then_some((grant.target, view.snapshot.started_at))
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
                | Action::Close(_)
                    if self.troubles.action.is_some() =>
                {
                    UNSETTLED
                }
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
            forgets: !remembered,
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
        if view.granted_master().is_some() {
            self.masterless_since = clock::now();
        }
        self.declined_at.extend(just_declined(&view, &decision));
        if !remembered && decision.action != Action::Fence {
            decision.action = Action::Wait;
        }
        if let Some(why) = self.troubles.state_file.clone().filter(|_| !remembered) {
            decision.reasons.insert(0, Reason::Forgets(why));
        }
        self.answer_request(&decision);
        let troubles = self.troubles.reasons(snapshot.started_at);
        decision.reasons.splice(0..0, troubles);
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
        let gone = matches!(snapshot.local, Local::Unreachable { gone: true, .. });
        (decision, gone)
    }

    async fn observe(&mut self, terminating: bool) -> Snapshot {
        let started_at = clock::now();
        let pointed_at = self.pointed_at.clone();
        let (local, seen) = tokio::join!(
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
            peers: seen.peers,
            own_name_resolves: seen.own_name_resolves,
            names_known: seen.names_known,
            masterless_since: self.masterless_since,
            declined: self.declined(started_at),
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
            Ok(()) => {
                self.troubles.state_file = None;
                true
            }
            Err(error) => {
                self.metrics.state_file_errors.inc();
                let error = anyhow::Error::new(error);
                self.troubles.state_file = Some(format!("{error:#}"));
                self.voice.complain(
                    &error,
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

    /// What must be so on a running server is made so at its first look, and again and again: `ACL
    /// LOAD` takes the replication user away, and a volume may be full for a while.
    async fn prepare(&mut self, run_id: &str) {
        let (now, known) = (clock::now(), self.server.is_prepared(run_id));
        if known && now.since(self.prepared_at) < PREPARE_AGAIN {
            return;
        }
        self.prepared_at = now;
        self.troubles.conf = None;
        match crate::conf::write::refence(&self.conf) {
            Ok(true) => tracing::info!("the server runs: its configuration is the fence again"),
            Ok(false) => {}
            Err(error) => {
                let what = "the configuration could not be fenced again (is its directory writable for the sidecar?)";
                self.troubles.conf = Some(self.trouble(error, what));
            }
        }
        self.troubles.user = None;
        match prepare(&mut self.server, run_id, &self.replication).await {
            Ok(()) if known => {}
            Ok(()) => tracing::info!(
                user = self.replication.user,
                "the server has the set's replication user"
            ),
            Err(error) => {
                let what = "the replication user could not be made on the local server, so nobody can follow it";
                self.troubles.user = Some(self.trouble(error, what));
            }
        }
    }

    fn trouble(&mut self, error: impl Into<anyhow::Error>, what: &'static str) -> String {
        let error = error.into();
        self.voice.complain(&error, what, clock::now());
        format!("{what}: {error:#}")
    }

    /// Who declined a grant a moment ago: asked again when everybody else has been, or later.
    fn declined(&self, now: Time) -> std::collections::BTreeSet<Ordinal> {
        let lately = self
            .declined_at
            .iter()
            .filter(|(_, at)| now.since(**at) < DECLINED);
        lately.map(|(ordinal, _)| *ordinal).collect()
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
                self.troubles.action = None;
                if let Action::Follow { lost_tail, .. } = action {
                    self.metrics.lost_tail.inc_by(lost_tail.unwrap_or(0));
                    Voice::followed(action);
                }
            }
            Err(error) => {
                let what = match action {
                    Action::Unfence { .. } => "the local server could not be promoted",
                    Action::Follow { .. } => "the local server could not be pointed at the master",
                    Action::Fence => "the local server could not be fenced",
                    Action::Wait
                    | Action::Adopt { .. }
                    | Action::Publish(_)
                    | Action::Withdraw
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
