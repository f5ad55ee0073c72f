use super::Manifest;
use event::{Seq, UnixMicros};
use record::EventView;
use std::time::Instant;

/// Why a sink cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It may work later: a full disk, a server that is away.
    #[error("{0}")]
    Retry(String),
    /// It will not work later: an operator has to look.
    #[error("{0}")]
    Final(String),
}

/// A delivered batch, for the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its size in the sink.
    pub bytes: u64,
}

/// Where a shipper brings batches of events. Calls may block: a shipper has a thread of its own.
///
/// One batch is open at a time; after an error it is [discarded](Destination::discard) and built again from the log.
pub trait Destination: Send + 'static {
    /// The sink's name: in the configuration, in its cursor and in `/pipeline/status`.
    const NAME: &'static str;

    /// Checks, before anything is sent, that what is there fits the cursor and what is on its way; clears away what a
    /// crash left.
    ///
    /// # Errors
    /// [`Fault::Final`] when the sink holds what this log did not send.
    fn start(&mut self, cursor: Seq, frozen: &[Manifest]) -> Result<(), Fault>;

    /// Whether events committed then may join the open batch; always true while there is none.
    fn admits(&self, committed_at: UnixMicros) -> bool;

    /// Adds an event to the open batch, opening one if need be.
    ///
    /// # Errors
    /// [`Fault`]; the batch is then discarded.
    fn add(&mut self, event: &EventView<'_>) -> Result<(), Fault>;

    /// Events in the open batch.
    fn rows(&self) -> u64;

    /// Commit time of the first event of the open batch.
    fn oldest(&self) -> Option<UnixMicros>;

    /// Whether the open batch is large enough.
    fn is_full(&self) -> bool;

    /// When the open batch is to be sent though it is not full.
    fn due(&self) -> Option<Instant>;

    /// Ends the open batch, which has at least one event, and says what it is; nothing is sent yet.
    ///
    /// # Errors
    /// [`Fault`]; the batch is then discarded.
    fn freeze(&mut self, incarnation: u64) -> Result<Manifest, Fault>;

    /// Whether the sink has that very batch already.
    ///
    /// # Errors
    /// [`Fault`] when that cannot be found out.
    fn find(&mut self, batch: &Manifest) -> Result<Option<Sent>, Fault>;

    /// Sends the frozen batch; returns once the sink has it for good.
    ///
    /// # Errors
    /// [`Fault`]; the sink has it or not, [`Destination::find`] tells.
    fn send(&mut self, batch: &Manifest) -> Result<Sent, Fault>;

    /// Gives up the open or frozen batch.
    fn discard(&mut self);

    /// Clean-up from time to time, such as retention; returns how many things were removed.
    ///
    /// # Errors
    /// [`Fault`], which is noted and holds nothing up.
    fn tidy(&mut self) -> Result<u64, Fault>;

    /// Stored events, since the last call, that could not be taken apart.
    fn take_unreadable(&mut self) -> u64;
}
