use std::fmt;

/// Why an event can never be accepted as it is. The names are part of the API: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectCode {
    /// The text is not JSON (RFC 8259), or not UTF-8, or has something after the value.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// A required field is not there.
    MissingField,
    /// A field has another JSON type than it must.
    WrongType,
    /// A string is empty or longer than its field allows.
    InvalidLength,
    /// One of the envelope's keys stands twice: which one counts would be a guess.
    DuplicateKey,
    /// `eventType` is none of the built-in or registered ones.
    UnknownEventType,
    /// `timestamp` is not RFC 3339.
    InvalidTimestamp,
    /// `timestamp` lies before 1970.
    TimestampTooOld,
    /// `timestamp` lies further in the future than allowed.
    TimestampInFuture,
    /// The value is nested deeper than allowed.
    TooDeep,
    /// The event is larger than allowed.
    EventTooLarge,
    /// The WebSocket envelope and its payload carry different ids.
    IdMismatch,
    /// A WebSocket message of a `type` that does not exist.
    UnknownMessageType,
    /// A WebSocket message carries more events than allowed.
    BatchTooLarge,
    /// A member has none of the values it may have.
    InvalidValue,
}

impl RejectCode {
    /// The code as clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectCode::InvalidJson => "invalid_json",
            RejectCode::NotAnObject => "not_an_object",
            RejectCode::MissingField => "missing_field",
            RejectCode::WrongType => "wrong_type",
            RejectCode::InvalidLength => "invalid_length",
            RejectCode::DuplicateKey => "duplicate_key",
            RejectCode::UnknownEventType => "unknown_event_type",
            RejectCode::InvalidTimestamp => "invalid_timestamp",
            RejectCode::TimestampTooOld => "timestamp_too_old",
            RejectCode::TimestampInFuture => "timestamp_in_future",
            RejectCode::TooDeep => "too_deep",
            RejectCode::EventTooLarge => "event_too_large",
            RejectCode::IdMismatch => "id_mismatch",
            RejectCode::UnknownMessageType => "unknown_message_type",
            RejectCode::BatchTooLarge => "batch_too_large",
            RejectCode::InvalidValue => "invalid_value",
        }
    }

    /// Every code, in a fixed order: the label set of the metrics.
    pub const ALL: [RejectCode; 16] = [
        RejectCode::InvalidJson,
        RejectCode::NotAnObject,
        RejectCode::MissingField,
        RejectCode::WrongType,
        RejectCode::InvalidLength,
        RejectCode::DuplicateKey,
        RejectCode::UnknownEventType,
        RejectCode::InvalidTimestamp,
        RejectCode::TimestampTooOld,
        RejectCode::TimestampInFuture,
        RejectCode::TooDeep,
        RejectCode::EventTooLarge,
        RejectCode::IdMismatch,
        RejectCode::UnknownMessageType,
        RejectCode::BatchTooLarge,
        RejectCode::InvalidValue,
    ];
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong with an event, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// RFC 6901 pointer into the event; empty for the event itself.
    pub pointer: String,
    /// What is wrong there, for a person; never contains the client's data.
    pub detail: String,
}

/// A rejected event: everything that is wrong with it, the first problem giving the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, for programs.
    pub code: RejectCode,
    /// The event's id, unescaped, where one could be read.
    pub event_id: Option<String>,
    /// All problems found, at least one.
    pub errors: Vec<FieldError>,
}

impl Rejection {
    /// A rejection for one problem.
    #[must_use]
    pub fn new(code: RejectCode, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Rejection { code, event_id: None, errors: vec![FieldError { pointer: pointer.into(), detail: detail.into() }] }
    }

    /// The first problem.
    #[must_use]
    pub fn first(&self) -> &FieldError {
        &self.errors[0]
    }
}

/// Why an event is not taken now, though it may be later. The names are part of the API: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// All slots or bytes between socket and log are in use.
    Overloaded,
    /// The disk has less free space than the configured reserve.
    DiskReserve,
    /// The log has grown to its configured size because a sink is behind.
    LogBudget,
    /// The daemon is stopping.
    ShuttingDown,
    /// Another event of an all-or-nothing batch was rejected.
    BatchAborted,
    /// A write or sync of the log failed; the daemon stops.
    StorageFailed,
    /// The outcome is unknown; sending again is safe, duplicates are dropped.
    Unknown,
    /// A write or sync of the log does not return: the disk hangs.
    LogStalled,
    /// A client, a key or a tenant sends faster than it may.
    RateLimited,
    /// The tenant has sent all that it may on this day.
    QuotaExceeded,
    /// What one address has on its way is more than its share of what there is for all.
    AddressShare,
}

impl Refusal {
    /// Every reason, in a fixed order: the label set of the metrics.
    pub const ALL: [Refusal; 11] = [
        Refusal::Overloaded,
        Refusal::DiskReserve,
        Refusal::LogBudget,
        Refusal::ShuttingDown,
        Refusal::BatchAborted,
        Refusal::StorageFailed,
        Refusal::Unknown,
        Refusal::LogStalled,
        Refusal::RateLimited,
        Refusal::QuotaExceeded,
        Refusal::AddressShare,
    ];

    /// The reason as clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Overloaded => "overloaded",
            Refusal::DiskReserve => "disk_reserve",
            Refusal::LogBudget => "log_budget",
            Refusal::ShuttingDown => "shutting_down",
            Refusal::BatchAborted => "batch_aborted",
            Refusal::StorageFailed => "storage_failed",
            Refusal::Unknown => "unknown",
            Refusal::LogStalled => "log_stalled",
            Refusal::RateLimited => "rate_limited",
            Refusal::QuotaExceeded => "quota_exceeded",
            Refusal::AddressShare => "address_share",
        }
    }
}

impl Refusal {
    /// Whether the event may be stored all the same.
    #[must_use]
    pub const fn may_be_stored(self) -> bool {
        matches!(self, Refusal::Unknown | Refusal::StorageFailed)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
