//! Passwords: read from files, never printed.
//!
//! Owns the reading of a secret file and the type that keeps it out of logs and errors.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The longest password that every supported server takes (`CONFIG_AUTHPASS_MAX_LEN` of the
/// servers: a longer `requirepass` stops them at start).
const LONGEST: usize = 512;

/// A password. It has no `Display`, and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password itself, for the server and for nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this text, in a time that tells nothing of how much of it is right.
    pub fn is(&self, text: &str) -> bool {
        let (ours, theirs) = (
            Sha256::digest(self.0.as_bytes()),
            Sha256::digest(text.as_bytes()),
        );
        let differ = ours
            .iter()
            .zip(theirs.iter())
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differ) == 0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It could not be read.
    #[error(
        "cannot read the password file {path:?} (--password-file): is the Secret mounted there, with that key?"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it but a line end.
    #[error(
        "the password file {path:?} (--password-file) is empty: an empty password would leave the server open; does the Secret's key have a value?"
    )]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// No server takes it as a password.
    #[error("the password file {path:?} (--password-file) {what}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its content, without repeating any of it.
        what: &'static str,
    },
}

/// Reads a password file. Exactly one line end (`\n` or `\r\n`) is taken from its end, because
/// everything that writes such files adds one; all else is the password.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    let bytes = std::fs::read(path).map_err(|source| SecretError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let unusable = |what| SecretError::Unusable {
        path: path.to_owned(),
        what,
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| unusable("is not UTF-8 text: is it a binary key, or base64-encoded twice?"))?;
    let password = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text);
    if password.is_empty() {
        return Err(SecretError::Empty {
            path: path.to_owned(),
        });
    }
    if password.contains('\0') {
        return Err(unusable(
            "holds a NUL byte, with which servers end a password",
        ));
    }
    if password.contains(['\n', '\r']) {
        return Err(unusable(
            "holds more than one line: one trailing line end is stripped, any other would be part of the password",
        ));
    }
    if password.len() > LONGEST {
        return Err(unusable(
            "is longer than 512 bytes, the most that servers take",
        ));
    }
    Ok(Secret(password.to_owned()))
}

/// The SHA-256 of a text in hexadecimal digits.
pub fn sha256_hex(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<Secret, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        std::fs::write(&path, bytes).expect("written");
        read(&path).map_err(|e| e.to_string().replace(&dir.path().display().to_string(), ""))
    }

    #[test]
    fn one_line_end_is_stripped_and_nothing_else() {
        for (bytes, password) in [
            ("a b", "a b"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            (" #ai%EQie!^i \t\n", " #ai%EQie!^i \t"),
            ("pä\"ß'\\$\n", "pä\"ß'\\$"),
        ] {
            assert_eq!(
                read_bytes(bytes.as_bytes()).expect(bytes).expose(),
                password
            );
        }
        assert_eq!(
            read_bytes(&[b'x'; 512]).expect("512").expose().len(),
            LONGEST
        );
    }

    #[test]
    fn what_no_server_takes_is_refused_in_words() {
        let refusals: Vec<_> = [
            b"".as_slice(),
            b"\n",
            b"two\nlines\n",
            b"nul\0",
            b"\xff\xfe",
            &[b'x'; 513],
        ]
        .into_iter()
        .map(|bytes| read_bytes(bytes).expect_err("refused"))
        .collect();
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        the password file "/password" (--password-file) is empty: an empty password would leave the server open; does the Secret's key have a value?
        the password file "/password" (--password-file) is empty: an empty password would leave the server open; does the Secret's key have a value?
        the password file "/password" (--password-file) holds more than one line: one trailing line end is stripped, any other would be part of the password
        the password file "/password" (--password-file) holds a NUL byte, with which servers end a password
        the password file "/password" (--password-file) is not UTF-8 text: is it a binary key, or base64-encoded twice?
        the password file "/password" (--password-file) is longer than 512 bytes, the most that servers take
        "#);
        let missing = read(Path::new("/nowhere/password")).expect_err("missing");
        insta::assert_snapshot!(missing, @r#"cannot read the password file "/nowhere/password" (--password-file): is the Secret mounted there, with that key?"#);
    }

    #[test]
    fn it_never_prints_itself() {
        let secret = read_bytes(b"hunter2").expect("read");
        assert_eq!(format!("{secret:?}"), "<redacted>");
        assert_eq!(
            sha256_hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
