//! What is in the data directory before the server starts.
//!
//! Owns reading it as the server will (which files count under which directives); touches nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::conf::base::{Base, Setting};
use crate::conf::quote::split;
use crate::rdb;
use crate::topology::ReplicationId;

/// Whether there is data on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// There is.
    Some,
    /// There is none.
    None,
    /// There is a file that could not be understood. It counts as whatever is worse.
    Unknown,
}

/// What the server will load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// Whether it is anything.
    pub data: Data,
    /// Its history, where it is recorded (an RDB file, and no append-only file).
    pub id: Option<ReplicationId>,
    /// Its place in that history.
    pub offset: Option<u64>,
}

/// Starting the server would lose the data.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place}: appendonly is yes, but {dir:?} holds {rdb:?} and no append-only file: the server would start empty and then overwrite {rdb:?}. Start once with appendonly no, give CONFIG SET appendonly yes, wait until INFO shows aof_rewrite_in_progress:0, and only then put appendonly yes into the configuration"
)]
pub struct AofTrap {
    place: String,
    dir: PathBuf,
    rdb: String,
}

/// The files of a data directory, by the names that the configuration gives them.
struct Files {
    rdb: PathBuf,
    /// Where an append-only file is before 7.0; later versions take it over from there.
    old_aof: PathBuf,
    aof_dir: PathBuf,
    manifest: PathBuf,
    aof_is_on: bool,
}

impl Files {
    fn new(dir: &Path, base: &Base) -> Self {
        let aof = base.value_or("appendfilename", "appendonly.aof");
        let aof_dir = dir.join(base.value_or("appenddirname", "appendonlydir"));
        Self {
            rdb: dir.join(base.value_or("dbfilename", "dump.rdb")),
            old_aof: dir.join(aof),
            manifest: aof_dir.join(format!("{aof}.manifest")),
            aof_dir,
            aof_is_on: base.last("appendonly").is_some_and(Setting::is_yes),
        }
    }
}

/// Refuses an append-only file that is switched on over an RDB file alone.
pub fn refuse_aof_trap(dir: &Path, base: &Base) -> Result<(), AofTrap> {
    let files = Files::new(dir, base);
    let has_aof = files.manifest.exists() || files.old_aof.exists();
    let Some(line) = base.last("appendonly").filter(|_| files.aof_is_on) else {
        return Ok(());
    };
    if has_aof || in_rdb(&files.rdb).data == Data::None {
        return Ok(());
    }
    Err(AofTrap {
        place: line.place.to_string(),
        dir: dir.to_owned(),
        rdb: base.value_or("dbfilename", "dump.rdb").to_owned(),
    })
}

/// What the server will load from a data directory.
pub fn look(dir: &Path, base: &Base) -> OnDisk {
    let files = Files::new(dir, base);
    if !files.aof_is_on {
        return in_rdb(&files.rdb);
    }
    // With an append-only file the server forgets the history that an RDB file would name.
    let unnamed = |data| OnDisk {
        data,
        id: None,
        offset: None,
    };
    if !files.manifest.exists() {
        return unnamed(in_aof(&files.old_aof));
    }
    let Ok(manifest) = fs::read(&files.manifest) else {
        return unnamed(Data::Unknown);
    };
    let parts = manifest
        .split(|b| *b == b'\n')
        .filter_map(|line| split(line.trim_ascii()).ok())
        .filter_map(|words| file_in_use(&words))
        .map(|name| in_aof(&files.aof_dir.join(name)));
    unnamed(parts.fold(Data::None, |all, part| match (all, part) {
        (Data::Some, _) | (_, Data::Some) => Data::Some,
        (Data::Unknown, _) | (_, Data::Unknown) => Data::Unknown,
        (Data::None, Data::None) => Data::None,
    }))
}

/// `file <name> seq <n> type <b|i|h>`: base and increments are in use, history files are leftovers.
fn file_in_use(words: &[String]) -> Option<String> {
    let value = |key: &str| {
        let mut pairs = words.chunks_exact(2);
        pairs
            .find(|pair| pair[0] == key)
            .map(|pair| pair[1].clone())
    };
    (value("type")? != "h").then(|| value("file")).flatten()
}

fn in_rdb(path: &Path) -> OnDisk {
    let empty = fs::metadata(path).map_or_else(
        |error| error.kind() == std::io::ErrorKind::NotFound,
        |meta| meta.len() == 0,
    );
    let head = rdb::read(path).unwrap_or_default();
    let data = match head.empty {
        _ if empty => Data::None,
        Some(true) => Data::None,
        Some(false) => Data::Some,
        None => Data::Unknown,
    };
    OnDisk {
        data,
        id: head.id,
        offset: head.offset,
    }
}

/// An append-only file may begin with an RDB file.
fn in_aof(path: &Path) -> Data {
    let length = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(_) => return Data::Unknown,
    };
    if length == 0 {
        return Data::None;
    }
    let start = rdb::read(path).and_then(|head| head.empty_length);
    let preamble_alone = start.is_some_and(|n| u64::try_from(n).is_ok_and(|n| length <= n));
    if preamble_alone {
        Data::None
    } else {
        Data::Some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"REDIS0009\xFF12345678";
    const FULL: &[u8] = b"REDIS0009\xFE\0";

    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn file(self, name: &str, content: &[u8]) -> Self {
            let path = self.0.path().join("data").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, content).expect("written");
            self
        }

        fn base(&self, text: &str) -> Base {
            let path = self.0.path().join("redis.conf");
            fs::write(&path, text).expect("written");
            Base::read(&path, self.0.path()).expect("read")
        }

        fn data(&self, base: &str) -> Data {
            look(&self.0.path().join("data"), &self.base(base)).data
        }

        fn is_trap(&self, base: &str) -> bool {
            refuse_aof_trap(&self.0.path().join("data"), &self.base(base)).is_err()
        }
    }

    #[test]
    fn an_rdb_file_counts_by_its_content() {
        assert_eq!(World::new().data(""), Data::None);
        assert_eq!(World::new().file("dump.rdb", EMPTY).data(""), Data::None);
        assert_eq!(World::new().file("dump.rdb", b"").data(""), Data::None);
        assert_eq!(World::new().file("dump.rdb", FULL).data(""), Data::Some);
        assert_eq!(World::new().file("dump.rdb", b"?").data(""), Data::Unknown);
        let other = World::new().file("x.rdb", FULL);
        assert_eq!(other.data(""), Data::None);
        assert_eq!(other.data("dbfilename x.rdb"), Data::Some);
    }

    #[test]
    fn an_append_only_file_counts_when_it_is_on() {
        let on = "appendonly yes";
        let dump = World::new().file("dump.rdb", FULL);
        assert_eq!(dump.data(on), Data::None);
        let old = World::new().file("appendonly.aof", b"*1\r\n");
        assert_eq!((old.data(on), old.data("")), (Data::Some, Data::None));
        let manifest = b"file \"a 1.rdb\" seq 1 type b\nfile h seq 1 type h\nfile i seq 1 type i\n";
        let world = World::new()
            .file("appendonlydir/appendonly.aof.manifest", manifest)
            .file("appendonlydir/a 1.rdb", EMPTY)
            .file("appendonlydir/h", b"old")
            .file("appendonlydir/i", b"");
        assert_eq!(world.data(on), Data::None);
        let world = world.file("appendonlydir/i", b"*1\r\n");
        assert_eq!(world.data(on), Data::Some);
        let longer = [EMPTY, b"*1\r\n"].concat();
        let world = World::new().file("appendonly.aof", &longer);
        assert_eq!(world.data(on), Data::Some);
    }

    #[test]
    fn switching_the_append_only_file_on_over_a_dump_is_refused() {
        let on = "appendonly yes";
        assert!(World::new().file("dump.rdb", FULL).is_trap(on));
        assert!(World::new().file("dump.rdb", b"?").is_trap(on));
        assert!(!World::new().file("dump.rdb", FULL).is_trap("appendonly no"));
        assert!(!World::new().file("dump.rdb", EMPTY).is_trap(on));
        assert!(!World::new().is_trap(on));
        for aof in ["appendonly.aof", "appendonlydir/appendonly.aof.manifest"] {
            assert!(
                !World::new()
                    .file("dump.rdb", FULL)
                    .file(aof, b"")
                    .is_trap(on)
            );
        }
        let renamed = World::new().file("x.rdb", FULL).file("d/a.manifest", b"");
        assert!(renamed.is_trap("appendonly yes\ndbfilename x.rdb"));
        assert!(
            !renamed.is_trap("appendonly yes\ndbfilename x.rdb\nappenddirname d\nappendfilename a")
        );
    }
}
