//! Events as rows in ClickHouse, each exactly once: the sink's tables and inserts, without the log they come from.
//!
//! ```text
//! Row ─► Batch: one table, partition, origin ─► insert(target, token) ─► one block, one part, one token
//!                                                   │ a row is refused ─► isolate: halves under derived tokens
//!                                                   │ outcome unknown ──► insert again: same target, token and rows
//!                                                   └ from an earlier run ► settle: count first
//! ```
//!
//! # How a row comes to be there once
//!
//! A server remembers the tokens of a table's last [`ddl::WINDOW_INSERTS`] inserts, durably, and drops a block whose
//! token it knows. So whoever sends must keep to three rules, for which this crate has the means:
//!
//! 1. What is sent under a token never changes. The shipper freezes {range, token, [`Target`]} before the first byte; a
//!    [`Batch`] cannot span a [`Partition`], so it is one part, which is there as a whole or not at all.
//! 2. As long as an [`Outcome`] is unknown, the batch goes to no server but the one that may have it. Servers with
//!    `Replicated…` tables know each other's tokens: there [`Target::Any`] is right.
//! 3. A repeat does not rely on the token alone, which may be forgotten: it is [settled](Client::settle), which counts
//!    first, by node, incarnation and position, which are in every row. The token then covers what cannot be counted
//!    yet: the first attempt, if it is still on its way.
//!
//! # How a shipper uses this
//!
//! 1. Start: [`Client::prepare`] makes, migrates and examines the tables, and fails with one line that says what is
//!    wrong and which SQL mends it; [`Client::check`] tells the warnings, too. [`Client::newest`] from the cursor's
//!    moment on: an incarnation that the log's history lacks, or a position beyond the log's end, means a clone or a
//!    restored copy, and nothing may be sent.
//! 2. Leftovers: each frozen batch in the manifest is built again from the log, exactly as it was cut, and
//!    [settled](Client::settle) on its stored target under its stored token.
//! 3. [`Batch::push`] rows until it [is full](Batch::is_full), is old enough, the next row is not
//!    [admitted](Batch::admits), or the next row is of another incarnation.
//! 4. Before the first byte, store durably: the table, [`Span`]'s origin and range, the positions within it that are left
//!    out, a token that is used for these rows and never for others (node, incarnation, range), the [`Client::target`]
//!    of this moment, and the versions of what the rows are made with. Nothing of it changes until the batch is done.
//! 5. [`Client::insert`]. Done: advance the cursor and drop the manifest in one write. Failed, by [`Failure::remedy`]:
//!    * [`Remedy::Isolate`]: [`Client::isolate`], same target and token; store the dead letters it returns, the cursor
//!      and the manifest's end in one write. It may be broken off and done again.
//!    * [`Remedy::Retry`], [`Remedy::SlowDown`]: after a pause [`Client::settle`], same target and token, as often as it
//!      takes; also when settling failed. [`Settled::Completed`] comes with refused rows, treated as those of isolating.
//!      If it fails with [`Remedy::Isolate`], isolate. A batch whose first insert failed with [`Outcome::NotApplied`],
//!      and none after it, may be frozen anew, with another target and token.
//!    * [`Remedy::Final`]: stop and say so; after the operator resumes, begin at 1, the frozen batch still being a leftover.
//!
//! # Errors
//!
//! [`Failure`] says what kind of thing went wrong, whether the batch may be there all the same, and what is to be done.
//! Only a short list of the server's error numbers (`codes.rs`) means that a row is to blame; what has to do with
//! rights, disk, memory or the table's columns never costs a row. Texts of failures hold no values of rows.
//!
//! # Tables
//!
//! | column | type | table | content |
//! |---|---|---|---|
//! | `node` | UUID | all | random id of the node |
//! | `incarnation` | UInt64 | all | random id of the daemon's start that committed the row |
//! | `seq` | UInt64 | all | position in the log; in `events_errors` null for what was rejected |
//! | `dead_seq` | UInt64 | errors | position among the dead letters |
//! | `tenant`, `source` | LowCardinality(String) | all | the owner, the way in |
//! | `event_id`, `event_type`, `user_id`, `session_id`, `store_id` | String | all, some | as in the envelope; in `events_errors` type and store are empty for what was rejected |
//! | `timestamp` | DateTime64(3, 'UTC') | raw, processed | the client's |
//! | `received_at`, `committed_at` | DateTime64(6, 'UTC') | all | when it was read, when it became durable |
//! | `raw` | String | raw, errors | the bytes as received; never render them |
//! | `schema_version`, `data`, `metadata`, `enriched` | UInt32, String | processed | the processed form; JSON text |
//! | `sink`, `code`, `pointer`, `message` | String | errors | who could not take it, and why |
//!
//! [`ddl`] has the statements and says why the tables are laid out as they are. A table's comment has the version of
//! its layout, by which [`Client::prepare`] makes, migrates or refuses it. A timestamp beyond the year 2299 is stored
//! exactly, but a server writes it as its latest date.
//!
//! On a cluster, batches go to the local `Replicated…` tables of one shard; `Distributed` tables, made where
//! [`Cluster::distributed_suffix`] is set, are for readers.

mod batch;
mod check;
mod client;
mod codes;
mod config;
mod count;
pub mod ddl;
mod encode;
mod failure;
mod insert;
mod isolate;
mod layout;
mod partition;
mod settings;
mod table;

pub use batch::{Batch, Misfit, Origin, Span};
pub use check::{Problem, Severity, VERSION_MIN};
pub use client::{Client, SetupError, Target};
pub use config::{Cluster, Config, ConfigError, Names};
pub use count::Held;
pub use encode::{ErrorRow, EventRow, ProcessedRow, RawRow, Row};
pub use failure::{Failure, Kind, Outcome, Remedy};
pub use isolate::{Refused, Settled};
pub use layout::Prepared;
pub use partition::Partition;
pub use table::{Column, Table};

#[cfg(test)]
mod tests;
