use std::time::Duration;

/// What an event or a batch may at most be; the defaults are the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest event in bytes, from its opening to its closing brace.
    pub event_bytes_max: usize,
    /// Most events in one batch or WebSocket message.
    pub batch_events_max: usize,
    /// Deepest nesting of `data`, `metadata` and fields outside the contract, each being level 1 itself; values over
    /// [`Limits::DEPTH_CEILING`] count as that.
    pub depth_max: usize,
    /// Longest `eventId`, `sessionId`, `storeId` and `userId` in bytes of UTF-8 after unescaping; values over
    /// [`Limits::ID_CEILING`] count as that.
    pub id_bytes_max: usize,
    /// How far `timestamp` may lie in the future; `None` turns the check off.
    pub future_max: Option<Duration>,
}

impl Limits {
    /// Largest [`Limits::depth_max`]: what is deeper fails the whole text, so that a batch cannot be told apart.
    pub const DEPTH_CEILING: usize = 1_000;
    /// Largest [`Limits::id_bytes_max`]: an id of six-byte escapes still fits the log's 16-bit length.
    pub const ID_CEILING: usize = 8 * 1024;

    pub(crate) fn depth(&self) -> usize {
        self.depth_max.min(Self::DEPTH_CEILING)
    }

    pub(crate) fn id_bytes(&self) -> usize {
        self.id_bytes_max.min(Self::ID_CEILING)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event_bytes_max: 256 * 1024,
            batch_events_max: 1_000,
            depth_max: 32,
            id_bytes_max: 128,
            future_max: Some(Duration::from_secs(24 * 60 * 60)),
        }
    }
}

/// What a request asks of its batch, from the query string or the body's `options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOptions {
    /// Most events, where that is less than [`Limits::batch_events_max`].
    pub max_size: Option<u64>,
    /// Whether one bad event fails them all.
    pub fail_on_error: Option<bool>,
}
