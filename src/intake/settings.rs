//! What a request may be and how long it may take: what a reload of the configuration replaces, all of it at once.

use super::cors::Cors;
use super::share::ShareLimits;
use crate::access::limits::Policy;
use crate::net::Proxies;
use prepare::Limits;
use std::net::IpAddr;
use std::time::Duration;

/// What holds for requests that begin now, and for connections that are opened now.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits of events and batches.
    pub limits: Limits,
    /// Largest request body or WebSocket message, unpacked.
    pub body_bytes_max: usize,
    /// How long clients may take.
    pub deadlines: Deadlines,
    /// Peers that are believed when they name others.
    pub proxies: Proxies,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Open connections of one address; 0 stands for no limit.
    pub connections_per_address_max: usize,
    /// What one address may hold of what has not arrived.
    pub share: ShareLimits,
    /// Bytes of large answers that are not read, of all connections, with which no further one is begun.
    pub unread_bytes_max: usize,
    /// How much a client may send.
    pub policy: Policy,
    /// How that is written in answers.
    pub policy_field: Box<str>,
    /// Pages that may send.
    pub cors: Cors,
}

impl Settings {
    /// Whether a connection may begin as one has: with the header of this proxy, or with none.
    pub(super) fn takes(&self, proxy: Option<IpAddr>) -> bool {
        match proxy {
            Some(proxy) => self.proxy_protocol && self.proxies.trusts(proxy),
            None => !self.proxy_protocol,
        }
    }
}

impl Default for Settings {
    /// No limits but of sizes and times, for pages of all sites.
    fn default() -> Self {
        Settings {
            limits: Limits::default(),
            body_bytes_max: 8 << 20,
            deadlines: Deadlines::default(),
            proxies: Proxies::default(),
            proxy_protocol: false,
            connections_per_address_max: 0,
            share: ShareLimits::new(100, usize::MAX, usize::MAX, 8 << 20),
            unread_bytes_max: 64 << 20,
            policy: Policy::default(),
            policy_field: Box::default(),
            cors: Cors::anybody(),
        }
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the connection (or the last answer) to the end of a request's head.
    pub head: Duration,
    /// For a request's body.
    pub body: Duration,
    /// Between WebSocket pings.
    pub ping: Duration,
    /// For a client to take what is written to it.
    pub write: Duration,
    /// For the log to take a request that is whole.
    pub request: Duration,
    /// For the sinks that `?ack=` waits for.
    pub ack: Duration,
    /// For what is under way when the daemon stops.
    pub drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            write: Duration::from_secs(60),
            request: Duration::from_secs(30),
            ack: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}
