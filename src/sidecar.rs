//! `podzero sidecar`: the loop of observe, decide, act, in one task that owns all state.

mod clients;
mod deeds;
mod handover;
mod lease;
mod look;
mod secrets;
mod start;
mod troubles;
mod upkeep;
mod voice;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::clients::Demoted;
use self::deeds::Written;
use self::handover::{Home, Run, Stopping};
use self::lease::LeaseOfSet;
use self::secrets::Secrets;
use self::troubles::Troubles;
use self::upkeep::just_declined;
use self::voice::Voice;
use crate::act::{Replication, There, fence};
use crate::clock::{self, Time};
use crate::config::SidecarArgs;
use crate::decide::learn::learn;
use crate::decide::lease::Sight;
use crate::decide::own_report::own_report;
use crate::decide::ready::{ReadyMemory, conditions};
use crate::decide::{Action, Decision, Local, Policy, Reason, Silence, View, decide};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::http::Servers;
use crate::login::Login;
use crate::metrics::Metrics;
use crate::observe::local::LocalServer;
use crate::observe::members::{Ask, Members};
use crate::publish::{Published, Request, Shared, Turned};
use crate::report::Report;
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

/// What was published so long ago is not told to peers any more.
const VALID: Duration = Duration::from_secs(5);

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
        valid: VALID.min(sidecar.policy.lease.duration),
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
    secrets: Secrets,
    login: Login,
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
    had_master: bool,
    lease: Option<LeaseOfSet>,
    declined_at: BTreeMap<Ordinal, Time>,
    troubles: Troubles,
    conf: std::path::PathBuf,
    answered_at: BTreeMap<Ordinal, u64>,
    voice: Voice,
    pointed_at: Option<String>,
    resolve: Option<(Ordinal, oneshot::Sender<Result<String, String>>)>,
    written: Option<Written>,
    was_master: bool,
    waits_for_lease: bool,
    is_late: bool,
}

/// Probes are told before anything is done about it.
fn not_ready(publish: &watch::Sender<Option<Arc<Published>>>) {
    publish.send_if_modified(|published| {
        if let Some(published) = published {
            Arc::make_mut(published).report.ready = false;
        }
        true
    });
}

/// What is done also by a member that cannot remember.
fn forgetful(action: &Action) -> bool {
    // A renewal of what is held already is one of them.
    matches!(action, Action::Fence | Action::Lower)
        || matches!(action, Action::Claim(claim) if claim.says.renewed && claim.offers.is_none())
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
            let turned = self.in_time(publish, told_at.is_some()).await;
            let Some((decision, gone)) = turned else {
                continue;
            };
            if let Some(at) = told_at {
                let outlives = clock::now().since(at) + LEFT < self.grace;
                let done = self.handover_on_sigterm && self.run.is_none();
                if gone || done || !outlives {
                    return;
                }
            }
            let renews = matches!(decision.action, Action::Claim(_));
            let calm = |r: &Reason| {
                matches!(
                    r,
                    Reason::Master(_)
                        | Reason::Following(_)
                        | Reason::PasswordWaits(_)
                        | Reason::CertificateUnfit(_)
                )
            };
            let steady =
                (decision.action == Action::Wait || renews) && decision.reasons.iter().all(calm);
            let urgent = self.is_urgent(&decision);
            let pause = if decision.action != Action::Wait && !renews {
                // What failed is tried again, a little later.
                if self.troubles.failed(decision.action.as_str()) {
                    UNSETTLED
                } else {
                    URGENT
                }
            } else if steady && told_at.is_none() && self.run.is_none() && !self.asks() {
                let renewal = self.lease.as_ref().and_then(LeaseOfSet::renews_in);
                renewal.map_or(STEADY, |left| left.clamp(UNSETTLED / 10, STEADY))
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

    /// Whether the Lease could not be renewed for a while: the others' answers are waited for.
    fn asks(&self) -> bool {
        self.lease.as_ref().is_some_and(LeaseOfSet::asks)
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

    /// One turn, cut short where the role that is held would outlive its Lease: then the server is
    /// fenced first.
    async fn in_time(
        &mut self,
        publish: &watch::Sender<Option<Arc<Published>>>,
        terminating: bool,
    ) -> Option<(Decision, bool)> {
        let was_late = std::mem::replace(&mut self.is_late, false);
        let holds = self.memory.held.is_some() && self.memory.by_lease;
        if !holds || self.lease.is_none() {
            return Some(self.turn(publish, terminating).await);
        }
        let left = |until: Time| until.since(clock::now());
        let until = self.lease.as_mut().and_then(LeaseOfSet::until);
        if let Some(left) = until.map(left).filter(|left| !left.is_zero()) {
            let turned = tokio::time::timeout(left, self.turn(publish, terminating)).await;
            if let Ok(turned) = turned {
                return Some(turned);
            }
            let until = self.lease.as_mut().and_then(LeaseOfSet::until);
            if until.is_some_and(|until| clock::now() < until) {
                return None;
            }
        }
        // Before anything else is looked at. What cannot be fenced now is tried again in each turn, and
        // no turn waits long for the others.
        self.is_late = true;
        not_ready(publish);
        match fence(&mut self.server).await {
            Ok(()) if was_late => {}
            Ok(()) => self.tell_late(),
            Err(error) => {
                self.trouble(
                    error,
                    "the Lease ran out, and the local server could not be fenced",
                );
            }
        }
        Some(self.turn(publish, terminating).await)
    }

    /// One turn; says what was decided and whether the local server is gone.
    async fn turn(
        &mut self,
        publish: &watch::Sender<Option<Arc<Published>>>,
        terminating: bool,
    ) -> (Decision, bool) {
        let snapshot = self.observe(terminating || self.is_stopping()).await;
        self.answer_written(&snapshot);
        let learnt = learn(&snapshot, &self.memory);
        let remembered = self.remember(learnt);
        self.look_at_secrets(&snapshot).await;
        if let Local::Up(server) = &snapshot.local {
            self.prepare(&server.run_id).await;
        }
        let own = own_report(&self.ask.identity, &snapshot, &self.memory);
        let own = Report {
            announced: Some((self.replication.announce.clone(), self.ask.redis_port)),
            addresses: self.ask.own.clone(),
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
            self.had_master = true;
        }
        if let Some(lease) = &mut self.lease {
            lease.promise(&view);
            lease.lead(&view);
        }
        // Between the writing of the Lease and the promotion nothing is waited for either.
        let takes = |sight: &Sight| sight.writing || sight.is_ours();
        let takes = snapshot.authority.lease().is_some_and(takes);
        let waits = |r: &Reason| {
            matches!(r, Reason::LeaseHeld { .. }) || takes && matches!(r, Reason::NoMaster { .. })
        };
        self.waits_for_lease = decision.reasons.iter().any(waits);
        self.declined_at.extend(just_declined(&view, &decision));
        if !remembered && !forgetful(&decision.action) {
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
        if self.voice.say(&decision, &reasons, clock::now()) {
            self.tell_refusals(&decision);
        }
        if matches!(
            decision.action,
            Action::Fence | Action::FenceWhenNear { .. } | Action::FenceWhenEven { .. }
        ) {
            // Not ready before it stops being the master.
            not_ready(publish);
        }
        if decision.action != Action::Wait {
            self.act_and_tell(&decision, &snapshot).await;
        }
        // What is published is what is remembered after the action.
        let after = own_report(&self.ask.identity, &snapshot, &self.memory);
        let mut report = Report {
            announced: own.announced,
            addresses: own.addresses,
            forgets: own.forgets,
            reasons,
            ..after
        };
        report.ready = conditions.iter().all(|c| c.ok) && decision.action != Action::Fence;
        report.peers = self.peers(&snapshot);
        report.replication.lag = self.lag(&snapshot);
        let published = Published { report, conditions };
        self.metrics.observe(&published);
        self.metrics.turns.inc();
        publish.send_replace(Some(Arc::new(published)));
        self.turned.now();
        if let Some(next) = self.armed(&decision, &snapshot) {
            // What was just published makes the other side stop its writes: no look at a peer that
            // does not answer may come before the taking.
            let next = Decision {
                action: next,
                reasons: decision.reasons.clone(),
            };
            self.act_and_tell(&next, &snapshot).await;
        }
        let gone = matches!(
            snapshot.local,
            Local::Unreachable {
                silence: Silence::Gone,
                ..
            }
        );
        (decision, gone)
    }
}
