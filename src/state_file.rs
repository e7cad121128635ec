//! What a member remembers across restarts: a small JSON file beside the data.
//!
//! Owns its form, its reading and its atomic writing; decides nothing. A file that is missing, torn,
//! of a newer schema or of another pod is "unknown", never an error that stops the pod: the member
//! then counts as one that never held a history.

pub(crate) mod disk;
mod memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::disk::{Disk, read};
pub use self::memory::{Alias, Followed, Held, LINEAGE_KEPT, Memory, Raised};
use crate::report::{Intent, SCHEMA};
use crate::topology::Identity;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "podzero-state.json";

/// Beside it: a promotion that was just told to the server, see [`StateFile::note`].
const NOTE_NAME: &str = "podzero-promotion.json";

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

    /// Notes what is known just before a promotion, without waiting for the disk: it matters when this
    /// process ends before it could write down the outcome, and not when the machine fails with the last
    /// writes. A note that cannot be written or read is missing: then the server is stopped again, and what
    /// it wrote is not told from what there was before.
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
    let (mut file, mut memory, found) = StateFile::open(data_dir, identity);
    if found != Found::Ours {
        return Ok(());
    }
    memory.follows(followed, None);
    memory.unfinished = true;
    file.save(&memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Epoch, Ordinal};

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
    fn what_init_found_is_no_only_source_before_a_look() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut file, memory, _) = StateFile::open(dir.path(), &identity());
        let epoch = Epoch::after(None, Ordinal::ZERO);
        let followed = |ordinal, only_source| Followed {
            master: Ordinal(ordinal),
            epoch,
            id: None,
            only_source,
        };
        let mark = |ordinal| {
            mark_followed(dir.path(), &identity(), followed(ordinal, false)).expect("saved");
            let memory = remembered(dir.path(), &identity());
            assert!(memory.unfinished);
            memory.followed.expect("marked").only_source
        };
        file.save(&memory).expect("saved");
        assert!(!mark(0));
        // The sidecar had looked before it followed the same one.
        let mut memory = memory;
        memory.follows(followed(0, true), None);
        file.save(&memory).expect("saved");
        assert!(mark(0));
        assert!(!mark(2));
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
