//! File name patterns as `include` of the servers (from 7.0 on) knows them: those of `glob(3)`.
//!
//! Owns matching and listing; a directory that cannot be read has no matches, as in `glob(3)`.

use std::path::{Component, Path, PathBuf};

/// Whether a name is a pattern to the servers.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files that match, sorted by name; none is no error.
pub fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        found = match component {
            Component::Normal(name) => {
                let name = name.to_string_lossy();
                found.iter().flat_map(|dir| step(dir, &name)).collect()
            }
            fixed @ (Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir) => found.iter().map(|dir| dir.join(fixed)).collect(),
        };
    }
    found.sort();
    found
}

fn step(dir: &Path, name: &str) -> Vec<PathBuf> {
    if !is_pattern(name) {
        let path = dir.join(name);
        return if path.exists() { vec![path] } else { vec![] };
    }
    let pattern: Vec<char> = name.chars().collect();
    let list = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let Ok(entries) = std::fs::read_dir(list) else {
        return vec![];
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') || pattern.first() == Some(&'.'))
        .filter(|name| matches(&pattern, &name.chars().collect::<Vec<_>>()))
        .map(|name| dir.join(name))
        .collect()
}

/// Whether a name matches a pattern of `*`, `?`, `[a-z]`, `[!a]` and `\` before a character.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|n| matches(rest, &name[n..])),
        (['?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        (['[', class @ ..], [c, name_rest @ ..]) => match in_class(class, *c) {
            Some((is_in, rest)) => is_in && matches(rest, name_rest),
            None => *c == '[' && matches(class, name_rest),
        },
        (['\\', p, rest @ ..] | [p, rest @ ..], [c, name @ ..]) => p == c && matches(rest, name),
        (_, _) => false,
    }
}

/// Whether a character is in a class, and what follows the class; none when it does not close.
fn in_class(class: &[char], c: char) -> Option<(bool, &[char])> {
    let (negated, members) = match class {
        ['!' | '^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    // A bracket in the first place stands for itself.
    let end = 1 + members.iter().skip(1).position(|m| *m == ']')?;
    let (mut members, rest) = (members.get(..end)?, members.get(end + 1..)?);
    let mut is_in = false;
    while let [first, others @ ..] = members {
        if let ['-', last, others @ ..] = others {
            is_in |= (*first..=*last).contains(&c);
            members = others;
        } else {
            is_in |= *first == c;
            members = others;
        }
    }
    Some((is_in != negated, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, name: &str) -> bool {
        matches(
            &pattern.chars().collect::<Vec<_>>(),
            &name.chars().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*.conf", "a.conf"),
            ("[0-9][0-9]-*", "10-memory"),
            ("[!a]?", "bc"),
            ("[]]", "]"),
            ("a[", "a["),
            (r"a\*", "a*"),
        ] {
            assert!(is_match(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.conf", "a.conf.bak"),
            ("?", ""),
            ("[a-c]", "d"),
            ("[!a]", "a"),
        ] {
            assert!(!is_match(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_listed_in_order_and_hidden_ones_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        let found = expand(&dir.path().join("*.conf"));
        assert_eq!(
            found,
            [dir.path().join("a.conf"), dir.path().join("b.conf")]
        );
        assert_eq!(expand(&dir.path().join("no*/x.conf")), [] as [PathBuf; 0]);
    }
}
