//! What a sink says of itself, to whoever asks.

use super::Ledger;
use event::{Seq, UnixMicros};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many failures in a row open the circuit.
const CIRCUIT_FAILURES: u32 = 5;

/// What a sink is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not been reached since the start, and nothing has failed yet.
    Connecting,
    /// Following the log.
    Running,
    /// Something failed that may work again: the same will be tried after a pause.
    Retrying {
        /// Failures since something worked.
        failures: u32,
        /// When the next attempt starts.
        next_attempt: UnixMicros,
    },
    /// It failed several times in a row: it is tried now and then whether it works again.
    CircuitOpen {
        /// Failures since something worked.
        failures: u32,
        /// When the next attempt starts.
        next_attempt: UnixMicros,
    },
    /// An operator has stopped it for a while.
    Paused,
    /// Something is wrong that no attempt will change; an operator has to look.
    Failed {
        /// What is wrong.
        reason: String,
    },
    /// Ended because the daemon stops.
    Stopped,
}

impl State {
    /// The name in `/health` and `/pipeline/status`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Running => "running",
            State::Retrying { .. } => "retrying",
            State::CircuitOpen { .. } => "circuit_open",
            State::Paused => "paused",
            State::Failed { .. } => "failed",
            State::Stopped => "stopped",
        }
    }
}

/// The newest failure; stays after the sink has recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What failed, for a person.
    pub text: String,
    /// When.
    pub at: UnixMicros,
}

/// A sink's figures at one moment. Counts are since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The sink's name.
    pub sink: &'static str,
    /// What it is doing.
    pub state: State,
    /// Since when it is in that state.
    pub since: UnixMicros,
    /// First event it does not have, durable.
    pub cursor: Seq,
    /// First dead letter it does not have; 0 if it takes none.
    pub next_dead: u64,
    /// What became of what is before the cursor, over all starts.
    pub ledger: Ledger,
    /// Events that it was found never to take.
    pub refused: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Rows of the newest batch.
    pub last_rows: u64,
    /// Events delivered.
    pub rows: u64,
    /// Batches delivered: for Parquet, files.
    pub batches: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Events that had to be read from the log, for they had left memory: all of them where the sink does not keep up.
    pub from_log: u64,
    /// Events in the open batch.
    pub in_flight: u64,
    /// Commit time of the oldest event that was taken from the log but is not delivered: the sink's lag in time.
    pub oldest_in_flight: Option<UnixMicros>,
    /// An event that waited to be taken from the log when it was last looked, and when that was committed.
    pub waiting: Option<(Seq, UnixMicros)>,
    /// Stored events that could not be taken apart and went out with what is known of them.
    pub unreadable: u64,
    /// Things removed by retention: for Parquet, files.
    pub expired: u64,
    /// When the newest batch was delivered.
    pub last_delivery: Option<UnixMicros>,
    /// How long the sink took to take that one, or to answer when it was last asked whether it is there.
    pub latency: Option<Duration>,
    /// The newest failure.
    pub last_error: Option<LastError>,
}

/// Where a sink keeps its [`Snapshot`].
#[derive(Debug)]
pub struct Status(Mutex<Snapshot>);

impl Status {
    pub(super) fn new(sink: &'static str) -> Self {
        Status(Mutex::new(Snapshot {
            sink,
            state: State::Connecting,
            since: UnixMicros::now(),
            cursor: Seq::FIRST,
            next_dead: 0,
            ledger: Ledger::new(Seq::FIRST),
            refused: 0,
            failures: 0,
            last_rows: 0,
            rows: 0,
            batches: 0,
            bytes: 0,
            from_log: 0,
            in_flight: 0,
            oldest_in_flight: None,
            waiting: None,
            unreadable: 0,
            expired: 0,
            last_delivery: None,
            latency: None,
            last_error: None,
        }))
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes which event waits to be taken from the log, and when it was committed.
    pub fn set_waiting(&self, waiting: Option<(Seq, UnixMicros)>) {
        self.update(|snapshot| snapshot.waiting = waiting);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes the state, and logs that it did.
    pub(super) fn enter(&self, state: State) {
        self.update(|snapshot| {
            let changed = snapshot.state.as_str() != state.as_str();
            snapshot.state = state;
            if changed {
                snapshot.since = UnixMicros::now();
                tracing::info!(sink = snapshot.sink, state = snapshot.state.as_str(), "sink changed its state");
            }
        });
    }

    pub(super) fn retrying(&self, error: &str, failures: u32, pause: Duration) {
        let now = UnixMicros::now();
        self.note(error);
        self.update(|snapshot| snapshot.failures += 1);
        let next_attempt = now.plus(pause);
        self.enter(match failures {
            0..CIRCUIT_FAILURES => State::Retrying { failures, next_attempt },
            _ => State::CircuitOpen { failures, next_attempt },
        });
    }

    pub(super) fn failed(&self, reason: &str) {
        self.note(reason);
        self.enter(State::Failed { reason: reason.to_owned() });
    }

    /// Records and logs a failure.
    pub(super) fn note(&self, text: &str) {
        self.update(|snapshot| {
            tracing::warn!(sink = snapshot.sink, cursor = snapshot.cursor.get(), error = text, "sink met an error");
            snapshot.last_error = Some(LastError { text: text.to_owned(), at: UnixMicros::now() });
        });
    }
}
