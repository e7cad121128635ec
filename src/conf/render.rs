//! The configuration that the server is started with: the user's own, then what podzero sets.
//!
//! Owns the text and nothing else. What the text overrides is told by `overrides.rs`, how it comes
//! to disk is in `write.rs`. It holds no `user` line: ACLs of the base configuration go on working.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::base::Base;
use super::quote::quote;
use crate::config::{Directive, TlsArgs};
use crate::observe::info::{FENCE_HOST, FENCE_PORT};
use crate::secret::Secret;

/// The first line, by which podzero knows its own file.
pub const HEADER: &str = "# Written by podzero, do not edit: it is replaced at each start.";

/// What a replica that reconnects can catch up with, unless the base configuration says otherwise. The
/// servers' own 1 MB is filled within milliseconds, and then every change of the master is a full copy.
const BACKLOG: &str = "16mb";

/// What the server starts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// A writable master. Only `init --without-sidecar` writes this.
    Nothing,
    /// The replica of an address that nothing can occupy: no writes, no replicas.
    Fence,
    /// The replica of a live master.
    Master {
        /// An address, or a stable name without its trailing dot.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Everything that the text depends on.
pub struct Wanted<'a> {
    /// The base configuration's path, as it is in the server's container.
    pub base_path: Option<&'a Path>,
    /// What it says.
    pub base: &'a Base,
    /// The server's port, the same on every member.
    pub port: u16,
    /// The data directory.
    pub data_dir: &'a Path,
    /// How replication is spelled.
    pub directive: Directive,
    /// What the server starts as.
    pub follow: &'a Follow,
    /// The one string by which the others know this member.
    pub announce: &'a str,
    /// The addresses on which the server must listen: the pod's, and the one the sidecar uses.
    pub listen: &'a [IpAddr],
    /// The user with which the server logs in at its master; none for the default user.
    pub master_user: Option<&'a str>,
    /// The password that goes with it.
    pub master_password: Option<&'a str>,
    /// TLS at the server's port; none for a server without.
    pub tls: Option<&'a TlsArgs>,
    /// podzero has a password with which to log in: the default user's or another one's.
    pub has_password: bool,
    /// The default user's password.
    pub requirepass: Option<&'a Secret>,
}

/// The text of the file.
pub fn render(wanted: &Wanted<'_>) -> String {
    let mut lines = vec![HEADER.to_owned()];
    let mut set = |name: &str, value: &str| lines.push(format!("{name} {value}"));
    if let Some(path) = wanted.base_path {
        set("include", &quote(&path.to_string_lossy()));
    }
    match wanted.tls {
        None => set("port", &wanted.port.to_string()),
        Some(tls) => {
            set("port", &plain_port(wanted).to_string());
            set("tls-port", &wanted.port.to_string());
            set("tls-replication", "yes");
            for (name, file) in certificates(wanted.base, tls) {
                set(name, &quote(&file.to_string_lossy()));
            }
        }
    }
    if writes_dir(wanted.base) {
        set("dir", &quote(&wanted.data_dir.to_string_lossy()));
    }
    if let Some(bind) = bind(wanted) {
        set("bind", &bind);
    }
    match wanted.follow {
        Follow::Nothing => {}
        Follow::Fence => set(wanted.directive.as_str(), &fence()),
        Follow::Master { host, port } => set(wanted.directive.as_str(), &format!("{host} {port}")),
    }
    set("replica-announce-ip", &quote(wanted.announce));
    set("replica-announce-port", &wanted.port.to_string());
    if let Some(user) = wanted.master_user {
        set("masteruser", &quote(user));
    }
    if let Some(password) = wanted.master_password {
        set("masterauth", &quote(password));
    }
    match wanted.requirepass {
        Some(password) => set("requirepass", &quote(password.expose())),
        // From 7.0 on a server whose default user has no password refuses its replicas otherwise.
        None => set("protected-mode", "no"),
    }
    // With "no" a fenced server would accept writes.
    set("replica-read-only", "yes");
    // Anything else empties the replica before the new data is complete.
    set("repl-diskless-load", "disabled");
    if wanted.base.last("repl-backlog-size").is_none() {
        set("repl-backlog-size", BACKLOG);
    }
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Beside TLS: the port without it that the base asks for, or none.
pub fn plain_port(wanted: &Wanted<'_>) -> u16 {
    let port = wanted.base.last("port").map(|line| line.value().parse());
    match port {
        Some(Ok(port)) if port != wanted.port => port,
        Some(_) | None => 0,
    }
}

/// The server's certificates, as far as the base does not say where they are.
fn certificates<'a>(base: &Base, tls: &'a TlsArgs) -> Vec<(&'static str, &'a Path)> {
    let mut lines = Vec::new();
    if base.last("tls-cert-file").is_none() {
        let pair = [
            ("tls-cert-file", &tls.tls_cert_file),
            ("tls-key-file", &tls.tls_key_file),
        ];
        lines.extend(pair.map(|(name, file)| Some((name, file.as_deref()?))));
    }
    if base.last("tls-ca-cert-file").is_none() && base.last("tls-ca-cert-dir").is_none() {
        let ca = tls.tls_ca_file.as_deref();
        lines.push(ca.map(|file| ("tls-ca-cert-file", file)));
    }
    lines.into_iter().flatten().collect()
}

/// What follows the directive in the fence.
pub fn fence() -> String {
    format!("{FENCE_HOST} {FENCE_PORT}")
}

/// Whether `dir` is podzero's to set: the base does not, or names one relative to wherever the
/// server happens to be started (as the servers' own sample file does).
pub fn writes_dir(base: &Base) -> bool {
    base.last("dir")
        .is_none_or(|dir| !Path::new(dir.value()).is_absolute())
}

/// The addresses for `bind`, when the base has a `bind` that leaves some of ours out.
pub fn bind(wanted: &Wanted<'_>) -> Option<String> {
    let base = &wanted.base.last("bind")?.values;
    let mut missing: Vec<_> = wanted
        .listen
        .iter()
        .filter(|address| !base.iter().any(|entry| covers(entry, **address)))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return None;
    }
    missing.dedup();
    let kept = base.iter().filter(|entry| !entry.is_empty()).cloned();
    Some(kept.chain(missing).collect::<Vec<_>>().join(" "))
}

/// Whether a server that is told to bind to `entry` listens on `address`. A leading `-` only says
/// that the address may be missing (6.2 and newer).
fn covers(entry: &str, address: IpAddr) -> bool {
    let entry = entry.strip_prefix('-').unwrap_or(entry);
    let any = match entry {
        "*" => return address.is_ipv4(),
        "::*" => return address.is_ipv6(),
        "localhost" => return address.is_loopback(),
        other => other.parse::<IpAddr>(),
    };
    any.is_ok_and(|any| {
        any == address || (any.is_unspecified() && any.is_ipv4() == address.is_ipv4())
    })
}

#[cfg(test)]
mod tests;
