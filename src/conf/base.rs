//! Reading the user's own configuration as the server will read it.
//!
//! Owns lines, `include` and who set what where (`loadServerConfig` of the servers). Judges nothing:
//! what a directive means to podzero is said in `render.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::glob;
use super::quote::split;

/// Files may include files, but not without end: the server itself would run out of descriptors.
const DEEPEST: usize = 32;
/// Files in all: more than anybody's configuration has, and soon read.
const MOST_FILES: usize = 1000;
/// Bytes in all.
const MOST_BYTES: u64 = 16 << 20;

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One line of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The directive, in lower case and by its present name (`replicaof` for `slaveof`).
    pub name: String,
    /// As it is spelled in the file.
    pub spelled: String,
    /// What follows it.
    pub values: Vec<String>,
    /// Where it stands.
    pub place: Place,
}

impl Setting {
    /// The first value; empty when there is none.
    pub fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// Whether the value is `yes`, as servers read it.
    pub fn is_yes(&self) -> bool {
        self.value().eq_ignore_ascii_case("yes")
    }
}

/// A configuration, all includes in their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    settings: Vec<Setting>,
}

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A file could not be read.
    #[error(
        "cannot read {} (is it there, and may this user read it?)",
        named(path, included_at.as_ref())
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The line that includes it; none for `--base-conf` itself.
        included_at: Option<Place>,
        /// What the system said.
        source: std::io::Error,
    },
    /// Quotes do not balance.
    #[error("{place}: the quotes of this line do not balance: the server would not start with it")]
    Unbalanced {
        /// Where.
        place: Place,
    },
    /// A file includes itself, directly or by others.
    #[error(
        "{place}: {path:?} is included here, but it is one of the files that lead to this line: the server would read them for ever"
    )]
    Loop {
        /// Where the circle closes.
        place: Place,
        /// The file that is included again.
        path: PathBuf,
    },
    /// Too many files below one another.
    #[error("{place}: more than {DEEPEST} files include one another")]
    TooDeep {
        /// Where it went too far.
        place: Place,
    },
    /// Too much in all.
    #[error(
        "{} makes the configuration too large: {MOST_FILES} files and {MOST_BYTES} bytes are read at most, each as often as it is included",
        named(path, included_at.as_ref())
    )]
    TooMuch {
        /// The file at which it was.
        path: PathBuf,
        /// The line that includes it; none for `--base-conf` itself.
        included_at: Option<Place>,
    },
    /// A device, a pipe or a directory.
    #[error(
        "{} is no regular file",
        named(path, included_at.as_ref())
    )]
    NoFile {
        /// Which.
        path: PathBuf,
        /// The line that includes it; none for `--base-conf` itself.
        included_at: Option<Place>,
    },
    /// `include` without exactly one file.
    #[error("{place}: include takes exactly one file: the server would not start with it")]
    Include {
        /// Where.
        place: Place,
    },
}

fn named(path: &Path, included_at: Option<&Place>) -> String {
    match included_at {
        None => format!("the base configuration {} (--base-conf)", path.display()),
        Some(place) => format!("{}, which {place} includes", path.display()),
    }
}

impl Base {
    /// Reads a file and all that it includes. A relative `include` is looked for below
    /// `working_dir`: servers look in their own working directory, which in the official images is
    /// the data directory.
    pub fn read(path: &Path, working_dir: &Path) -> Result<Self, BaseError> {
        let mut reader = Reader {
            working_dir,
            open: Vec::new(),
            settings: Vec::new(),
            files: 0,
            bytes: 0,
        };
        reader.file(path, None)?;
        Ok(Self {
            settings: reader.settings,
        })
    }

    /// The line that has the last word on a directive.
    pub fn last(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|s| s.name == name)
    }

    /// All lines of a directive, in the server's order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings.iter().filter(move |s| s.name == name)
    }

    /// The value of a directive, or the server's default.
    pub fn value_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.last(name).map_or(default, Setting::value)
    }
}

struct Reader<'a> {
    working_dir: &'a Path,
    /// The files that are being read, outermost first, as the system names them.
    open: Vec<PathBuf>,
    settings: Vec<Setting>,
    /// Read so far.
    files: usize,
    bytes: u64,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, included_at: Option<&Place>) -> Result<(), BaseError> {
        let unreadable = |source| BaseError::Unreadable {
            path: path.to_owned(),
            included_at: included_at.cloned(),
            source,
        };
        let real = path.canonicalize().map_err(unreadable)?;
        if let Some(place) = included_at {
            let place = place.clone();
            if self.open.contains(&real) {
                let path = path.to_owned();
                return Err(BaseError::Loop { place, path });
            }
            if self.open.len() >= DEEPEST {
                return Err(BaseError::TooDeep { place });
            }
        }
        // A pipe would be waited for, a device has no end.
        let meta = std::fs::metadata(&real).map_err(unreadable)?;
        self.files += 1;
        self.bytes += meta.len();
        let too_much = self.files > MOST_FILES || self.bytes > MOST_BYTES;
        if !meta.is_file() || too_much {
            let (path, included_at) = (path.to_owned(), included_at.cloned());
            return Err(if too_much {
                BaseError::TooMuch { path, included_at }
            } else {
                BaseError::NoFile { path, included_at }
            });
        }
        let bytes = std::fs::read(&real).map_err(unreadable)?;
        self.open.push(real);
        for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let place = Place {
                file: path.to_owned(),
                line: number + 1,
            };
            self.line(line.trim_ascii(), place)?;
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: Place) -> Result<(), BaseError> {
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        let Ok(words) = split(line) else {
            return Err(BaseError::Unbalanced { place });
        };
        let Some((spelled, values)) = words.split_first() else {
            return Ok(());
        };
        let name = present_name(&spelled.to_lowercase());
        if name == "include" {
            let [target] = values else {
                return Err(BaseError::Include { place });
            };
            return self.include(target, &place);
        }
        self.settings.push(Setting {
            name,
            spelled: spelled.clone(),
            values: values.to_vec(),
            place,
        });
        Ok(())
    }

    fn include(&mut self, target: &str, place: &Place) -> Result<(), BaseError> {
        let path = self.working_dir.join(target);
        if !glob::is_pattern(target) {
            return self.file(&path, Some(place));
        }
        for path in glob::expand(&path) {
            self.file(&path, Some(place))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod large;

/// Servers know many directives by an older name too.
fn present_name(name: &str) -> String {
    match name.strip_prefix("slave") {
        Some(rest) if rest == "of" || rest.starts_with('-') => format!("replica{rest}"),
        Some(_) | None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Base, String>) {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let text = text.replace("DIR", &dir.path().display().to_string());
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        let base = Base::read(&dir.path().join(files[0].0), dir.path()).map_err(|e| {
            e.to_string()
                .replace(&dir.path().display().to_string(), "DIR")
        });
        (dir, base)
    }

    #[test]
    fn the_last_word_counts_and_its_place_is_known() {
        let (_dir, base) = read(&[
            (
                "redis.conf",
                "# a comment\nPORT 1\nslave-read-only no\ninclude more.conf\nslaveof a 1\n",
            ),
            ("more.conf", "port 2\r\n\n  dir \"/da ta\"\n"),
        ]);
        let base = base.expect("read");
        let port = base.last("port").expect("set");
        assert_eq!((port.value(), port.place.line), ("2", 1));
        assert!(port.place.file.ends_with("more.conf"));
        assert_eq!(base.value_or("dir", "./"), "/da ta");
        assert_eq!(base.last("replica-read-only").expect("set").value(), "no");
        assert_eq!(base.last("replicaof").expect("set").spelled, "slaveof");
        assert_eq!(base.all("port").count(), 2);
        assert_eq!(base.value_or("bind", "*"), "*");
    }

    #[test]
    fn patterns_include_what_matches_and_nothing_is_fine() {
        let (_dir, base) = read(&[
            ("redis.conf", "include DIR/conf.d-*\ninclude DIR/none-*\n"),
            ("conf.d-2", "port 2\n"),
            ("conf.d-1", "port 1\n"),
        ]);
        assert_eq!(base.expect("read").value_or("port", ""), "2");
    }

    #[test]
    fn what_the_server_could_not_start_with_is_refused_by_file_and_line() {
        let refusals: Vec<_> = [
            read(&[("a.conf", "port 1\nrequirepass \"x\n")]),
            read(&[
                ("a.conf", "include DIR/b.conf\n"),
                ("b.conf", "\ninclude DIR/./a.conf\n"),
            ]),
            read(&[("a.conf", "include DIR/missing.conf\n")]),
            read(&[("a.conf", "include\n")]),
        ]
        .into_iter()
        .map(|(_dir, result)| result.expect_err("refused"))
        .chain(
            [Base::read(Path::new("/nowhere/redis.conf"), Path::new("/"))
                .expect_err("missing")
                .to_string()],
        )
        .collect();
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        DIR/a.conf:2: the quotes of this line do not balance: the server would not start with it
        DIR/b.conf:2: "DIR/./a.conf" is included here, but it is one of the files that lead to this line: the server would read them for ever
        cannot read DIR/missing.conf, which DIR/a.conf:1 includes (is it there, and may this user read it?)
        DIR/a.conf:1: include takes exactly one file: the server would not start with it
        cannot read the base configuration /nowhere/redis.conf (--base-conf) (is it there, and may this user read it?)
        "#);
    }
}
