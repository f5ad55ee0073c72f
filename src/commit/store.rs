//! Where groups become durable.

use event::{Durability, Seq};
use std::time::Duration;
use wal::{CommitError, Group};

/// Where groups become durable: the log, or a bench's stand-in for it.
pub trait Store: Send + 'static {
    /// The position the next event gets.
    fn next(&self) -> Seq;
    /// Makes a group durable.
    ///
    /// # Errors
    /// The first failure, which is final.
    fn commit(&mut self, group: &Group<'_>) -> Result<(), CommitError>;
    /// How long the newest group's write to the log's file and its sync took, where it was synced and that is known.
    fn sync_took(&self) -> Option<Duration> {
        None
    }
    /// What a returned commit promises.
    fn durability(&self) -> Durability;
    /// Ends cleanly.
    ///
    /// # Errors
    /// The first failure.
    fn close(self) -> Result<(), CommitError>;
}

impl Store for wal::Writer {
    fn next(&self) -> Seq {
        wal::Writer::next(self)
    }

    fn commit(&mut self, group: &Group<'_>) -> Result<(), CommitError> {
        wal::Writer::commit(self, group)
    }

    fn sync_took(&self) -> Option<Duration> {
        wal::Writer::sync_took(self)
    }

    fn durability(&self) -> Durability {
        wal::Writer::durability(self)
    }

    fn close(self) -> Result<(), CommitError> {
        wal::Writer::close(self)
    }
}
