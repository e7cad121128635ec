//! What must be so before a server is configured: directories that can be written, and the binary
//! where the server's container looks for it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};

use crate::conf::write::{WriteError, atomically};

/// The name under which the binary is installed.
const BINARY: &str = "podzero";

/// Why `init` cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A directory cannot be written.
    #[error(
        "cannot write to the {what} {path:?} as user {uid}, group {gid} ({owner}): {why}",
        why = advice(source)
    )]
    NotWritable {
        /// What the directory is for, and its flag.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// As whom.
        uid: u32,
        /// In which group.
        gid: u32,
        /// Whose it is, and its mode.
        owner: String,
        /// What the system said.
        source: io::Error,
    },
    /// This process cannot read its own binary.
    #[error("cannot read this program's own file /proc/self/exe to install it (--install-dir)")]
    Binary(#[source] io::Error),
    /// The binary cannot be installed.
    #[error("cannot install podzero (--install-dir)")]
    Install(#[source] WriteError),
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the system's errors are many; these are those with advice"
)]
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "let the pod's volumes belong to its group with securityContext.fsGroup"
        }
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the volume is full",
        io::ErrorKind::NotFound => "it is not there: is the volume mounted?",
        io::ErrorKind::NotADirectory => "it is not a directory",
        _ => "check the volume and securityContext.fsGroup",
    }
}

/// Checks that the server's data directory can be written by this user, which is the server's too.
pub fn data_dir(dir: &Path) -> Result<(), CheckError> {
    writable("data directory (--data-dir)", dir)
}

/// Checks that the configuration can be written, and makes its directory if need be.
pub fn conf_dir(conf: &Path) -> Result<(), CheckError> {
    let what = "directory of the configuration (--conf)";
    let dir = conf.parent().filter(|d| !d.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(|source| not_writable(what, dir, source))?;
    writable(what, dir)
}

fn writable(what: &'static str, dir: &Path) -> Result<(), CheckError> {
    // Only an attempt tells: modes say nothing of read-only mounts, and root may write anywhere.
    let probe = dir.join(".podzero-probe");
    let made = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
    made.map_err(|source| not_writable(what, dir, source))
}

fn not_writable(what: &'static str, dir: &Path, source: io::Error) -> CheckError {
    let owner = fs::metadata(dir).map_or_else(
        |_| "its owner cannot be read".to_owned(),
        |meta| {
            format!(
                "it belongs to user {}, group {}, mode {:04o}",
                meta.uid(),
                meta.gid(),
                meta.permissions().mode() & 0o7777
            )
        },
    );
    CheckError::NotWritable {
        what,
        path: dir.to_owned(),
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        owner,
        source,
    }
}

/// Copies this binary into a directory, whole or not at all.
pub fn install(dir: &Path) -> Result<PathBuf, CheckError> {
    let what = "directory for the binary (--install-dir)";
    fs::create_dir_all(dir).map_err(|source| not_writable(what, dir, source))?;
    let mut own = fs::File::open("/proc/self/exe").map_err(CheckError::Binary)?;
    let path = dir.join(BINARY);
    atomically(&path, &mut own, 0o755).map_err(CheckError::Install)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_told_with_its_flag() {
        let error = data_dir(Path::new("/nowhere/data")).expect_err("refused");
        let text = error.to_string();
        assert!(
            text.starts_with(
                "cannot write to the data directory (--data-dir) \"/nowhere/data\" as user "
            ),
            "{text}"
        );
        assert!(text.ends_with("is the volume mounted?"), "{text}");
    }

    #[test]
    fn the_directory_of_the_configuration_is_made_and_nothing_is_left_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        conf_dir(&dir.path().join("a/b/redis.conf")).expect("made");
        let left = fs::read_dir(dir.path().join("a/b")).expect("there").count();
        assert_eq!(left, 0);
    }

    #[test]
    fn the_binary_is_installed_executable() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = install(&dir.path().join("bin")).expect("installed");
        let meta = fs::metadata(&path).expect("there");
        assert_eq!(meta.permissions().mode() & 0o777, 0o755);
        let own = fs::metadata("/proc/self/exe").expect("there");
        assert_eq!(meta.len(), own.len());
    }
}
