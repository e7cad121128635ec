//! `podzero sidecar`: the loop of observe, decide, act, in one task that owns all state.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::act::{Replication, act, prepare};
use crate::clock::{self, Time};
use crate::conf::login::replication_login;
use crate::config::{AddressForm, AuthorityKind, MaxLag, SetArgs, SidecarArgs};
use crate::decide::learn::{learn, own_report};
use crate::decide::ready::{ReadyMemory, conditions, followed, lag};
use crate::decide::{Action, Decision, Local, PeerState, Policy, Reason, Snapshot, View, decide};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::http::Servers;
use crate::metrics::Metrics;
use crate::observe::dns::Dns;
use crate::observe::host::own_addresses;
use crate::observe::info::ServerRole;
use crate::observe::local::LocalServer;
use crate::observe::members::{Ask, Members};
use crate::observe::redis::Login;
use crate::publish::{Published, Request, Shared, Turned};
use crate::report::{LinkState, PeerReport, ReasonReport, Report};
use crate::state_file::{Found, Memory, StateFile};
use crate::topology::{Identity, Ordinal};

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
    said: Vec<ReasonReport>,
    error_said: Option<String>,
    pointed_at: Option<String>,
    resolve: Option<(Ordinal, oneshot::Sender<Result<String, String>>)>,
}

/// Flags that contradict one another are refused at the start.
fn refuse_contradictions(set: &SetArgs) -> Result<(), Failure> {
    if set.authority == AuthorityKind::Lease {
        return Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!(
                "--authority lease is not available in this release; use --authority ordinal"
            ),
        ));
    }
    if set.username.is_some() && set.password_file.is_none() {
        return Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!(
                "--username needs --password-file: podzero never logs in without a password"
            ),
        ));
    }
    Ok(())
}

/// The string by which the others know this member.
fn announced(set: &SetArgs, identity: &Identity, own: &[IpAddr]) -> Result<String, Failure> {
    match (set.address_form, own.first()) {
        (AddressForm::Ip, Some(address)) => Ok(address.to_canonical().to_string()),
        (AddressForm::Ip, None) => Err(Failure::new(
            Exit::Environment,
            anyhow::anyhow!("this pod's address is not known: set --pod-ip from status.podIPs"),
        )),
        (AddressForm::Name, _) => Ok(identity
            .stable_name(identity.pod.ordinal())
            .trim_end_matches('.')
            .to_owned()),
    }
}

impl Sidecar {
    async fn start(args: &SidecarArgs) -> Result<Self, Failure> {
        let set = &args.set;
        refuse_contradictions(set)?;
        let password = set
            .password_file
            .as_deref()
            .map(crate::secret::read)
            .transpose()
            .or_exit(Exit::Environment)?;
        let dns = Dns::new(&set.dns_server).or_exit(Exit::Environment)?;
        let domain = set
            .cluster_domain
            .clone()
            .or_else(|| dns.cluster_domain(&set.namespace))
            .unwrap_or_else(|| "cluster.local".to_owned());
        let identity = Identity {
            pod: set.pod_name.clone(),
            uid: set.pod_uid.clone(),
            namespace: set.namespace.clone(),
            service: set.service.clone(),
            domain,
        };
        let me = identity.pod.ordinal();
        if set.replicas.is_some_and(|n| me.0 >= n) {
            tracing::warn!(pod = %identity.pod, replicas = set.replicas, "this pod's ordinal lies beyond --replicas");
        }
        crate::init::checks::data_dir(&set.data_dir).or_exit(Exit::Environment)?;
        let own = if set.pod_ip.is_empty() {
            own_addresses(&dns, &identity.stable_name(me)).await
        } else {
            set.pod_ip.clone()
        };
        let announce = announced(set, &identity, &own)?;
        let (user, repl_password) = replication_login(&identity, password.as_ref());
        let login = Login {
            username: set.username.clone(),
            password: password.as_ref().map(|p| p.expose().to_owned()),
        };
        let (file, mut memory, found) = StateFile::open(&set.data_dir, &identity);
        // A grant from before a restart only forbids: its epoch stays seen, its target stays the one
        // that is waited for, and a new grant is made of what is so now.
        memory.grant = None;
        match &found {
            Found::Ours => {
                tracing::info!(epoch = ?memory.epoch.map(|e| e.to_string()), "the state file was read");
            }
            Found::Nothing => tracing::info!("there is no state file yet"),
            Found::Unusable(why) => tracing::warn!(
                why,
                "the state file cannot be used: what it knew is unknown"
            ),
        }
        tracing::info!(
            pod = %identity.pod, namespace = identity.namespace, service = identity.service,
            domain = identity.domain, own = ?own, announce, replicas = set.replicas, authority = "ordinal",
            username = login.username, password = password.is_some(), "the sidecar starts"
        );
        let lost = Arc::new(Notify::new());
        let address = SocketAddr::new(set.redis_host, set.redis_port);
        Ok(Self {
            server: LocalServer::new(address, login.clone(), Arc::clone(&lost)),
            ask: Ask {
                identity,
                own,
                dns,
                login,
                redis_port: set.redis_port,
                http_port: set.peer_http_port,
                form: set.address_form,
            },
            policy: Policy {
                replicas: set.replicas,
                discover: args.discover,
                peer_wait: args.peer_wait,
                link_grace: args.link_grace,
                max_lag: match args.max_lag {
                    Some(MaxLag::Bytes(bytes)) => Some(bytes),
                    Some(MaxLag::Off) | None => None,
                },
            },
            members: Members::default(),
            replication: Replication {
                user,
                password: repl_password,
                announce,
            },
            memory,
            file,
            offset_written_at: Time::default(),
            ready: ReadyMemory::default(),
            lost,
            started_at: clock::now(),
            turned: Turned::default(),
            metrics: Arc::new(Metrics::default()),
            conf: set.conf.clone(),
            answered_at: BTreeMap::new(),
            said: Vec::new(),
            error_said: None,
            pointed_at: None,
            resolve: None,
        })
    }

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
        self.say(&decision, &reasons);
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
                self.complain(
                    &anyhow::Error::new(error),
                    "the state file cannot be written: nothing is promoted or followed",
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
            Err(error) => self.complain(
                &anyhow::Error::new(error),
                "the configuration could not be fenced again",
            ),
        }
        match prepare(&mut self.server, run_id, &self.replication).await {
            Ok(()) => tracing::info!(
                user = self.replication.user,
                "the server has the set's replication user"
            ),
            Err(error) => self.complain(
                &anyhow::Error::new(error),
                "the replication user could not be made on the local server",
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
            Err(error) => self.complain(&anyhow::Error::new(error), "an action failed"),
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

    /// Logs a change of what is decided, once.
    fn say(&mut self, decision: &Decision, reasons: &[ReasonReport]) {
        if let Action::Follow {
            lost_tail,
            epoch,
            host,
            port,
            ..
        } = &decision.action
        {
            match lost_tail {
                Some(0) => tracing::info!(host, port, %epoch, "following the master"),
                Some(bytes) => {
                    tracing::warn!(host, port, %epoch, bytes, "following the master; this many bytes of own history are given up");
                }
                None => {
                    tracing::warn!(host, port, %epoch, "following the master; own history, of unknown length, is given up");
                }
            }
        }
        if reasons == self.said.as_slice() {
            return;
        }
        let join = |all: &[ReasonReport]| {
            all.iter()
                .map(|r| r.message.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        };
        let (was, now, action) = (join(&self.said), join(reasons), decision.action.as_str());
        if decision.reasons.iter().any(Reason::needs_a_hand) {
            tracing::warn!(action, reason = now, was, "changed");
        } else {
            tracing::info!(action, reason = now, was, "changed");
        }
        self.said = reasons.to_vec();
    }

    /// Logs an error, once per change.
    fn complain(&mut self, error: &anyhow::Error, what: &'static str) {
        let words = format!("{error:#}");
        if self.error_said.as_deref() != Some(words.as_str()) {
            tracing::warn!(error = words, what, "failed");
            self.error_said = Some(words);
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
