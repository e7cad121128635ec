//! With which user and password replicas log in at their master.
//!
//! An address can be inherited by a stranger, and a replica that follows a stranger loses its data
//! to the stranger's. So replication has a user of this set alone, which a stranger's server does
//! not know; and it always has a password, because without `masterauth` a server sends no login at
//! all and links as the default user.

use crate::secret::{Secret, sha256_hex};
use crate::topology::Identity;

/// The user whom servers have from the start, guarded by `requirepass`.
pub const DEFAULT_USER: &str = "default";

/// The user and the password with which the set's replicas log in.
///
/// The password is the set's own. A set without one gets a constant: the SHA-256, in hexadecimal
/// digits, of `podzero replication of <namespace>/<set>`. That is no secret; it is there to be
/// refused by servers of other sets.
pub fn replication_login(identity: &Identity, password: Option<&Secret>) -> (String, String) {
    let password = password.map_or_else(
        || {
            sha256_hex(&format!(
                "podzero replication of {}/{}",
                identity.namespace,
                identity.pod.set()
            ))
        },
        |secret| secret.expose().to_owned(),
    );
    (identity.replication_user(), password)
}

/// The rules of that user for `ACL SETUSER`: what replication needs (Redis documentation, "ACL":
/// `PSYNC`, `REPLCONF`, `PING`) and nothing else. The password goes as its SHA-256, so that no slow
/// log and no `MONITOR` shows it. There are several while one replaces another.
pub fn replication_user_rules(passwords: &[String]) -> Vec<String> {
    ["reset", "on"]
        .into_iter()
        .map(str::to_owned)
        .chain(passwords.iter().map(|p| format!("#{}", sha256_hex(p))))
        .chain(["-@all", "+psync", "+replconf", "+ping"].map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_without_a_password_still_has_one_for_replication() {
        let identity = Identity {
            pod: "redis-1".parse().expect("a pod's name"),
            uid: None,
            namespace: "shop".to_owned(),
            service: "redis".to_owned(),
            domain: "cluster.local".to_owned(),
        };
        let (user, password) = replication_login(&identity, None);
        assert_eq!(user, "podzero-shop-redis");
        assert_eq!(password, sha256_hex("podzero replication of shop/redis"));
        let mut other = identity;
        other.namespace = "test".to_owned();
        assert_ne!(replication_login(&other, None).1, password);
    }

    #[test]
    fn the_user_may_replicate_and_nothing_else() {
        insta::assert_snapshot!(replication_user_rules(&["abc".to_owned()]).join(" "), @r#"reset on #ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad -@all +psync +replconf +ping"#);
    }
}
