//! The sections of `config.toml`, each key with its unit in its name. The defaults here are the documented ones.

use event::Durability;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// `error`, `warn`, `info`, `debug` or `trace`, or a tracing filter.
    pub log_level: String,
    /// Listening.
    pub server: ServerSection,
    /// What an event, a batch, a connection may be.
    pub limits: LimitsSection,
    /// The write-ahead log.
    pub log: LogSection,
    /// The duplicate filter.
    pub dedup: DedupSection,
    /// The embedded sink.
    pub parquet: ParquetSection,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("data"),
            log_level: "info".into(),
            server: ServerSection::default(),
            limits: LimitsSection::default(),
            log: LogSection::default(),
            dedup: DedupSection::default(),
            parquet: ParquetSection::default(),
        }
    }
}

/// Listening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Address of HTTP and WebSocket; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Must be true to listen beyond loopback while no authentication is configured.
    pub allow_unauthenticated: bool,
    /// Acceptor threads; 0 means one per core.
    pub acceptors: usize,
    /// Open connections over all acceptors.
    pub connections_max: usize,
    /// Time for a request's head, and between requests, seconds.
    pub head_timeout_s: u64,
    /// Time for a request's body, seconds.
    pub body_timeout_s: u64,
    /// Time between WebSocket pings, seconds; after two without an answer the peer counts as dead.
    pub ping_interval_s: u64,
    /// Time for a WebSocket client to take what is written to it, seconds.
    pub write_timeout_s: u64,
    /// Time for requests under way when the daemon stops, seconds.
    pub drain_timeout_s: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        ServerSection {
            listen: SocketAddr::from(([127, 0, 0, 1], 3001)),
            allow_unauthenticated: false,
            acceptors: 0,
            connections_max: 100_000,
            head_timeout_s: 30,
            body_timeout_s: 30,
            ping_interval_s: 30,
            write_timeout_s: 60,
            drain_timeout_s: 20,
        }
    }
}

/// What an event, a batch, a request may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Largest event, bytes.
    pub event_bytes_max: usize,
    /// Largest body or WebSocket message after unpacking, bytes.
    pub body_bytes_max: usize,
    /// Most events in one batch.
    pub batch_events_max: usize,
    /// Deepest nesting of `data`.
    pub depth_max: usize,
    /// How far a timestamp may lie in the future, seconds; 0 turns the check off.
    pub future_max_s: u64,
    /// Requests between socket and log.
    pub inflight_requests_max: usize,
    /// Bytes between socket and log.
    pub inflight_bytes_max: usize,
    /// Idempotency keys that are remembered.
    pub idempotency_keys_max: usize,
    /// Bytes of the answers that are remembered for them.
    pub idempotency_bytes_max: u64,
    /// How long an idempotency key is remembered, seconds.
    pub idempotency_age_s: u64,
    /// Bytes of dead letters kept per tenant.
    pub dead_letter_bytes_max: u64,
    /// How long a dead letter is kept, seconds.
    pub dead_letter_age_s: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        LimitsSection {
            event_bytes_max: 256 << 10,
            body_bytes_max: 8 << 20,
            batch_events_max: 1000,
            depth_max: 32,
            future_max_s: 24 * 60 * 60,
            inflight_requests_max: 16_384,
            inflight_bytes_max: 256 << 20,
            idempotency_keys_max: 1_000_000,
            idempotency_bytes_max: 256 << 20,
            idempotency_age_s: 24 * 60 * 60,
            dead_letter_bytes_max: 64 << 20,
            dead_letter_age_s: 30 * 24 * 60 * 60,
        }
    }
}

/// A durability level by its name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityName {
    /// See [`Durability::Fsync`].
    Fsync,
    /// See [`Durability::Interval`].
    Interval,
    /// See [`Durability::Os`].
    Os,
}

impl From<DurabilityName> for Durability {
    fn from(name: DurabilityName) -> Self {
        match name {
            DurabilityName::Fsync => Durability::Fsync,
            DurabilityName::Interval => Durability::Interval,
            DurabilityName::Os => Durability::Os,
        }
    }
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// What an answer promises.
    pub durability: DurabilityName,
    /// Time between syncs where `durability` is `interval`, milliseconds.
    pub sync_interval_ms: u64,
    /// Free disk space below which events are refused, bytes.
    pub disk_reserve_bytes: u64,
    /// Size of the log above which events are refused, bytes; 0 means no limit but the disk.
    pub budget_bytes: u64,
    /// How long events are kept after every sink has them, seconds.
    pub hold_s: u64,
    /// Most events of one commit.
    pub group_events_max: usize,
    /// Finished WAL files that are kept to be overwritten.
    pub recycled_files: usize,
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection {
            durability: DurabilityName::Fsync,
            sync_interval_ms: 100,
            disk_reserve_bytes: 1 << 30,
            budget_bytes: 0,
            hold_s: 60 * 60,
            group_events_max: 4096,
            recycled_files: 4,
        }
    }
}

/// The duplicate filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupSection {
    /// How long an id is remembered, seconds.
    pub window_s: u64,
    /// Memory for ids, bytes; over it the oldest move to disk.
    pub budget_bytes: u64,
}

impl Default for DedupSection {
    fn default() -> Self {
        DedupSection { window_s: 60 * 60, budget_bytes: 1 << 30 }
    }
}

/// The embedded sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetSection {
    /// Whether Parquet files are written.
    pub enabled: bool,
    /// Size at which a file is finished, bytes.
    pub roll_bytes: u64,
    /// Age at which a file is finished, seconds.
    pub roll_s: u64,
}

impl Default for ParquetSection {
    fn default() -> Self {
        ParquetSection { enabled: true, roll_bytes: 128 << 20, roll_s: 60 }
    }
}
