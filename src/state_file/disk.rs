//! Reading and writing the file itself, in the loop or beside it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Memory;
use crate::report::SCHEMA;

/// Who writes now, and what is out of date.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Grows with each write in the loop: one beside it that was asked for earlier is out of date.
    turn: AtomicU64,
    busy: AtomicBool,
    failed: AtomicBool,
    file: Mutex<()>,
}

impl Disk {
    /// Writes, and waits until it is on the disk.
    pub(super) fn write(&self, path: &Path, memory: &Memory) -> std::io::Result<()> {
        self.turn.fetch_add(1, Ordering::SeqCst);
        let _alone = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write(path, memory)
    }

    /// Writes in a thread of its own; false while one is at it.
    pub(super) fn write_later(self: &Arc<Self>, path: PathBuf, memory: Memory) -> bool {
        if self.busy.swap(true, Ordering::SeqCst) {
            return false;
        }
        let (this, turn) = (Arc::clone(self), self.turn.load(Ordering::SeqCst));
        tokio::task::spawn_blocking(move || {
            let alone = this.file.lock().unwrap_or_else(PoisonError::into_inner);
            let current = this.turn.load(Ordering::SeqCst) == turn;
            if current && write(&path, &memory).is_err() {
                this.failed.store(true, Ordering::SeqCst);
            }
            drop(alone);
            this.busy.store(false, Ordering::SeqCst);
        });
        true
    }

    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.swap(false, Ordering::SeqCst)
    }
}

pub(super) fn read(path: &Path) -> Result<Option<Memory>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    parse(&text).map(Some)
}

/// Reads the file's content.
pub(crate) fn parse(text: &[u8]) -> Result<Memory, String> {
    let memory: Memory = serde_json::from_slice(text).map_err(|e| format!("not whole: {e}"))?;
    match memory.schema {
        0 => Err("it has no schema".to_owned()),
        SCHEMA => Ok(memory),
        newer => Err(format!(
            "its schema is {newer}, this release knows {SCHEMA}"
        )),
    }
}

fn write(path: &Path, memory: &Memory) -> std::io::Result<()> {
    let text = serde_json::to_vec(memory).map_err(std::io::Error::other)?;
    let new = path.with_extension("json.new");
    let result = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&new, path)?;
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_data()?;
        }
        Ok(())
    })();
    if result.is_err() {
        // Best effort: the half-written file has no meaning, and its space may be what is missing.
        let _ = fs::remove_file(&new);
    }
    result
}
