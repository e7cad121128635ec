//! What the generated configuration takes away from the user's own, in words: each directive with
//! its file and line. And the few things that it cannot be reconciled with.

use std::path::{Path, PathBuf};

use super::base::{Base, Place, Setting};
use super::render::{Follow, Wanted, bind, plain_port, writes_dir};
use crate::config::TlsArgs;

/// A base configuration with which podzero cannot run a set.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// Two data directories.
    #[error(
        "{place}: dir is {dir:?}, but --data-dir is {data_dir:?}: podzero checks the data of one directory and the server would use the other; make them the same, or take dir out of the base configuration"
    )]
    DataDir {
        /// Where the base sets it.
        place: Place,
        /// What it sets.
        dir: PathBuf,
        /// What the flag says.
        data_dir: PathBuf,
    },
    /// A server with a TLS port needs a certificate.
    #[error(
        "with --tls-ca-file the servers' port is one with TLS, and the server needs a certificate for it: give --tls-cert-file and --tls-key-file, or set tls-cert-file and tls-key-file in the base configuration"
    )]
    NoCertificate,
    /// Redis Cluster has its own replication.
    #[error(
        "{place}: cluster-enabled is yes: podzero runs a master with replicas, not Redis Cluster; take the line out of the base configuration"
    )]
    Cluster {
        /// Where the base sets it.
        place: Place,
    },
    /// No directive undoes a replication line in every supported version.
    #[error(
        "{place}: this line makes the server a replica, but with --without-sidecar this pod starts as the master; take the line out of the base configuration"
    )]
    Replication {
        /// Where the base sets it.
        place: Place,
    },
    /// The server would take the file's name for a pattern.
    #[error(
        "the name of the base configuration {path:?} (--base-conf) holds one of * ? [ and servers take such a name in an include for a pattern; rename the file"
    )]
    Pattern {
        /// The file.
        path: PathBuf,
    },
}

/// Refuses what cannot be overridden.
pub fn check(
    base_path: Option<&Path>,
    base: &Base,
    data_dir: &Path,
    tls: &TlsArgs,
    follow: &Follow,
) -> Result<(), Conflict> {
    let has_certificate = tls.tls_cert_file.is_some() || base.last("tls-cert-file").is_some();
    if tls.tls_ca_file.is_some() && !has_certificate {
        return Err(Conflict::NoCertificate);
    }
    if let Some(path) = base_path.filter(|p| super::glob::is_pattern(&p.to_string_lossy())) {
        return Err(Conflict::Pattern {
            path: path.to_owned(),
        });
    }
    if let Some(line) = base.last("cluster-enabled").filter(|s| s.is_yes()) {
        return Err(Conflict::Cluster {
            place: line.place.clone(),
        });
    }
    if let Some(line) = base
        .last("replicaof")
        .filter(|_| *follow == Follow::Nothing)
    {
        return Err(Conflict::Replication {
            place: line.place.clone(),
        });
    }
    match base.last("dir") {
        Some(line) if !writes_dir(base) && !same(Path::new(line.value()), data_dir) => {
            Err(Conflict::DataDir {
                place: line.place.clone(),
                dir: line.value().into(),
                data_dir: data_dir.to_owned(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether two paths lead to one directory, whatever the links and dots on the way.
fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// One sentence for each directive of the base that does not take effect, or that podzero cannot
/// work with. No value is repeated: it may be a password.
pub fn warnings(wanted: &Wanted<'_>) -> Vec<String> {
    let base = wanted.base;
    let port = wanted.port.to_string();
    let guarded = wanted.requirepass.is_some();
    let plain = wanted.tls.map_or(wanted.port, |_| plain_port(wanted));
    let overridden: [(&str, bool, &str); 14] = [
        (
            "replicaof",
            true,
            "podzero decides whom this server follows",
        ),
        (
            "replica-read-only",
            base.last("replica-read-only").is_some_and(|s| !s.is_yes()),
            "a replica that accepts writes cannot be fenced",
        ),
        (
            "bind",
            bind(wanted).is_some(),
            "it leaves out an address of this pod, so the other members or the sidecar could not reach the server; the address is added",
        ),
        (
            "port",
            base.value_or("port", "") != plain.to_string(),
            "--redis-port is the port of every member",
        ),
        (
            "tls-port",
            wanted.tls.is_some() && base.value_or("tls-port", "") != port,
            "--redis-port is the port of every member",
        ),
        (
            "tls-replication",
            wanted.tls.is_some() && base.value_or("tls-replication", "yes") != "yes",
            "the port that members know is one with TLS",
        ),
        (
            "dir",
            writes_dir(base),
            "a relative directory depends on where the server is started; --data-dir is used",
        ),
        (
            "repl-diskless-load",
            base.value_or("repl-diskless-load", "") != "disabled",
            "a sync that breaks would leave the replica without its old data",
        ),
        (
            "masteruser",
            wanted.master_user.is_some(),
            "replication logs in as the set's own user",
        ),
        (
            "masterauth",
            wanted.master_password.is_some(),
            "replication logs in with the set's own password",
        ),
        (
            "requirepass",
            guarded,
            "the password of --password-file is used",
        ),
        (
            "protected-mode",
            !guarded && base.last("protected-mode").is_some_and(Setting::is_yes),
            "from Redis 7.0 on it would keep the replicas out",
        ),
        (
            "replica-announce-ip",
            base.value_or("replica-announce-ip", "") != wanted.announce,
            "members know one another by one string, which podzero sets",
        ),
        (
            "replica-announce-port",
            base.value_or("replica-announce-port", "") != port,
            "--redis-port is the port of every member",
        ),
    ];
    let mut warnings: Vec<_> = overridden
        .into_iter()
        .filter(|(_, applies, _)| *applies)
        .filter_map(|(name, _, why)| base.last(name).map(|line| (line, why)))
        .map(|(line, why)| format!("{}: {} is overridden: {why}", line.place, line.spelled))
        .collect();
    warnings.extend(cannot_work_with(wanted));
    warnings
}

/// Commands that podzero gives by their own names.
const COMMANDS: [&str; 12] = [
    "acl",
    "auth",
    "client",
    "config",
    "failover",
    "hello",
    "info",
    "ping",
    "psync",
    "replconf",
    "replicaof",
    "slaveof",
];

fn cannot_work_with(wanted: &Wanted<'_>) -> Vec<String> {
    let base = wanted.base;
    let mut warnings = Vec::new();
    let mut warn = |line: &Setting, what: &str| {
        warnings.push(format!("{}: {} {what}", line.place, line.spelled));
    };
    if let Some(line) = base.last("requirepass").filter(|_| !wanted.has_password) {
        warn(
            line,
            "guards the server, but there is no --password-file: podzero cannot log in; put the password into a file and name it with --password-file",
        );
    }
    if wanted.requirepass.is_some() {
        let by_user = base.all("user").find(|line| line.value() == "default");
        if let Some(line) = base.last("aclfile").or(by_user) {
            warn(
                line,
                "takes the place of requirepass: unless it gives the default user the password of --password-file, that user has none and the server is open; or name podzero's own user with --username",
            );
        }
    }
    for line in base.all("rename-command") {
        let command = line.value().to_lowercase();
        if COMMANDS.contains(&command.as_str()) {
            let who = match command.as_str() {
                "failover" => "whoever switches by hand",
                "slaveof" => "podzero with older servers",
                _ => "podzero or replication",
            };
            warn(
                line,
                &format!(
                    "renames {}, which {who} uses by its own name: leave the command as it is, and use ACL rules against those who must not use it",
                    command.to_uppercase()
                ),
            );
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Directive;
    use std::net::IpAddr;

    fn base(text: &str) -> Base {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("redis.conf");
        std::fs::write(&path, text).expect("written");
        Base::read(&path, dir.path()).expect("read")
    }

    fn no_tls() -> TlsArgs {
        TlsArgs {
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
        }
    }

    fn told(text: &str) -> String {
        let base = base(text);
        let listen: [IpAddr; 1] = ["10.0.0.5".parse().expect("an address")];
        let wanted = Wanted {
            base_path: None,
            base: &base,
            port: 6379,
            data_dir: Path::new("/data"),
            directive: Directive::Replicaof,
            follow: &Follow::Fence,
            announce: "10.0.0.5",
            listen: &listen,
            master_user: Some("podzero-shop-redis"),
            master_password: Some("derived"),
            tls: None,
            has_password: false,
            requirepass: None,
        };
        warnings(&wanted)
            .iter()
            .map(|w| w.split_once("redis.conf:").expect("a place").1)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn each_directive_that_does_not_take_effect_is_named() {
        let all = "slaveof 10.0.0.1 6379\nreplica-read-only no\nbind 127.0.0.1\nport 7000\ndir ./\nrepl-diskless-load swapdb\nmasteruser a\nmasterauth b\nrequirepass c\nprotected-mode yes\nreplica-announce-ip x\nrename-command CONFIG hidden\n";
        insta::assert_snapshot!(told(all), @r#"
        1: slaveof is overridden: podzero decides whom this server follows
        2: replica-read-only is overridden: a replica that accepts writes cannot be fenced
        3: bind is overridden: it leaves out an address of this pod, so the other members or the sidecar could not reach the server; the address is added
        4: port is overridden: --redis-port is the port of every member
        5: dir is overridden: a relative directory depends on where the server is started; --data-dir is used
        6: repl-diskless-load is overridden: a sync that breaks would leave the replica without its old data
        7: masteruser is overridden: replication logs in as the set's own user
        8: masterauth is overridden: replication logs in with the set's own password
        10: protected-mode is overridden: from Redis 7.0 on it would keep the replicas out
        11: replica-announce-ip is overridden: members know one another by one string, which podzero sets
        9: requirepass guards the server, but there is no --password-file: podzero cannot log in; put the password into a file and name it with --password-file
        12: rename-command renames CONFIG, which podzero or replication uses by its own name: leave the command as it is, and use ACL rules against those who must not use it
        "#);
    }

    #[test]
    fn each_command_that_is_missed_is_named() {
        for command in COMMANDS {
            let told = told(&format!("rename-command {command} \"\"\n"));
            let name = command.to_uppercase();
            assert!(
                told.starts_with(&format!("1: rename-command renames {name}, ")),
                "{told}"
            );
        }
        assert_eq!(told("rename-command FLUSHALL \"\"\n"), "");
    }

    #[test]
    fn what_agrees_is_not_mentioned() {
        assert_eq!(
            told(
                "replica-read-only yes\nbind 0.0.0.0\nport 6379\ndir /data\nprotected-mode no\nuser default on nopass ~* +@all\naclfile /etc/users.acl\nmaxmemory 1gb\n"
            ),
            ""
        );
    }

    #[test]
    fn another_data_directory_and_a_cluster_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let same = base(&format!("dir {}/./\n", dir.path().display()));
        assert!(check(None, &same, dir.path(), &no_tls(), &Follow::Fence).is_ok());
        let words = |text: &str, path: Option<&Path>, follow: &Follow| {
            let error = check(path, &base(text), Path::new("/data"), &no_tls(), follow)
                .expect_err("refused")
                .to_string();
            error
                .split_once("redis.conf:")
                .map_or(error.clone(), |(_, words)| words.to_owned())
        };
        let refusals = [
            words("\ndir /var/lib/redis\n", None, &Follow::Fence),
            words("cluster-enabled yes\n", None, &Follow::Fence),
            words("replicaof a 1\n", None, &Follow::Nothing),
            words("", Some(Path::new("/etc/[a].conf")), &Follow::Fence),
        ];
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        2: dir is "/var/lib/redis", but --data-dir is "/data": podzero checks the data of one directory and the server would use the other; make them the same, or take dir out of the base configuration
        1: cluster-enabled is yes: podzero runs a master with replicas, not Redis Cluster; take the line out of the base configuration
        1: this line makes the server a replica, but with --without-sidecar this pod starts as the master; take the line out of the base configuration
        the name of the base configuration "/etc/[a].conf" (--base-conf) holds one of * ? [ and servers take such a name in an include for a pattern; rename the file
        "#);
    }
}
