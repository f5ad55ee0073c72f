//! From bytes to a batch ready to commit: parsing and checking what clients sent. Pure and synchronous.
//!
//! One pass of simd-json over a copy of the body makes a *tape* of its values. The strings on the tape point into the
//! copy, which gives each value's place in the body (`span`); the rules are checked on the tape (`validate`), and
//! the bytes of each good event go from the body into the batch exactly as they were received.
//!
//! ```text
//! body ──copy──► reader: tape + places ──► validate: rules ──► record + entry in Batch        (good)
//!   │                 │ fails                    └───────────► Rejection with every problem   (bad)
//!   │                 └──► repair: huge numbers, half surrogate pairs, once more
//!   └──────────────────── bytes as received ───────────────────► record
//! ```
#![doc = include_str!("../../docs/json.md")]
//!
//! # What a WebSocket envelope supplies
//!
//! `eventId` and `timestamp` beside the payload stand in where an event lacks them (or has null there), and are
//! stored beside its bytes. An event with a timestamp of its own keeps it. One id cannot name several events:
//! `id_mismatch`, as for an id that differs from the event's own.
//!
//! # The processed form
//!
//! What sinks give to those who show events to people is made from the stored bytes: [`processed`] takes an event apart
//! and writes its envelope and its `data` and `metadata` anew, with every string and key as [`sanitise`] says. The raw
//! form is never touched, and ids and keys by which sinks find and partition events are the raw ones.
//!
//! # Memory
//!
//! A parser keeps what bodies up to 2 MiB need. While a larger one is parsed it takes, per byte of body, 2 bytes of
//! copies and for real events some 6 of tape and index; at worst, for a body of one-digit numbers, some 18 (and 32 of
//! address space). All of it is given back after the call. Nothing recurses. [`parsing_bytes`] tells before the call where it
//! will be unusually much, so that a caller can have it wait for others of its kind.

mod append;
mod batch;
mod kind;
mod limits;
mod message;
mod parser;
pub mod processed;
mod reader;
mod repair;
pub mod sanitise;
mod span;
mod timestamp;
mod validate;

pub use batch::{BatchError, BatchSummary, Failure, parsing_bytes_of_lines};
pub use kind::{EVENT_TYPES, OTHER_TYPE, event_type_number};
pub use limits::{BatchOptions, Limits};
pub use message::{Channel, Message, Subscription};
pub use parser::Parser;
pub use reader::parsing_bytes;
pub use timestamp::{TIMESTAMP_BYTES_MAX, TimestampError, parse_timestamp};

#[cfg(test)]
mod tests;
