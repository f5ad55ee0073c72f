//! Proof rigs for ingestd: does it keep what it acknowledged, exactly once, whatever happens to it?
//!
//! The rigs know the daemon only from outside: HTTP, process control, the `wal` commands and the parquet files. A run
//! goes the same way in every scenario:
//!
//! ```text
//!  load ── writes each request and answer down ──► ledger ─┐
//!    │                                                     ├─► audit ──► Report
//!  daemon ◄── kill, power cut, failing disk, damage        │
//!    └── `wal dump`, parquet files ──► what is stored ─────┘
//! ```
//!
//! [`ledger`] holds what was promised, [`audit`] compares it with what is stored, [`scenario`] tells each story, and
//! `standin/` is a small daemon with bugs that can be switched on, by which the rigs are shown to notice them.

pub mod audit;
pub mod cli;
pub mod clickhouse;
pub mod columns;
pub mod daemon;
pub mod damage;
pub mod event;
pub mod guest;
pub mod http;
pub mod kafka;
pub mod ledger;
pub mod load;
pub mod report;
pub mod resend;
pub mod rng;
pub mod scenario;
pub mod server;
pub mod shim;
pub mod shipped;
pub mod socket;
pub mod space;
mod stream_load;
pub mod uml;
