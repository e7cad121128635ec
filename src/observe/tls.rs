//! TLS to servers: the one file that speaks rustls.
//!
//! A server proves itself by a certificate that one of the authorities signed, and that is valid for its
//! pod's stable name. Servers themselves check no name (redis 7.0 `tls.c`: the chain alone), so this is
//! where a stranger with a valid certificate is found out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::der::Decode as _;

use crate::clock;

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Of the authorities (`--tls-ca-file`).
    pub ca: PathBuf,
    /// podzero's own certificate and its key (`--tls-cert-file`, `--tls-key-file`), for servers that
    /// want one of their clients.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path:?} ({flag}): is the Secret mounted there, with that key?")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Who names it.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It holds nothing of the kind.
    #[error("{path:?} ({flag}) holds no {what} in PEM form (-----BEGIN ...)")]
    Nothing {
        /// Which file.
        path: PathBuf,
        /// Who names it.
        flag: &'static str,
        /// What was looked for.
        what: &'static str,
    },
    /// It holds something that cannot be used.
    #[error("{path:?} ({flag}) cannot be used: {why}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Who names it.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

const CA: &str = "--tls-ca-file";
const CERT: &str = "--tls-cert-file";
const KEY: &str = "--tls-key-file";

/// Until when a certificate is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// From then on, since 1970.
    pub from: Duration,
    /// Until then, since 1970.
    pub until: Duration,
    /// Why it is not one of the server that was meant; none for one that is.
    pub unfit: Option<String>,
    /// The whole of it, to tell one from another.
    print: [u8; 32],
}

impl Certificate {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let read = x509_cert::Certificate::from_der(der).ok()?;
        let validity = read.tbs_certificate.validity;
        Some(Self {
            from: validity.not_before.to_unix_duration(),
            until: validity.not_after.to_unix_duration(),
            unfit: None,
            print: Sha256::digest(der).into(),
        })
    }

    /// The first one in a PEM file, as far as that can be read.
    pub fn in_file(path: &Path) -> Option<Self> {
        let first = CertificateDer::pem_file_iter(path).ok()?.next()?;
        Self::read(&first.ok()?)
    }

    /// Whether it is the same one.
    pub fn is(&self, other: &Self) -> bool {
        self.print == other.print
    }

    /// Whether its time has come, and is not over.
    fn in_force(&self, now: Duration) -> Result<(), String> {
        let day = |at: Duration| humantime::format_rfc3339_seconds(UNIX_EPOCH + at);
        if self.until <= now {
            return Err(format!("it was valid until {}", day(self.until)));
        }
        if self.from > now {
            return Err(format!("it is valid from {} on", day(self.from)));
        }
        Ok(())
    }

    /// So close to its end that somebody should know: the last tenth of its time, and no more than the
    /// last 30 days of it.
    pub fn ends_soon(&self, now: Duration) -> bool {
        const MOST: Duration = Duration::from_hours(30 * 24);
        let tenth = self.until.saturating_sub(self.from) / 10;
        now + tenth.min(MOST) >= self.until
    }
}

/// What the files hold, read at once.
struct Loaded {
    /// For servers that have to prove themselves.
    config: Arc<ClientConfig>,
    /// For the own one.
    lenient: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    print: [u8; 32],
    authority: Option<Certificate>,
    own: Option<Certificate>,
}

/// How connections to servers are kept private. Clones share what is valid now.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    loaded: Arc<Mutex<Loaded>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let loaded = load(&files)?;
        Ok(Self {
            files: Arc::new(files),
            loaded: Arc::new(Mutex::new(loaded)),
        })
    }

    /// Reads the files again; says whether they changed. What is in them now is used by new connections.
    /// Where they cannot be used, or not any more, what was read before goes on.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let loaded = load(&self.files)?;
        let mut now = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = now.print != loaded.print;
        let today = Duration::from_secs(clock::unix_seconds());
        if let (Some(before), Some(new)) = (&now.own, &loaded.own)
            && before.in_force(today).is_ok()
            && let Err(why) = new.in_force(today)
        {
            return Err(TlsError::Unusable {
                path: self.own_file().unwrap_or(&self.files.ca).to_owned(),
                flag: CERT,
                why,
            });
        }
        if changed {
            *now = loaded;
        }
        Ok(changed)
    }

    /// Where podzero's own certificate is.
    pub fn own_file(&self) -> Option<&Path> {
        self.files.own.as_ref().map(|(cert, _)| cert.as_path())
    }

    /// podzero's own certificate.
    pub fn own(&self) -> Option<Certificate> {
        let now = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        now.own.clone()
    }

    /// The authority's certificate that ends first.
    pub fn authority(&self) -> Option<Certificate> {
        let now = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        now.authority.clone()
    }

    /// Whether podzero's own certificate would do for a server of that name.
    pub fn own_fits(&self, name: &str) -> Result<(), String> {
        let now = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
        fits(&now.verifier, &now.chain, &name)
    }

    /// Shakes hands with the server that is to be called so. This pod's own server need not prove it: what
    /// is wrong with its certificate is told with it.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        name: &str,
        own: bool,
    ) -> std::io::Result<(TlsStream<TcpStream>, Option<Certificate>)> {
        let (config, verifier) = {
            let now = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            let config = if own { &now.lenient } else { &now.config };
            (Arc::clone(config), Arc::clone(&now.verifier))
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|e: InvalidDnsNameError| std::io::Error::other(e))?;
        let connector = TlsConnector::from(config);
        let stream = connector.connect(name.clone(), stream).await?;
        let (_, session) = stream.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        let certificate = chain.first().and_then(Certificate::read);
        let certificate = certificate.map(|certificate| Certificate {
            unfit: fits(&verifier, chain, &name).err(),
            ..certificate
        });
        Ok((stream, certificate))
    }
}

fn fits(
    verifier: &WebPkiServerVerifier,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> Result<(), String> {
    let (leaf, others) = chain.split_first().ok_or("there is none")?;
    verifier
        .verify_server_cert(leaf, others, name, &[], UnixTime::now())
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// For the pod's own server: whoever answers is taken for it, as long as it has the key of what it shows.
#[derive(Debug)]
struct Lenient(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn load(files: &Files) -> Result<Loaded, TlsError> {
    let ca = File::read(&files.ca, CA)?;
    let own = match &files.own {
        Some((cert, key)) => Some((File::read(cert, CERT)?, File::read(key, KEY)?)),
        None => None,
    };
    let mut print = Sha256::new();
    let all = own.iter().flat_map(|(cert, key)| [cert, key]);
    for file in std::iter::once(&ca).chain(all) {
        print.update(file.bytes.len().to_be_bytes());
        print.update(&file.bytes);
    }
    let authorities = ca.certificates()?;
    let authority = authorities.iter().filter_map(Certificate::read);
    let authority = authority.min_by_key(|certificate| certificate.until);
    let mut roots = RootCertStore::empty();
    for (number, certificate) in authorities.into_iter().enumerate() {
        let damaged = |_| ca.unusable(&format!("certificate {} in it is damaged", number + 1));
        roots.add(certificate).map_err(damaged)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.build().map_err(|e| ca.unusable(&e))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ca.unusable(&e))?
        .with_webpki_verifier(Arc::clone(&verifier));
    let (config, chain) = match own {
        None => (builder.with_no_client_auth(), Vec::new()),
        Some((cert, key)) => {
            let chain = cert.certificates()?;
            let config = builder
                .with_client_auth_cert(chain.clone(), key.key()?)
                .map_err(|e| cert.unusable(&format!("{e} (is it the key's certificate?)")))?;
            (config, chain)
        }
    };
    let own = chain.first().and_then(Certificate::read);
    let mut lenient = config.clone();
    let anybody = Arc::new(Lenient(Arc::clone(&verifier)));
    lenient.dangerous().set_certificate_verifier(anybody);
    // What was not verified is never gone on with where it must be.
    lenient.resumption = Resumption::disabled();
    Ok(Loaded {
        config: Arc::new(config),
        lenient: Arc::new(lenient),
        verifier,
        chain,
        print: print.finalize().into(),
        authority,
        own,
    })
}

struct File<'a> {
    path: &'a Path,
    flag: &'static str,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(path: &'a Path, flag: &'static str) -> Result<Self, TlsError> {
        let bytes = std::fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            flag,
            source,
        })?;
        Ok(Self { path, flag, bytes })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all = CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|e| self.unusable(&e))?;
        if all.is_empty() {
            return Err(self.nothing("certificate"));
        }
        Ok(all)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        // What the parser says of a key could repeat some of it.
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| self.nothing("private key"))
    }

    fn nothing(&self, what: &'static str) -> TlsError {
        TlsError::Nothing {
            path: self.path.to_owned(),
            flag: self.flag,
            what,
        }
    }

    fn unusable(&self, why: &dyn fmt::Display) -> TlsError {
        TlsError::Unusable {
            path: self.path.to_owned(),
            flag: self.flag,
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_warned_has_time_left() {
        const DAY: u64 = 24 * 3600;
        let from = Duration::from_secs(1000 * DAY);
        let soon = |days: u64, hours_left: u64| {
            let until = from + Duration::from_secs(days * DAY);
            let certificate = Certificate {
                from,
                until,
                unfit: None,
                print: [0; 32],
            };
            certificate.ends_soon(until.saturating_sub(Duration::from_hours(hours_left)))
        };
        // cert-manager's 90 days are renewed when 30 are left; a day's certificate is one too.
        assert!(!soon(90, 30 * 24) && !soon(90, 10 * 24) && soon(90, 8 * 24));
        assert!(!soon(1, 3) && soon(1, 2) && soon(1, 0));
        assert!(!soon(3650, 31 * 24) && soon(3650, 29 * 24));
    }

    #[test]
    fn what_is_no_certificate_is_refused_by_flag_and_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let refused = |text: Option<&str>| {
            let _ = std::fs::remove_file(&path);
            if let Some(text) = text {
                std::fs::write(&path, text).expect("written");
            }
            let files = Files {
                ca: path.clone(),
                own: None,
            };
            let error = Tls::load(files).expect_err("refused").to_string();
            error.replace(&folder.path().display().to_string(), "DIR")
        };
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let all = [None, Some(""), Some("x"), Some(broken)].map(refused);
        insta::assert_snapshot!(all.join("\n"), @r#"
        cannot read "DIR/file" (--tls-ca-file): is the Secret mounted there, with that key?
        "DIR/file" (--tls-ca-file) holds no certificate in PEM form (-----BEGIN ...)
        "DIR/file" (--tls-ca-file) holds no certificate in PEM form (-----BEGIN ...)
        "DIR/file" (--tls-ca-file) cannot be used: certificate 1 in it is damaged
        "#);
    }
}
