//! Reading a sidecar's HTTP pages, and `/status` as a test looks at it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// The sidecar's default port.
pub const PORT: u16 = 8379;

const LIMIT: Duration = Duration::from_secs(3);

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

/// `GET path`, over a connection of its own.
pub fn get(address: IpAddr, path: &str) -> Result<Answer> {
    let target = SocketAddr::new(address, PORT);
    let fetch = || -> Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&target, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("no status code in {head:?}"))?;
        Ok(Answer {
            code,
            body: body.to_owned(),
        })
    };
    fetch().with_context(|| format!("GET http://{target}{path}"))
}

/// A member's `/status` document.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    /// Reads it.
    pub fn read(address: IpAddr) -> Result<Self> {
        let answer = get(address, "/status")?;
        serde_json::from_str(&answer.body)
            .map(Self)
            .with_context(|| format!("/status is no JSON: {}", answer.body))
    }

    fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or("")
    }

    fn flag(&self, field: &str) -> bool {
        self.0.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    /// `role`.
    pub fn role(&self) -> &str {
        self.text("role")
    }

    /// `master`, or nothing.
    pub fn master(&self) -> &str {
        self.text("master")
    }

    /// `ready`.
    pub fn ready(&self) -> bool {
        self.flag("ready")
    }

    /// `unfinished`.
    pub fn unfinished(&self) -> bool {
        self.flag("unfinished")
    }

    /// `empty`.
    pub fn empty(&self) -> bool {
        self.flag("empty")
    }

    /// The counter of `epoch`; 0 for none.
    pub fn epoch(&self) -> u64 {
        let counter = self.0.pointer("/epoch/counter");
        counter.and_then(Value::as_u64).unwrap_or(0)
    }

    /// The counter of the newest epoch that it knows of; 0 for none.
    pub fn newest_epoch(&self) -> u64 {
        let counter = self.0.pointer("/epoch_seen/counter");
        counter.and_then(Value::as_u64).unwrap_or(0)
    }

    /// The histories (replication IDs) of which the data is made, each with the epoch it was written in; those
    /// whose epoch nobody has told are left out.
    pub fn lineage(&self) -> Vec<(String, String)> {
        let list = self.0.pointer("/replication/lineage");
        let one = |of: &Value| {
            let told = of["at_least"] != true;
            let id = of["id"].as_str().filter(|_| told)?;
            Some((id.to_owned(), of["epoch"].to_string()))
        };
        let each = list.and_then(Value::as_array).into_iter().flatten();
        each.filter_map(one).collect()
    }

    /// All reasons in one text, `code: message` each.
    pub fn reasons(&self) -> String {
        let reasons = self.0.get("reasons").and_then(Value::as_array);
        let one = |reason: &Value| {
            let part = |key: &str| {
                let text = reason.get(key).and_then(Value::as_str).unwrap_or("");
                text.to_owned()
            };
            format!("{}: {}", part("code"), part("message"))
        };
        let all: Vec<String> = reasons
            .map(|list| list.iter().map(one).collect())
            .unwrap_or_default();
        all.join("; ")
    }
}
