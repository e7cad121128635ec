//! A set that keeps people out: TLS between all, no default user, and a user for podzero that may do
//! what the README lists and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run;
use crate::set::{Builder, NAME, NAMESPACE};

/// podzero's password: what people's generators make, and some more.
pub const PASSWORD: &str = "#ai%EQie!^i \"pä'ß\\$x 'y";
/// Its SHA-256.
const HASH: &str = "85247c0413589e34e26c54dbb4b4a56fde95695431b6c590f6b59effa4415722";
/// podzero's user.
pub const USER: &str = "podzero";
/// What that user may do, as the README lists it.
pub const RULES: &str = "+info +replicaof +config|get +config|set +client|kill +acl|setuser";
/// No default user. Redis 6.0 asks for the right to HELLO before anybody has logged in.
const DEFAULT_OFF: &str = "user default off +hello";
/// The tests' own user and its password.
pub const APP: (&str, &str) = ("app", "of-the-app");
/// Where the tests' own connections go, which do not speak TLS.
pub const PLAIN_PORT: u16 = 6380;

/// Whether every set of this run is to be such a one.
pub fn is_asked_for() -> bool {
    std::env::var_os("PODZERO_TEST_SECURED").is_some()
}

impl Builder {
    /// Keeps people out: all of it.
    #[must_use]
    pub fn secured(self) -> Self {
        if self.has_certificates() {
            return self;
        }
        self.private()
            .env("PODZERO_USERNAME", USER)
            .password(PASSWORD)
            .base(DEFAULT_OFF)
            .base(&format!("user {USER} on #{HASH} -@all {RULES}"))
            .base(&format!(
                "user {} on >{} ~* {}+@all",
                APP.0,
                APP.1,
                channels()
            ))
            .tests_log_in(APP)
    }

    /// TLS at the usual port; another one without it, for the tests.
    #[must_use]
    pub fn private(self) -> Self {
        self.base(&format!("port {PLAIN_PORT}"))
            .private_only()
            .tests_connect_to(PLAIN_PORT)
    }

    /// TLS at the usual port, and no other.
    #[must_use]
    pub fn private_only(self) -> Self {
        self.with_certificates()
            .pod_file_env("PODZERO_TLS_CA_FILE", "tls/ca.crt")
            .pod_file_env("PODZERO_TLS_CERT_FILE", "tls/tls.crt")
            .pod_file_env("PODZERO_TLS_KEY_FILE", "tls/tls.key")
    }
}

/// The right to all channels, which servers have known since 6.2.
fn channels() -> &'static str {
    let server = std::env::var("PODZERO_TEST_SERVER").unwrap_or_default();
    if server == "redis-6.0" { "" } else { "&* " }
}

/// Makes an authority in a folder: `ca.crt` and `ca.key`.
pub fn authority(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let config = folder.join("openssl.conf");
    fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n")?;
    openssl(
        folder,
        &[
            "-subj",
            "/CN=the tests' authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ],
    )
}

/// Signs a certificate for names (`DNS:...` by commas): `tls.crt` and `tls.key` in a pod's folder, each
/// put there at once, as the kubelet does.
pub fn certificate(authority: &Path, folder: &Path, names: &str) -> Result<()> {
    let names = format!("subjectAltName={names}");
    openssl(
        authority,
        &[
            "-subj",
            "/CN=a server",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-keyout",
            "new.key",
            "-out",
            "new.crt",
            "-addext",
            &names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    )?;
    put_in_place(authority, folder)
}

/// The same, of the year 2020.
pub fn expired_certificate(authority: &Path, folder: &Path, names: &str) -> Result<()> {
    // Only this command of openssl's takes a day that is over.
    let config = format!(
        "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n\
         policy=any\nx509_extensions=named\n[any]\ncommonName=supplied\n[named]\n\
         basicConstraints=critical,CA:FALSE\nsubjectAltName={names}\n"
    );
    fs::write(authority.join("expired.conf"), config)?;
    fs::write(authority.join("index"), "")?;
    let sh = "openssl req -new -config openssl.conf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
              -nodes -subj '/CN=a server' -keyout new.key -out new.csr && \
              openssl ca -batch -notext -config expired.conf -cert ca.crt -keyfile ca.key -in new.csr \
              -out new.crt -startdate 20200101000000Z -enddate 20210101000000Z";
    run(Command::new("sh").current_dir(authority).args(["-c", sh]))?;
    put_in_place(authority, folder)
}

fn put_in_place(authority: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let put = |from: &str, to: &str| -> Result<()> {
        let beside = folder.join(format!(".{to}"));
        fs::copy(authority.join(from), &beside)?;
        fs::rename(&beside, folder.join(to)).context("putting a certificate in place")
    };
    put("ca.crt", "ca.crt")?;
    put("new.key", "tls.key")?;
    put("new.crt", "tls.crt")
}

/// The names of all members.
pub fn all_members() -> String {
    format!("DNS:*.{NAME}.{NAMESPACE}.svc.cluster.local")
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args([
        "req",
        "-x509",
        "-config",
        "openssl.conf",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
    ]);
    run(command.args(arguments)).map(|_| ())
}
