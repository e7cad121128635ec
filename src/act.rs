//! Carries out one action. It leaves no choice to make: what was decided is done, or the error is
//! told, and the next snapshot shows what became of it.

use crate::clock;
use crate::conf::login::replication_user_rules;
use crate::decide::{Action, Snapshot};
use crate::observe::local::LocalServer;
use crate::observe::redis::ServerError;
use crate::report::Intent;
use crate::state_file::{Followed, Held, Memory, StateFile, StateFileError};
use crate::topology::Ordinal;

/// Why an action was not done, or is not known to be done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// What must be remembered first could not be written.
    #[error("not done, since it could not be remembered first")]
    State(#[from] StateFileError),
    /// The connection of the snapshot is gone.
    #[error("not done: the connection to the local server changed since the decision")]
    ConnectionChanged,
    /// The grant ran out before the command was sent.
    #[error("not done: the decision was older than the grant allows")]
    TooLate,
    /// The grant ran out while the command was under way; the server is fenced again.
    #[error("the promotion took longer than the grant allows: the server is fenced again")]
    DoneTooLate,
    /// The server did not do it, or nobody knows.
    #[error("the local server did not carry it out")]
    Server(#[from] ServerError),
}

/// The replication user of the set, as the local server must know it.
pub struct Replication {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// What this member's server announces.
    pub announce: String,
}

/// What must be so on a server before anyone follows it or it follows anyone. Servers that were
/// started with the generated file have most of it already; adopted ones have not.
pub async fn prepare(
    server: &mut LocalServer,
    run_id: &str,
    replication: &Replication,
) -> Result<(), ActError> {
    let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
    connection
        .acl_set_user(
            &replication.user,
            &replication_user_rules(&replication.password),
        )
        .await?;
    for (name, value) in [
        ("masteruser", replication.user.as_str()),
        ("masterauth", replication.password.as_str()),
        ("replica-announce-ip", replication.announce.as_str()),
        ("replica-read-only", "yes"),
        ("repl-diskless-load", "disabled"),
    ] {
        if connection.config_get(name).await?.as_deref() != Some(value) {
            connection.config_set(name, value).await?;
        }
    }
    server.prepared(run_id);
    Ok(())
}

/// Does it. `memory` is what is remembered; what must be remembered before a step is written before.
pub async fn act(
    action: &Action,
    snapshot: &Snapshot,
    memory: &mut Memory,
    file: &mut StateFile,
    server: &mut LocalServer,
) -> Result<(), ActError> {
    match action {
        Action::Wait => Ok(()),
        Action::Fence => fence(server).await,
        Action::Unfence {
            epoch,
            run_id,
            deadline,
        } => {
            memory.intent = Some(Intent {
                epoch: *epoch,
                run_id: run_id.clone(),
            });
            if let Err(error) = file.save(memory) {
                memory.intent = None;
                return Err(error.into());
            }
            let outcome = unfence(server, *deadline).await;
            match &outcome {
                Ok(()) => hold(memory, snapshot.me, *epoch, run_id),
                Err(ActError::Server(error)) if error.outcome_is_unknown() => {
                    server.drop_connection();
                }
                // Not sent, refused, or undone: this grant is used up.
                Err(_) => {
                    memory.intent = None;
                    memory.closed = memory.closed.max(Some(*epoch));
                }
            }
            file.save(memory)?;
            outcome
        }
        Action::Adopt { epoch, run_id } => {
            hold(memory, snapshot.me, *epoch, run_id);
            Ok(file.save(memory)?)
        }
        Action::Follow {
            master,
            epoch,
            host,
            port,
            ..
        } => {
            let id = snapshot_id(snapshot, *master);
            memory.unfinished = memory.unfinished || memory.id != id || memory.alias.is_some();
            memory.followed = Some(Followed {
                master: *master,
                epoch: *epoch,
                id,
            });
            file.save(memory)?;
            let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
            if let Err(error) = connection.follow(host, *port).await {
                if error.outcome_is_unknown() {
                    server.drop_connection();
                }
                return Err(error.into());
            }
            Ok(())
        }
        Action::Publish(grant) => {
            memory.grant = Some(grant.clone());
            memory.epoch_seen = memory.epoch_seen.max(Some(grant.epoch));
            memory.holder = Some(grant.target);
            Ok(file.save(memory)?)
        }
        Action::Withdraw => {
            memory.grant = None;
            Ok(file.save(memory)?)
        }
        Action::Close(epoch) => {
            memory.closed = memory.closed.max(Some(*epoch));
            Ok(file.save(memory)?)
        }
    }
}

fn snapshot_id(snapshot: &Snapshot, master: Ordinal) -> Option<crate::topology::ReplicationId> {
    use crate::decide::PeerState;
    match &snapshot.peers.get(&master)?.state {
        PeerState::Answered(report) => report.replication.id.clone(),
        PeerState::ServerOnly(server) => server.id.clone(),
        PeerState::Missing | PeerState::Silent(_) => None,
    }
}

fn hold(memory: &mut Memory, me: Ordinal, epoch: crate::topology::Epoch, run_id: &str) {
    memory.intent = None;
    memory.held = Some(Held {
        epoch,
        run_id: run_id.to_owned(),
        id: None,
    });
    memory.epoch_seen = memory.epoch_seen.max(Some(epoch));
    memory.holder = Some(me);
    memory.followed = None;
}

async fn fence(server: &mut LocalServer) -> Result<(), ActError> {
    let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
    let result = connection.fence().await;
    if result.as_ref().is_err_and(ServerError::outcome_is_unknown) {
        server.drop_connection();
    }
    Ok(result?)
}

/// The clock is read just before sending and again after the answer.
async fn unfence(server: &mut LocalServer, deadline: clock::Time) -> Result<(), ActError> {
    let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
    if clock::now() >= deadline {
        return Err(ActError::TooLate);
    }
    connection.promote().await?;
    if clock::now() < deadline {
        return Ok(());
    }
    fence(server).await?;
    Err(ActError::DoneTooLate)
}
