//! Reading a server's `INFO` reply.
//!
//! Field names and traps are those of Redis 6.0 to 8.0 and Valkey 7.2 to 9.1 (Redis documentation,
//! "INFO"). A field that is missing or makes no sense is an error of the whole reply where a decision
//! rests on it: a guess would be taken for knowledge.

use std::collections::HashMap;

use crate::report::{LinkState, ReplicaReport};
use crate::topology::ReplicationId;

/// The port that nothing can occupy: a server told to follow it is fenced.
pub const FENCE_PORT: u16 = 0;
/// The host that goes with [`FENCE_PORT`].
pub const FENCE_HOST: &str = "127.0.0.1";

/// What a server follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerRole {
    /// Nothing: it accepts writes.
    Master,
    /// The unreachable address of the fence.
    Fenced,
    /// Another server.
    Replica {
        /// The host, letter by letter as it was given to `REPLICAOF`.
        host: String,
        /// The port.
        port: u16,
        /// The link's state.
        link: LinkState,
    },
}

/// One server as its `INFO` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// `redis 7.0.15` or `valkey 8.1.1`.
    pub version: String,
    /// Changes with each start.
    pub run_id: String,
    /// It reads its data, from disk or from its master; other fields may still be those of before.
    pub loading: bool,
    /// What it follows.
    pub role: ServerRole,
    /// The replication ID.
    pub id: Option<ReplicationId>,
    /// The ID before the last promotion.
    pub id2: Option<ReplicationId>,
    /// The offset up to which `id2` is a prefix of `id`; none without `id2`.
    pub id2_end: Option<u64>,
    /// Bytes of the stream that were applied; 0 when there is no stream to speak of.
    pub offset: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Append-only file: on.
    pub aof: bool,
    /// The append-only file is being rewritten, or is about to be.
    pub aof_rewriting: bool,
    /// There is a replication backlog. Without one a saved RDB carries no replication ID.
    pub backlog: bool,
    /// The replicas attached to it.
    pub replicas: Vec<ReplicaReport>,
}

/// Why an `INFO` reply cannot be used.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the INFO reply has no usable {field} (got {got:?}): is this a Redis or Valkey server?")]
pub struct InfoError {
    field: &'static str,
    got: String,
}

struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn text(&self, field: &'static str) -> Result<&'a str, InfoError> {
        self.0
            .get(field)
            .copied()
            .filter(|v| !v.is_empty())
            .ok_or(InfoError {
                field,
                got: String::new(),
            })
    }

    fn number<T: std::str::FromStr>(&self, field: &'static str) -> Result<T, InfoError> {
        let text = self.text(field)?;
        text.parse().map_err(|_| InfoError {
            field,
            got: text.chars().take(40).collect(),
        })
    }

    fn is_one(&self, field: &str) -> bool {
        self.0.get(field) == Some(&"1")
    }

    fn id(&self, field: &str) -> Option<ReplicationId> {
        self.0.get(field).and_then(|v| ReplicationId::parse(v))
    }
}

impl ServerInfo {
    /// Reads the reply of `INFO` (all default sections).
    pub fn parse(reply: &str) -> Result<Self, InfoError> {
        let fields = Fields(
            reply
                .lines()
                .filter_map(|line| line.trim_end_matches('\r').split_once(':'))
                .collect(),
        );
        let valkey = fields.0.get("valkey_version");
        let version = match valkey {
            Some(version) => format!("valkey {version}"),
            None => format!("redis {}", fields.text("redis_version")?),
        };
        let role = Self::role(&fields)?;
        let offset = match role {
            ServerRole::Master => fields.number("master_repl_offset")?,
            // 1 stands for "no stream yet"; a real stream is longer after its first command.
            ServerRole::Fenced | ServerRole::Replica { .. } => {
                match fields.number::<i64>("slave_repl_offset")? {
                    ..=1 => 0,
                    bytes => bytes.unsigned_abs(),
                }
            }
        };
        let id2 = fields.id("master_replid2");
        // The server names the first offset that is not shared; -1 means that there is no second ID.
        let second: i64 = fields.number("second_repl_offset")?;
        let id2_end = (id2.is_some() && second > 0).then(|| second.unsigned_abs() - 1);
        Ok(Self {
            version,
            run_id: fields.text("run_id")?.to_owned(),
            loading: fields.number::<u8>("loading")? != 0 || fields.is_one("async_loading"),
            role,
            id: fields.id("master_replid"),
            id2,
            id2_end,
            offset,
            keys: Self::keys(&fields),
            aof: fields.is_one("aof_enabled"),
            aof_rewriting: fields.is_one("aof_rewrite_in_progress")
                || fields.is_one("aof_rewrite_scheduled"),
            backlog: fields.is_one("repl_backlog_active"),
            replicas: Self::replicas(&fields),
        })
    }

    fn role(fields: &Fields<'_>) -> Result<ServerRole, InfoError> {
        match fields.text("role")? {
            "master" => Ok(ServerRole::Master),
            "slave" | "replica" => {
                let host = fields.text("master_host")?.to_owned();
                let port = fields.number("master_port")?;
                if port == FENCE_PORT {
                    return Ok(ServerRole::Fenced);
                }
                let link = if fields.text("master_link_status")? == "up" {
                    LinkState::Up
                } else if fields.is_one("master_sync_in_progress") {
                    LinkState::Syncing
                } else {
                    LinkState::Down
                };
                Ok(ServerRole::Replica { host, port, link })
            }
            other => Err(InfoError {
                field: "role",
                got: other.chars().take(40).collect(),
            }),
        }
    }

    /// `db0:keys=5,expires=0,…` for each database that has keys.
    fn keys(fields: &Fields<'_>) -> u64 {
        fields
            .0
            .iter()
            .filter(|(name, _)| {
                name.strip_prefix("db")
                    .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
            .filter_map(|(_, value)| value.split(',').find_map(|kv| kv.strip_prefix("keys=")))
            .filter_map(|n| n.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    }

    /// `slave0:ip=…,port=…,state=…,offset=…,lag=…` and whatever later versions append.
    fn replicas(fields: &Fields<'_>) -> Vec<ReplicaReport> {
        let mut replicas: Vec<_> = fields
            .0
            .iter()
            .filter_map(|(name, value)| {
                let number: u32 = name.strip_prefix("slave")?.parse().ok()?;
                let parts: HashMap<_, _> = value
                    .split(',')
                    .filter_map(|kv| kv.split_once('='))
                    .collect();
                let replica = ReplicaReport {
                    host: (*parts.get("ip")?).to_owned(),
                    port: parts.get("port")?.parse().ok()?,
                    state: (*parts.get("state")?).to_owned(),
                    offset: parts
                        .get("offset")
                        .and_then(|o| o.parse().ok())
                        .unwrap_or(0),
                };
                Some((number, replica))
            })
            .collect();
        replicas.sort_by_key(|(number, _)| *number);
        replicas.into_iter().map(|(_, replica)| replica).collect()
    }
}
