use super::*;
use crate::observe::dns::Dns;
use crate::topology::{Identity, ReplicationId};

const HISTORY: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

fn here(pod: &str) -> Here {
    Here {
        identity: Identity {
            pod: pod.parse().expect("a pod's name"),
            uid: None,
            namespace: "shop".to_owned(),
            service: "redis".to_owned(),
            domain: "cluster.local".to_owned(),
        },
        dns: Dns::new(&["127.0.0.1:53".parse().expect("an address")]).expect("a resolver"),
        own: vec!["10.0.0.99".parse().expect("an address")],
    }
}

fn nothing() -> OnDisk {
    disk(Data::None, None)
}

fn disk(data: Data, offset: Option<u64>) -> OnDisk {
    OnDisk {
        data,
        id: offset.and_then(|_| ReplicationId::parse(HISTORY)),
        offset,
    }
}

fn info(ordinal: u8, role: ServerRole, keys: u64) -> ServerInfo {
    ServerInfo {
        version: "redis 7.0.15".to_owned(),
        run_id: format!("run-{ordinal}"),
        loading: false,
        role,
        id: ReplicationId::parse(HISTORY),
        id2: None,
        id2_end: None,
        offset: 100,
        keys,
        aof: false,
        aof_rewriting: false,
        backlog: true,
        replicas: vec![],
    }
}

fn address(ordinal: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, ordinal])
}

fn seen(ordinal: u8, info: ServerInfo) -> Seen {
    Sight::Seen {
        address: address(ordinal),
        all: vec![address(ordinal)],
        what: info,
    }
}

fn master(ordinal: u8, keys: u64) -> Seen {
    seen(ordinal, info(ordinal, ServerRole::Master, keys))
}

fn replica(ordinal: u8, host: &str, link: LinkState) -> Seen {
    let host = host.to_owned();
    let role = ServerRole::Replica {
        host,
        port: 6379,
        link,
    };
    seen(ordinal, info(ordinal, role, 5))
}

fn failed(error: fn(std::net::SocketAddr) -> ServerError) -> Seen {
    Sight::Failed(error("10.0.0.1:6379".parse().expect("an address")))
}

fn refused() -> Seen {
    failed(|address| ServerError::Refused { address })
}

fn silent() -> Seen {
    failed(|address| ServerError::Silent {
        address,
        limit: Duration::from_secs(1),
    })
}

fn missing() -> Seen {
    Sight::Unnamed(Answer::Missing)
}

/// After `--discover` has passed.
fn verdict(pod: &str, disk: &OnDisk, others: &[(u32, Option<&Seen>)]) -> Verdict {
    verdict_after(Duration::from_secs(6), pod, disk, others)
}

fn verdict_after(
    looked_for: Duration,
    pod: &str,
    disk: &OnDisk,
    others: &[(u32, Option<&Seen>)],
) -> Verdict {
    let beyond = missing();
    verdict_beyond(looked_for, pod, disk, others, true, &beyond)
}

fn verdict_beyond(
    looked_for: Duration,
    pod: &str,
    disk: &OnDisk,
    others: &[(u32, Option<&Seen>)],
    is_counted: bool,
    beyond: &Seen,
) -> Verdict {
    let others: Vec<_> = others.iter().map(|(o, s)| (Ordinal(*o), *s)).collect();
    decide(&World {
        here: &here(pod),
        own_name: None,
        disk,
        others: &others,
        beyond: (Ordinal(3), Some(beyond)),
        service: Some(&Answer::Missing),
        is_counted,
        own_run_id: Some("run-own"),
        looked_for,
        discover: Duration::from_secs(5),
    })
}

fn words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Wait { words, exit } => format!("{exit:?}: {words}"),
        other @ (Verdict::Lead | Verdict::Follow(..)) => panic!("{other:?}"),
    }
}

fn follow(ordinal: u8) -> Verdict {
    Verdict::Follow(Ordinal(ordinal.into()), address(ordinal))
}

#[test]
fn pod_0_leads_when_nobody_else_does_and_nothing_can_be_lost() {
    let lead = |disk: &OnDisk, others: &[(u32, Option<&Seen>)]| {
        assert_eq!(verdict("redis-0", disk, others), Verdict::Lead);
    };
    lead(&nothing(), &[]);
    lead(&nothing(), &[(1, Some(&missing())), (2, Some(&refused()))]);
    // Its replicas have what it has, and have followed it.
    let own = replica(1, "10.0.0.99", LinkState::Down);
    lead(&disk(Data::Some, Some(100)), &[(1, Some(&own))]);
    let dead = replica(1, "10.9.9.9", LinkState::Down);
    lead(&disk(Data::Some, None), &[(1, Some(&dead))]);
    let empty = seen(1, info(1, ServerRole::Fenced, 0));
    lead(&nothing(), &[(1, Some(&empty))]);
}

#[test]
fn a_live_master_is_followed_by_everybody() {
    let one = master(1, 5);
    assert_eq!(
        verdict("redis-0", &nothing(), &[(1, Some(&one))]),
        follow(1)
    );
    let zero = master(0, 0);
    assert_eq!(
        verdict("redis-1", &nothing(), &[(0, Some(&zero)), (2, None)]),
        follow(0)
    );
    // A chain leads to it.
    let chained = replica(0, "redis-2.redis.shop.svc.cluster.local", LinkState::Up);
    let two = master(2, 5);
    assert_eq!(
        verdict(
            "redis-1",
            &nothing(),
            &[(0, Some(&chained)), (2, Some(&two))]
        ),
        follow(2)
    );
    // pod-0 is surely not there.
    for gone in [missing(), refused()] {
        assert_eq!(
            verdict("redis-1", &nothing(), &[(0, Some(&gone)), (2, Some(&two))]),
            follow(2)
        );
    }
    // The same data, flushed or behind.
    let flushed = disk(Data::Some, Some(90));
    assert_eq!(verdict("redis-1", &flushed, &[(0, Some(&zero))]), follow(0));
    assert_eq!(
        verdict(
            "redis-1",
            &disk(Data::Some, None),
            &[(0, Some(&master(0, 1)))]
        ),
        follow(0)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each reason to wait")]
fn what_could_lose_data_or_is_not_known_is_waited_for_in_words() {
    let (one, two, zero) = (master(1, 5), master(2, 5), master(0, 0));
    let some = disk(Data::Some, None);
    let behind = disk(Data::Some, Some(50));
    let ahead = disk(Data::Some, Some(500));
    let has_keys = replica(1, "10.0.0.99", LinkState::Down);
    let follows_stranger = replica(1, "10.9.9.9", LinkState::Up);
    let fenced = seen(0, info(0, ServerRole::Fenced, 5));
    let mut loading = info(0, ServerRole::Master, 0);
    loading.loading = true;
    let loading = seen(0, loading);
    let cycle_0 = replica(0, "10.0.0.2", LinkState::Up);
    let cycle_2 = replica(2, "10.0.0.0", LinkState::Up);
    let to_me = replica(0, "10.0.0.99", LinkState::Down);
    let login = failed(|address| ServerError::Login {
        address,
        cause: "WRONGPASS".to_owned(),
    });
    let http = failed(|address| ServerError::NotRedis {
        address,
        cause: "HTTP/1.1 400".to_owned(),
    });
    let unknown = Sight::Unnamed(Answer::Unknown(
        "the DNS server answers SERVFAIL".to_owned(),
    ));
    let here = Sight::NotAPeer("10.0.0.99".parse().expect("an address"));
    let own_server = seen(
        0,
        ServerInfo {
            run_id: "run-own".to_owned(),
            ..info(0, ServerRole::Master, 0)
        },
    );
    let all = [
        verdict("redis-0", &nothing(), &[(1, Some(&one)), (2, Some(&two))]),
        verdict("redis-0", &nothing(), &[(1, Some(&has_keys))]),
        verdict(
            "redis-0",
            &disk(Data::Unknown, None),
            &[(1, Some(&has_keys))],
        ),
        verdict("redis-0", &behind, &[(1, Some(&has_keys))]),
        verdict("redis-0", &some, &[(1, Some(&follows_stranger))]),
        verdict("redis-0", &some, &[(1, Some(&silent()))]),
        verdict("redis-0", &some, &[(1, None)]),
        verdict("redis-0", &some, &[(1, Some(&unknown))]),
        verdict("redis-0", &some, &[(1, Some(&here))]),
        verdict_after(
            Duration::from_secs(1),
            "redis-0",
            &some,
            &[(1, Some(&missing()))],
        ),
        verdict("redis-1", &some, &[(0, Some(&zero))]),
        verdict("redis-1", &ahead, &[(0, Some(&zero))]),
        verdict("redis-1", &nothing(), &[(0, Some(&loading))]),
        verdict("redis-1", &nothing(), &[(0, Some(&fenced))]),
        verdict(
            "redis-1",
            &nothing(),
            &[(0, Some(&cycle_0)), (2, Some(&cycle_2))],
        ),
        verdict("redis-1", &nothing(), &[(0, Some(&to_me))]),
        verdict(
            "redis-1",
            &nothing(),
            &[(0, Some(&replica(0, "10.9.9.9", LinkState::Up)))],
        ),
        verdict(
            "redis-1",
            &nothing(),
            &[(0, Some(&silent())), (2, Some(&two))],
        ),
        verdict("redis-1", &nothing(), &[(0, Some(&login))]),
        verdict("redis-1", &nothing(), &[(0, Some(&http))]),
        verdict("redis-1", &nothing(), &[(0, Some(&refused()))]),
        verdict("redis-1", &nothing(), &[(0, Some(&missing()))]),
        verdict("redis-1", &nothing(), &[(0, Some(&own_server))]),
    ]
    .map(words);
    insta::assert_snapshot!(all.join("\n"), @r#"
    RefusedForData: redis-1 and redis-2 are both masters: choosing one could lose what the other has; make the one that may lose its data a replica of the other (REPLICAOF)
    RefusedForData: redis-1 has 5 keys and this pod has no data: starting it as the master would wipe them; promote redis-1 by hand (REPLICAOF NO ONE), or restore this pod's data
    RefusedForData: redis-1 has 5 keys and this pod has no data: starting it as the master would wipe them; promote redis-1 by hand (REPLICAOF NO ONE), or restore this pod's data
    RefusedForData: redis-1 has more of the same history than this pod has on disk: starting this pod as the master would lose the difference; promote redis-1 by hand (REPLICAOF NO ONE)
    WaitedInVain: redis-1 follows a live master at 10.9.9.9:6379, which is not the address of any member that answers
    WaitedInVain: redis-1: 10.0.0.1:6379 did not answer within 1s
    WaitedInVain: redis-1: it is being asked
    WaitedInVain: redis-1: its name redis-1.redis.shop.svc.cluster.local could not be looked up: the DNS server answers SERVFAIL
    WaitedInVain: redis-1: its name leads to 10.0.0.99, which is this pod itself or no pod's address: a server that followed it would replicate from itself; check DNS and the pod's hosts
    WaitedInVain: redis-1: its name redis-1.redis.shop.svc.cluster.local does not resolve yet (NXDOMAIN): is the headless Service "redis" there, with publishNotReadyAddresses: true?
    RefusedForData: redis-0 is the master and has no data, but this pod has data on disk: following it would wipe that; restore redis-0's data, or delete this pod's if it may be lost
    RefusedForData: redis-0 is the master, but has less of the same history than this pod has on disk: following it would lose the difference; restore redis-0 from this pod's data, or delete this pod's data if it may be lost
    WaitedInVain: redis-0 is the master and reads its data
    WaitedInVain: redis-0 is fenced, as only a sidecar does it: has this set sidecars? Then leave out --without-sidecar
    WaitedInVain: redis-0 follows redis-2 follows redis-0: nobody is the master; promote the one with the best data (REPLICAOF NO ONE)
    WaitedInVain: redis-0 follows this pod (10.0.0.99:6379), which is not the master; promote one by hand (REPLICAOF NO ONE)
    WaitedInVain: redis-0 follows 10.9.9.9:6379, which is not the address of any member that answers
    WaitedInVain: redis-0: 10.0.0.1:6379 did not answer within 1s
    ServerRefuses: redis-0: 10.0.0.1:6379 refuses the login: WRONGPASS (check --username and --password-file)
    WaitedInVain: redis-0: 10.0.0.1:6379 does not speak the Redis protocol: HTTP/1.1 400
    WaitedInVain: redis-0: nothing listens on 10.0.0.1:6379 (connection refused)
    WaitedInVain: redis-0: its name redis-0.redis.shop.svc.cluster.local does not resolve yet (NXDOMAIN): is the headless Service "redis" there, with publishNotReadyAddresses: true?
    WaitedInVain: redis-0 answers as this pod's own server
    "#);
}

#[test]
fn pod_0_asks_for_members_beyond_those_expected() {
    let soon = |is_counted, beyond: &Seen| {
        let second = Duration::from_secs(1);
        verdict_beyond(second, "redis-0", &nothing(), &[], is_counted, beyond)
    };
    assert_eq!(soon(true, &missing()), Verdict::Lead);
    let unknown = Sight::Unnamed(Answer::Unknown("SERVFAIL".to_owned()));
    let waits = [soon(false, &missing()), soon(true, &unknown)].map(words);
    insta::assert_snapshot!(waits.join("\n"), @r#"
    WaitedInVain: other members, for the time of --discover, since there is no --replicas to say how many there are
    WaitedInVain: redis-3: its name redis-3.redis.shop.svc.cluster.local could not be looked up: SERVFAIL
    "#);
}
