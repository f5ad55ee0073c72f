//! What TLS is to be like.

use std::path::PathBuf;

/// Whether a client shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// It is not asked.
    #[default]
    None,
    /// It may; one that is shown must be good.
    Optional,
    /// It must.
    Required,
}

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Files and choices; what the files hold is read by [`TlsSettings::load`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// PEM file of our certificate, the authorities between it and the root behind it.
    pub cert_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
    /// PEM file of the authorities whose certificates clients may show.
    pub client_ca_file: PathBuf,
    /// Whether clients show one.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

impl TlsSettings {
    /// The files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let authorities = (self.client_auth != ClientAuth::None).then_some(&self.client_ca_file);
        [&self.cert_file, &self.key_file].into_iter().chain(authorities)
    }
}
