//! What probes are told.

use super::*;

#[test]
fn a_replica_is_ready_once_its_master_calls_it_online() {
    let me = Member::with_data(1, 1, 'a', 9).replica_of(0, LinkState::Up);
    let mut ready = ReadyMemory::default();
    let mut look = |me: &Member, master: &Member, at: u64| {
        let snapshot = later(sees(me, &[master]), Duration::from_secs(at));
        let (host, port) = target(Ordinal(1));
        let own = crate::report::Report {
            announced: Some((host, port)),
            ..own_report(&identity(Ordinal(1)), &snapshot, &me.memory)
        };
        let policy = policy();
        let view = View {
            snapshot: &snapshot,
            memory: &me.memory,
            policy: &policy,
            own: &own,
        };
        conditions(&view, &mut ready).iter().all(|c| c.ok)
    };
    let state = |state: &str| {
        let (host, port) = target(Ordinal(1));
        let replica = ReplicaReport {
            host,
            port,
            state: state.to_owned(),
            offset: 9,
        };
        Member::with_data(0, 1, 'a', 9)
            .master()
            .server(|s| s.replicas = vec![replica])
    };
    assert!(!look(&me, &state("wait_bgsave"), 0));
    assert!(look(&me, &state("online"), 1));
    let down = me.clone().replica_of(0, LinkState::Down);
    assert!(look(&down, &state("online"), 2), "within the grace");
    assert!(!look(&down, &state("online"), 20), "past the grace");
    assert!(look(&me, &state("online"), 21));
}
