//! What the set's Lease says, and how that is written down in it. Pure.
//!
//! A Lease (`coordination.k8s.io/v1`) has a holder, times and annotations. Its holder is the pod that
//! may be the master; `renewTime` is there once the holder itself has written it, and the annotations
//! say the rest. The times are for people: other machines' clocks are never compared.
//!
//! | annotation | says |
//! |---|---|
//! | `podzero/schema` | the version of this table |
//! | `podzero/epoch` | the epoch of the grant, as `<counter>.<ordinal of the granter>` |
//! | `podzero/members` | the pods that could take the role, by comma |
//! | `podzero/from` | the role is handed over: from which run of the granter's server (JSON) |
//! | `podzero/by-hand` | a person decided (`podzero resolve`) |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::report::{Handover, SCHEMA};
use crate::topology::Epoch;

const SCHEMA_KEY: &str = "podzero/schema";
const EPOCH: &str = "podzero/epoch";
const MEMBERS: &str = "podzero/members";
const FROM: &str = "podzero/from";
const BY_HAND: &str = "podzero/by-hand";

/// Who holds a Lease: a pod by its name and its UID, so that a later pod of the same name is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The pod's name.
    pub pod: String,
    /// Its UID; empty where somebody else wrote a name alone.
    pub uid: String,
}

impl Holder {
    fn parse(text: &str) -> Self {
        // No pod's name has an underscore.
        let (pod, uid) = text.split_once('_').unwrap_or((text, ""));
        Self {
            pod: pod.to_owned(),
            uid: uid.to_owned(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.pod, self.uid)
    }
}

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Says {
    /// Who may be the master; none when it was given up.
    pub holder: Option<Holder>,
    /// The epoch of that grant; the newest one, where it was given up.
    pub epoch: Option<Epoch>,
    /// The holder itself has written it: the grant counts.
    pub renewed: bool,
    /// The pods that could take the role.
    pub members: BTreeSet<String>,
    /// The granter hands the role over.
    pub handover: Option<Handover>,
    /// A person decided so.
    pub by_hand: bool,
    /// How long its writer wants it to be waited for; none when that is not said.
    pub duration: Option<Duration>,
}

/// Why a Lease cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// In words.
    pub why: String,
    /// A newer release wrote it.
    pub newer: bool,
}

/// The fields of a Lease in which that stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    /// `spec.holderIdentity`.
    pub holder: Option<String>,
    /// Whether there is a `spec.renewTime`.
    pub renewed: bool,
    /// `spec.leaseDurationSeconds`.
    pub seconds: Option<i32>,
    /// Our annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Says {
    /// Reads it.
    pub fn read(fields: &Fields) -> Result<Self, Unreadable> {
        let get = |key: &str| fields.annotations.get(key).filter(|text| !text.is_empty());
        let wrong = |key: &str, text: &str| {
            Err(Unreadable {
                why: format!("its annotation {key} is {text:?}"),
                newer: false,
            })
        };
        if let Some(text) = get(SCHEMA_KEY) {
            match text.parse::<u32>() {
                Ok(schema) if schema <= SCHEMA => {}
                Ok(newer) => {
                    return Err(Unreadable {
                        why: format!("its schema is {newer}, this release knows {SCHEMA}"),
                        newer: true,
                    });
                }
                Err(_) => return wrong(SCHEMA_KEY, text),
            }
        }
        let epoch = match get(EPOCH).map(|text| (text, text.parse())) {
            None => None,
            Some((_, Ok(epoch))) => Some(epoch),
            Some((text, Err(_))) => return wrong(EPOCH, text),
        };
        let handover = match get(FROM).map(|text| (text, serde_json::from_str(text))) {
            None => None,
            Some((_, Ok(handover))) => Some(handover),
            Some((text, Err(_))) => return wrong(FROM, text),
        };
        let members = get(MEMBERS).map(|text| text.split(',').map(|pod| pod.trim().to_owned()));
        let holder = fields.holder.as_deref().filter(|text| !text.is_empty());
        Ok(Self {
            holder: holder.map(Holder::parse),
            epoch,
            renewed: fields.renewed,
            members: members.into_iter().flatten().collect(),
            handover,
            by_hand: get(BY_HAND).is_some(),
            duration: fields
                .seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
        })
    }

    /// Writes it down. Keys with an empty value are to be removed.
    pub fn fields(&self) -> Fields {
        let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        let from = self.handover.as_ref();
        let from = from.and_then(|handover| serde_json::to_string(handover).ok());
        let by_hand = if self.by_hand { "true" } else { "" };
        let annotations = [
            (SCHEMA_KEY, SCHEMA.to_string()),
            (EPOCH, self.epoch.map(|e| e.to_string()).unwrap_or_default()),
            (MEMBERS, members.join(",")),
            (FROM, from.unwrap_or_default()),
            (BY_HAND, by_hand.to_owned()),
        ];
        Fields {
            holder: self.holder.as_ref().map(ToString::to_string),
            renewed: self.renewed,
            seconds: self.duration.map(|d| {
                let up = d.as_secs() + u64::from(d.subsec_nanos() > 0);
                i32::try_from(up).unwrap_or(i32::MAX)
            }),
            annotations: annotations
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Ordinal;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Fields {
            annotations: pairs.iter().map(pair).collect(),
            ..Fields::default()
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let handover = Handover {
            run_id: "a run".to_owned(),
            cancelled: false,
            away_from: Some("another".to_owned()),
        };
        let full = Says {
            holder: Some(Holder {
                pod: "redis-1".to_owned(),
                uid: "5f3a".to_owned(),
            }),
            epoch: Some(Epoch::after(None, Ordinal(2))),
            renewed: true,
            members: ["redis-0".to_owned(), "redis-1".to_owned()].into(),
            handover: Some(handover),
            by_hand: true,
            duration: Some(Duration::from_secs(7)),
        };
        let odd = Says {
            duration: Some(Duration::from_millis(6001)),
            ..full.clone()
        };
        assert_eq!(odd.fields(), full.fields(), "never shorter than meant");
        assert_eq!(full.fields().holder.as_deref(), Some("redis-1_5f3a"));
        for says in [Says::default(), full] {
            assert_eq!(Says::read(&says.fields()), Ok(says));
        }
    }

    #[test]
    fn what_a_hand_wrote_is_read_or_named() {
        let foreign = Fields {
            holder: Some("somebody".to_owned()),
            ..Fields::default()
        };
        let holder = Says::read(&foreign).expect("read").holder.expect("held");
        assert_eq!((holder.pod.as_str(), holder.uid.as_str()), ("somebody", ""));
        for (key, value) in [
            (EPOCH, "seven"),
            (EPOCH, "7"),
            (EPOCH, "7.1.2"),
            (FROM, "{}"),
            (SCHEMA_KEY, "99"),
            (SCHEMA_KEY, "x"),
        ] {
            let said = Says::read(&fields(&[(key, value)])).expect_err("refused");
            assert!(said.why.contains(value), "{key}: {said:?}");
            assert_eq!(said.newer, value == "99", "{key}");
        }
    }
}
