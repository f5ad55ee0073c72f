//! What a request may be and how long it may take: what a reload of the configuration replaces, all of it at once.

use prepare::Limits;
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
