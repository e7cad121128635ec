//! With what servers of the set are logged in to: a user, its password, and TLS.
//!
//! Owns what is valid now. All who connect share it, so that a password or a certificate that was
//! replaced is used by the next connection.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::tls::Tls;
use crate::secret::Secret;
use crate::topology::{Identity, Ordinal, ServerAt};

/// The passwords of one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passwords {
    /// The one in the file; none where there is no file.
    pub current: Option<Secret>,
    /// Those before it which servers may still want, the latest first.
    pub old: Vec<Secret>,
}

/// With what a server is logged in to.
#[derive(Clone)]
pub struct Login {
    identity: Arc<Identity>,
    username: Option<String>,
    passwords: Arc<Mutex<Passwords>>,
    tls: Option<Tls>,
}

impl Login {
    /// `username`: none for the default user. `tls`: none for servers without it.
    pub fn new(
        identity: &Identity,
        username: Option<String>,
        password: Option<Secret>,
        tls: Option<Tls>,
    ) -> Self {
        let passwords = Passwords {
            current: password,
            old: Vec::new(),
        };
        Self {
            identity: Arc::new(identity.clone()),
            username,
            passwords: Arc::new(Mutex::new(passwords)),
            tls,
        }
    }

    /// Another user at the same servers.
    #[must_use]
    pub fn of_user(&self, username: &str, password: Secret) -> Self {
        let (username, password) = (Some(username.to_owned()), Some(password));
        Self::new(&self.identity, username, password, self.tls.clone())
    }

    /// The user; none for the default one.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// What is valid now.
    pub fn passwords(&self) -> Passwords {
        let passwords = self.passwords.lock();
        passwords.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is valid from now on, for everybody who shares this.
    pub fn replace(&self, passwords: Passwords) {
        let mut valid = self
            .passwords
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *valid = passwords;
    }

    /// How connections are kept private; none where they are not.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Whether a server is this pod's own, reached without leaving the pod: nobody else can be there, and
    /// no certificate may keep the sidecar from fencing it.
    pub fn is_own(&self, at: ServerAt) -> bool {
        at.ordinal == self.identity.pod.ordinal() && at.address.ip().is_loopback()
    }

    /// The name that a member's certificate must be valid for: its stable name.
    pub fn server_name(&self, ordinal: Ordinal) -> String {
        let name = self.identity.stable_name(ordinal);
        name.trim_end_matches('.').to_owned()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("passwords", &self.passwords())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
