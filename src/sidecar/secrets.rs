//! Passwords and certificates that are replaced while the sidecar runs.
//!
//! A new password is accepted at every server, beside the one before it, before any server logs in at
//! its master with it: no link is lost, whatever the order in which the pods see the change. Both are
//! valid for `--password-overlap`; then the old one ends.

mod certificates;

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;

use self::certificates::Certificates;
use super::Sidecar;
use crate::clock::{self, Time};
use crate::conf::login::DEFAULT_USER;
use crate::conf::write::{self, Rotated, known_passwords};
use crate::config::SidecarArgs;
use crate::decide::{Local, Peer, PeerState, Snapshot};
use crate::login::{Login, Passwords};
use crate::observe::info::ServerRole;
use crate::observe::redis::{Connection, ServerError};
use crate::report::{LinkState, Role};
use crate::secret::{self, Secret, sha256_hex};

/// How often files are read again. The kubelet itself takes a minute to put a changed Secret there.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What a peer's server may take to accept a login.
const LIMIT: Duration = Duration::from_millis(900);
/// More old ones are not valid at a time: whoever replaces a password faster wants them gone.
const MOST: usize = 8;
/// For how long other work goes first.
const PUT_OFF: Duration = Duration::from_secs(10);

/// What is being replaced.
pub(super) struct Secrets {
    password_file: Option<PathBuf>,
    /// The default user's password is podzero's to set.
    guards_default: bool,
    overlap: Duration,
    looked_at: Option<Time>,
    /// Since when a look was due, and other work went first.
    put_off: Option<Time>,
    /// Until when each old password is valid, in seconds since 1970, in the order of the login's.
    until: Vec<u64>,
    /// Every server that can be asked accepts the new one.
    everywhere: bool,
    /// Those that the local server is to forget.
    ended: Vec<Secret>,
    /// The configuration may have other passwords than are valid.
    rewrite: bool,
    /// It has the new one in every place.
    written: bool,
    certificates: Certificates,
}

impl Secrets {
    /// What the server was started with may be older than what is in the file now; then it is still
    /// valid, and `masterauth` is it.
    pub(super) fn new(args: &SidecarArgs, login: &Login, masterauth: &mut String) -> Self {
        let set = &args.set;
        let other_user = set.username.as_deref().is_some_and(|u| u != DEFAULT_USER);
        let mut secrets = Self {
            password_file: set.password_file.clone(),
            guards_default: set.password_file.is_some() && !other_user,
            overlap: args.password_overlap,
            looked_at: None,
            put_off: None,
            until: Vec::new(),
            everywhere: true,
            ended: Vec::new(),
            rewrite: false,
            written: true,
            certificates: Certificates::default(),
        };
        let valid = login.passwords();
        let known = valid.current.as_ref().zip(known_passwords(&set.conf));
        if let Some((current, known)) = known {
            let mut old = known.old;
            let started_with = [Some(known.masterauth.clone()), known.requirepass];
            for password in started_with.into_iter().flatten() {
                if old.iter().all(|(known, _)| *known != password) {
                    old.insert(0, (password, secrets.ends_at()));
                }
            }
            old.retain(|(password, _)| password != current.expose());
            if !old.is_empty() {
                *masterauth = known.masterauth;
                secrets.everywhere = false;
                secrets.rewrite = true;
                secrets.written = false;
                secrets.until = old.iter().map(|(_, until)| *until).collect();
                let old = old.into_iter().map(|(password, _)| Secret::from(password));
                login.replace(Passwords {
                    old: old.collect(),
                    ..valid
                });
            }
        }
        secrets
    }

    fn ends_at(&self) -> u64 {
        clock::unix_seconds().saturating_add(self.overlap.as_secs())
    }
}

impl Sidecar {
    /// Sees what was replaced, and goes on with what has begun.
    pub(super) async fn look_at_secrets(&mut self, snapshot: &Snapshot) {
        let now = clock::now();
        let lately = |at: Time| now.since(at) < LOOK_AGAIN;
        if self.secrets.looked_at.is_some_and(lately) {
            return;
        }
        // What can wait does not lie in the gap of a handover or a failover. Neither lasts long; where
        // it does, what is in the files may be what it waits for.
        let busy = self.run.is_some()
            || self.urgent_since.is_some()
            || self.memory.intent.is_some()
            || self.memory.grant.is_some()
            || self.waits_for_lease;
        let since = *self.secrets.put_off.get_or_insert(now);
        if busy && now.since(since) < PUT_OFF {
            return;
        }
        self.secrets.put_off = None;
        self.secrets.looked_at = Some(now);
        self.read_password();
        self.go_on_with_password(snapshot).await;
        self.look_at_certificates(snapshot).await;
    }

    fn read_password(&mut self) {
        let Some(path) = &self.secrets.password_file else {
            return;
        };
        let new = match secret::read(path) {
            Ok(new) => new,
            Err(error) => {
                let what = "the password was replaced by one that cannot be used; the one from before goes on";
                self.troubles.password = Some(self.trouble(error, what));
                return;
            }
        };
        self.troubles.password = None;
        let mut valid = self.login.passwords();
        if valid.current.as_ref() == Some(&new) {
            return;
        }
        if let Some(at) = valid.old.iter().position(|old| *old == new) {
            valid.old.remove(at);
            self.secrets.until.remove(at);
        }
        if let Some(before) = valid.current.replace(new) {
            valid.old.insert(0, before);
            let until = self.secrets.ends_at();
            self.secrets.until.insert(0, until);
        }
        self.secrets
            .ended
            .retain(|ended| Some(ended) != valid.current.as_ref());
        self.secrets.until.truncate(MOST);
        if valid.old.len() > MOST {
            self.secrets.ended.extend(valid.old.split_off(MOST));
        }
        self.login.replace(valid);
        self.secrets.everywhere = false;
        self.secrets.rewrite = true;
        self.secrets.written = false;
        tracing::info!(
            overlap = %humantime::format_duration(self.secrets.overlap),
            "the password was replaced: both are valid until everybody has the new one, and for --password-overlap at least"
        );
    }

    /// Nothing is left to do where only one password is valid.
    async fn go_on_with_password(&mut self, snapshot: &Snapshot) {
        let mut valid = self.login.passwords();
        let Some(current) = valid.current.clone() else {
            return;
        };
        // A clock that was wrong when it was replaced makes none valid for longer.
        let (now, latest) = (clock::unix_seconds(), self.secrets.ends_at());
        self.secrets
            .until
            .iter_mut()
            .for_each(|until| *until = latest.min(*until));
        let over = |until: &u64| *until <= now;
        let due = self.secrets.until.last().is_some_and(over) && self.secrets.written;
        if !self.secrets.everywhere || due {
            if !self.leave_default_user_to_its_file().await {
                return;
            }
            let without = self.who_does_not_accept(&current, snapshot).await;
            self.troubles.waits = (!without.is_empty()).then(|| {
                let who = without.join("; ");
                format!("the password was replaced; the one before it stays valid until every member accepts the new one: {who}")
            });
            if without.is_empty() {
                if !self.secrets.everywhere {
                    tracing::info!(
                        "every server accepts the new password: replication logs in with it"
                    );
                }
                self.secrets.everywhere = true;
                current.expose().clone_into(&mut self.replication.password);
                while due && self.secrets.until.last().is_some_and(over) {
                    self.secrets.until.pop();
                    self.secrets.ended.extend(valid.old.pop());
                }
                self.login.replace(valid.clone());
            } else if self.master_wants(&current, snapshot).await {
                current.expose().clone_into(&mut self.replication.password);
            }
        }
        let exposed = |secret: &Secret| secret.expose().to_owned();
        let all: Vec<_> = std::iter::once(&current).chain(&valid.old).collect();
        self.replication.accepted = all.iter().map(|s| exposed(s)).collect();
        let hashes = all.iter().map(|s| format!("#{}", sha256_hex(s.expose())));
        let adds = self.secrets.guards_default && !valid.old.is_empty();
        self.replication.default_user = hashes.filter(|_| adds).collect();
        self.forget_ended().await;
        if self.secrets.rewrite {
            // At once, not when it is due: the others wait for it.
            self.prepared_at = Time::default();
        }
    }

    /// The local server forgets what is not valid any more.
    async fn forget_ended(&mut self) {
        while let Some(ended) = self.secrets.ended.last() {
            self.secrets.rewrite = true;
            if self.secrets.guards_default {
                let Some(connection) = self.server.connection() else {
                    return;
                };
                let rule = format!("!{}", sha256_hex(ended.expose()));
                match connection.acl_set_user(DEFAULT_USER, &[rule]).await {
                    Ok(()) => tracing::info!("the old password is not valid any more"),
                    // One that it does not know: it was restarted since.
                    Err(ServerError::Answered { cause, .. })
                        if cause.contains("does not exist") => {}
                    Err(error) => {
                        let what = "the old password could not be ended on the local server";
                        self.troubles.password = Some(self.trouble(error, what));
                        return;
                    }
                }
            }
            self.secrets.ended.pop();
        }
    }

    /// After the running server has them: for its next start, and for a sidecar that is started
    /// meanwhile.
    pub(super) fn write_passwords(&mut self) {
        if !self.secrets.rewrite {
            return;
        }
        let valid = self.login.passwords();
        let requirepass = valid.current.as_ref().map(Secret::expose);
        let old = valid.old.iter().map(|old| old.expose().to_owned());
        let old: Vec<_> = old.zip(self.secrets.until.iter().copied()).collect();
        let rotated = Rotated {
            requirepass,
            masterauth: &self.replication.password,
            old: &old,
        };
        match write::passwords(&self.conf, &rotated) {
            // It goes on changing until nothing is left of the old one.
            Ok(_) => {
                self.secrets.rewrite = !old.is_empty() || !self.secrets.ended.is_empty();
                self.secrets.written = Some(self.replication.password.as_str()) == requirepass;
            }
            Err(error) => {
                let what = "the new password could not be written into the configuration: the server would start with the old one";
                self.troubles.conf = Some(self.trouble(error, what));
            }
        }
    }

    /// The members whose servers are not known to accept a password, of the set's user and of the one with
    /// which podzero logs in, each with why. One that does not exist starts with the new one.
    async fn who_does_not_accept(&mut self, password: &Secret, snapshot: &Snapshot) -> Vec<String> {
        let me = (snapshot.me, self.server.connection().map(|c| c.at()));
        let peers = snapshot.peers.iter();
        let peers = peers.filter(|(_, peer)| !matches!(peer.state, PeerState::Missing));
        // Who was silent in this turn is not waited for again in it.
        let answers = |peer: &Peer| match &peer.state {
            PeerState::Answered(report) => report.role != Role::Unreachable,
            PeerState::ServerOnly(_) => true,
            PeerState::Missing | PeerState::Silent(_) => false,
        };
        let peers = peers.map(|(ordinal, peer)| (*ordinal, peer.server.filter(|_| answers(peer))));
        let user = self.login.username().unwrap_or(DEFAULT_USER);
        let logins =
            [user, &self.replication.user].map(|user| self.login.of_user(user, password.clone()));
        let mut asking = JoinSet::new();
        for (ordinal, at) in std::iter::once(me).chain(peers) {
            let (pod, logins) = (self.ask.identity.pod.sibling(ordinal), logins.clone());
            asking.spawn(async move {
                let Some(at) = at else {
                    return Some(format!("{pod} cannot be asked"));
                };
                let all = async {
                    for login in logins {
                        Connection::open(at, &login, LIMIT, None).await?;
                    }
                    Ok::<_, ServerError>(())
                };
                match tokio::time::timeout(LIMIT, all).await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(format!("{pod}: {error}")),
                    Err(_) => Some(format!("{pod} does not answer")),
                }
            });
        }
        let mut without: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
        without.sort();
        without
    }

    /// Whether the link to the master is down, and the master accepts the new password: one that was made
    /// anew knows no other.
    async fn master_wants(&self, password: &Secret, snapshot: &Snapshot) -> bool {
        let Local::Up(server) = &snapshot.local else {
            return false;
        };
        let ServerRole::Replica { host, port, link } = &server.role else {
            return false;
        };
        let there = |peer: &&Peer| peer.target.as_ref() == Some(&(host.clone(), *port));
        let master = snapshot.peers.values().find(there);
        let Some(at) = master
            .and_then(|m| m.server)
            .filter(|_| *link != LinkState::Up)
        else {
            return false;
        };
        let login = self.login.of_user(&self.replication.user, password.clone());
        Connection::open(at, &login, LIMIT, None).await.is_ok()
    }

    /// An ACL file brings the default user back as it is there at each start: its password is whoever's
    /// who wrote the file. False when the server could not be asked whether it has one.
    async fn leave_default_user_to_its_file(&mut self) -> bool {
        let Some(connection) = self.server.connection() else {
            return false;
        };
        let Ok(file) = connection.config_get("aclfile").await else {
            return false;
        };
        if self.secrets.guards_default && file.is_some_and(|file| !file.is_empty()) {
            self.secrets.guards_default = false;
            tracing::warn!(
                "the server has an ACL file: add the new password to its default user there"
            );
        }
        true
    }
}
