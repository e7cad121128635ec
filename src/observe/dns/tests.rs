use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

const A: u16 = 1;
const AAAA: u16 = 28;

/// What a test's DNS server does with a question.
#[derive(Clone, Copy)]
enum Say {
    Address(IpAddr),
    Nothing,
    Missing,
    Fail,
    Truncated,
    Silence,
}

type Script = Arc<dyn Fn(u16, bool) -> Say + Send + Sync>;

/// Answers one query: `say` gets its type and whether it came over TCP.
fn reply(query: &[u8], tcp: bool, script: &Script) -> Option<Vec<u8>> {
    let end = 12 + query[12..].iter().position(|b| *b == 0)? + 5;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let mut bytes = query[..end].to_vec();
    let (flags, data) = match script(kind, tcp) {
        Say::Silence => return None,
        Say::Address(IpAddr::V4(ip)) => ([0x81, 0x80], ip.octets().to_vec()),
        Say::Address(IpAddr::V6(ip)) => ([0x81, 0x80], ip.octets().to_vec()),
        Say::Nothing => ([0x81, 0x80], vec![]),
        Say::Missing => ([0x81, 0x83], vec![]),
        Say::Fail => ([0x81, 0x82], vec![]),
        Say::Truncated => ([0x83, 0x80], vec![]),
    };
    bytes[2..4].copy_from_slice(&flags);
    bytes[4..12].copy_from_slice(&[0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
    if !data.is_empty() {
        bytes.extend([0xC0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([
            0,
            1,
            0,
            0,
            0,
            60,
            0,
            u8::try_from(data.len()).expect("short"),
        ]);
        bytes.extend(data);
    }
    Some(bytes)
}

async fn serve(say: impl Fn(u16, bool) -> Say + Send + Sync + 'static) -> Dns {
    let script: Script = Arc::new(say);
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let address = udp.local_addr().expect("an address");
        if let Ok(tcp) = TcpListener::bind(address).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("an address");
    let over_udp = script.clone();
    tokio::spawn(async move {
        let mut query = [0; 600];
        while let Ok((n, from)) = udp.recv_from(&mut query).await {
            if let Some(answer) = reply(&query[..n], false, &over_udp) {
                udp.send_to(&answer, from).await.expect("sent");
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let script = script.clone();
            tokio::spawn(async move {
                while let Ok(n) = stream.read_u16().await {
                    let mut query = vec![0; n.into()];
                    stream.read_exact(&mut query).await.expect("read");
                    if let Some(answer) = reply(&query, true, &script) {
                        let length = u16::try_from(answer.len()).expect("short");
                        stream.write_u16(length).await.expect("sent");
                        stream.write_all(&answer).await.expect("sent");
                    }
                }
            });
        }
    });
    Dns::with_file(&[address], Path::new("/nowhere")).expect("a resolver")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const NAME: &str = "redis-0.redis.shop.svc.cluster.local.";

#[test]
fn the_preferred_family_comes_first() {
    run(async {
        let dns = serve(|kind, _| {
            Say::Address(if kind == A {
                ip("10.0.0.1")
            } else {
                ip("fd00::1")
            })
        })
        .await;
        let v4 = Answer::Addresses(vec![ip("10.0.0.1"), ip("fd00::1")]);
        let v6 = Answer::Addresses(vec![ip("fd00::1"), ip("10.0.0.1")]);
        assert_eq!(dns.lookup(NAME, Family::V4).await, v4);
        assert_eq!(dns.lookup(NAME, Family::V6).await, v6);
    });
}

#[test]
fn no_and_could_not_ask_are_different_answers() {
    run(async {
        let answer = async |a, aaaa| {
            let dns = serve(move |kind, _| if kind == A { a } else { aaaa }).await;
            dns.lookup(NAME, Family::V4).await
        };
        assert_eq!(answer(Say::Missing, Say::Missing).await, Answer::Missing);
        assert_eq!(answer(Say::Nothing, Say::Nothing).await, Answer::NoAddress);
        assert_eq!(answer(Say::Nothing, Say::Missing).await, Answer::NoAddress);
        let unknown = |answer| matches!(answer, Answer::Unknown(why) if why.contains("SERVFAIL"));
        assert!(unknown(answer(Say::Fail, Say::Fail).await));
        assert!(unknown(answer(Say::Missing, Say::Fail).await));
        let found = Answer::Addresses(vec![ip("10.0.0.1")]);
        for other in [Say::Nothing, Say::Missing, Say::Fail, Say::Silence] {
            assert_eq!(answer(Say::Address(ip("10.0.0.1")), other).await, found);
        }
    });
}

#[test]
fn the_ttl_is_told_and_nothing_shortens_it_but_the_records() {
    run(async {
        let dns = serve(|kind, _| {
            if kind == A {
                Say::Address(ip("10.0.0.1"))
            } else {
                Say::Nothing
            }
        })
        .await;
        let told = dns.lookup_with_ttl(NAME, Family::V4).await;
        assert_eq!(told.ttl, Duration::from_mins(1));
    });
}

#[test]
fn nothing_is_remembered() {
    run(async {
        let asked = Arc::new(std::sync::atomic::AtomicU8::new(0));
        let dns = serve(move |kind, _| {
            if kind == AAAA {
                return Say::Nothing;
            }
            match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Say::Missing,
                n => Say::Address(IpAddr::from([10, 0, 0, n])),
            }
        })
        .await;
        assert_eq!(dns.lookup(NAME, Family::V4).await, Answer::NoAddress);
        for n in 1..4 {
            let found = Answer::Addresses(vec![IpAddr::from([10, 0, 0, n])]);
            assert_eq!(dns.lookup(NAME, Family::V4).await, found);
        }
    });
}

#[test]
fn tcp_is_asked_when_udp_gives_no_answer() {
    run(async {
        for udp in [Say::Truncated, Say::Fail, Say::Silence] {
            let dns = serve(move |_, tcp| {
                if tcp {
                    Say::Address(ip("10.0.0.1"))
                } else {
                    udp
                }
            })
            .await;
            let Answer::Addresses(found) = dns.lookup(NAME, Family::V4).await else {
                panic!("no addresses")
            };
            assert_eq!(found[0], ip("10.0.0.1"));
        }
    });
}

#[test]
fn a_dead_server_costs_two_seconds_at_most_and_nothing_beside_a_live_one() {
    run(async {
        let mut dns = serve(|_, _| Say::Silence).await;
        let before = crate::clock::now();
        let answer = dns.lookup(NAME, Family::V4).await;
        assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
        let took = crate::clock::now().since(before);
        assert!(took < Duration::from_millis(2500), "{took:?}");
        let live = serve(|_, _| Say::Missing).await;
        dns.servers.extend(live.servers);
        let before = crate::clock::now();
        assert_eq!(dns.lookup(NAME, Family::V4).await, Answer::Missing);
        assert!(crate::clock::now().since(before) < Duration::from_millis(800));
    });
}

#[test]
fn the_cluster_domain_comes_from_the_search_list() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let domain = |text: &str| {
        std::fs::write(file.path(), format!("nameserver 10.0.0.10\n{text}\n")).expect("written");
        let dns = Dns::with_file(&[], file.path()).expect("a resolver");
        assert_eq!(dns.servers().next(), "10.0.0.10:53".parse().ok());
        dns.cluster_domain("shop")
    };
    let kubernetes = "search shop.svc.k8s.example. svc.k8s.example k8s.example corp.example";
    assert_eq!(domain(kubernetes).as_deref(), Some("k8s.example"));
    assert_eq!(domain("search svc.a.b a.b").as_deref(), Some("a.b"));
    assert_eq!(domain("search corp.example"), None);
    assert_eq!(domain(""), None);
    let error = Dns::with_file(&[], Path::new("/nowhere")).err();
    insta::assert_snapshot!(error.expect("refused"), @r#"cannot read the DNS servers from /etc/resolv.conf (or name one with --dns-server)"#);
}
