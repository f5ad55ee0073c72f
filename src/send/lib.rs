//! The engine behind `ingestd send FILE…`: sends files of one JSON event per line to a daemon over HTTP.
//!
//! ```text
//!  thread "send-reader"                       current-thread runtime
//!  files ─ decompress ─ lines ─ batches ──▶ bounded channel ──▶ up to --concurrency deliveries
//!                                                               attempt ─ verdict ─┬ answered ─▶ tally ─▶ summary
//!                                                                  ▲               ├ too big: halve ─┐
//!                                                                  └── wait, retry ┴─────────────────┘
//! ```
//!
//! Every line that was read ends in exactly one of accepted, duplicate, rejected and unsent, and the summary's counts
//! balance. There is no state on disk: the daemon answers an event that it already has as a duplicate, so resuming is
//! running the same command again. Memory is bounded by the concurrency and the largest batch, not by the input.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | every line is accepted or a duplicate |
//! | 1 | every line was answered, some were rejected |
//! | 2 | usage: an option, a file or the URL is wrong; nothing was sent |
//! | 3 | some lines are unsent: server unreachable, gave up, or an input could not be read to its end |
//! | 130 | SIGINT: what was in flight was finished, the rest was not sent |
//!
//! [`run`] is the whole command; [`send`] is the engine without terminal and signals.

mod answer;
mod backoff;
mod batch;
mod client;
mod deliver;
mod engine;
mod exit;
mod input;
mod lanes;
mod lines;
mod observer;
mod options;
mod outcome;
mod plan;
mod progress;
mod reader;
mod rejects;
mod render;
mod run;
mod stop;
mod summary;
mod tally;
mod target;
mod token;
mod trust;

pub use exit::Exit;
pub use observer::{Counts, Observer, Silent, Trouble};
pub use options::Options;
pub use plan::{Tuning, UsageError};
pub use render::{json, text};
pub use run::{run, send};
pub use stop::Stop;
pub use summary::{Rejection, Summary, Unsent};
