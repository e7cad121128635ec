//! Reading the head of an RDB file: which history it holds, and whether it holds any data.
//!
//! The head is a magic word and a list of named values before the first database (the servers'
//! `rdbSaveInfoAuxFields`); nothing after it is read. Whatever is not understood is unknown: a file
//! of a later version must not stop a pod.

use std::io::Read as _;
use std::path::Path;

use crate::topology::ReplicationId;

/// The named values take some 200 bytes; a module's could push the replication ID further back.
const HEAD: u64 = 4096;

const AUX: u8 = 0xFA;
const END: u8 = 0xFF;
const CHECKSUM: usize = 8;

/// What the head of an RDB file tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The history, where the server recorded one.
    pub id: Option<ReplicationId>,
    /// The offset in that history at which the file was written.
    pub offset: Option<u64>,
    /// No key, no function, nothing: true and false are known, none is not.
    pub empty: Option<bool>,
    /// How long an empty file is, with the checksum at its end. An append-only file goes on there.
    pub empty_length: Option<usize>,
}

/// Reads the head of a file; none when it cannot be read or is no RDB file.
pub fn read(path: &Path) -> Option<Head> {
    let mut head = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(HEAD)
        .read_to_end(&mut head)
        .ok()?;
    parse(&head)
}

/// Reads the first bytes of a file; none when they are not those of an RDB file.
pub fn parse(bytes: &[u8]) -> Option<Head> {
    let mut rest = after_magic(bytes)?;
    let mut head = Head::default();
    // A file that is cut in its head, or that says something unknown there, keeps what was read.
    while let Some((&op, after)) = rest.split_first() {
        if op != AUX {
            head.empty = Some(op == END);
            head.empty_length = (op == END).then_some(bytes.len() - rest.len() + 1 + CHECKSUM);
            break;
        }
        let Some((name, after)) = string(after) else {
            break;
        };
        let Some((value, after)) = string(after) else {
            break;
        };
        match name.as_str() {
            "repl-id" => head.id = ReplicationId::parse(&value),
            "repl-offset" => head.offset = value.parse().ok(),
            _ => {}
        }
        rest = after;
    }
    Some(head)
}

/// `REDIS` and four digits, or (from Valkey 9 on) `VALKEY` and three.
fn after_magic(bytes: &[u8]) -> Option<&[u8]> {
    let (magic, rest) = bytes.split_at_checked(9)?;
    let digits = magic
        .strip_prefix(b"REDIS")
        .or_else(|| magic.strip_prefix(b"VALKEY"))?;
    digits.iter().all(u8::is_ascii_digit).then_some(rest)
}

/// One string in any of its encodings, as text. A compressed one is skipped and reads as empty: the
/// values looked for here are compressed by no known server.
fn string(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let integer = |value: i64, rest| Some((value.to_string(), rest));
    match first {
        0xC0 => {
            let (&[value], rest) = rest.split_first_chunk()?;
            integer(i8::from_le_bytes([value]).into(), rest)
        }
        0xC1 => {
            let (value, rest) = rest.split_first_chunk()?;
            integer(i16::from_le_bytes(*value).into(), rest)
        }
        0xC2 => {
            let (value, rest) = rest.split_first_chunk()?;
            integer(i32::from_le_bytes(*value).into(), rest)
        }
        0xC3 => {
            let (compressed, rest) = length(rest)?;
            let (_, rest) = length(rest)?;
            let (_, rest) = rest.split_at_checked(compressed)?;
            Some((String::new(), rest))
        }
        _ => {
            let (length, rest) = length(bytes)?;
            let (text, rest) = rest.split_at_checked(length)?;
            Some((String::from_utf8_lossy(text).into_owned(), rest))
        }
    }
}

/// A length: 6 bits, 14 bits, or a marker and 4 or 8 bytes, big end first.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0x00..=0x3F => Some((usize::from(first), rest)),
        0x40..=0x7F => {
            let (&low, rest) = rest.split_first()?;
            Some(((usize::from(first & 0x3F) << 8) | usize::from(low), rest))
        }
        0x80 => {
            let (value, rest) = rest.split_first_chunk()?;
            Some((usize::try_from(u32::from_be_bytes(*value)).ok()?, rest))
        }
        0x81 => {
            let (value, rest) = rest.split_first_chunk()?;
            Some((usize::try_from(u64::from_be_bytes(*value)).ok()?, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

    fn aux(name: &str, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![AUX, u8::try_from(name.len()).expect("short")];
        bytes.extend(name.as_bytes());
        bytes.extend(value);
        bytes
    }

    fn text(value: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(value.len()).expect("short")];
        bytes.extend(value.as_bytes());
        bytes
    }

    fn file(magic: &[u8], parts: &[Vec<u8>], op: u8) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        bytes.extend(parts.concat());
        bytes.push(op);
        bytes
    }

    #[test]
    fn the_history_is_read_in_every_encoding_of_its_offset() {
        let id = || aux("repl-id", &text(ID));
        let big = (i64::from(i32::MAX) + 5).to_string();
        for (offset, value) in [
            (vec![0xC0, 14], 14),
            (vec![0xC1, 0x10, 0x27], 10_000),
            (vec![0xC2, 0, 0, 1, 0], 65_536),
            (text(&big), 2_147_483_652),
        ] {
            for magic in [
                b"REDIS0009".as_slice(),
                b"REDIS0010",
                b"REDIS0012",
                b"VALKEY080",
            ] {
                let bytes = file(
                    magic,
                    &[
                        aux("redis-ver", &text("7.0.15")),
                        id(),
                        aux("repl-offset", &offset),
                    ],
                    0xFE,
                );
                let head = parse(&bytes).expect("a head");
                assert_eq!(head.id, ReplicationId::parse(ID));
                assert_eq!((head.offset, head.empty), (Some(value), Some(false)));
            }
        }
    }

    #[test]
    fn files_of_every_supported_server_are_read() {
        macro_rules! recorded {
            ($($server:literal)*) => {
                [$((
                    $server,
                    include_bytes!(concat!("rdb/recorded/", $server, ".rdb")).as_slice(),
                    include_bytes!(concat!("rdb/recorded/", $server, "-empty.rdb")).as_slice(),
                )),*]
            };
        }
        // The first of a master with a replica and one key, the second of a fresh server.
        for (server, full, empty) in
            recorded!("redis-6.0" "redis-7.0" "redis-8.0" "valkey-8" "valkey-9")
        {
            let head = parse(full).expect(server);
            assert!(head.id.is_some(), "{server}: {head:?}");
            assert!(head.offset.is_some(), "{server}: {head:?}");
            assert_eq!(head.empty, Some(false), "{server}");
            let head = parse(empty).expect(server);
            assert_eq!(head.empty_length, Some(empty.len()), "{server}: {head:?}");
        }
    }

    #[test]
    fn an_end_right_after_the_head_is_an_empty_file() {
        let bytes = file(b"REDIS0009", &[aux("redis-bits", &[0xC0, 64])], END);
        let empty = Head {
            empty: Some(true),
            empty_length: Some(bytes.len() + CHECKSUM),
            ..Head::default()
        };
        assert_eq!(parse(&bytes), Some(empty));
        let functions = file(b"REDIS0010", &[], 0xF5);
        assert_eq!(parse(&functions).expect("a head").empty, Some(false));
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"REDISxxxx\xFF"), None);
        assert_eq!(parse(b"REDIS0009"), Some(Head::default()));
        assert_eq!(parse(b"REDIS0009\xFA\xC9"), Some(Head::default()));
        let long = [
            b"REDIS0009\xFA\x81".as_slice(),
            &u64::MAX.to_be_bytes(),
            b"x",
        ]
        .concat();
        assert_eq!(parse(&long), Some(Head::default()));
        // A compressed value is stepped over.
        let compressed = file(
            b"REDIS0009",
            &[
                aux("x", &[0xC3, 2, 30, 1, 2]),
                aux("repl-offset", &[0xC0, 5]),
            ],
            END,
        );
        assert_eq!(parse(&compressed).expect("a head").offset, Some(5));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"REDIS0011".as_slice(), &bytes].concat());
            let _ = parse(&[b"VALKEY080\xFA".as_slice(), &bytes].concat());
        }
    }
}
