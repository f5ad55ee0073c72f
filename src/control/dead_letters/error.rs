use crate::access::{Failure, Scope};
use event::Refusal;
use std::time::Duration;

/// Why a dead letter is not shown or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
    /// There is none of that id.
    #[error("there is no dead letter {0}: it was purged, has aged away, or never was")]
    Missing(u64),
    /// It is not what was written.
    #[error("dead letter {0} cannot be read: run `ingestd wal verify` once the daemon is stopped")]
    Unreadable(u64),
    /// The question makes no sense.
    #[error("{0}")]
    Question(String),
    /// It is in a state in which that cannot be done.
    #[error("{0}")]
    Conflict(String),
    /// The bytes are too many.
    #[error("the event is larger than {0} bytes (limits.event_bytes_max)")]
    TooLarge(usize),
    /// The tenant's room for dead letters is used up.
    #[error("the tenant's room for dead letters (limits.dead_letter_bytes_max) is used up: purge some first")]
    Full,
    /// The log does not take it now.
    #[error("the log takes nothing now ({0}): try again")]
    Refused(Refusal),
    /// It was not its turn in time, or what it is about could not be read.
    #[error("its turn did not come within {} s (server.request_timeout_s), and nothing was done: try again", .0.as_secs())]
    Late(Duration),
    /// Whoever asks may no longer do so.
    #[error("the credential is no longer taken ({}): nothing was done", .0.as_str())]
    TurnedAway(Failure, Scope),
    /// Whoever asks changes more than the audit log takes of one caller.
    #[error(
        "of one caller the audit log takes 1,000 orders at once that change something, and one a second: nothing was done; \
         order many at once (`POST /dead-letters/replay`, `/purge`), or use `ingestd admin dead-letters`"
    )]
    TooMany(Duration),
    /// The audit log cannot be written.
    #[error("the audit log cannot be written: {0}")]
    NotRecorded(String),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] wal::ReadError),
}

impl From<Refusal> for LetterError {
    fn from(refusal: Refusal) -> Self {
        LetterError::Refused(refusal)
    }
}

impl LetterError {
    pub(super) fn question(text: impl Into<String>) -> Self {
        LetterError::Question(text.into())
    }
}
