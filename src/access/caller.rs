//! On whose behalf a request or a WebSocket is.

use std::net::IpAddr;

/// Who a request comes from, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The owner of its events: ids, limits and confirmations are kept apart by it.
    pub tenant: Box<str>,
    /// The address that the connection comes from.
    pub address: IpAddr,
    /// The subject of the client's certificate (RFC 4514), if it has shown one that was verified.
    pub certificate: Option<Box<str>>,
}

impl Caller {
    /// Somebody who has not said who it is, where nobody has to.
    #[must_use]
    pub fn anonymous(address: IpAddr) -> Self {
        Caller { tenant: record::DEFAULT_TENANT.into(), address, certificate: None }
    }
}
