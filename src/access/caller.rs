//! On whose behalf a request or a WebSocket is.

use std::net::IpAddr;

/// Who a request comes from, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The owner of its events: ids, limits and confirmations are kept apart by it.
    pub tenant: Box<str>,
    /// The address that it comes from: the peer's, or whom a trusted proxy names.
    pub address: IpAddr,
}

impl Caller {
    /// Somebody who has not said who it is, where nobody has to.
    #[must_use]
    pub fn anonymous(address: IpAddr) -> Self {
        Caller { tenant: record::DEFAULT_TENANT.into(), address }
    }

    /// What tells its API key from others, where it has shown one. Nobody is asked for one so far.
    #[must_use]
    pub fn key(&self) -> Option<u64> {
        None
    }
}
