use super::*;
use crate::observe::dns::{Answer, Dns};
use crate::report::{AuthorityReport, ReplicationReport, SCHEMA, ServerReport};
use crate::topology::Identity;

fn here() -> Here {
    Here {
        identity: Identity {
            pod: "redis-1".parse().expect("a pod's name"),
            uid: None,
            namespace: "shop".to_owned(),
            service: "redis".to_owned(),
            domain: "cluster.local".to_owned(),
        },
        dns: Dns::new(&["127.0.0.1:53".parse().expect("an address")]).expect("a resolver"),
        own: vec!["10.0.0.1".parse().expect("an address")],
    }
}

fn epoch(counter: u64) -> Epoch {
    Epoch {
        counter,
        granter: Ordinal::ZERO,
    }
}

fn member(ordinal: u32, role: Role, counter: u64, seen: u64) -> Member {
    let pod = format!("redis-{ordinal}");
    let report = Report {
        schema: SCHEMA,
        pod: pod.clone(),
        uid: None,
        namespace: "shop".to_owned(),
        service: "redis".to_owned(),
        ordinal: Ordinal(ordinal),
        addresses: vec![],
        announced: None,
        role,
        empty: false,
        keys: None,
        forgets: false,
        last_epoch: None,
        unfinished: false,
        terminating: false,
        gone: false,
        epoch: Some(epoch(counter)),
        epoch_seen: Some(epoch(seen)),
        master: None,
        ready: true,
        reasons: vec![],
        authority: AuthorityReport {
            kind: "ordinal".to_owned(),
            holder: (role == Role::Master).then_some(pod),
            epoch: Some(epoch(counter)),
            grant: None,
            intent: None,
            closed: None,
            took_over_from: None,
            away_from: None,
            lease: None,
            asks: None,
            promise: None,
        },
        replication: ReplicationReport {
            id: None,
            id2: None,
            id2_end: None,
            offset: 0,
            exact: true,
            link: None,
            lag: None,
            following: None,
            lineage: vec![],
            replicas: vec![],
        },
        peers: vec![],
        server: Some(ServerReport {
            version: "redis 7.0.15".to_owned(),
            run_id: "r".to_owned(),
        }),
    };
    Member {
        report,
        proof: Ok(()),
    }
}

fn seen(member: Member) -> Seen {
    let address = IpAddr::from([
        10,
        0,
        1,
        u8::try_from(member.report.ordinal.0).expect("small"),
    ]);
    Sight::Seen {
        address,
        all: vec![address],
        what: member,
    }
}

fn look(sights: &[(u32, Option<&Seen>)], known: Option<Epoch>) -> Result<u32, String> {
    let others: Vec<_> = sights.iter().map(|(o, s)| (Ordinal(*o), *s)).collect();
    let own = Memory {
        epoch_seen: known,
        ..Memory::default()
    };
    choose(&here(), &others, &own, None).map(|m| m.ordinal.0)
}

#[test]
fn the_granted_master_of_the_newest_epoch_is_taken() {
    let replica = seen(member(0, Role::Replica, 3, 3));
    let master = seen(member(2, Role::Master, 3, 3));
    assert_eq!(
        look(&[(0, Some(&replica)), (2, Some(&master))], None),
        Ok(2)
    );
    assert_eq!(
        look(&[(0, None), (2, Some(&master))], Some(epoch(3))),
        Ok(2)
    );
    let old = seen(member(0, Role::Master, 2, 2));
    assert_eq!(look(&[(0, Some(&old)), (2, Some(&master))], None), Ok(2));
}

#[test]
fn what_is_no_verified_master_of_the_newest_epoch_is_waited_for_in_words() {
    let master = |counter, seen_epoch| seen(member(0, Role::Master, counter, seen_epoch));
    let aware = seen(member(2, Role::Fenced, 3, 4));
    let mut ungranted = member(0, Role::Master, 3, 3);
    ungranted.report.authority.holder = Some("redis-2".to_owned());
    let mut stranger = member(0, Role::Master, 3, 3);
    stranger.proof = Err("its server is no master any more".to_owned());
    let mut going = member(0, Role::Master, 3, 3);
    going.report.terminating = true;
    let failed = Sight::Failed("its sidecar gives no answer: refused".to_owned());
    let words = [
        look(&[(0, Some(&master(3, 3))), (2, Some(&aware))], None),
        look(&[(0, Some(&master(3, 3)))], Some(epoch(5))),
        look(&[(0, Some(&seen(ungranted)))], None),
        look(&[(0, Some(&seen(stranger)))], None),
        look(&[(0, Some(&seen(going)))], None),
        look(&[(0, Some(&failed)), (2, None)], None),
        look(&[(0, Some(&Sight::Unnamed(Answer::Missing)))], None),
        look(
            &[(
                0,
                Some(&Sight::Unnamed(Answer::Unknown("SERVFAIL".to_owned()))),
            )],
            None,
        ),
        look(
            &[(
                0,
                Some(&Sight::NotAPeer("10.0.0.1".parse().expect("an address"))),
            )],
            None,
        ),
        look(&[], None),
    ]
    .map(|result| result.expect_err("nobody"));
    insta::assert_snapshot!(words.join("\n"), @r#"
    redis-0: it is the master of epoch 3.0, but there is a newer one, 4.0; redis-2: it is fenced
    redis-0: it is the master of epoch 3.0, but there is a newer one, 5.0
    redis-0: its server is a master without the grant of its epoch
    redis-0: it says that it is the master, but its server is no master any more
    redis-0: it is the master, and is being stopped
    redis-0: its sidecar gives no answer: refused; redis-2: it is being asked
    redis-0: its name redis-0.redis.shop.svc.cluster.local does not resolve yet (NXDOMAIN): is the headless Service "redis" there, with publishNotReadyAddresses: true?
    redis-0: its name redis-0.redis.shop.svc.cluster.local could not be looked up: SERVFAIL
    redis-0: its name leads to 10.0.0.1, which is this pod itself or no pod's address: a server that followed it would replicate from itself; check DNS and the pod's hosts
    no other member is known (with --replicas, podzero knows how many there are)
    "#);
}

#[test]
fn looking_ends_when_everybody_answered_that_there_is_no_master() {
    let fenced = seen(member(0, Role::Fenced, 3, 3));
    let master = seen(member(0, Role::Master, 3, 3));
    let missing = Sight::Unnamed(Answer::Missing);
    let unknown = Sight::Unnamed(Answer::Unknown(String::new()));
    let ends = |others: &[(u32, Option<&Seen>)], beyond| {
        let others: Vec<_> = others.iter().map(|(o, s)| (Ordinal(*o), *s)).collect();
        is_known_to_be_masterless(&others, beyond)
    };
    assert!(ends(&[(0, Some(&fenced))], Some(&missing)));
    assert!(!ends(&[(0, Some(&fenced))], Some(&unknown)));
    assert!(!ends(&[(0, Some(&fenced)), (2, None)], Some(&missing)));
    assert!(!ends(&[(0, Some(&master))], Some(&missing)));
    assert!(!ends(&[], Some(&missing)));
}

#[test]
fn a_master_of_another_history_of_the_same_epoch_is_not_followed() {
    let id = |letter: &str| ReplicationId::parse(&letter.repeat(40));
    let mut master = member(0, Role::Master, 1, 1);
    master.report.replication.id = id("b");
    let others = seen(master);
    let look = |own: &Memory| {
        let others = [(Ordinal(0), Some(&others))];
        choose(&here(), &others, own, None).map(|m| m.ordinal.0)
    };
    let own = |counter, letter: &str, unfinished| Memory {
        epoch: Some(epoch(counter)),
        id: id(letter),
        unfinished,
        ..Memory::default()
    };
    let refused = look(&own(1, "a", false)).expect_err("refused");
    assert!(refused.contains("another history"), "{refused}");
    assert_eq!(look(&own(1, "b", false)), Ok(0), "the same history");
    assert_eq!(look(&own(1, "a", true)), Ok(0), "a copy that was cut off");
    assert_eq!(look(&Memory::default()), Ok(0), "nothing of its own");
}
