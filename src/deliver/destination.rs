use super::failure_code::FailureCode;
use super::verify::Census;
use super::{Cursor, Manifest};
use crate::commit::DeadLetter;
use event::{Seq, UnixMicros};
use record::EventView;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::Incarnation;

/// Why a sink cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It may work later: a full disk, a server that is away.
    #[error("{0}")]
    Retry(String),
    /// The same, and nothing of the batch has left: it may be cut anew, and go elsewhere.
    #[error("{0}")]
    Unsent(String),
    /// It will not work later: an operator has to look. Made by [`Fault::of`].
    #[error("{0}")]
    Final(String),
    /// The sink has more, or less, than was thought: it is to be [started](Destination::start) again.
    #[error("the sink is elsewhere than was thought")]
    Elsewhere,
    /// It can never take these events; nothing of the batch was delivered.
    #[error("{} events are refused, the first because: {}", .0.len(), .0.first().map_or("", |first| &first.detail))]
    Refused(Vec<Refused>),
}

impl Fault {
    /// A final fault: its reason begins with the code.
    #[must_use]
    pub fn of(code: FailureCode, reason: impl std::fmt::Display) -> Self {
        Fault::Final(format!("{}: {reason}", code.as_str()))
    }
}

/// An event that a sink can never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its position.
    pub seq: Seq,
    /// Why, in a word.
    pub code: String,
    /// Where: a column, a topic.
    pub pointer: String,
    /// Why, for a person; holds nothing of the event.
    pub detail: String,
}

/// A delivered batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// Its size in the sink.
    pub bytes: u64,
    /// What the sink could never take; it has all the others.
    pub refused: Vec<Refused>,
}

/// What all events of a block share, and what a dead letter has alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The start of the daemon that committed it.
    pub incarnation: u64,
    /// When it was committed.
    pub committed_at: UnixMicros,
}

/// A dead letter on its way to a sink.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Its id: dead letters are counted densely.
    pub id: u64,
    /// What is known of it.
    pub head: &'a DeadLetter,
    /// The bytes as received.
    pub raw: &'a [u8],
}

/// What a sink must know to begin.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Where it goes on, as far as the log knows.
    pub cursor: Cursor,
    /// How far the sink itself says that it has everything, where that is before the cursor: what lies between was given
    /// up, or the sink is new. `None` once it has been told.
    pub passed: Option<Cursor>,
    /// Whether an operator has said that the cursor is right, whatever is in the sink.
    pub adopts: bool,
    /// When an operator has last said that: what was committed before is in the sink by right.
    pub reconciled_at: UnixMicros,
    /// The next event and dead letter of the log: nobody can have more.
    pub end: Cursor,
    /// When what comes before the cursor was committed; zero where nothing does.
    pub since: UnixMicros,
    /// All starts of the daemon that wrote something, oldest first.
    pub history: &'a [Incarnation],
    /// Those that wrote dead letters, whether or not they are in the history.
    pub dead_letter_starts: &'a [u64],
    /// Batches that were frozen and whose outcome is not known, oldest first.
    pub frozen: &'a [Manifest],
}

impl Start<'_> {
    /// Whether the sink has never been reached, as far as the log knows.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.passed.is_some_and(|passed| passed.next == Seq::FIRST)
    }
}

/// Where a shipper brings batches, each of events or of dead letters. Calls may block: a shipper has a thread of its own.
///
/// One batch is open at a time; after an error it is [discarded](Destination::discard) and built again from the log.
pub trait Destination: Send + 'static {
    /// The sink's name: in the configuration, in its cursor and in `/pipeline/status`.
    const NAME: &'static str;

    /// Whether a batch's range must be durable before it is sent: for sinks that do not tell how far they have
    /// everything.
    const FREEZES: bool;

    /// Whether it is to get dead letters, too.
    const TAKES_DEAD: bool;

    /// How long commits gather before they are read.
    const LINGER: Duration;

    /// How far the sink itself says that it has everything, before a start tells it otherwise, once nothing more can arrive;
    /// `None` where it does not tell.
    ///
    /// # Errors
    /// As [`Destination::start`].
    fn look(&mut self, _: &Start<'_>) -> impl Future<Output = Result<Option<Cursor>, Fault>> {
        std::future::ready(Ok(None))
    }

    /// Gets ready, before anything is sent and again after each fault: checks that what is there fits the cursor and
    /// what is on its way, and clears away what a crash left. Returns where to go on: at the cursor or after it.
    ///
    /// # Errors
    /// [`Fault::Final`] when the sink holds what this log did not send.
    fn start(&mut self, start: &Start<'_>) -> impl Future<Output = Result<Cursor, Fault>>;

    /// Whether what was committed there and then may join the open batch; always true while there is none.
    fn admits(&self, origin: Origin) -> bool;

    /// Adds an event to the open batch, opening one if need be.
    ///
    /// # Errors
    /// [`Fault`]; the batch is then discarded.
    fn add(&mut self, event: &EventView<'_>, origin: Origin) -> Result<(), Fault>;

    /// Passes over an event, in its turn, that is a dead letter of this sink.
    fn pass(&mut self, seq: Seq, origin: Origin);

    /// Adds a dead letter to the open batch, which has no events.
    ///
    /// # Errors
    /// [`Fault`]; the batch is then discarded.
    fn add_dead(&mut self, letter: &Letter<'_>, origin: Origin) -> Result<(), Fault>;

    /// Rows in the open batch.
    fn rows(&self) -> u64;

    /// Commit time of the first row of the open batch.
    fn oldest(&self) -> Option<UnixMicros>;

    /// Whether the open batch is large enough.
    fn is_full(&self) -> bool;

    /// When the open batch is to be sent though it is not full.
    fn due(&self) -> Option<Instant>;

    /// Ends the open batch, which has at least one row, and says what it is; nothing is sent yet. `as_before`: what it
    /// was when it was frozen for the first time.
    ///
    /// # Errors
    /// [`Fault`]; the batch is then discarded.
    fn freeze(&mut self, as_before: Option<&Manifest>) -> Result<Manifest, Fault>;

    /// Whether the sink has that very batch already, where that can be told without the batch.
    ///
    /// # Errors
    /// [`Fault`] when that cannot be found out.
    fn find(&mut self, batch: &Manifest) -> impl Future<Output = Result<Option<Sent>, Fault>>;

    /// Sends the frozen batch; returns once the sink has it for good. `again`: somebody may have sent it before.
    ///
    /// # Errors
    /// [`Fault`]; unless it is [`Fault::Refused`], the sink has it or not.
    fn send(&mut self, batch: &Manifest, again: bool) -> impl Future<Output = Result<Sent, Fault>>;

    /// How many events of a batch that was given up, while nobody knew whether it had arrived, are there all the same.
    ///
    /// # Errors
    /// [`Fault`] when that cannot be found out.
    fn count(&mut self, batch: &Manifest) -> impl Future<Output = Result<u64, Fault>>;

    /// Whether the sink can still be reached, while there is nothing to send.
    ///
    /// # Errors
    /// [`Fault`] when it cannot.
    fn ping(&mut self) -> impl Future<Output = Result<(), Fault>>;

    /// Gives up the open or frozen batch.
    fn discard(&mut self);

    /// An operator says that what made it fail is mended.
    fn revive(&mut self);

    /// Clean-up from time to time, such as retention; returns how many things were removed.
    ///
    /// # Errors
    /// [`Fault`], which is noted and holds nothing up.
    fn tidy(&mut self) -> Result<u64, Fault>;

    /// Stored events, since the last call, that could not be taken apart.
    fn take_unreadable(&mut self) -> u64;

    /// Counts what is there, beside the shipper.
    fn census(&self) -> Arc<dyn Census>;
}
