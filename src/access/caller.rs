//! On whose behalf a request or a WebSocket is.

use super::key::KeyId;
use std::net::IpAddr;

/// Who a request comes from, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The owner of its events: ids, limits and confirmations are kept apart by it.
    pub tenant: Box<str>,
    /// The address that it comes from: the peer's, or whom a trusted proxy names.
    pub address: IpAddr,
    /// What it has shown.
    pub credential: Credential,
    /// Whom its JWT was made for (`sub`), if it has shown one that says so.
    pub subject: Option<Box<str>>,
    /// The subject of the client's certificate (RFC 4514), if it has shown one that was verified.
    pub certificate: Option<Box<str>>,
    /// The proxy whose PROXY protocol header its connection began with, where it began with one.
    pub behind: Option<IpAddr>,
}

/// By what somebody is known; enough to see later whether that still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Nothing was asked for.
    None,
    /// An API key.
    Key(KeyId),
    /// A JWT.
    Jwt {
        /// When it ends, seconds since 1970, before any leeway.
        expires_at_s: u64,
        /// The fingerprint of the key that its signature is by, and of what is asked of such tokens.
        signer: u128,
    },
}

impl Caller {
    /// Somebody who has not said who it is, where nobody has to.
    #[must_use]
    pub fn anonymous(address: IpAddr) -> Self {
        let (tenant, credential) = (record::DEFAULT_TENANT.into(), Credential::None);
        Caller { tenant, address, credential, subject: None, certificate: None, behind: None }
    }

    /// What tells its API key from others, where it has shown one.
    #[must_use]
    pub fn key(&self) -> Option<u64> {
        match self.credential {
            Credential::Key(KeyId(id)) => Some(id),
            Credential::None | Credential::Jwt { .. } => None,
        }
    }
}
