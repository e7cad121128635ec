use super::*;

fn base(text: &str) -> Base {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("redis.conf");
    std::fs::write(&path, text).expect("written");
    Base::read(&path, dir.path()).expect("read")
}

fn secret(text: &str) -> Secret {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("password");
    std::fs::write(&path, text).expect("written");
    crate::secret::read(&path).expect("read")
}

fn wanted<'a>(base: &'a Base, listen: &'a [IpAddr]) -> Wanted<'a> {
    Wanted {
        base_path: None,
        base,
        port: 6379,
        data_dir: Path::new("/data"),
        directive: Directive::Replicaof,
        follow: &Follow::Fence,
        announce: "10.0.0.5",
        listen,
        master_user: Some("podzero-shop-redis"),
        master_password: Some("derived"),
        tls: None,
        has_password: false,
        requirepass: None,
    }
}

fn listen() -> Vec<IpAddr> {
    ["10.0.0.5", "fd00::5", "127.0.0.1"]
        .iter()
        .map(|a| a.parse().expect("an address"))
        .collect()
}

#[test]
fn without_a_base_and_a_password() {
    insta::assert_snapshot!(render(&wanted(&Base::default(), &listen())), @r#"
    # Written by podzero, do not edit: it is replaced at each start.
    port 6379
    dir "/data"
    replicaof 127.0.0.1 0
    replica-announce-ip "10.0.0.5"
    replica-announce-port 6379
    masteruser "podzero-shop-redis"
    masterauth "derived"
    protected-mode no
    replica-read-only yes
    repl-diskless-load disabled
    repl-backlog-size 16mb
    "#);
}

#[test]
fn with_a_base_a_password_and_a_live_master() {
    let password = secret("a \"b\" \\ $x 'y' ü");
    let follow = Follow::Master {
        host: "10.0.0.7".to_owned(),
        port: 6380,
    };
    let base = base("dir /data\nbind 127.0.0.1 -::1\n");
    let listen = listen();
    let wanted = Wanted {
        base_path: Some(Path::new("/etc/my redis.conf")),
        directive: Directive::Slaveof,
        follow: &follow,
        port: 6380,
        announce: "redis-1.redis.shop.svc.cluster.local",
        master_password: Some(password.expose()),
        requirepass: Some(&password),
        ..wanted(&base, &listen)
    };
    insta::assert_snapshot!(render(&wanted), @r#"
    # Written by podzero, do not edit: it is replaced at each start.
    include "/etc/my redis.conf"
    port 6380
    bind 127.0.0.1 -::1 10.0.0.5 fd00::5
    slaveof 10.0.0.7 6380
    replica-announce-ip "redis-1.redis.shop.svc.cluster.local"
    replica-announce-port 6380
    masteruser "podzero-shop-redis"
    masterauth "a \"b\" \\ $x 'y' ü"
    requirepass "a \"b\" \\ $x 'y' ü"
    replica-read-only yes
    repl-diskless-load disabled
    repl-backlog-size 16mb
    "#);
}

#[test]
fn without_a_sidecar_and_a_password_the_master_has_no_replication_line() {
    let base = base("dir ./\n");
    let listen = listen();
    let wanted = Wanted {
        follow: &Follow::Nothing,
        master_user: None,
        master_password: None,
        ..wanted(&base, &listen)
    };
    insta::assert_snapshot!(render(&wanted), @r#"
    # Written by podzero, do not edit: it is replaced at each start.
    port 6379
    dir "/data"
    replica-announce-ip "10.0.0.5"
    replica-announce-port 6379
    protected-mode no
    replica-read-only yes
    repl-diskless-load disabled
    repl-backlog-size 16mb
    "#);
}

#[test]
fn bind_is_left_alone_when_it_has_what_is_needed() {
    for (text, bind_line) in [
        ("", None),
        ("bind * -::*", None),
        ("bind 0.0.0.0 ::", None),
        ("bind 10.0.0.5 fd00::5 localhost", None),
        ("bind 127.0.0.1", Some("127.0.0.1 10.0.0.5 fd00::5")),
        ("bind 0.0.0.0", Some("0.0.0.0 fd00::5")),
        ("bind -::*", Some("-::* 10.0.0.5 127.0.0.1")),
        ("bind * \nbind \"\"", Some("10.0.0.5 fd00::5 127.0.0.1")),
    ] {
        let base = base(text);
        assert_eq!(
            bind(&wanted(&base, &listen())).as_deref(),
            bind_line,
            "{text:?}"
        );
    }
}

#[test]
fn with_tls() {
    let tls = TlsArgs {
        tls_ca_file: Some("/tls/ca.crt".into()),
        tls_cert_file: Some("/tls/tls.crt".into()),
        tls_key_file: Some("/tls/tls.key".into()),
    };
    let text = |base: &Base| {
        let wanted = Wanted {
            tls: Some(&tls),
            ..wanted(base, &[])
        };
        let text = render(&wanted);
        let about = |line: &&str| line.starts_with("tls-") || line.starts_with("port ");
        text.lines().filter(about).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(text(&Base::default()), @r#"
    port 0
    tls-port 6379
    tls-replication yes
    tls-cert-file "/tls/tls.crt"
    tls-key-file "/tls/tls.key"
    tls-ca-cert-file "/tls/ca.crt"
    "#);
    // What the base says of certificates and of another port stays.
    let own =
        base("port 7000\ntls-port 1\ntls-cert-file /a\ntls-key-file /b\ntls-ca-cert-dir /c\n");
    insta::assert_snapshot!(text(&own), @r"
    port 7000
    tls-port 6379
    tls-replication yes
    ");
}
