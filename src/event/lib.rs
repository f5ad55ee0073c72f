//! The nouns of ingestd: sequence numbers, event ids, batches, outcomes, receipts.
//!
//! No I/O, no async, no threads: every other room may use these words.

mod batch;
mod id;
mod outcome;
mod receipt;
mod seq;
mod units;

pub use batch::{Batch, Entry, Source};
pub use id::{Fingerprint, FingerprintKey, Namespace, content_hash};
pub use outcome::{FieldError, Refusal, RejectCode, Rejection};
pub use receipt::{Durability, Receipt, Verdict};
pub use seq::Seq;
pub use units::UnixMicros;
