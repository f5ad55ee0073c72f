//! The audit log: who has changed what, and what came of it; append-only, and a cut or an edit shows.
//!
//! `audit.log` in the data folder, one JSON object a line:
//!
//! ```json
//! {"seq":7,"time":"…Z","actor":{"via":"socket","uid":0,"gid":0,"pid":4711},"action":"pause","target":"kafka",
//!  "outcome":"begun","of":null,"details":{},"previous":"…"}
//! ```
//!
//! - `seq` counts from 1 without gaps, over all files and starts.
//! - `previous` is the SHA-256 of the line before, without its line feed: what is edited, taken out or put in between no
//!   longer fits what follows. `audit.head` holds `seq` and SHA-256 of the newest line, so that a cut end shows, too.
//! - What takes time, or can fail, is two entries: `begun`, synced before anything is done, and `done` or `failed`, synced
//!   before the answer, which names the first one's `seq` in `of`. A `begun` alone: the daemon ended in between.
//! - `via`: `socket` (with the peer's ids), `http`, `signal`, `start`, or `daemon` for what nobody has asked for: the log's own
//!   work, keys and certificates whose files have changed.
//!
//! At `audit.file_bytes_max` the file becomes `audit-FIRST.log`, FIRST being its first `seq`; of those only as many are kept
//! as `audit.files_max` says. The entry `rotate`, which the new file begins with, says up to where entries were removed: older
//! ones that are missing beyond that were taken away by somebody else.
//!
//! Whoever may write the folder can write a whole new chain; [`Verdict::head`] noted elsewhere shows that, too.

mod entry;
mod files;
mod log;
mod query;
#[cfg(test)]
mod tests;
mod verify;

pub use entry::{Actor, Entry, Outcome, Via};
pub use log::{AuditLog, Limits};
pub use query::Query;
pub use verify::Verdict;
