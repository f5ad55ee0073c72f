use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why nobody's certificate could be held to anything.
#[derive(Debug, thiserror::Error)]
#[error("no certificate authority in {}: {cause}", from.as_ref().map_or("what the system trusts".into(), |file| file.display().to_string()))]
pub(crate) struct TrustError {
    from: Option<PathBuf>,
    cause: String,
}

/// Trusts the authorities in `file`, else those that the system trusts.
pub(crate) fn trust(file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let failed = |cause: &dyn fmt::Display| TrustError { from: file.map(Into::into), cause: cause.to_string() };
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
            }
        }
        None => {
            // Some of what a system has may be too old to be read.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(failed(&"there is none"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| failed(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
