//! The sections of `config.toml`, each key with its unit in its name. The defaults here are the documented ones.

use super::auth::AuthSection;
use crate::net::tls::{ClientAuth, MinVersion, TlsSettings};
use event::Durability;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
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
    /// How lines of the log look.
    pub log_format: LogFormat,
    /// Listening.
    pub server: ServerSection,
    /// Who may come in.
    pub auth: AuthSection,
    /// TLS on the port of intake.
    pub tls: TlsSection,
    /// What an event, a batch, a connection may be.
    pub limits: LimitsSection,
    /// How much clients may send.
    pub rate_limits: RateLimitsSection,
    /// Which pages may send.
    pub cors: CorsSection,
    /// The write-ahead log.
    pub log: LogSection,
    /// The duplicate filter.
    pub dedup: DedupSection,
    /// The embedded sink.
    pub parquet: ParquetSection,
    /// Tables in ClickHouse.
    pub clickhouse: ClickHouseSection,
    /// Topics in Kafka.
    pub kafka: KafkaSection,
    /// Steering it.
    pub admin: AdminSection,
    /// Who has changed what.
    pub audit: AuditSection,
    /// Traces.
    pub traces: TracesSection,
    /// Alerts that the daemon tells by itself.
    pub alerts: AlertsSection,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("data"),
            log_level: "info".into(),
            log_format: LogFormat::Auto,
            server: ServerSection::default(),
            auth: AuthSection::default(),
            tls: TlsSection::default(),
            limits: LimitsSection::default(),
            rate_limits: RateLimitsSection::default(),
            cors: CorsSection::default(),
            log: LogSection::default(),
            dedup: DedupSection::default(),
            parquet: ParquetSection::default(),
            clickhouse: ClickHouseSection::default(),
            kafka: KafkaSection::default(),
            admin: AdminSection::default(),
            audit: AuditSection::default(),
            traces: TracesSection::default(),
            alerts: AlertsSection::default(),
        }
    }
}

/// How lines of the log look, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// To the journal where standard error is connected to it, else as text.
    Auto,
    /// To standard error, for people.
    Text,
    /// To standard error, one JSON object a line.
    Json,
    /// To the journal, each field one of its own.
    Journald,
}

/// Listening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Address of HTTP and WebSocket; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Must be true to listen beyond loopback while no authentication is configured.
    pub allow_unauthenticated: bool,
    /// Where health and figures are answered instead of with intake.
    pub admin_listen: OptionalAddress,
    /// Must be true for that to be beyond loopback.
    pub admin_allow_unauthenticated: bool,
    /// Acceptor threads; 0 means one per core.
    pub acceptors: usize,
    /// Open connections over all acceptors.
    pub connections_max: usize,
    /// Open connections of one address; 0 means no limit.
    pub connections_per_address_max: usize,
    /// Proxies that are believed when they say whom they speak for: addresses and networks.
    pub trusted_proxies: Vec<String>,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Bits of an IPv6 address that make one client.
    pub ipv6_prefix_bits: u8,
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
    /// Time for the log to take a request that is whole, seconds; after it the outcome is unknown.
    pub request_timeout_s: u64,
    /// Time for the sinks that `?ack=` waits for, seconds.
    pub ack_timeout_s: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        ServerSection {
            listen: SocketAddr::from(([127, 0, 0, 1], 3001)),
            allow_unauthenticated: false,
            admin_listen: OptionalAddress::default(),
            admin_allow_unauthenticated: false,
            acceptors: 0,
            connections_max: 100_000,
            connections_per_address_max: 0,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            ipv6_prefix_bits: 64,
            head_timeout_s: 30,
            body_timeout_s: 30,
            ping_interval_s: 30,
            write_timeout_s: 60,
            drain_timeout_s: 20,
            request_timeout_s: 30,
            ack_timeout_s: 30,
        }
    }
}

/// An address, or none: an empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct OptionalAddress(pub Option<SocketAddr>);

impl TryFrom<Cow<'_, str>> for OptionalAddress {
    type Error = String;

    fn try_from(text: Cow<'_, str>) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(OptionalAddress(None));
        }
        let address = text.parse().map_err(|_| format!("\"{text}\" is no address such as 127.0.0.1:9001"))?;
        Ok(OptionalAddress(Some(address)))
    }
}

impl From<OptionalAddress> for String {
    fn from(address: OptionalAddress) -> Self {
        address.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthName {
    /// They are not asked.
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersionName {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// TLS on the port of intake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    /// Whether the port speaks TLS, and nothing else.
    pub enabled: bool,
    /// PEM file of the certificate, what is between it and the root behind it.
    pub cert_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
    /// PEM file of the authorities of clients' certificates.
    pub client_ca_file: PathBuf,
    /// Whether clients show one.
    pub client_auth: ClientAuthName,
    /// The oldest version that is spoken.
    pub min_version: TlsVersionName,
}

impl Default for TlsSection {
    fn default() -> Self {
        TlsSection {
            enabled: false,
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            client_auth: ClientAuthName::None,
            min_version: TlsVersionName::Tls12,
        }
    }
}

impl TlsSection {
    /// The same as sockets take it.
    #[must_use]
    pub fn settings(&self) -> TlsSettings {
        TlsSettings {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            client_ca_file: self.client_ca_file.clone(),
            client_auth: match self.client_auth {
                ClientAuthName::None => ClientAuth::None,
                ClientAuthName::Optional => ClientAuth::Optional,
                ClientAuthName::Required => ClientAuth::Required,
            },
            min_version: match self.min_version {
                TlsVersionName::Tls12 => MinVersion::Tls12,
                TlsVersionName::Tls13 => MinVersion::Tls13,
            },
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
    /// Longest `eventId`, `sessionId`, `storeId` and `userId`, bytes.
    pub id_bytes_max: usize,
    /// How far a timestamp may lie in the future, seconds; 0 turns the check off.
    pub future_max_s: u64,
    /// Requests between socket and log.
    pub inflight_requests_max: usize,
    /// Bytes between socket and log.
    pub inflight_bytes_max: usize,
    /// What one address may hold of these with bodies that have not arrived, percent.
    pub address_share_percent: u8,
    /// Requests that wait for sinks.
    pub ack_waiters_max: usize,
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
            id_bytes_max: 128,
            future_max_s: 24 * 60 * 60,
            inflight_requests_max: 16_384,
            inflight_bytes_max: 256 << 20,
            address_share_percent: 25,
            ack_waiters_max: 10_000,
            idempotency_keys_max: 1_000_000,
            idempotency_bytes_max: 256 << 20,
            idempotency_age_s: 24 * 60 * 60,
            dead_letter_bytes_max: 64 << 20,
            dead_letter_age_s: 30 * 24 * 60 * 60,
        }
    }
}

/// How much clients may send; 0 means no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitsSection {
    /// Requests of one address.
    pub address_requests_per_s: u64,
    /// Events of one address.
    pub address_events_per_s: u64,
    /// Requests with one API key.
    pub key_requests_per_s: u64,
    /// Events with one API key.
    pub key_events_per_s: u64,
    /// Requests of one tenant.
    pub tenant_requests_per_s: u64,
    /// Events of one tenant.
    pub tenant_events_per_s: u64,
    /// Events of one tenant on one day (UTC).
    pub tenant_events_per_day: u64,
    /// How much may come at once, as the seconds in which it comes anew.
    pub burst_s: u64,
    /// Addresses that are remembered.
    pub addresses_max: usize,
}

impl Default for RateLimitsSection {
    fn default() -> Self {
        RateLimitsSection {
            address_requests_per_s: 0,
            address_events_per_s: 0,
            key_requests_per_s: 0,
            key_events_per_s: 0,
            tenant_requests_per_s: 0,
            tenant_events_per_s: 0,
            tenant_events_per_day: 0,
            burst_s: 10,
            addresses_max: 1 << 16,
        }
    }
}

/// Which pages may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsSection {
    /// Origins, or `*` for all.
    pub allowed_origins: Vec<String>,
    /// Whether pages may send with cookies and other credentials of the browser's.
    pub allow_credentials: bool,
    /// How long a browser may remember what it was allowed, seconds.
    pub max_age_s: u64,
}

impl Default for CorsSection {
    fn default() -> Self {
        CorsSection { allowed_origins: vec!["*".into()], allow_credentials: false, max_age_s: 24 * 60 * 60 }
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
    /// How long files are kept after their day, in days; 0 for ever.
    pub keep_days: u64,
    /// How many bytes of files are kept; 0 for any number.
    pub keep_bytes: u64,
}

impl Default for ParquetSection {
    fn default() -> Self {
        ParquetSection { enabled: true, roll_bytes: 128 << 20, roll_s: 60, keep_days: 0, keep_bytes: 0 }
    }
}

/// What happens to a sink that is away once the log has reached its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BacklogPolicy {
    /// Events are refused until there is room: nothing is lost.
    Refuse,
    /// What the sink has not got is given up, oldest first, and counted as expired.
    Expire,
}

/// Tables in ClickHouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseSection {
    /// Whether events are inserted.
    pub enabled: bool,
    /// Servers, the first that works is used.
    pub urls: Vec<String>,
    /// Database of the tables.
    pub database: String,
    /// Name of the user.
    pub user: String,
    /// File with its password; empty for none.
    pub password_file: PathBuf,
    /// PEM file of the authorities that https urls are held to; empty for the system's.
    pub ca_file: PathBuf,
    /// What stands before the names of the tables.
    pub table_prefix: String,
    /// How long `events_raw` keeps its rows, months; 0 for ever.
    pub raw_months: u32,
    /// Name of a cluster; empty for plain tables.
    pub cluster: String,
    /// What stands behind the names of `Distributed` tables for readers; empty for none.
    pub distributed_suffix: String,
    /// Whether batches are packed with LZ4.
    pub compress: bool,
    /// Most rows of a batch.
    pub batch_rows_max: usize,
    /// Most bytes of a batch.
    pub batch_bytes_max: usize,
    /// How old a batch may become, milliseconds.
    pub batch_age_ms: u64,
    /// What happens to its backlog at the log's budget.
    pub backlog: BacklogPolicy,
}

impl Default for ClickHouseSection {
    fn default() -> Self {
        ClickHouseSection {
            enabled: false,
            urls: vec!["http://127.0.0.1:8123".into()],
            database: "default".into(),
            user: "default".into(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            table_prefix: String::new(),
            raw_months: 18,
            cluster: String::new(),
            distributed_suffix: String::new(),
            compress: true,
            batch_rows_max: 50_000,
            batch_bytes_max: 64 << 20,
            batch_age_ms: 1000,
            backlog: BacklogPolicy::Refuse,
        }
    }
}

/// What readers of the topics are promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryName {
    /// Each event once, in transactions.
    ExactlyOnce,
    /// Each event at least once, by an idempotent producer.
    AtLeastOnce,
}

/// Topics in Kafka.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSection {
    /// Whether events are sent.
    pub enabled: bool,
    /// `host:port`, several with commas between.
    pub bootstrap_servers: String,
    /// What stands before `-raw`, `-validated`, `-enriched`, `-dlq` and `-watermarks`.
    pub topic_prefix: String,
    /// Who we are to the cluster; empty: `ingestd-` and the node's id.
    pub transactional_id: String,
    /// What readers are promised.
    pub delivery: DeliveryName,
    /// Whether topics that are missing are made.
    pub create_topics: bool,
    /// Partitions of topics that are made.
    pub partitions: i32,
    /// Replicas of topics that are made; -1: what the cluster has as default.
    pub replication: i32,
    /// After so long without an end the cluster aborts a transaction, milliseconds.
    pub transaction_timeout_ms: u64,
    /// How old a transaction may become, milliseconds.
    pub batch_age_ms: u64,
    /// Settings for librdkafka, by name.
    pub options: BTreeMap<String, String>,
    /// Settings whose values are in files: secrets.
    pub option_files: BTreeMap<String, PathBuf>,
    /// What happens to its backlog at the log's budget.
    pub backlog: BacklogPolicy,
}

impl Default for KafkaSection {
    fn default() -> Self {
        KafkaSection {
            enabled: false,
            bootstrap_servers: "127.0.0.1:9092".into(),
            topic_prefix: "cart-events".into(),
            transactional_id: String::new(),
            delivery: DeliveryName::ExactlyOnce,
            create_topics: true,
            partitions: 6,
            replication: -1,
            transaction_timeout_ms: 60_000,
            batch_age_ms: 50,
            options: BTreeMap::new(),
            option_files: BTreeMap::new(),
            backlog: BacklogPolicy::Refuse,
        }
    }
}

/// Steering it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// The unix socket of `ingestd admin`; empty: `admin.sock` in the data folder.
    pub socket: PathBuf,
}

/// Who has changed what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSection {
    /// Size at which a file of the audit log is closed, bytes.
    pub file_bytes_max: u64,
    /// Files of it that are kept.
    pub files_max: u64,
}

impl Default for AuditSection {
    fn default() -> Self {
        AuditSection { file_bytes_max: 16 << 20, files_max: 8 }
    }
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesSection {
    /// The collector; empty: nothing is traced.
    pub endpoint: String,
    /// Share of the requests without a parent that are traced, 0 to 1.
    pub sample_ratio: f64,
}

impl Default for TracesSection {
    fn default() -> Self {
        TracesSection { endpoint: String::new(), sample_ratio: 0.01 }
    }
}

/// Alerts that the daemon tells by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsSection {
    /// Where they are posted; empty: nowhere.
    pub webhook_url: String,
    /// How long something must have been wrong, seconds.
    pub hold_s: u64,
    /// More dead letters in a minute are wrong.
    pub dead_letters_per_minute: u64,
    /// A sink that is further behind is wrong, seconds.
    pub sink_lag_s: u64,
    /// A 99th percentile of syncs above this is wrong, milliseconds.
    pub fsync_p99_ms: u64,
}

impl Default for AlertsSection {
    fn default() -> Self {
        AlertsSection {
            webhook_url: String::new(),
            hold_s: 60,
            dead_letters_per_minute: 600,
            sink_lag_s: 300,
            fsync_p99_ms: 5,
        }
    }
}

impl Config {
    /// Where `ingestd admin` finds the daemon.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        if self.admin.socket.as_os_str().is_empty() {
            self.data_dir.join("admin.sock")
        } else {
            self.admin.socket.clone()
        }
    }
}
