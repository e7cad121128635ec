//! Bringing a file to disk whole or not at all, and putting the fence back into one.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::quote::{quote, split};
use super::render::{HEADER, fence};
use crate::config::Directive;

/// Readable by the server through the pod's group (`fsGroup`), and by nobody else: it holds a
/// password.
const MODE: u32 = 0o640;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A step on the way to the new file failed. The old one, if any, is as it was.
    #[error("cannot {step} {path:?} ({})", hint(source))]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something at the path that is no file: replacing a device would break the machine.
    #[error("{path:?} is not a regular file: name a file of its own with --conf")]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// The file to put the fence into was not made by podzero.
    #[error(
        "{path:?} is not a configuration that podzero wrote: has CONFIG REWRITE replaced it? Mount its directory read-only in the server's container"
    )]
    NotOurs {
        /// Which file.
        path: PathBuf,
    },
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the system's errors are many; these are those with advice"
)]
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "is the volume full?",
        io::ErrorKind::PermissionDenied => {
            "may this user write there? With a volume, set securityContext.fsGroup"
        }
        io::ErrorKind::ReadOnlyFilesystem => "is the volume mounted read-only?",
        io::ErrorKind::NotFound => "is the directory there, and mounted?",
        _ => "is the directory there and writable?",
    }
}

/// Writes the generated configuration. `Ok(false)`: it was there already, letter by letter.
pub fn configuration(path: &Path, text: &str) -> Result<bool, WriteError> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(WriteError::NotAFile {
            path: path.to_owned(),
        });
    }
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    atomically(path, &mut text.as_bytes(), MODE)?;
    Ok(true)
}

/// Makes the server of an existing generated configuration start fenced the next time. `Ok(false)`:
/// it would already.
pub fn refence(path: &Path) -> Result<bool, WriteError> {
    let text = ours(path)?;
    configuration(path, &fenced(&text))
}

/// The passwords that a server is started with, and those before them that are valid for a while.
#[derive(Clone, PartialEq, Eq)]
pub struct Rotated<'a> {
    /// The default user's; none where that is not podzero's to set.
    pub requirepass: Option<&'a str>,
    /// With which the server logs in at its master.
    pub masterauth: &'a str,
    /// The old ones, and until when they are valid, in seconds since 1970.
    pub old: &'a [(String, u64)],
}

impl fmt::Debug for Rotated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotated { .. }")
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known { .. }")
    }
}

/// Before a password that is still valid beside its successor, in a comment.
const OLD: &str = "# valid until";

/// Puts passwords into an existing generated configuration: for the server's next start, and for a
/// sidecar that is started while an old one is valid. `Ok(false)`: they were there already.
pub fn passwords(path: &Path, rotated: &Rotated<'_>) -> Result<bool, WriteError> {
    let text = ours(path)?;
    configuration(path, &with_passwords(&text, rotated))
}

fn with_passwords(text: &str, rotated: &Rotated<'_>) -> String {
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with(OLD))
        .map(|line| match (line.split_once(' '), rotated.requirepass) {
            (Some(("masterauth", _)), _) => format!("masterauth {}", quote(rotated.masterauth)),
            (Some(("requirepass", _)), Some(password)) => {
                format!("requirepass {}", quote(password))
            }
            (Some(_) | None, _) => line.to_owned(),
        })
        .collect();
    for (password, until) in rotated.old {
        lines.push(format!("{OLD} {until} {}", quote(password)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The passwords of a generated configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    /// The default user's; none where that is not podzero's to set.
    pub requirepass: Option<String>,
    /// With which the server logs in at its master.
    pub masterauth: String,
    /// Those that were valid too when it was written, and until when.
    pub old: Vec<(String, u64)>,
}

/// With which passwords the server of a generated configuration was started. None where there is no such
/// file.
pub fn known_passwords(path: &Path) -> Option<Known> {
    let text = ours(path).ok()?;
    let value = |line: &str| split(line.as_bytes()).ok()?.into_iter().next_back();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name));
    let old = text.lines().filter_map(|line| {
        let line = line.strip_prefix(OLD)?.trim_start();
        let (until, password) = line.split_once(' ')?;
        Some((value(password)?, until.parse().ok()?))
    });
    Some(Known {
        requirepass: line("requirepass ").and_then(value),
        masterauth: value(line("masterauth ")?)?,
        old: old.collect(),
    })
}

fn ours(path: &Path) -> Result<String, WriteError> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    if text.starts_with(HEADER) {
        Ok(text)
    } else {
        Err(WriteError::NotOurs {
            path: path.to_owned(),
        })
    }
}

/// The text with the fence in the place of its replication line. A password cannot look like one:
/// quoted text has no line ends.
fn fenced(text: &str) -> String {
    let mut found = false;
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| match line.split_once(' ') {
            Some((word @ ("replicaof" | "slaveof"), _)) => {
                found = true;
                format!("{word} {}", fence())
            }
            Some(_) | None => line.to_owned(),
        })
        .collect();
    if !found {
        // Written by `init --without-sidecar` for a master; now there is a sidecar.
        lines.push(format!("{} {}", Directive::Replicaof.as_str(), fence()));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Replaces a file by way of a new one beside it, which is removed again when anything fails.
pub fn atomically(path: &Path, content: &mut dyn Read, mode: u32) -> Result<(), WriteError> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // One name for all: what a killed process left behind is replaced, not added to.
    let new = dir.join(format!(".{name}.podzero-new"));
    let result = place(&new, path, content, mode).and_then(|()| {
        fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync the directory", dir))
    });
    if result.is_err() {
        // It may never have been made; and what went wrong first is what is worth telling.
        let _ = fs::remove_file(&new);
    }
    result
}

fn place(new: &Path, path: &Path, content: &mut dyn Read, mode: u32) -> Result<(), WriteError> {
    match fs::remove_file(new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("replace", new)(error)),
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(new)
        .map_err(failed("create", new))?;
    io::copy(content, &mut file).map_err(failed("write", new))?;
    // The mode given above is narrowed by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of", new))?;
    file.sync_all().map_err(failed("write", new))?;
    fs::rename(new, path).map_err(failed("put the new file in the place of", path))
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .expect("listed")
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_is_whole_private_and_written_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("redis.conf");
        fs::write(dir.path().join(".redis.conf.podzero-new"), "torn").expect("written");
        assert!(configuration(&path, "port 1\n").expect("written"));
        let meta = fs::metadata(&path).expect("there");
        assert_eq!(meta.permissions().mode() & 0o777, MODE);
        let inode = std::os::unix::fs::MetadataExt::ino(&meta);
        assert!(!configuration(&path, "port 1\n").expect("the same"));
        let meta = fs::metadata(&path).expect("there");
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&meta), inode);
        assert!(configuration(&path, "port 2\n").expect("written"));
        assert_eq!(files(dir.path()), ["redis.conf"]);
    }

    #[test]
    fn a_failure_leaves_neither_a_new_file_nor_half_of_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("redis.conf");
        // A directory in the file's place cannot be replaced by a file, not even by root.
        fs::create_dir(&path).expect("made");
        fs::write(path.join("x"), "").expect("written");
        let error = configuration(&path, "port 1\n").expect_err("refused");
        assert!(error.to_string().contains("redis.conf"), "{error}");
        assert_eq!(files(dir.path()), ["redis.conf"]);
        let error = configuration(Path::new("/nowhere/redis.conf"), "").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "cannot create \"/nowhere/.redis.conf.podzero-new\" (is the directory there, and mounted?)"
        );
    }

    #[test]
    fn a_device_is_not_replaced() {
        let error = configuration(Path::new("/dev/null"), "x").expect_err("refused");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn the_fence_takes_the_place_of_a_master_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("redis.conf");
        for (line, fenced) in [
            ("slaveof 10.0.0.7 6379\n", "slaveof 127.0.0.1 0\n"),
            ("replicaof a.b 6379\n", "replicaof 127.0.0.1 0\n"),
            ("", "replicaof 127.0.0.1 0\n"),
        ] {
            let text = |line| format!("{HEADER}\n{line}replica-announce-ip \"replicaof x\"\n");
            fs::write(&path, text(line)).expect("written");
            assert!(refence(&path).expect("fenced"));
            let now = fs::read_to_string(&path).expect("read");
            assert!(now.contains(fenced), "{now}");
            assert!(now.contains("\"replicaof x\"\n"), "{now}");
            assert!(!refence(&path).expect("fenced"));
        }
        fs::write(&path, "replicaof a 1\n").expect("written");
        assert!(matches!(refence(&path), Err(WriteError::NotOurs { .. })));
    }

    #[test]
    fn passwords_are_replaced_and_read_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("redis.conf");
        let text = format!(
            "{HEADER}\nreplicaof 127.0.0.1 0\nmasterauth \"a\"\nrequirepass \"a\"\nport 1\n"
        );
        fs::write(&path, &text).expect("written");
        let known = |requirepass: &str, old: &[(String, u64)]| {
            Some(Known {
                requirepass: Some(requirepass.to_owned()),
                masterauth: "a".to_owned(),
                old: old.to_vec(),
            })
        };
        assert_eq!(known_passwords(&path), known("a", &[]));
        let old = [("a".to_owned(), 17), ("\"\\ #'ü".to_owned(), 9)];
        let rotated = |old| Rotated {
            requirepass: Some("b \"c\""),
            masterauth: "a",
            old,
        };
        assert!(passwords(&path, &rotated(&old)).expect("written"));
        assert!(!passwords(&path, &rotated(&old)).expect("the same"));
        assert_eq!(known_passwords(&path), known("b \"c\"", &old));
        let now = fs::read_to_string(&path).expect("read");
        assert!(now.contains("requirepass \"b \\\"c\\\"\"\n"), "{now}");
        assert!(now.contains("port 1\n"), "{now}");
        // Nothing is left of them when they have ended.
        let none = Rotated {
            requirepass: None,
            ..rotated(&[])
        };
        assert!(passwords(&path, &none).expect("written"));
        let now = fs::read_to_string(&path).expect("read");
        assert!(
            !now.contains("valid until") && now.contains("requirepass"),
            "{now}"
        );
        fs::write(&path, "masterauth a\n").expect("written");
        assert_eq!(known_passwords(&path), None);
    }
}
