//! Everything that comes in from outside, each as a function of bytes: what the fuzz targets of
//! `tests/fuzz` call, and what replays their corpora. In no release.
//!
//! None of them may panic, take more than a moment, or read what was written as something else.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use crate::conf::base::Base;
use crate::conf::{quote, write};
use crate::config::Cli;
use crate::metrics::Metrics;
use crate::observe::{dns, info, peers};
use crate::publish::{Shared, Turned};
use crate::state_file::disk;
use crate::topology::PodName;

/// A target: its name, and what is called.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the names of their corpora.
pub const TARGETS: [Target; 9] = [
    ("base_conf", base_conf),
    ("conf_line", conf_line),
    ("dns_answer", dns_answer),
    ("flags", flags),
    ("http", http),
    ("info", server_info),
    ("pod_name", pod_name),
    ("rdb", rdb),
    ("state_file", state_file),
];

/// Calls a target by its name.
pub fn call(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.expect("a target of that name");
    target(bytes);
}

/// A server's answer to `INFO`.
pub fn server_info(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(info) = info::ServerInfo::parse(&text) {
        assert!(!info.run_id.is_empty(), "a server without a run");
    }
}

/// The state file, and a peer's `/status`, which is of the same kind. What is read is written and read
/// again as the same.
pub fn state_file(bytes: &[u8]) {
    if let Ok(memory) = disk::parse(bytes) {
        let text = serde_json::to_vec(&memory).expect("written");
        assert_eq!(disk::parse(&text), Ok(memory));
    }
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1);
    if let Ok(report) = peers::parse(address, bytes) {
        let text = serde_json::to_vec(&report).expect("written");
        assert_eq!(peers::parse(address, &text), Ok(report));
    }
}

/// A DNS server's answer.
pub fn dns_answer(bytes: &[u8]) {
    if let Some(dns::Answer::Addresses(addresses)) = dns::parse(bytes).map(|told| told.answer) {
        assert!(!addresses.is_empty(), "no address is an answer of its own");
    }
}

/// The head of an RDB file.
pub fn rdb(bytes: &[u8]) {
    let _ = crate::rdb::parse(bytes);
}

/// A pod's name.
pub fn pod_name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = text.parse::<PodName>() {
        assert_eq!(name.to_string(), text);
        assert_eq!(name.sibling(name.ordinal()), text);
    }
}

/// Arguments, by line ends.
pub fn flags(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == b'\n');
    let words = words.map(|word| OsString::from_vec(word.to_vec()));
    let _ = Cli::parse_from(std::iter::once(OsString::from("podzero")).chain(words));
}

/// A line of a configuration: split as servers do, and quoted so that they read the same.
pub fn conf_line(bytes: &[u8]) {
    if let Ok(words) = quote::split(bytes) {
        let quoted: Vec<_> = words.iter().map(|word| quote::quote(word)).collect();
        let again = quote::split(quoted.join(" ").as_bytes());
        assert_eq!(again, Ok(words));
    }
}

/// The user's own configuration, which may include itself; and podzero's own file, whose passwords are
/// read again.
pub fn base_conf(bytes: &[u8]) {
    let folder = std::env::temp_dir().join(format!("podzero-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("redis.conf");
    std::fs::write(&path, bytes).expect("written");
    if let Ok(base) = Base::read(&path, &folder) {
        let _ = base.value_or("port", "6379");
    }
    let _ = write::known_passwords(&path);
    let _ = write::refence(&path);
    let _ = std::fs::remove_dir_all(&folder);
}

/// A request on the pod network, and on the socket.
pub fn http(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (_publish, published) = watch::channel(None);
        let (requests, _) = mpsc::channel(1);
        let shared = Shared {
            published,
            turned: Turned::default(),
            valid: Duration::from_secs(2),
            requests,
            metrics: Arc::new(Metrics::default()),
            wake: Arc::default(),
            token_file: None,
        };
        let routers = [
            crate::http::routes::pod_network(shared.clone()),
            crate::http::routes::socket(shared),
        ];
        for router in routers {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let serving = tokio::spawn(crate::http::serve(server, router));
            if client.write_all(bytes).await.is_ok() {
                // Nothing follows, so the connection ends.
                let _ = client.shutdown().await;
                let mut answer = Vec::new();
                let _ = client.read_to_end(&mut answer).await;
            }
            serving.await.expect("no panic");
        }
    });
}
