//! Certificate, key and authorities, read and held against each other.

use super::settings::{ClientAuth, MinVersion, TlsSettings};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, crypto, version};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What we speak above TLS, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// For so long before a certificate ends its operator is told.
pub const EXPIRY_WARNING: Duration = Duration::from_hours(14 * 24);

/// Why files make no identity. Each names the file, and so what to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", file.display())]
    Unreadable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file is no PEM, or what it should hold is not in it.
    #[error("{} holds no {wanted}: {cause}", file.display())]
    Unusable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong with what it holds.
        cause: String,
    },
    /// Key and certificate are not a pair.
    #[error("the key in {} does not belong to the certificate in {}", key_file.display(), cert_file.display())]
    Mismatch {
        /// The key's file.
        key_file: PathBuf,
        /// The certificate's.
        cert_file: PathBuf,
    },
    /// The certificate does not hold now.
    #[error("the certificate in {} {why}", file.display())]
    OutOfTime {
        /// The file.
        file: PathBuf,
        /// Since when or until when.
        why: Validity,
    },
}

impl TlsError {
    /// The key of the configuration that names what is wrong.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            TlsError::Unreadable { key, .. } | TlsError::Unusable { key, .. } => key,
            TlsError::Mismatch { .. } => "tls.key_file",
            TlsError::OutOfTime { .. } => "tls.cert_file",
        }
    }
}

/// How a certificate stands to the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It begins at that moment, which is ahead.
    NotYet(SystemTime),
    /// It holds for so long.
    For(Duration),
    /// It ended at that moment.
    Over(SystemTime),
}

impl std::fmt::Display for Validity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Validity::NotYet(from) => write!(f, "holds only from {} on", httpdate::fmt_http_date(*from)),
            Validity::For(left) => write!(f, "holds for {} more days", left.as_secs() / 86_400),
            Validity::Over(at) => write!(f, "has expired on {}", httpdate::fmt_http_date(*at)),
        }
    }
}

/// Who we are to our peers, and whom we ask who they are.
pub struct Identity {
    pub(super) config: Arc<ServerConfig>,
    /// The settings it was read by.
    pub(super) settings: TlsSettings,
    /// The files as they were before they were read.
    pub(super) stamps: Vec<Stamp>,
    not_before: i64,
    not_after: i64,
}

/// What tells one file from the next at the same path; a link is followed.
pub(super) type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl TlsSettings {
    /// Reads the files and holds them against each other. That the certificate holds now is not asked: see
    /// [`Identity::in_time`].
    ///
    /// # Errors
    /// [`TlsError`], with the file and the cause.
    pub fn load(&self) -> Result<Identity, TlsError> {
        let stamps = self.stamps();
        let chain = certificates("tls.cert_file", &self.cert_file)?;
        let (not_before, not_after) = period(&self.cert_file, &chain)?;
        let key = private_key(&self.key_file)?;
        let provider = Arc::new(crypto::ring::default_provider());
        let versions: &[_] = match self.min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let unusable = |error: rustls::Error| self.unusable_key(&error);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).map_err(unusable)?;
        let builder = match self.client_verifier(&provider)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        // With keys of their own: after a change nobody resumes what the files of before allowed.
        config.ticketer = crypto::ring::Ticketer::new().map_err(unusable)?;
        Ok(Identity { config: Arc::new(config), settings: self.clone(), stamps, not_before, not_after })
    }

    /// How the files are now.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        self.files().map(stamp).collect()
    }

    fn unusable_key(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { key_file: self.key_file.clone(), cert_file: self.cert_file.clone() }
            }
            error => TlsError::Unusable {
                key: "tls.key_file",
                file: self.key_file.clone(),
                wanted: "key that can be used with the certificate",
                cause: error.to_string(),
            },
        }
    }

    fn client_verifier(
        &self,
        provider: &Arc<crypto::CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if self.client_auth == ClientAuth::None {
            return Ok(None);
        }
        let unusable = |cause: String| TlsError::Unusable {
            key: "tls.client_ca_file",
            file: self.client_ca_file.clone(),
            wanted: "authority that certificates could be held to",
            cause,
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates("tls.client_ca_file", &self.client_ca_file)? {
            roots.add(authority).map_err(|error| unusable(error.to_string()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match self.client_auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            _ => builder,
        };
        builder.build().map(Some).map_err(|error| unusable(error.to_string()))
    }
}

impl Identity {
    /// How the certificate stands to `now`.
    #[must_use]
    pub fn validity(&self, now: SystemTime) -> Validity {
        let (from, until) = (moment(self.not_before), moment(self.not_after));
        match until.duration_since(now) {
            _ if now < from => Validity::NotYet(from),
            Ok(left) => Validity::For(left),
            Err(_) => Validity::Over(until),
        }
    }

    /// Itself, if the certificate holds now.
    ///
    /// # Errors
    /// [`TlsError::OutOfTime`].
    pub fn in_time(self) -> Result<Self, TlsError> {
        match self.validity(SystemTime::now()) {
            Validity::For(_) => Ok(self),
            why => Err(TlsError::OutOfTime { file: self.settings.cert_file, why }),
        }
    }

    /// When the certificate ends, UNIX seconds.
    #[must_use]
    pub const fn ends(&self) -> i64 {
        self.not_after
    }
}

fn moment(unix_seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds.max(0).unsigned_abs())
}

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|cause| TlsError::Unreadable { key, file: file.to_owned(), cause })
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable =
        |cause: String| TlsError::Unusable { key, file: file.to_owned(), wanted: "certificate in PEM form", cause };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(key, file)?).collect();
    let found = found.map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() { Err(unusable("there is no section CERTIFICATE".into())) } else { Ok(found) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = "tls.key_file";
    PrivateKeyDer::from_pem_slice(&read(key, file)?).map_err(|error| TlsError::Unusable {
        key,
        file: file.to_owned(),
        wanted: "private key in PEM form",
        cause: match error {
            pem::Error::NoItemsFound => "there is no section PRIVATE KEY (one with a passphrase does not count)".into(),
            error => error.to_string(),
        },
    })
}

/// From when until when the first certificate holds, UNIX seconds.
fn period(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(i64, i64), TlsError> {
    let first = chain.first().map(|first| first.as_ref()).unwrap_or_default();
    let (_, certificate) = x509_parser::parse_x509_certificate(first).map_err(|error| TlsError::Unusable {
        key: "tls.cert_file",
        file: file.to_owned(),
        wanted: "certificate that can be read",
        cause: error.to_string(),
    })?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}
