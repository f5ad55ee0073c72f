use super::TraceContext;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A span's id; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub(super) u64);

impl SpanId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        SpanId(rand::random::<u64>().max(1))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which side of a call a span is, as OTLP numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A part of the work.
    Internal = 1,
    /// A request that was answered.
    Server = 2,
    /// A request that was made.
    Client = 3,
}

/// What a span says of itself; never anything that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// A word.
    Text(&'static str, &'static str),
    /// A count.
    Number(&'static str, u64),
}

/// A finished piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace and its own id.
    pub context: TraceContext,
    /// Whose part it is.
    pub parent: Option<SpanId>,
    /// What was done.
    pub name: &'static str,
    /// Which side of a call it is.
    pub kind: Kind,
    /// When it began, nanoseconds since 1970.
    pub start_nanos: u64,
    /// When it ended, nanoseconds since 1970.
    pub end_nanos: u64,
    /// What it says of itself.
    pub attributes: Vec<Attribute>,
    /// Others that it was done for.
    pub links: Vec<TraceContext>,
    /// Whether it failed by our doing.
    pub failed: bool,
}

/// The wall clock's time of a moment, nanoseconds since 1970.
pub(super) fn unix_nanos(moment: Instant) -> u64 {
    let ago = moment.elapsed();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.saturating_sub(ago).as_nanos() as u64
}
