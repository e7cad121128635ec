//! The servers' way of splitting a configuration line into words, and of quoting one.
//!
//! [`split`] follows `sdssplitargs` of the servers letter by letter, so that podzero reads a file as
//! the server will; [`quote`] is its inverse for any text.

use std::fmt::Write as _;

/// Quotes that do not close, or are followed by something other than a blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbalanced;

/// Splits a line into words. Bytes that are no UTF-8 become U+FFFD.
pub fn split(line: &[u8]) -> Result<Vec<String>, Unbalanced> {
    // The servers read C strings: a NUL byte ends the line.
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    let mut rest = trim_start(line);
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(String::from_utf8_lossy(&word).into_owned());
        rest = trim_start(after);
    }
    Ok(words)
}

/// Quotes a text so that [`split`], and every server, reads it back as one word.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `isspace` of C: space, tab, line feed, vertical tab, form feed, carriage return.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|b| is_blank(**b)).count();
    bytes.get(blanks..).unwrap_or_default()
}

/// The first word and what follows it. A quote may begin inside a word, and ends the word.
fn word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), Unbalanced> {
    let mut word = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return ends_with_blank(word, double_quoted(after)?),
            b'\'' => return ends_with_blank(word, single_quoted(after)?),
            byte => word.push(byte),
        }
        rest = after;
    }
    Ok((word, rest))
}

type Quoted<'a> = (Vec<u8>, &'a [u8]);

fn ends_with_blank(
    mut word: Vec<u8>,
    (quoted, rest): Quoted<'_>,
) -> Result<Quoted<'_>, Unbalanced> {
    word.extend(quoted);
    match rest.first() {
        Some(byte) if !is_blank(*byte) => Err(Unbalanced),
        Some(_) | None => Ok((word, rest)),
    }
}

fn double_quoted(mut rest: &[u8]) -> Result<Quoted<'_>, Unbalanced> {
    let mut text = Vec::new();
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok((text, after)),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                text.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
            [] => return Err(Unbalanced),
        }
    }
}

fn single_quoted(mut rest: &[u8]) -> Result<Quoted<'_>, Unbalanced> {
    let mut text = Vec::new();
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return Ok((text, after)),
            [b'\\', b'\'', after @ ..] => {
                text.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
            [] => return Err(Unbalanced),
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_split_as_the_server_splits_them() {
        for (line, words) in [
            ("save 3600 1", vec!["save", "3600", "1"]),
            ("  dir\t\"/da ta\" ", vec!["dir", "/da ta"]),
            (
                r#"a "x\n\x41\"\\\q" 'it\'s "q"\n'"#,
                vec!["a", "x\nA\"\\q", "it's \"q\"\\n"],
            ),
            (r#"a pre"fix""#, vec!["a", "prefix"]),
            (r#"save """#, vec!["save", ""]),
            ("a#b c", vec!["a#b", "c"]),
            ("a b\0 c", vec!["a", "b"]),
            ("", vec![]),
        ] {
            assert_eq!(split(line.as_bytes()).expect(line), words, "{line:?}");
        }
        for line in [r#"a "b"#, "a 'b", r#"a "b"c"#, "a 'b'c", r#"a "b\"#] {
            assert_eq!(split(line.as_bytes()), Err(Unbalanced), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(text in "[^\0]*", other in "[^\0]*") {
            let line = format!("{} {}", quote(&text), quote(&other));
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(split(line.as_bytes()), Ok(vec![text, other]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = split(&bytes);
        }
    }
}
