//! Events as Parquet files that appear whole: the embedded sink's files, without the log they come from.
//!
//! ```text
//! <dir>/date=2024-05-01/00000000000000000001-00000000000000052113.parquet   published: first and last event
//!       date=2024-05-02/.00000000000000052114.parquet.tmp                   being written: no reader sees it
//! ```
//!
//! A [`Folder`] begins a [`Draft`], which takes [`Row`]s, is finished (footer, fsync) and then published (rename, fsync
//! of the directory). What the name says is also in the footer, so that a published file can be told to be the one that
//! was meant. `date` is the UTC date of commit, and the hive-style directory gives it to readers as a column.
//!
//! # Columns
//!
//! | column | Parquet type | content |
//! |---|---|---|
//! | `seq` | INT64 | position in the log: increasing, unique; the rows of a file are sorted by it |
//! | `tenant` | STRING | the owner |
//! | `event_id`, `event_type` | STRING | as in the envelope |
//! | `timestamp` | TIMESTAMP (µs, UTC) | the client's |
//! | `user_id` | STRING, optional | null where the event has none |
//! | `session_id`, `store_id` | STRING | as in the envelope |
//! | `data` | STRING | JSON text, byte for byte as received |
//! | `metadata` | STRING, optional | JSON text, byte for byte as received; null where the event has none |
//! | `raw` | STRING | the whole event, byte for byte as received; never render it |
//! | `received_at`, `committed_at` | TIMESTAMP (µs, UTC) | when the request was read, when the event became durable |
//!
//! * `seq` is signed, though positions are not: an unsigned column turns into a float in pandas as soon as it meets a
//!   signed one, and a difference that goes below zero is an error in DuckDB. 2^63 events are never reached.
//! * `raw` is a string, not binary: what was accepted is valid UTF-8, and as a string DuckDB's and ClickHouse's JSON
//!   functions take it as it is and pandas gives `str`, where binary needs a cast (DuckDB) or a decode (pandas).
//! * Timestamps far from now (a shop's clock may say 9999) are kept exactly; ClickHouse's `DateTime64` ends in 2299.
//! * A row whose `event_id` is empty, which no accepted event has, is a stored event that could not be taken apart:
//!   `raw` holds it, `seq`, `tenant`, `received_at` and `committed_at` are right, `timestamp` is `received_at`, `data`
//!   is `{}` and the other columns hold what is known.
//!
//! # Memory
//!
//! A draft holds up to 1 MiB of rows that are not encoded yet, the compressed pages of the present row group (bounded
//! by rows and bytes, see [`Config`]) and the dictionaries of the few columns that have one.

mod client;
mod config;
mod date;
mod decode;
mod encode;
mod paced;
mod pages;

pub use client::{Draft, FileError, Folder, Found, Published, Survey};
pub use config::{Config, Retention};
pub use date::{DateError, UtcDate};
pub use encode::{FileMark, Row};

#[cfg(test)]
mod tests;
