//! What a member remembers across restarts: a small JSON file beside the data.
//!
//! Owns its form, its reading and its atomic writing; decides nothing. A file that is missing, torn,
//! of a newer schema or of another pod is "unknown", never an error that stops the pod: the member
//! then counts as one that never held a history.

mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::disk::{Disk, read};
use crate::report::{Ancestor, Grant, Intent, Role, SCHEMA};
use crate::topology::{Epoch, Identity, Ordinal, ReplicationId};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "podzero-state.json";

/// Beside it: a promotion that was just told to the server, see [`StateFile::note`].
const NOTE_NAME: &str = "podzero-promotion.json";

/// The longest descent that is kept; older ancestors lost their backlog long ago.
pub const LINEAGE_KEPT: usize = 16;

/// The master role as this member took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// The server that was un-fenced. Another run of it holds nothing.
    pub run_id: String,
    /// The replication ID that it has written under since; none until it was seen.
    pub id: Option<ReplicationId>,
    /// Set when it was taken in a handover with everything that the master before had: the run of
    /// that one's server.
    #[serde(default)]
    pub took_over_from: Option<String>,
    /// See [`crate::report::Handover::away_from`].
    #[serde(default)]
    pub away_from: Option<String>,
}

/// `min-replicas-to-write` while it is raised to stop writes before a fence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The run of the server; another run has its own configuration again.
    pub run_id: String,
    /// The value before.
    pub before: String,
    /// `min-replicas-max-lag` before, where it had to be set too: with 0 the other one does nothing.
    #[serde(default)]
    pub max_lag: Option<String>,
}

/// Whom this member was told to follow last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The master's ordinal.
    pub master: Ordinal,
    /// The epoch it held.
    pub epoch: Epoch,
    /// Its replication ID at that time.
    pub id: Option<ReplicationId>,
}

/// Stands for a replication ID that a restart did not keep (AOF, or an RDB without one): in this run
/// of the server, `id` means the recorded history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The run of the server.
    pub run_id: String,
    /// The fresh ID that the server made up at its start.
    pub id: Option<ReplicationId>,
}

/// A member's memory. All of it is persisted before anything that rests on it is done or published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// `<namespace>/<pod>`: whose file this is.
    pub owner: String,
    /// The epoch of the history that is loaded, as far as it was ever finished.
    pub epoch: Option<Epoch>,
    /// The newest epoch of any history that was whole here. Stays when the data is gone.
    pub last_epoch: Option<Epoch>,
    /// The newest epoch known of; nothing older is obeyed.
    pub epoch_seen: Option<Epoch>,
    /// To whom the newest epoch known of was granted.
    pub holder: Option<Ordinal>,
    /// The role at the last look.
    pub role: Option<Role>,
    /// The master of `epoch`.
    pub master: Option<Ordinal>,
    /// The replication ID of the data.
    pub id: Option<ReplicationId>,
    /// The offset at the last look.
    pub offset: u64,
    /// The histories that the data is made of, oldest first.
    pub lineage: Vec<Ancestor>,
    /// The server's run at the last look with its data loaded.
    pub run_id: Option<String>,
    /// Whether it had a replication backlog then: without one a saved RDB carries no ID.
    pub backlog: bool,
    /// See [`Alias`].
    pub alias: Option<Alias>,
    /// The data is between two histories.
    pub unfinished: bool,
    /// Whom the server was told to follow last.
    pub followed: Option<Followed>,
    /// The master role, while this member has it.
    pub held: Option<Held>,
    /// The grant that this member publishes.
    pub grant: Option<Grant>,
    /// The promotion under way.
    pub intent: Option<Intent>,
    /// See [`Raised`].
    pub raised: Option<Raised>,
    /// What is held here is held by the Lease, and lost at its deadline.
    pub by_lease: bool,
    /// The newest epoch granted to this member that it will not carry out (again).
    pub closed: Option<Epoch>,
    /// When this was written, in seconds since 1970; for people.
    pub at: u64,
}

/// Why the state file could not be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write the state file {path:?} (is the data directory full, or not writable by this user?)"
)]
pub struct StateFileError {
    path: PathBuf,
    source: std::io::Error,
}

/// A state file: where it is, and what was last written.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    written: Option<Memory>,
    later: Option<u64>,
    disk: Arc<Disk>,
}

/// What was found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file of this pod.
    Ours,
    /// No file.
    Nothing,
    /// A file that cannot be used, and why: treated as none.
    Unusable(String),
}

impl StateFile {
    /// Reads the file of a data directory.
    pub fn open(data_dir: &Path, identity: &Identity) -> (Self, Memory, Found) {
        let path = data_dir.join(FILE_NAME);
        let owner = owner(identity);
        let (memory, found) = match read(&path) {
            Ok(Some(memory)) if memory.owner == owner => (memory, Found::Ours),
            Ok(Some(memory)) => (
                Memory::default(),
                Found::Unusable(format!("it belongs to {:?}", memory.owner)),
            ),
            Ok(None) => (Memory::default(), Found::Nothing),
            Err(why) => (Memory::default(), Found::Unusable(why)),
        };
        let mut memory = Memory {
            schema: SCHEMA,
            owner,
            ..memory
        };
        let noted = fs::read(data_dir.join(NOTE_NAME)).ok();
        let noted = noted.and_then(|text| serde_json::from_slice::<Intent>(&text).ok());
        if let (Some(intent), Some(noted)) = (&mut memory.intent, noted)
            && (intent.epoch, &intent.run_id) == (noted.epoch, &noted.run_id)
        {
            *intent = noted;
        }
        let written = (found == Found::Ours).then(|| memory.clone());
        let disk = Arc::default();
        (
            Self {
                path,
                written,
                later: None,
                disk,
            },
            memory,
            found,
        )
    }

    /// Writes the memory, atomically, if it differs from what was last written.
    pub fn save(&mut self, memory: &Memory) -> Result<(), StateFileError> {
        // What a note says needs no write.
        let plain = |memory: &Memory| {
            let mut memory = memory.clone();
            memory.at = 0;
            if let Some(armed) = memory.intent.as_mut().and_then(|i| i.armed.as_mut()) {
                armed.even = None;
            }
            memory
        };
        let same = |old: &Memory| plain(old) == plain(memory);
        if self.written.as_ref().is_some_and(same) {
            return Ok(());
        }
        let done = self.disk.write(&self.path, memory);
        done.map_err(|source| StateFileError {
            path: self.path.clone(),
            source,
        })?;
        self.written = Some(memory.clone());
        self.later = None;
        Ok(())
    }

    /// Writes a memory of which nothing but the position is new, beside the loop: a disk that is slow for
    /// seconds must not keep it from renewing its Lease. Nothing rests on it before it is written.
    pub fn save_later(&mut self, memory: &Memory) {
        let known = self.written.as_ref().map(|written| written.offset);
        let news = self.later.or(known) != Some(memory.offset);
        if news && self.disk.write_later(self.path.clone(), memory.clone()) {
            self.later = Some(memory.offset);
        }
    }

    /// Whether a write beside the loop has failed since the last call.
    pub fn has_failed(&self) -> bool {
        self.disk.has_failed()
    }

    /// Notes what is known just before a promotion, without waiting for the disk: it matters only while
    /// the server that is told goes on running, which it does not when the machine fails. A note that
    /// cannot be written or read is missing, which costs the promotion when this process ends before
    /// it could write down its outcome.
    pub fn note(&self, intent: &Intent) {
        if let Ok(text) = serde_json::to_vec(intent) {
            let _ = fs::write(self.path.with_file_name(NOTE_NAME), text);
        }
    }

    /// What was last written, to tell whether a change is worth a write.
    pub fn written(&self) -> Option<&Memory> {
        self.written.as_ref()
    }
}

fn owner(identity: &Identity) -> String {
    format!("{}/{}", identity.namespace, identity.pod)
}

/// For `init`: what this pod remembers.
pub fn remembered(data_dir: &Path, identity: &Identity) -> Memory {
    StateFile::open(data_dir, identity).1
}

/// For `init`, before it lets the server start as a replica of a live master: from the server's
/// start on, its data may be between two histories while no sidecar looks.
pub fn mark_followed(
    data_dir: &Path,
    identity: &Identity,
    followed: Followed,
) -> Result<(), StateFileError> {
    let (mut file, memory, found) = StateFile::open(data_dir, identity);
    if found != Found::Ours {
        return Ok(());
    }
    file.save(&Memory {
        unfinished: true,
        followed: Some(followed),
        ..memory
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            pod: "redis-1".parse().expect("a pod's name"),
            uid: None,
            namespace: "shop".to_owned(),
            service: "redis".to_owned(),
            domain: "cluster.local".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut file, memory, found) = StateFile::open(dir.path(), &identity());
        assert_eq!(found, Found::Nothing);
        let epoch = Epoch::after(None, Ordinal::ZERO);
        let memory = Memory {
            epoch: Some(epoch),
            offset: 7,
            ..memory
        };
        file.save(&memory).expect("saved");
        let (_, again, found) = StateFile::open(dir.path(), &identity());
        assert_eq!((again, found), (memory, Found::Ours));
        assert_eq!(remembered(dir.path(), &identity()).epoch, Some(epoch));
    }

    #[test]
    fn a_note_counts_for_its_own_promotion_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut file, memory, _) = StateFile::open(dir.path(), &identity());
        let intent = |counter, run_id: &str| Intent {
            epoch: Epoch {
                counter,
                granter: Ordinal::ZERO,
            },
            run_id: run_id.to_owned(),
            armed: None,
        };
        let armed = |intent: Intent| Intent {
            armed: Some(crate::report::Armed {
                from: Ordinal::ZERO,
                handover: crate::report::Handover {
                    run_id: "there".to_owned(),
                    cancelled: false,
                    away_from: None,
                },
                even: Some(crate::report::Even {
                    id: crate::topology::ReplicationId::parse(&"a".repeat(40)).expect("an ID"),
                    offset: 9,
                }),
            }),
            ..intent
        };
        let noted = armed(intent(2, "here"));
        file.note(&noted);
        let after = |file: &mut StateFile, intent: Option<Intent>| {
            let memory = Memory {
                intent,
                ..memory.clone()
            };
            file.save(&memory).expect("saved");
            StateFile::open(dir.path(), &identity()).1.intent
        };
        assert_eq!(after(&mut file, Some(intent(2, "here"))), Some(noted));
        for other in [Some(intent(3, "here")), Some(intent(2, "again")), None] {
            assert_eq!(after(&mut file, other.clone()), other);
        }
        fs::write(dir.path().join(NOTE_NAME), "{").expect("written");
        let torn = Some(intent(2, "here"));
        assert_eq!(after(&mut file, torn.clone()), torn);
    }

    #[test]
    fn a_torn_or_foreign_file_is_unknown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE_NAME);
        for text in [
            "",
            "{",
            "{\"schema\":1,\"owner\":\"shop/redis-2\"}",
            "{\"schema\":99}",
            "[]",
            "\u{0}",
        ] {
            fs::write(&path, text).expect("written");
            let (_, memory, found) = StateFile::open(dir.path(), &identity());
            assert!(matches!(found, Found::Unusable(_)), "{text:?}: {found:?}");
            assert_eq!(memory.epoch, None);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut file, memory, _) = StateFile::open(dir.path(), &identity());
        file.save(&memory).expect("saved");
        // A directory in the place of the new file makes the write fail, for root too.
        fs::create_dir(dir.path().join("podzero-state.json.new")).expect("made");
        assert!(
            file.save(&Memory {
                offset: 9,
                ..memory.clone()
            })
            .is_err()
        );
        assert_eq!(StateFile::open(dir.path(), &identity()).1, memory);
    }

    #[tokio::test]
    async fn a_position_that_is_written_beside_the_loop_is_read_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut file, memory, _) = StateFile::open(dir.path(), &identity());
        let at = |offset| Memory {
            offset,
            ..memory.clone()
        };
        let read = || StateFile::open(dir.path(), &identity()).1.offset;
        file.save(&at(1)).expect("written");
        file.save_later(&at(2));
        while read() != 2 {
            tokio::task::yield_now().await;
        }
        assert!(!file.has_failed());
        // One that is late never replaces what the loop has written since.
        file.save_later(&at(3));
        file.save(&at(4)).expect("written");
        while file.disk.is_busy() {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(), 4);
        std::fs::remove_dir_all(dir.path()).expect("removed");
        file.save_later(&at(5));
        while !file.has_failed() {
            tokio::task::yield_now().await;
        }
    }
}
