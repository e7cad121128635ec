//! What an application sees of a server: its own connections, with limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redis::{
    Client, Cmd, Connection, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo,
};

/// The servers' default port.
pub const PORT: u16 = 6379;

/// How the tests' own connections are made, where not as the default user at the default port.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// The port.
    pub port: Option<u16>,
    /// A user and its password.
    pub login: Option<(String, String)>,
}

/// One set a process: nextest gives each test one of its own.
static WAY: RwLock<Way> = RwLock::new(Way {
    port: None,
    login: None,
});

/// From now on all connections are made so.
pub fn connect_by(way: Way) {
    *WAY.write().unwrap_or_else(PoisonError::into_inner) = way;
}

/// A sync that loads keys answers seldom, and a noisy machine late.
const LIMIT: Duration = Duration::from_secs(3);

/// One connection to one server.
pub struct Conn(Connection);

impl Conn {
    /// Connects, as the default user.
    pub fn open(address: IpAddr, password: Option<&str>) -> Result<Self> {
        Self::open_as(address, None, password)
    }

    /// Connects as applications do that try one member after the other.
    pub fn open_quickly(address: IpAddr, password: Option<&str>) -> Result<Self> {
        Self::open_within(address, None, password, Duration::from_millis(500))
    }

    /// Connects as some user.
    pub fn open_as(address: IpAddr, user: Option<&str>, password: Option<&str>) -> Result<Self> {
        Self::open_within(address, user, password, LIMIT)
    }

    fn open_within(
        address: IpAddr,
        user: Option<&str>,
        password: Option<&str>,
        limit: Duration,
    ) -> Result<Self> {
        let way = WAY.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (user, password) = match &way.login {
            Some((name, word)) if user.is_none() => (Some(name.as_str()), Some(word.as_str())),
            Some(_) | None => (user, password),
        };
        let port = way.port.unwrap_or(PORT);
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        let open = || -> Result<Connection> {
            let info = ConnectionAddr::Tcp(address.to_string(), port)
                .into_connection_info()?
                .set_redis_settings(login);
            let connection = Client::open(info)?.get_connection_with_timeout(limit)?;
            connection.set_read_timeout(Some(LIMIT))?;
            connection.set_write_timeout(Some(LIMIT))?;
            Ok(connection)
        };
        open()
            .map(Self)
            .with_context(|| format!("connecting to the server at {address}"))
    }

    /// Sends a command, given as words by blanks.
    pub fn ask<T: FromRedisValue>(&mut self, line: &str) -> Result<T> {
        self.send(&words(line))
            .with_context(|| format!("sending {line:?}"))
    }

    /// Sends a command and forgets the reply, unless it is an error.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        self.ask::<redis::Value>(line).map(|_| ())
    }

    /// Sends a command.
    pub fn send<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T> {
        Ok(command.query(&mut self.0)?)
    }

    /// Keeps the server from answering anybody, as a long command does; returns when it is over.
    pub fn keep_busy(&mut self, seconds: u64) -> Result<()> {
        let script = "local till = redis.call('TIME')[1] + ARGV[1] \
             while redis.call('TIME')[1] + 0 < till do end return 1";
        self.limit(Duration::from_secs(seconds) + LIMIT * 3)?;
        let mut command = Cmd::new();
        command.arg("EVAL").arg(script).arg(0).arg(seconds);
        self.send(&command)
    }

    /// How long to wait for an answer.
    pub fn limit(&mut self, limit: Duration) -> Result<()> {
        Ok(self.0.set_read_timeout(Some(limit))?)
    }

    /// `INFO`.
    pub fn info(&mut self) -> Result<Info> {
        let text: String = self.ask("INFO")?;
        Ok(Info::parse(&text))
    }

    /// Tries a write; gives the replication ID of the history that accepted it, or nothing when the
    /// server refused. An error means that nobody knows.
    pub fn try_write(&mut self) -> Result<Option<String>> {
        let mut pipe = redis::pipe();
        pipe.atomic()
            .cmd("SET")
            .arg("observer")
            .arg("1")
            .ignore()
            .cmd("INFO")
            .arg("replication");
        match pipe.query::<(String,)>(&mut self.0) {
            Ok((info,)) => Ok(Some(Info::parse(&info).get("master_replid").to_owned())),
            Err(error) if error.code().is_some() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes `count` keys `<prefix>:<n>` in one go; all are acknowledged.
    pub fn fill(&mut self, prefix: &str, count: usize) -> Result<()> {
        let mut pipe = redis::pipe();
        for n in 0..count {
            pipe.set(format!("{prefix}:{n}"), format!("value of {n}"))
                .ignore();
        }
        pipe.query::<()>(&mut self.0)
            .with_context(|| format!("writing {count} keys {prefix}:*"))
    }

    /// How many keys `<prefix>:*` there are.
    pub fn count(&mut self, prefix: &str) -> Result<usize> {
        let keys: Vec<String> = self.ask(&format!("KEYS {prefix}:*"))?;
        Ok(keys.len())
    }

    /// An error unless exactly `count` keys `<prefix>:*` are there.
    pub fn has(&mut self, prefix: &str, count: usize) -> Result<()> {
        let there = self.count(prefix)?;
        ensure!(
            there == count,
            "{there} of {count} keys {prefix}:* are there"
        );
        Ok(())
    }
}

fn words(line: &str) -> Cmd {
    let mut command = Cmd::new();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        command.arg(word);
    }
    command
}

/// A server's own `INFO`.
#[derive(Debug, Clone, Default)]
pub struct Info(HashMap<String, String>);

impl Info {
    /// Reads the text that a server gives.
    pub fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.trim_end().split_once(':')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    /// A field, or nothing.
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// A field as a number; 0 when it is none.
    pub fn number(&self, field: &str) -> u64 {
        self.get(field).parse().unwrap_or(0)
    }

    /// It follows nobody, so it accepts writes.
    pub fn is_master(&self) -> bool {
        self.get("role") == "master"
    }

    /// It follows the address at which nobody can be.
    pub fn is_fenced(&self) -> bool {
        !self.is_master() && self.get("master_port") == "0"
    }

    /// It follows somebody and is linked to them.
    pub fn has_link(&self) -> bool {
        self.get("master_link_status") == "up"
    }

    /// How many replicas are attached and `online`.
    pub fn online_replicas(&self) -> usize {
        let online = |(name, value): &(&String, &String)| {
            let number = name.strip_prefix("slave").unwrap_or("");
            !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
                && value.contains("state=online")
        };
        self.0.iter().filter(online).count()
    }
}
