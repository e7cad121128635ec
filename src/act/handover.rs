//! The steps of a handover that wait for the other server. Each wait is bounded: the loop takes a new
//! snapshot in between, and comes back.

use std::time::Duration;

use super::ActError;
use crate::clock::{self, Time};
use crate::decide::handover::{Verdict, is_even, is_near, judge};
use crate::login::Login;
use crate::observe::info::{ServerInfo, ServerRole};
use crate::observe::local::LocalServer;
use crate::observe::redis::{Connection, ServerError};
use crate::report::{Even, Intent};
use crate::state_file::{Memory, Raised, StateFile};
use crate::topology::{Ordinal, ServerAt};

/// How long one action may look at two servers before peers are asked again. Well within the validity
/// of a grant, and longer than the other side needs to look at a peer that does not answer.
const SLICE: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// How long writes may be stopped for a replica that does not come even.
const STOPPED: Duration = Duration::from_secs(2);
/// What the other server may take to answer.
const LIMIT: Duration = Duration::from_millis(900);

/// The setting that stops writes before a fence.
const MIN_REPLICAS: &str = "min-replicas-to-write";
/// Switches it off altogether when it is 0.
const MAX_LAG: &str = "min-replicas-max-lag";
/// The server's own default, in seconds.
const DEFAULT_LAG: &str = "10";
/// More replicas than anybody has.
const NEVER: &str = "1000000";

/// The other server: one connection, kept while the same one is asked.
pub struct There {
    login: Login,
    connection: Option<Connection>,
}

impl There {
    /// Not connected yet.
    pub fn new(login: Login) -> Self {
        Self {
            login,
            connection: None,
        }
    }

    /// Connects ahead of time, so that no connecting lies in the gap.
    pub async fn reach(&mut self, at: ServerAt) -> Result<(), ActError> {
        if self.connection.as_ref().is_none_or(|c| c.at() != at) {
            self.connection = None;
            let opened = Connection::open(at, &self.login, LIMIT, None).await;
            self.connection = Some(opened.map_err(ActError::There)?);
        }
        Ok(())
    }

    /// A connection that was kept may have been closed over there, together with the clients': one more.
    async fn info(&mut self, at: ServerAt) -> Result<ServerInfo, ActError> {
        let kept = self.connection.is_some();
        match self.info_once(at).await {
            Err(ActError::There(ServerError::Broken { .. })) if kept => self.info_once(at).await,
            info => info,
        }
    }

    async fn info_once(&mut self, at: ServerAt) -> Result<ServerInfo, ActError> {
        self.reach(at).await?;
        let Some(connection) = &mut self.connection else {
            return Err(ActError::There(ServerError::Refused {
                address: at.address,
            }));
        };
        let info = connection.info().await;
        if info.is_err() {
            self.connection = None;
        }
        info.map_err(ActError::There)
    }

    /// Makes the server refuse writes, if it still is the run that was decided on.
    pub(super) async fn fence(&mut self, at: ServerAt, run_id: &str) -> Result<(), ActError> {
        let info = self.info(at).await?;
        if info.run_id != run_id {
            return Err(ActError::There(ServerError::Refused {
                address: at.address,
            }));
        }
        let Some(connection) = &mut self.connection else {
            return Err(ActError::There(ServerError::Refused {
                address: at.address,
            }));
        };
        let fenced = connection.fence().await;
        if fenced.is_err() {
            self.connection = None;
        }
        fenced.map_err(ActError::There)
    }

    /// The connection is not needed any more.
    pub fn leave(&mut self) {
        self.connection = None;
    }
}

async fn here(server: &mut LocalServer) -> Result<ServerInfo, ActError> {
    let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
    let info = connection.info().await;
    if let Some(error) = info.as_ref().err().filter(|e| e.outcome_is_unknown()) {
        server.drop_connection(error);
    }
    Ok(info?)
}

/// Gets ready, if the other server can be asked: whoever shows itself armed makes that one stop its
/// writes. Else declines, so that another member can be tried.
pub(super) async fn arm(
    intent: &Intent,
    at: ServerAt,
    memory: &mut Memory,
    file: &mut StateFile,
    there: &mut There,
) -> Result<(), ActError> {
    if let Err(error) = there.info(at).await {
        memory.closed = memory.closed.max(Some(intent.epoch));
        file.save(memory)?;
        return Err(error);
    }
    memory.intent = Some(intent.clone());
    if let Err(error) = file.save(memory) {
        memory.intent = None;
        return Err(error.into());
    }
    crate::fault::at("armed");
    Ok(())
}

/// The promotion has happened, as the two servers were even before it.
pub(super) fn confirm(
    me: Ordinal,
    memory: &mut Memory,
    file: &mut StateFile,
) -> Result<(), ActError> {
    match memory.intent.clone() {
        Some(intent) => done(&intent, me, memory, file),
        None => Ok(()),
    }
}

/// Looks until the local server has everything that the fenced one has, and promotes it then.
pub(super) async fn take_over(
    at: ServerAt,
    deadline: Time,
    me: Ordinal,
    memory: &mut Memory,
    file: &mut StateFile,
    server: &mut LocalServer,
    there: &mut There,
) -> Result<(), ActError> {
    let Some(intent) = memory.intent.clone() else {
        return Ok(());
    };
    let Some(armed) = intent.armed.clone() else {
        return Ok(());
    };
    let begun = clock::now();
    while clock::now().since(begun) < SLICE {
        let theirs = there.info(at).await?;
        let ours = here(server).await?;
        match judge(&intent, &armed, &theirs, &ours) {
            Verdict::Wait => tokio::time::sleep(PAUSE).await,
            Verdict::Promoted => return done(&intent, me, memory, file),
            Verdict::Promote => {
                if let Some(intent) = &mut memory.intent {
                    if let Some(armed) = &mut intent.armed {
                        let offset = theirs.offset;
                        armed.even = theirs.id.map(|id| Even { id, offset });
                    }
                    file.note(intent);
                }
                crate::fault::at("promoting");
                if clock::now() >= deadline {
                    return Err(ActError::TooLate);
                }
                let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
                let promoted = connection.promote().await;
                crate::fault::at("promoted");
                match promoted {
                    // Not told in time: the next turn looks again at what it became.
                    Ok(()) if clock::now() >= deadline => return Err(ActError::DoneTooLate),
                    Ok(()) => return confirm(me, memory, file),
                    Err(error) => {
                        server.drop_connection(&error);
                        return Err(error.into());
                    }
                }
            }
            Verdict::Decline(why) => {
                tracing::warn!(epoch = %intent.epoch, why, "the handover is declined");
                if ours.role == ServerRole::Master {
                    super::fence(server).await?;
                }
                memory.closes(intent.epoch);
                return Ok(file.save(memory)?);
            }
        }
    }
    Ok(())
}

fn done(
    intent: &Intent,
    me: Ordinal,
    memory: &mut Memory,
    file: &mut StateFile,
) -> Result<(), ActError> {
    memory.takes_over(me, intent);
    Ok(file.save(memory)?)
}

/// Fences once a replica is close behind, and says whether that was so. Writes go on until then.
pub(super) async fn fence_when_near(
    at: ServerAt,
    run_id: &str,
    server: &mut LocalServer,
    there: &mut There,
) -> Result<bool, ActError> {
    let begun = clock::now();
    while clock::now().since(begun) < SLICE {
        let theirs = there.info(at).await?;
        let ours = here(server).await?;
        if ours.role != ServerRole::Master {
            return Ok(false);
        }
        if is_near(run_id, &ours, &theirs) {
            super::fence(server).await?;
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

/// Stops writes, waits until a replica has everything, and fences then; says whether that was so. When it
/// takes too long, the handover is called off: writes come back with the next turn.
pub(super) async fn fence_when_even(
    at: ServerAt,
    run_id: &str,
    memory: &mut Memory,
    file: &mut StateFile,
    server: &mut LocalServer,
    there: &mut There,
) -> Result<bool, ActError> {
    there.reach(at).await?;
    if memory.raised.is_none() {
        let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
        let before = connection.config_get(MIN_REPLICAS).await?;
        let max_lag = connection.config_get(MAX_LAG).await?;
        let run_id = memory.run_id.clone().unwrap_or_default();
        memory.raised = Some(Raised {
            run_id,
            before: before.unwrap_or_else(|| "0".to_owned()),
            max_lag: max_lag.filter(|lag| lag == "0"),
        });
        file.save(memory)?;
    }
    crate::fault::at("stopping");
    let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
    if memory.raised.as_ref().is_some_and(|r| r.max_lag.is_some()) {
        connection.config_set(MAX_LAG, DEFAULT_LAG).await?;
    }
    connection.config_set(MIN_REPLICAS, NEVER).await?;
    crate::fault::at("stopped");
    let begun = clock::now();
    while clock::now().since(begun) < STOPPED {
        let ours = here(server).await?;
        if ours.role != ServerRole::Master {
            return Ok(false);
        }
        let theirs = there.info(at).await;
        if theirs.is_ok_and(|theirs| is_even(run_id, &ours, &theirs)) {
            // The setting does not stop PUBLISH, which is in the stream too: a message between this
            // look and the fence would part the two servers. The answer comes after what replicas
            // are to receive. Where the right is missing, luck decides.
            let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
            let closed = connection.kill_clients().await;
            if let Err(error) = closed.as_ref()
                && error.outcome_is_unknown()
            {
                server.drop_connection(error);
                return Err(error.clone().into());
            }
            super::fence(server).await?;
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(handover) = memory.grant.as_mut().and_then(|g| g.handover.as_mut()) {
        handover.cancelled = true;
    }
    file.save(memory)?;
    Err(ActError::NotEven)
}

/// Gives the raised setting its value back.
pub(super) async fn lower(
    memory: &mut Memory,
    file: &mut StateFile,
    server: &mut LocalServer,
) -> Result<(), ActError> {
    if let Some(raised) = &memory.raised {
        let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
        connection.config_set(MIN_REPLICAS, &raised.before).await?;
        if let Some(lag) = &raised.max_lag {
            connection.config_set(MAX_LAG, lag).await?;
        }
    }
    memory.raised = None;
    Ok(file.save(memory)?)
}
