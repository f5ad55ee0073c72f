use crate::codes::{self, Class};
use std::fmt;

/// What kind of thing went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A row is refused: [`crate::Client::isolate`] finds it.
    Row {
        /// The first column that the server names.
        column: Option<String>,
    },
    /// The table, or the server's idea of it, is not what this sink writes to; no row is to blame.
    Schema,
    /// Wrong user or password, missing rights, a read-only user.
    Auth,
    /// The server's disk is full or fails.
    Disk,
    /// The server is out of memory, or of what the user may take.
    Memory,
    /// The server cannot merge as fast as batches arrive: fewer and larger ones, later.
    TooManyParts,
    /// The server cannot be reached, or does not want more work now.
    Unavailable,
    /// The connection was cut, the time was up, or the server said something that does not tell.
    Unclear,
}

/// Whether a batch that failed may be in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is not.
    NotApplied,
    /// It may be: it is to be sent again to the same server under the same token, and to no other.
    Unknown,
}

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Find the rows that are refused.
    Isolate,
    /// Send the same again, after a pause that grows.
    Retry,
    /// As [`Remedy::Retry`], and send less often from then on.
    SlowDown,
    /// An operator has to look; trying again changes nothing.
    Final,
}

/// A statement that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {message}")]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: Kind,
    /// Whether the batch may be in the table all the same; [`Outcome::NotApplied`] for what changes nothing.
    pub outcome: Outcome,
    /// The server's number for the error.
    pub code: Option<u32>,
    /// The server, as configured.
    pub host: String,
    /// What it said, without values of rows.
    pub message: String,
}

impl Failure {
    /// What is to be done.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self.kind {
            Kind::Row { .. } => Remedy::Isolate,
            Kind::Schema | Kind::Auth => Remedy::Final,
            Kind::TooManyParts => Remedy::SlowDown,
            Kind::Disk | Kind::Memory | Kind::Unavailable | Kind::Unclear => Remedy::Retry,
        }
    }

    /// Whether another server may do better.
    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self.kind, Kind::Disk | Kind::Memory | Kind::Unavailable | Kind::Unclear)
    }

    /// Something that this sink finds wrong with a table or the configuration.
    pub(crate) fn schema(host: &str, message: impl fmt::Display) -> Self {
        Failure {
            kind: Kind::Schema,
            outcome: Outcome::NotApplied,
            code: None,
            host: host.to_owned(),
            message: message.to_string(),
        }
    }

    /// Makes sense of what the client library returned.
    pub(crate) fn of(host: &str, error: &clickhouse::error::Error) -> Self {
        use clickhouse::error::Error;
        let text = match error {
            Error::BadResponse(text) => text.clone(),
            other => chain(other),
        };
        let failure = |kind, outcome, code| Failure {
            kind,
            outcome,
            code,
            host: host.to_owned(),
            message: codes::without_values(&text).to_owned(),
        };
        match error {
            Error::BadResponse(text) => match codes::code(text) {
                Some(code) => {
                    let (kind, outcome) = by_code(code, text);
                    failure(kind, outcome, Some(code))
                }
                // A proxy's page, for one.
                None => failure(Kind::Unclear, Outcome::Unknown, None),
            },
            Error::Network(cause) if is_connect(cause.as_ref()) => {
                failure(Kind::Unavailable, Outcome::NotApplied, None)
            }
            Error::InvalidParams(_) | Error::Unsupported(_) => failure(Kind::Schema, Outcome::NotApplied, None),
            _ => failure(Kind::Unclear, Outcome::Unknown, None),
        }
    }

    /// Nothing was changed by this statement, whatever became of it.
    pub(crate) fn of_reading(mut self) -> Self {
        self.outcome = Outcome::NotApplied;
        if self.kind == Kind::Unclear {
            self.kind = Kind::Unavailable;
        }
        self
    }

    /// The time was up.
    pub(crate) fn late(host: &str) -> Self {
        Self::of(host, &clickhouse::error::Error::TimedOut)
    }
}

fn by_code(code: u32, text: &str) -> (Kind, Outcome) {
    match codes::class(code, text) {
        Class::Auth => (Kind::Auth, Outcome::NotApplied),
        Class::Unavailable => (Kind::Unavailable, Outcome::NotApplied),
        // These may also hit what comes after the table has the rows, such as a view on it.
        Class::Schema => (Kind::Schema, Outcome::Unknown),
        Class::Row => (Kind::Row { column: codes::column(text) }, Outcome::Unknown),
        Class::TooManyParts => (Kind::TooManyParts, Outcome::Unknown),
        Class::Disk => (Kind::Disk, Outcome::Unknown),
        Class::Memory => (Kind::Memory, Outcome::Unknown),
        Class::Unclear => (Kind::Unclear, Outcome::Unknown),
    }
}

fn is_connect(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// An error with all of its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}
