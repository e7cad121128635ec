//! Passwords and certificates that are replaced while the sidecar runs.
//!
//! A new password is accepted at every server, beside the one before it, before any server logs in at
//! its master with it: no link is lost, whatever the order in which the pods see the change. Both are
//! valid for `--password-overlap`; then the old one ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinSet;

use super::Sidecar;
use crate::clock::{self, Time};
use crate::conf::login::DEFAULT_USER;
use crate::conf::write::{self, Rotated, known_passwords};
use crate::config::SidecarArgs;
use crate::decide::{PeerState, Snapshot};
use crate::login::{Login, Passwords};
use crate::observe::redis::{Connection, ServerError};
use crate::observe::tls::Certificate;
use crate::report::Role;
use crate::secret::{self, Secret, sha256_hex};

/// How often files are read again. The kubelet itself takes a minute to put a changed Secret there.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What a peer's server may take to accept a login.
const LIMIT: Duration = Duration::from_millis(900);
/// More than that is not valid at a time: whoever replaces a password faster wants the old ones gone.
const MOST: usize = 3;

/// What is being replaced.
pub(super) struct Secrets {
    password_file: Option<PathBuf>,
    /// The default user's password is podzero's to set.
    guards_default: bool,
    overlap: Duration,
    looked_at: Option<Time>,
    /// Until when each old password is valid, in seconds since 1970, in the order of the login's.
    until: Vec<u64>,
    /// Every server that can be asked accepts the new one.
    everywhere: bool,
    /// Those that the local server is to forget.
    ended: Vec<Secret>,
    /// The configuration may have other passwords than are valid.
    rewrite: bool,
    /// The run of the server whose certificate was compared with the file.
    compared: Option<String>,
    /// What it shows to new connections.
    shown: Option<Certificate>,
    /// The server has to read its certificates again.
    tell_server: bool,
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
            until: Vec::new(),
            everywhere: true,
            ended: Vec::new(),
            rewrite: false,
            compared: None,
            shown: None,
            tell_server: false,
        };
        let valid = login.passwords();
        let known = valid.current.as_ref().zip(known_passwords(&set.conf));
        if let Some((current, (started_with, mut old))) = known {
            if old.iter().all(|(password, _)| *password != started_with) {
                old.insert(0, (started_with.clone(), secrets.ends_at()));
            }
            old.retain(|(password, _)| password != current.expose());
            if !old.is_empty() {
                *masterauth = started_with;
                secrets.everywhere = false;
                secrets.rewrite = true;
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
        self.secrets.looked_at = Some(now);
        self.read_password();
        self.go_on_with_password(snapshot).await;
        self.read_certificates();
        self.tell_server_of_certificates(snapshot).await;
        self.watch_certificates();
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
        self.secrets.until.truncate(MOST);
        if valid.old.len() > MOST {
            self.secrets.ended.extend(valid.old.split_off(MOST));
        }
        self.login.replace(valid);
        self.secrets.everywhere = false;
        self.secrets.rewrite = true;
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
        if !self.secrets.everywhere && self.servers_accept(&current, snapshot).await {
            self.secrets.everywhere = true;
            current.expose().clone_into(&mut self.replication.password);
            tracing::info!("every server accepts the new password: replication logs in with it");
        }
        if self.secrets.everywhere {
            let now = clock::unix_seconds();
            while self.secrets.until.last().is_some_and(|until| *until <= now) {
                self.secrets.until.pop();
                self.secrets.ended.extend(valid.old.pop());
            }
            self.login.replace(valid.clone());
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
                    // One that it does not know is no error to us: it was restarted since.
                    Ok(()) | Err(ServerError::Answered { .. }) => {}
                    Err(error) => {
                        let what = "the old password could not be ended on the local server";
                        self.troubles.password = Some(self.trouble(error, what));
                        return;
                    }
                }
            }
            self.secrets.ended.pop();
            tracing::info!("the old password is not valid any more");
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
            requirepass: requirepass.filter(|_| self.secrets.guards_default),
            masterauth: &self.replication.password,
            old: &old,
        };
        match write::passwords(&self.conf, &rotated) {
            // It goes on changing until nothing is left of the old one.
            Ok(_) => self.secrets.rewrite = !old.is_empty() || !self.secrets.ended.is_empty(),
            Err(error) => {
                let what = "the new password could not be written into the configuration: the server would start with the old one";
                self.troubles.conf = Some(self.trouble(error, what));
            }
        }
    }

    /// Whether the server of everybody who can be asked accepts a password, of the set's user and of the
    /// one with which podzero logs in. Who cannot be asked starts with the new one.
    async fn servers_accept(&mut self, password: &Secret, snapshot: &Snapshot) -> bool {
        let Some(own) = self.server.connection().map(|c| c.at()) else {
            return false;
        };
        let user = self.login.username().unwrap_or(DEFAULT_USER);
        let logins =
            [user, &self.replication.user].map(|user| self.login.of_user(user, password.clone()));
        let mut asking = JoinSet::new();
        let mut ask = |at| {
            for login in logins.clone() {
                asking
                    .spawn(async move { Connection::open(at, &login, LIMIT, None).await.is_ok() });
            }
        };
        ask(own);
        for peer in snapshot.peers.values() {
            let up = match &peer.state {
                PeerState::Answered(report) => report.role != Role::Unreachable,
                PeerState::ServerOnly(_) => true,
                PeerState::Missing | PeerState::Silent(_) => false,
            };
            if let Some(at) = peer.server.filter(|_| up) {
                ask(at);
            }
        }
        asking.join_all().await.into_iter().all(|accepts| accepts)
    }

    fn read_certificates(&mut self) {
        let Some(tls) = self.login.tls() else {
            return;
        };
        match tls.reload() {
            Ok(changed) => {
                self.troubles.certificates = None;
                if changed {
                    self.secrets.tell_server = true;
                    tracing::info!("the certificates were replaced: new connections use them");
                }
            }
            Err(error) => {
                let what = "the certificates were replaced by some that cannot be used; those from before go on";
                self.troubles.certificates = Some(self.trouble(error, what));
            }
        }
    }

    /// A server reads its certificates when it is told to, and goes on with those that it has otherwise.
    async fn tell_server_of_certificates(&mut self, snapshot: &Snapshot) {
        let crate::decide::Local::Up(server) = &snapshot.local else {
            return;
        };
        let Some(tls) = self.login.tls().cloned() else {
            return;
        };
        let known = self.secrets.compared.as_ref() == Some(&server.run_id);
        if known && !self.secrets.tell_server {
            return;
        }
        let Some(connection) = self.server.connection() else {
            return;
        };
        let told = async {
            let path = connection.config_get("tls-cert-file").await?;
            let Some(path) = path.filter(|path| !path.is_empty()) else {
                return Ok(false);
            };
            // The sidecar was away when they were replaced.
            let same_file = tls.own_file() == Some(Path::new(&path));
            let late = same_file && connection.certificate() != tls.own().as_ref();
            if !late && !self.secrets.tell_server {
                return Ok(false);
            }
            // Servers before 6.2 take only another text for a change; this one leads to the same file.
            let other = match path.strip_prefix("//") {
                Some(rest) => format!("/{rest}"),
                None => format!("/{path}"),
            };
            connection.config_set("tls-cert-file", &other).await?;
            Ok::<_, ServerError>(true)
        };
        match told.await {
            Ok(told) => {
                self.secrets.tell_server = false;
                self.secrets.compared = Some(server.run_id.clone());
                if told {
                    tracing::info!("the server was told to read its certificates again");
                }
                self.look_at_shown(told).await;
            }
            Err(error) => {
                let what = "the local server could not be made to read its certificates again";
                self.troubles.certificates = Some(self.trouble(error, what));
            }
        }
    }

    /// What the local server shows now: to a new connection, where that is something else than before.
    async fn look_at_shown(&mut self, anew: bool) {
        let Some(connection) = self.server.connection() else {
            return;
        };
        if !anew {
            self.secrets.shown = connection.certificate().cloned();
            return;
        }
        match Connection::open(connection.at(), &self.login, LIMIT, None).await {
            Ok(new) => self.secrets.shown = new.certificate().cloned(),
            Err(error) => {
                let what = "the local server shows a certificate that does not do";
                self.troubles.certificates = Some(self.trouble(error, what));
            }
        }
    }

    /// Until when they are valid: a figure, and a warning in time.
    fn watch_certificates(&mut self) {
        let Some(tls) = self.login.tls() else {
            return;
        };
        let shown = self.secrets.shown.clone();
        let all = [
            ("authority", "the authority's certificate", tls.authority()),
            ("own", "podzero's certificate", tls.own()),
            ("server", "the certificate that the server shows", shown),
        ];
        let now = Duration::from_secs(clock::unix_seconds());
        let mut ending = Vec::new();
        for (of, what, certificate) in all {
            let Some(certificate) = certificate else {
                continue;
            };
            self.metrics.certificate(of, certificate.until.as_secs());
            if certificate.ends_soon(now) {
                ending.push(ends(what, &certificate, now));
            }
        }
        self.troubles.ending = (!ending.is_empty()).then(|| ending.join("; "));
    }
}

fn ends(what: &str, certificate: &Certificate, now: Duration) -> String {
    let until = humantime::format_rfc3339_seconds(UNIX_EPOCH + certificate.until);
    if certificate.until <= now {
        format!("{what} was valid until {until}: new connections fail; replace it")
    } else {
        format!("{what} is valid until {until} only; replace it in time")
    }
}
