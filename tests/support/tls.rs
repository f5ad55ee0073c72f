//! Certificates of the tests' own making, and who believes in them.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, crypto};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM form.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// One for `localhost` and 127.0.0.1 that ends in so many days, or ended so many days ago.
    pub fn server(&self, days: i64) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let (now, span) = (SystemTime::now(), DAY * u32::try_from(days.unsigned_abs()).unwrap());
        params.not_before = (now - DAY * 365).into();
        params.not_after = (if days < 0 { now - span } else { now + span }).into();
        self.sign(params)
    }

    /// One for a client of that name.
    pub fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &*self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that believes in this authority, and shows a certificate if it has one.
    pub fn trusted(&self, shown: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

/// A folder with a certificate as `certbot` lays it: links to what is current.
pub struct Files {
    dir: tempfile::TempDir,
    generation: std::cell::Cell<u32>,
}

impl Files {
    pub fn new(pair: &Pair) -> Self {
        let files = Files { dir: tempfile::tempdir().unwrap(), generation: std::cell::Cell::new(0) };
        files.renew(pair);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Puts another pair in place: new files, then the links.
    pub fn renew(&self, pair: &Pair) {
        self.generation.set(self.generation.get() + 1);
        for (link, text) in [("cert.pem", &pair.certificate), ("key.pem", &pair.key)] {
            let file = self.write(&format!("{}-{link}", self.generation.get()), text);
            self.link(link, &file);
        }
    }

    fn link(&self, link: &str, file: &Path) {
        let new = self.path("new");
        std::os::unix::fs::symlink(file, &new).unwrap();
        std::fs::rename(new, self.path(link)).unwrap();
    }

    /// The environment that has a daemon use them.
    pub fn env(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        vec![
            ("INGESTD_TLS_ENABLED".into(), "true".into()),
            ("INGESTD_TLS_CERT_FILE".into(), path("cert.pem")),
            ("INGESTD_TLS_KEY_FILE".into(), path("key.pem")),
        ]
    }
}
