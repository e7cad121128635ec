//! The local server: one connection that is kept, and what was read over it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::redis::{Connection, ServerError};
use crate::decide::{Local, Silence};
use crate::login::Login;
use crate::topology::ServerAt;

/// A server that loads answers every couple of megabytes; one that runs a long command does not
/// answer at all for its length. Longer than that is "did not answer".
const LIMIT: Duration = Duration::from_secs(2);

/// A connection on which an answer did not come in time. The server still reads what was sent on it.
struct Hung {
    connection: Connection,
    fenced: bool,
}

impl Hung {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            fenced: false,
        }
    }
}

/// The local server.
pub struct LocalServer {
    at: ServerAt,
    login: Login,
    connection: Option<Connection>,
    hung: Option<Hung>,
    lost: Arc<Notify>,
    prepared: Option<String>,
}

impl LocalServer {
    /// Not connected yet. `lost` is notified when the connection ends.
    pub fn new(at: ServerAt, login: Login, lost: Arc<Notify>) -> Self {
        Self {
            at,
            login,
            connection: None,
            hung: None,
            lost,
            prepared: None,
        }
    }

    /// Reads the server, over the connection on which commands then go.
    pub async fn look(&mut self) -> Local {
        match self.info().await {
            Ok(local) => local,
            Err(error) => {
                let silence = if error.is_refusal() {
                    Silence::Refuses
                } else if matches!(error, ServerError::Refused { .. }) {
                    self.connection = None;
                    self.hung = None;
                    Silence::Gone
                } else {
                    self.drop_connection(&error);
                    Silence::Hangs
                };
                Local::Unreachable {
                    silence,
                    why: error.to_string(),
                }
            }
        }
    }

    async fn info(&mut self) -> Result<Local, ServerError> {
        if self.connection.is_none() {
            let lost = Some(Arc::clone(&self.lost));
            let opened = Connection::open(self.at, &self.login, LIMIT, lost).await?;
            self.connection = Some(opened);
        }
        let Some(connection) = &mut self.connection else {
            return Err(ServerError::Refused {
                address: self.at.address,
            });
        };
        let info = connection.info().await?;
        self.hung = None;
        if info.loading {
            return Ok(Local::Loading {
                run_id: info.run_id,
            });
        }
        Ok(Local::Up(info))
    }

    /// The connection of the last look, if it still is the same.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Drops the connection: the outcome of a command on it is not known.
    pub fn drop_connection(&mut self, why: &ServerError) {
        let dropped = self.connection.take();
        if matches!(why, ServerError::Silent { .. }) {
            self.hung = self.hung.take().or(dropped.map(Hung::new));
        }
    }

    /// Fences a server that does not answer: it finds the command when it goes on, before any that is
    /// sent later. False where there is no connection on which that could be so.
    pub fn queue_fence(&mut self) -> bool {
        let alive = self.hung.as_mut().filter(|h| h.connection.is_alive());
        let Some(hung) = alive else {
            return false;
        };
        if !hung.fenced {
            hung.fenced = true;
            let mut connection = hung.connection.clone();
            // Its answer comes, if at all, long after it was waited for.
            tokio::spawn(async move { connection.fence().await });
        }
        true
    }

    /// Whether this run of the server has been prepared; remembers it.
    pub fn is_prepared(&self, run_id: &str) -> bool {
        self.prepared.as_deref() == Some(run_id)
    }

    /// This run of the server has been prepared.
    pub fn prepared(&mut self, run_id: &str) {
        self.prepared = Some(run_id.to_owned());
    }
}
