//! Certificates that are replaced: the sidecar uses the new ones, the server is told, and an end is seen in time.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{LIMIT, Sidecar};
use crate::clock::{self, Time};
use crate::decide::{Local, Snapshot};
use crate::observe::redis::{Connection, ServerError};
use crate::observe::tls::Certificate;

/// How often it is looked at what the server shows.
const SHOWN_AGAIN: Duration = Duration::from_mins(1);

/// What is known of the local server's.
#[derive(Default)]
pub(super) struct Certificates {
    /// The run of the server whose certificate was compared with the file.
    compared: Option<String>,
    /// What it shows to new connections, and when that was looked at.
    shown: Option<Certificate>,
    shown_at: Option<Time>,
    /// The server has to read its certificates again.
    tell_server: bool,
    /// Its file where that is not podzero's, and the one in it that it was told of, or shows.
    others_file: Option<(PathBuf, Certificate)>,
}

impl Sidecar {
    /// Uses what was replaced, and has the server use it.
    pub(super) async fn look_at_certificates(&mut self, snapshot: &Snapshot) {
        self.read_certificates();
        self.tell_server_of_certificates(snapshot).await;
        let lately = |at: Time| clock::now().since(at) < SHOWN_AGAIN;
        let shown_at = self.secrets.certificates.shown_at;
        if self.login.tls().is_some() && !shown_at.is_some_and(lately) {
            self.look_at_shown(true).await;
        }
        self.watch_certificates();
    }

    fn read_certificates(&mut self) {
        let Some(tls) = self.login.tls() else {
            return;
        };
        match tls.reload() {
            Ok(changed) => {
                self.troubles.certificates = None;
                if changed {
                    self.secrets.certificates.tell_server = true;
                    tracing::info!("the certificates were replaced: new connections use them");
                }
                // The base configuration's: the server alone uses it.
                if let Some((path, before)) = &mut self.secrets.certificates.others_file
                    && let Some(now) = Certificate::in_file(path).filter(|now| !now.is(before))
                {
                    *before = now;
                    self.secrets.certificates.tell_server = true;
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
        let Local::Up(server) = &snapshot.local else {
            return;
        };
        let Some(tls) = self.login.tls().cloned() else {
            return;
        };
        let known = self.secrets.certificates.compared.as_ref() == Some(&server.run_id);
        if known && !self.secrets.certificates.tell_server {
            return;
        }
        let Some(connection) = self.server.connection() else {
            return;
        };
        let name = self.login.server_name(snapshot.me);
        let mut others_file = None;
        let told = async {
            let path = connection.config_get("tls-cert-file").await?;
            let Some(path) = path.filter(|path| !path.is_empty()) else {
                return Ok(false);
            };
            // The sidecar was away when they were replaced.
            let same_file = tls.own_file() == Some(Path::new(&path));
            let in_file = if same_file {
                tls.own()
            } else {
                Certificate::in_file(Path::new(&path))
            };
            let late = match (connection.certificate(), &in_file) {
                (Some(shown), Some(in_file)) => !shown.is(in_file),
                (Some(_) | None, _) => false,
            };
            others_file = in_file
                .filter(|_| !same_file)
                .map(|it| (path.clone().into(), it));
            if !late && !self.secrets.certificates.tell_server {
                return Ok(false);
            }
            // One with which nobody could reach it is left aside.
            if same_file && let Err(why) = tls.own_fits(&name) {
                return Err(Untold::Unfit(why));
            }
            // Servers before 6.2 take only another text for a change; this one leads to the same file.
            let other = match (path.strip_prefix("//"), path.starts_with('/')) {
                (Some(rest), _) => format!("/{rest}"),
                (None, true) => format!("/{path}"),
                (None, false) => format!("./{path}"),
            };
            connection.config_set("tls-cert-file", &other).await?;
            Ok::<_, Untold>(true)
        };
        let told = told.await;
        self.secrets.certificates.others_file = others_file;
        match told {
            Ok(told) => {
                self.secrets.certificates.tell_server = false;
                self.secrets.certificates.compared = Some(server.run_id.clone());
                if told {
                    tracing::info!("the server was told to read its certificates again");
                }
                self.look_at_shown(told).await;
            }
            Err(Untold::Unfit(why)) => {
                let what = "the certificate was replaced by one that is not this server's: it goes on with the one from before";
                self.troubles.certificates = Some(self.trouble(anyhow::anyhow!(why), what));
            }
            Err(Untold::Server(error)) => {
                let what = "the local server could not be made to read its certificates again";
                self.troubles.certificates = Some(self.trouble(error, what));
            }
        }
    }

    /// What the local server shows now: to a new connection, where that may be something else than before.
    async fn look_at_shown(&mut self, anew: bool) {
        let Some(connection) = self.server.connection() else {
            return;
        };
        self.secrets.certificates.shown_at = Some(clock::now());
        if !anew {
            self.secrets.certificates.shown = connection.certificate().cloned();
            return;
        }
        let at = connection.at();
        let opened = tokio::time::timeout(LIMIT, Connection::open(at, &self.login, LIMIT, None));
        if let Ok(Ok(new)) = opened.await {
            self.secrets.certificates.shown = new.certificate().cloned();
        }
    }

    /// Until when they are valid: a figure, and a warning in time.
    fn watch_certificates(&mut self) {
        let Some(tls) = self.login.tls() else {
            return;
        };
        let shown = self.secrets.certificates.shown.clone();
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
            } else if let Some(why) = &certificate.unfit {
                ending.push(format!(
                    "{what} is not one of this pod ({why}): nobody else connects"
                ));
            }
        }
        self.troubles.unfit = (!ending.is_empty()).then(|| ending.join("; "));
    }
}

/// Why the server was not told to read its certificates again.
enum Untold {
    Unfit(String),
    Server(ServerError),
}

impl From<ServerError> for Untold {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
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
