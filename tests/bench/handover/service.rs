//! What clients notice of a handover that come through the master's Service and keep their connections:
//! with the Lease of a real API server, and the harness's proxy in the place of the nodes' (kube-proxy).
//!
//! No cluster: the proxy here leads new connections to the new master as soon as the slice has been
//! written, where a cluster's takes a while. podzero waits for it in either.

use std::time::Duration;

use anyhow::Result;
use harness::sandbox::SERVICE;
use harness::wait_until;

use super::{GAP, Load, ROUNDS, manner, many, ways};
use crate::failover::with_service;
use crate::report::{Figure, Row};
use crate::tell::note;

/// Connections in the pool, each with a writer.
const POOL: usize = 5;
/// One for each of them, in each change.
const ERRORS: f64 = 5.0;

/// Time for the nodes' proxy to hear of a slice, as in a small cluster and in a busy one.
const LAGS: [(&str, Duration); 2] = [
    ("podzero, the proxy at once", Duration::ZERO),
    (
        "podzero, the proxy after 300 ms",
        Duration::from_millis(300),
    ),
];

/// Handovers under a pool of clients.
pub(crate) fn figure() -> Result<Figure> {
    let rounds = crate::rounds(ROUNDS);
    let load = Load {
        name: "a pool of 5 through the Service",
        writers: POOL,
        manner: manner(Duration::from_millis(1)),
        at: Some(SERVICE),
    };
    let mut gaps = Row::new("longest gap of a client in each", "ms");
    let mut errors = Row::new("errors in each, of all clients", "");
    let mut lost = Row::new("acknowledged writes lost", "");
    for (who, lag) in LAGS {
        note(&format!("handover: {rounds} times, {}, {who}", load.name));
        let mut cluster = with_service(3)?;
        cluster.set.start_all()?;
        cluster.set.converge()?;
        wait_until(
            "the Service leads somewhere",
            Duration::from_secs(20),
            || harness::Conn::open(SERVICE, None)?.tell("SET through-the-service 1"),
        )?;
        cluster.kube_proxy().lags(lag);
        let outcome = many(&cluster.set, &load, rounds, ways::podzero)?;
        gaps = gaps.promised(who, &outcome.gaps, GAP);
        errors = errors.promised(who, &outcome.errors, ERRORS);
        lost = lost.promised(who, outcome.lost as f64, 0.0);
    }
    Ok(Figure {
        title: "handover, pooled clients through the master's Service".to_owned(),
        rows: vec![gaps, errors, lost],
        remarks: vec![
            "Not on a cluster: a proxy of the benchmark's stands in for the nodes' own (kube-proxy)."
                .to_owned(),
            "A client that is refused tries again at once, and each attempt counts: one that waits a moment has fewer \
             errors and a longer gap."
                .to_owned(),
        ],
    })
}
