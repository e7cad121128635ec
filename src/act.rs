//! Carries out one action. It leaves no choice to make: what was decided is done, or the error is
//! told, and the next snapshot shows what became of it.

mod handover;

pub use handover::There;

use crate::authority::Keeper;
use crate::clock;
use crate::conf::login::{DEFAULT_USER, replication_user_rules};
use crate::decide::{Action, Local, Snapshot};
use crate::observe::local::LocalServer;
use crate::observe::redis::ServerError;
use crate::report::Intent;
use crate::state_file::{Followed, Memory, StateFile, StateFileError};
use crate::topology::{Epoch, Ordinal};

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
    /// The grant ran out while the command was under way; the server is fenced again, or looked at
    /// again in a handover.
    #[error("the promotion took longer than the grant allows, and is not relied on")]
    DoneTooLate,
    /// Writes were stopped, and the replica did not receive the rest in time.
    #[error("not done: the replica did not receive everything in time; writes go on here")]
    NotEven,
    /// The other server of a handover.
    #[error("the server of the other member could not be asked")]
    There(#[source] ServerError),
    /// The server did not do it, or nobody knows.
    #[error("the local server did not carry it out")]
    Server(#[from] ServerError),
}

/// The replication user of the set, as the local server must know it.
pub struct Replication {
    /// The user.
    pub user: String,
    /// With which password the local server logs in at its master.
    pub password: String,
    /// The passwords with which others may log in at the local server.
    pub accepted: Vec<String>,
    /// Rules for the default user, where its password is podzero's to set and changes.
    pub default_user: Vec<String>,
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
            &replication_user_rules(&replication.accepted),
        )
        .await?;
    if !replication.default_user.is_empty() {
        connection
            .acl_set_user(DEFAULT_USER, &replication.default_user)
            .await?;
    }
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
    there: &mut There,
    keeper: Option<&Keeper>,
) -> Result<(), ActError> {
    match action {
        Action::Wait => Ok(()),
        Action::Fence => {
            fence(server).await?;
            crate::fault::at("fenced");
            Ok(())
        }
        Action::FenceWhenNear { there: at, run_id } => {
            if handover::fence_when_near(*at, run_id, server, there).await? {
                crate::fault::at("fenced");
            }
            Ok(())
        }
        Action::FenceWhenEven { there: at, run_id } => {
            if handover::fence_when_even(*at, run_id, memory, file, server, there).await? {
                crate::fault::at("fenced");
            }
            Ok(())
        }
        Action::FenceThere { there: at, run_id } => there.fence(*at, run_id).await,
        Action::Claim(claim) => {
            let offers = claim.offers.is_some();
            if offers {
                memory.grant.clone_from(&claim.offers);
                file.save(memory)?;
            }
            if let Some(keeper) = keeper {
                keeper.claim(claim.as_ref().clone());
            }
            if offers {
                crate::fault::at("granted");
            }
            Ok(())
        }
        Action::Lower => handover::lower(memory, file, server).await,
        Action::Arm { intent, there: at } => handover::arm(intent, *at, memory, file, there).await,
        Action::Confirm => handover::confirm(snapshot.me, memory, file),
        Action::TakeOver {
            there: at,
            deadline,
        } => {
            let me = snapshot.me;
            handover::take_over(*at, *deadline, me, memory, file, server, there).await
        }
        Action::Unfence {
            epoch,
            run_id,
            deadline,
        } => {
            let me = snapshot.me;
            take_role(*epoch, run_id, *deadline, me, memory, file, server).await
        }
        Action::Adopt { epoch, run_id } => {
            memory.holds(snapshot.me, *epoch, run_id);
            Ok(file.save(memory)?)
        }
        Action::Follow {
            master,
            epoch,
            host,
            port,
            ..
        } => follow(*master, *epoch, host, *port, snapshot, memory, file, server).await,
        Action::Publish(grant) => {
            memory.grant = Some(grant.clone());
            memory.epoch_seen = memory.epoch_seen.max(Some(grant.epoch));
            memory.holder = Some(grant.target);
            file.save(memory)?;
            if grant.handover.is_some() && (grant.counts || keeper.is_none()) {
                crate::fault::at(if grant.counts { "counted" } else { "granted" });
            }
            Ok(())
        }
        Action::Withdraw => {
            memory.grant = None;
            Ok(file.save(memory)?)
        }
        Action::Close(epoch) => {
            memory.closes(*epoch);
            Ok(file.save(memory)?)
        }
    }
}

/// Un-fences the local server as the master of an epoch.
async fn take_role(
    epoch: Epoch,
    run_id: &str,
    deadline: clock::Time,
    me: Ordinal,
    memory: &mut Memory,
    file: &mut StateFile,
    server: &mut LocalServer,
) -> Result<(), ActError> {
    memory.intent = Some(Intent {
        epoch,
        run_id: run_id.to_owned(),
        armed: None,
    });
    if let Err(error) = file.save(memory) {
        memory.intent = None;
        return Err(error.into());
    }
    let outcome = unfence(server, deadline).await;
    match &outcome {
        Ok(()) => memory.holds(me, epoch, run_id),
        Err(ActError::Server(error)) if error.outcome_is_unknown() => {
            server.drop_connection(error);
        }
        // What it acknowledged meanwhile is learnt by the intent.
        Err(ActError::DoneTooLate) => {}
        // Not sent, refused, or undone: this grant is used up.
        Err(_) => {
            memory.closes(epoch);
        }
    }
    file.save(memory)?;
    outcome
}

/// Points the local server at a master.
#[expect(
    clippy::too_many_arguments,
    reason = "what the action says, and what it is done with"
)]
async fn follow(
    master: Ordinal,
    epoch: Epoch,
    host: &str,
    port: u16,
    snapshot: &Snapshot,
    memory: &mut Memory,
    file: &mut StateFile,
    server: &mut LocalServer,
) -> Result<(), ActError> {
    let known = match &snapshot.local {
        Local::Up(server) => memory.knows(server),
        Local::Loading { .. } | Local::Unreachable { .. } => false,
    };
    let followed = Followed {
        master,
        epoch,
        id: snapshot_id(snapshot, master),
        only_source: known,
    };
    memory.follows(followed, Some(format!("{host}:{port}")));
    file.save(memory)?;
    let connection = server.connection().ok_or(ActError::ConnectionChanged)?;
    if let Err(error) = connection.follow(host, port).await {
        if error.outcome_is_unknown() {
            server.drop_connection(&error);
        }
        return Err(error.into());
    }
    Ok(())
}

fn snapshot_id(snapshot: &Snapshot, master: Ordinal) -> Option<crate::topology::ReplicationId> {
    use crate::decide::PeerState;
    match &snapshot.peers.get(&master)?.state {
        PeerState::Answered(report) => report.replication.id.clone(),
        PeerState::ServerOnly(server) => server.id.clone(),
        PeerState::Missing | PeerState::Silent(_) => None,
    }
}

/// Makes the local server refuse writes.
pub async fn fence(server: &mut LocalServer) -> Result<(), ActError> {
    let Some(connection) = server.connection() else {
        return if server.queue_fence() {
            Ok(())
        } else {
            Err(ActError::ConnectionChanged)
        };
    };
    let result = connection.fence().await;
    if let Some(error) = result.as_ref().err().filter(|e| e.outcome_is_unknown()) {
        server.drop_connection(error);
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
