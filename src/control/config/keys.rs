//! The one table of every key: what it means, in which unit, which values work and whether a reload takes it. From it come
//! `config.toml`, `docs/configuration.md`, the checks of single values and the names in complaints; the defaults are
//! those of the sections.

use super::sections::Config;
use toml::{Table, Value};

/// When another value of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// With SIGHUP or `ingestd admin config reload`.
    Hot,
    /// With the next start.
    Restart,
}

impl Reload {
    /// The word for it in documents and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reload::Hot => "hot",
            Reload::Restart => "restart",
        }
    }
}

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.key`, or `key` where it is in none.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
    /// What its numbers count.
    pub unit: Option<&'static str>,
    /// The numbers that work.
    pub range: Option<(i64, i64)>,
    /// The texts that work, where they are few.
    pub choices: &'static [&'static str],
    /// When another value takes effect.
    pub reload: Reload,
}

impl Key {
    const fn new(name: &'static str, about: &'static str) -> Self {
        Key { name, about, unit: None, range: None, choices: &[], reload: Reload::Restart }
    }

    const fn number(mut self, unit: &'static str, least: i64, most: i64) -> Self {
        self.unit = Some(unit);
        self.range = Some((least, most));
        self
    }

    const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    const fn hot(mut self) -> Self {
        self.reload = Reload::Hot;
        self
    }

    /// The section and the name in it.
    #[must_use]
    pub fn parts(&self) -> (Option<&'static str>, &'static str) {
        self.name.split_once('.').map_or((None, self.name), |(section, name)| (Some(section), name))
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("INGESTD_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Its value in a table of sections.
    #[must_use]
    pub fn of<'a>(&self, table: &'a Table) -> Option<&'a Value> {
        match self.parts() {
            (None, name) => table.get(name),
            (Some(section), name) => table.get(section)?.get(name),
        }
    }

    /// Sets its value in a table of sections.
    pub(super) fn set(&self, table: &mut Table, value: Value) {
        let (section, name) = self.parts();
        let within = match section {
            None => Some(table),
            Some(section) => table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut(),
        };
        if let Some(within) = within {
            within.insert(name.to_owned(), value);
        }
    }
}

/// The key of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// All keys with their values.
pub(super) fn table_of(config: &Config) -> Table {
    // Every value came from a TOML value or is a default, so there is one for it.
    Table::try_from(config).unwrap_or_default()
}

const YEAR_S: i64 = 366 * 24 * 3600;
const YEAR_MS: i64 = YEAR_S * 1000;
const GIB: i64 = 1 << 30;
const ANY: i64 = i64::MAX;
/// Faster than any acceptor, so that a limit above it would be none.
const RATE_MAX: i64 = 1_000_000_000;
/// Twice what may be in memory before it is written to tables, which alone can be trimmed.
pub(super) const LOG_BUDGET_MIN: u64 = 256 << 20;
const AUTH: &[&str] = &["none", "key", "jwt", "any"];
const BACKLOG: &[&str] = &["refuse", "expire"];
const BACKLOG_ABOUT: &str = "While it is away and the log has reached log.budget_bytes: \"refuse\" events, or \
    \"expire\" what it has not got.";

/// Every section with what it is about, in the order of the file.
pub const SECTIONS: &[(&str, &str)] = &[
    ("server", "HTTP and WebSocket. Timeouts hold for requests and connections that begin after a reload."),
    (
        "auth",
        "Who may come in: \"none\", an API \"key\" (ingestd admin tokens), a \"jwt\", or \"any\" of both. /health/live and \
         /health/ready are open to all. Files are read again with each reload, and when they change.",
    ),
    (
        "tls",
        "TLS on server.listen, with HTTP/2 and HTTP/1.1 above it. The files are read again with every reload, and within \
         seconds when they change; what does not fit together changes nothing, and the log says why.",
    ),
    ("limits", "What an event, a batch, a request may be. What is over a limit that became smaller runs to its end."),
    (
        "rate_limits",
        "How much clients may send: 429 rate_limited beyond it. See docs/limits.md. All are off unless set.",
    ),
    ("cors", "Pages of which sites may send events from a browser."),
    ("log", "The write-ahead log."),
    ("dedup", "The duplicate filter."),
    ("parquet", "The embedded sink."),
    ("clickhouse", "Tables in ClickHouse: events_raw, events_processed and, for dead letters, events_errors."),
    ("kafka", "Topics in Kafka: -raw, -validated, -enriched and, for dead letters, -dlq."),
    ("admin", "Steering the daemon."),
    ("audit", "The audit log, audit.log in the data folder: who has changed what. See docs/admin.md."),
    ("traces", "Spans of requests, commits and batches for an OpenTelemetry collector, over OTLP/HTTP with JSON."),
    ("alerts", "What the daemon tells a webhook by itself; docs/observability has more for Prometheus."),
];

/// Every key, in the order of the file.
pub const KEYS: &[Key] = &[
    Key::new("data_dir", "Where everything is kept."),
    Key::new(
        "log_level",
        "off, error, warn, info, debug, trace, or a tracing filter such as \"info,hyper=warn\". LOG_LEVEL is \
         an alias of the variable, which goes before it.",
    )
    .hot(),
    Key::new(
        "log_format",
        "\"text\" or \"json\" (one object a line) on standard error; \"journald\": to the journal, each field one of its \
         own; \"auto\": to the journal where standard error is connected to it, else text.",
    )
    .one_of(&["auto", "text", "json", "journald"]),
    Key::new(
        "server.listen",
        "Address of HTTP and WebSocket; port 0 lets the system choose. PORT stands for a port on 127.0.0.1, \
         unless INGESTD_SERVER_LISTEN is set.",
    ),
    Key::new("server.allow_unauthenticated", "Must be true to listen beyond loopback while auth.intake is \"none\"."),
    Key::new(
        "server.admin_listen",
        "Address of health, metrics, statistics and pipeline status, on a thread of their own, without TLS and whatever \
         auth.read asks for; empty: with intake, which otherwise keeps only /health/live and /health/ready.",
    ),
    Key::new("server.admin_allow_unauthenticated", "Must be true for server.admin_listen to be beyond loopback."),
    Key::new("server.acceptors", "Acceptor threads; 0 means one per core.").number("threads", 0, 1024),
    Key::new(
        "server.connections_max",
        "Open connections over all acceptors; beyond that a connection is answered 503 and closed.",
    )
    .number("connections", 1, ANY)
    .hot(),
    Key::new(
        "server.connections_per_address_max",
        "Open connections of one client address; beyond that a connection is answered 429 and closed. 0: no limit. \
         Trusted proxies have none.",
    )
    .number("connections", 0, ANY)
    .hot(),
    Key::new(
        "server.trusted_proxies",
        "Proxies that are believed: addresses and networks (\"10.0.0.0/8\"). The client of a request is the last hop of \
         their X-Forwarded-For that is none of them. In the variable: with commas between.",
    )
    .hot(),
    Key::new(
        "server.proxy_protocol",
        "Whether every connection begins with a PROXY protocol header, version 1 or 2; those without, or of others than \
         server.trusted_proxies, are closed.",
    )
    .hot(),
    Key::new("server.ipv6_prefix_bits", "IPv6 addresses that share so many bits count as one client.")
        .number("bits", 1, 128)
        .hot(),
    Key::new(
        "server.head_timeout_s",
        "Time for a request's head from its first byte, between requests, and for a TLS handshake.",
    )
    .number("seconds", 1, YEAR_S)
    .hot(),
    Key::new("server.body_timeout_s", "Time for a request's body (408 after that).").number("seconds", 1, YEAR_S).hot(),
    Key::new("server.ping_interval_s", "Time between WebSocket pings; a peer that misses two is closed.")
        .number("seconds", 1, YEAR_S)
        .hot(),
    Key::new("server.write_timeout_s", "How long a client may take to read what is written to it.")
        .number("seconds", 1, YEAR_S)
        .hot(),
    Key::new("server.drain_timeout_s", "Time for requests under way when the daemon stops.")
        .number("seconds", 0, YEAR_S)
        .hot(),
    Key::new(
        "server.request_timeout_s",
        "Time for the log to take a request that is whole; then 503, for whether it is stored is unknown.",
    )
    .number("seconds", 1, YEAR_S)
    .hot(),
    Key::new(
        "server.ack_timeout_s",
        "How long ?ack= waits for sinks; after that the answer says \"pending\". For Parquet, and so for all, it wants to \
         be more than parquet.roll_s.",
    )
    .number("seconds", 1, YEAR_S)
    .hot(),
    Key::new("auth.intake", "What is asked of those who send events, over HTTP or WebSocket.").one_of(AUTH).hot(),
    Key::new(
        "auth.read",
        "What is asked of those who look: /events/stats, /metrics, /health in detail, /pipeline/status.",
    )
    .one_of(AUTH)
    .hot(),
    Key::new("auth.manage", "What is asked of those who change something over HTTP.").one_of(AUTH).hot(),
    Key::new(
        "auth.jwks_files",
        "JWKS files with the keys of JWTs: RS256, ES256, EdDSA, HS256. In the variable: with commas between.",
    )
    .hot(),
    Key::new(
        "auth.hs256_secret_file",
        "File with the secret, at least 32 bytes, of JWTs that are signed with HS256 and name no kid; empty for none.",
    )
    .hot(),
    Key::new("auth.issuer", "Who must have made a JWT (iss); needed where JWTs are taken.").hot(),
    Key::new("auth.audience", "For whom a JWT must be (aud); needed where JWTs are taken.").hot(),
    Key::new("auth.leeway_s", "By how much the clocks of issuer and daemon may differ (exp, nbf).")
        .number("seconds", 0, 3600)
        .hot(),
    Key::new("auth.tenant_claim", "The claim of a JWT with its tenant: 1 to 64 of a-z, 0-9, _, - and .").hot(),
    Key::new(
        "auth.scope_claim",
        "The claim of a JWT with its scopes (intake, read, manage; a list, or with spaces between); empty: every \
         JWT has the scope intake, and no other.",
    )
    .hot(),
    Key::new("tls.enabled", "Whether server.listen speaks TLS, and nothing else."),
    Key::new("tls.cert_file", "PEM file of the certificate, with the authorities between it and the root behind it.")
        .hot(),
    Key::new("tls.key_file", "PEM file of its private key, without a passphrase.").hot(),
    Key::new("tls.client_ca_file", "PEM file of the authorities that clients' certificates are held to.").hot(),
    Key::new("tls.client_auth", "Whether clients show a certificate; one that is shown must be good.")
        .one_of(&["none", "optional", "required"])
        .hot(),
    Key::new("tls.min_version", "The oldest version that is spoken.").one_of(&["1.2", "1.3"]).hot(),
    Key::new("limits.event_bytes_max", "Size of one event.").number("bytes", 1, GIB).hot(),
    Key::new(
        "limits.body_bytes_max",
        "Size of one body or WebSocket message, after unpacking; not less than an event.",
    )
    .number("bytes", 1, GIB)
    .hot(),
    Key::new("limits.batch_events_max", "Events in one batch.").number("events", 1, 1_000_000).hot(),
    Key::new("limits.depth_max", "Nesting of `data`.").number("levels", 1, 1000).hot(),
    Key::new("limits.id_bytes_max", "Length of `eventId`, `sessionId`, `storeId` and `userId`.")
        .number("bytes", 1, 8192)
        .hot(),
    Key::new("limits.future_max_s", "How far a timestamp may lie in the future; 0 turns the check off.")
        .number("seconds", 0, ANY)
        .hot(),
    Key::new("limits.inflight_requests_max", "Requests between socket and log; beyond that 503.")
        .number("requests", 1, ANY)
        .hot(),
    Key::new(
        "limits.inflight_bytes_max",
        "Bytes of requests between socket and log; beyond that 503. At least twice a body. Beside it large answers that are \
         not read may be a quarter as much; beyond that 503 in their place.",
    )
    .number("bytes", 1, ANY)
    .hot(),
    Key::new(
        "limits.address_share_percent",
        "What one client address may hold of these requests and bytes with bodies that have not arrived, though always \
         64 requests and two bodies, beyond that 429 address_share; and of those answers, though always one. 100: all. \
         Trusted proxies are not held to it.",
    )
    .number("percent", 1, 100)
    .hot(),
    Key::new("limits.ack_waiters_max", "Requests that wait for sinks (?ack=); beyond that 503, and nothing is stored.")
        .number("requests", 0, ANY)
        .hot(),
    Key::new(
        "limits.idempotency_keys_max",
        "Idempotency keys that are remembered; beyond that the oldest of the tenant with most go.",
    )
    .number("keys", 0, ANY)
    .hot(),
    Key::new(
        "limits.idempotency_bytes_max",
        "Size of the answers that are remembered for them; beyond that the oldest of the tenant with most go.",
    )
    .number("bytes", 0, ANY)
    .hot(),
    Key::new("limits.idempotency_age_s", "How long an idempotency key is remembered.")
        .number("seconds", 0, YEAR_S)
        .hot(),
    Key::new(
        "limits.dead_letter_bytes_max",
        "Size of the dead letters kept per tenant; beyond that they are only counted.",
    )
    .number("bytes", 0, ANY)
    .hot(),
    Key::new("limits.dead_letter_age_s", "How long a dead letter is kept.").number("seconds", 1, YEAR_S).hot(),
    Key::new("rate_limits.address_requests_per_s", "Requests of one client address; 0: no limit.")
        .number("requests/s", 0, RATE_MAX)
        .hot(),
    Key::new("rate_limits.address_events_per_s", "Events of one client address; 0: no limit.")
        .number("events/s", 0, RATE_MAX)
        .hot(),
    Key::new("rate_limits.key_requests_per_s", "Requests with one API key; 0: no limit.")
        .number("requests/s", 0, RATE_MAX)
        .hot(),
    Key::new("rate_limits.key_events_per_s", "Events with one API key; 0: no limit.")
        .number("events/s", 0, RATE_MAX)
        .hot(),
    Key::new("rate_limits.tenant_requests_per_s", "Requests of one tenant; 0: no limit.")
        .number("requests/s", 0, RATE_MAX)
        .hot(),
    Key::new("rate_limits.tenant_events_per_s", "Events of one tenant; 0: no limit.")
        .number("events/s", 0, RATE_MAX)
        .hot(),
    Key::new(
        "rate_limits.tenant_events_per_day",
        "Events of one tenant from midnight to midnight UTC (429 quota_exceeded); 0: no limit. A crash forgets what \
         came in its last seconds.",
    )
    .number("events", 0, ANY)
    .hot(),
    Key::new(
        "rate_limits.burst_s",
        "How much may come at once after a pause: what a limit allows in so long. A batch that is larger waits until \
         nothing of it is used.",
    )
    .number("seconds", 1, 24 * 3600)
    .hot(),
    Key::new(
        "rate_limits.addresses_max",
        "Addresses that are remembered, 32 bytes each; beyond that those go that are nearest to having sent nothing.",
    )
    .number("addresses", 1024, 1 << 24),
    Key::new(
        "cors.allowed_origins",
        "Pages that may send from a browser, by origin (\"https://shop.example\"), also over WebSocket; \"*\": all. In \
         the variable: with commas between.",
    )
    .hot(),
    Key::new(
        "cors.allow_credentials",
        "Whether they may send with cookies and other credentials of the browser's; not with \"*\".",
    )
    .hot(),
    Key::new("cors.max_age_s", "How long a browser may remember what a preflight has allowed.")
        .number("seconds", 0, YEAR_S)
        .hot(),
    Key::new("log.durability", "What an answer promises: see docs/durability.md.").one_of(&["fsync", "interval", "os"]),
    Key::new("log.sync_interval_ms", "Time between syncs where durability is \"interval\".").number(
        "milliseconds",
        1,
        YEAR_MS,
    ),
    Key::new(
        "log.disk_reserve_bytes",
        "Free disk space below which events are refused (503 disk_reserve). Below a quarter of what it was at \
         the start no Parquet file is begun, and one that is being written is ended with what it has. Under 256 MiB and \
         parquet.roll_bytes together is warned of: less may be filled before anything makes room.",
    )
    .number("bytes", 0, ANY)
    .hot(),
    Key::new(
        "log.budget_bytes",
        "Size of the log above which events are refused (503 log_budget), at least 268435456; 0 means no \
         limit but the disk. While it is reached, what every sink has is dropped without waiting for hold_s.",
    )
    .number("bytes", 0, ANY)
    .hot(),
    Key::new("log.hold_s", "How long events are kept after their commit, once every sink has them.")
        .number("seconds", 0, YEAR_S)
        .hot(),
    Key::new("log.group_events_max", "Events of one commit.").number("events", 1, 1_000_000),
    Key::new("log.recycled_files", "Finished WAL files kept to be overwritten, which halves the latency of fdatasync.")
        .number("files", 0, 1000),
    Key::new("dedup.window_s", "How long an event id is remembered, from its first acceptance.")
        .number("seconds", 1, YEAR_S),
    Key::new("dedup.budget_bytes", "Memory for ids; over it the oldest move to disk.").number(
        "bytes",
        64 << 10,
        64 * GIB,
    ),
    Key::new("parquet.enabled", "Whether Parquet files are written to <data_dir>/events."),
    Key::new("parquet.roll_bytes", "A file is finished at this size.").number("bytes", 1, ANY),
    Key::new("parquet.roll_s", "A file is finished at this age.").number("seconds", 1, YEAR_S),
    Key::new(
        "parquet.keep_days",
        "Files are removed when all of their UTC day is over for so long; 0: they are kept. The newest file always stays. \
         Looked at after each file and once an hour. A step of the clock removes none; time over a reboot counts from the \
         next start of the daemon on.",
    )
    .number("days", 0, 36_600),
    Key::new(
        "parquet.keep_bytes",
        "The oldest files are removed while all together have more bytes; 0: they are kept. Not less than \
         parquet.roll_bytes.",
    )
    .number("bytes", 0, ANY),
    Key::new("clickhouse.enabled", "Whether events and dead letters are inserted, each exactly once."),
    Key::new(
        "clickhouse.urls",
        "Servers, http or https; the first that works is used. In the variable: with commas between.",
    ),
    Key::new("clickhouse.database", "Database; made when missing, like the tables."),
    Key::new("clickhouse.user", "Name of the user."),
    Key::new("clickhouse.password_file", "File that holds the password; empty for none."),
    Key::new(
        "clickhouse.ca_file",
        "PEM file of the authorities that https urls are held to; empty for those that the system trusts.",
    ),
    Key::new("clickhouse.table_prefix", "Before the names of the tables."),
    Key::new("clickhouse.raw_months", "How long events_raw keeps its rows after their commit; 0 for ever.")
        .number("months", 0, 12_000),
    Key::new("clickhouse.cluster", "Name of a cluster, for Replicated tables; empty for plain ones."),
    Key::new(
        "clickhouse.distributed_suffix",
        "On a cluster: behind the names of Distributed tables for readers; empty for none.",
    ),
    Key::new("clickhouse.compress", "Whether batches are packed with LZ4."),
    Key::new("clickhouse.batch_rows_max", "A batch is inserted at so many rows.").number("rows", 1, 10_000_000),
    Key::new("clickhouse.batch_bytes_max", "A batch is inserted at this size.").number("bytes", 1, 4 * GIB),
    Key::new("clickhouse.batch_age_ms", "A batch is inserted at this age.").number("milliseconds", 1, YEAR_MS),
    Key::new("clickhouse.backlog", BACKLOG_ABOUT).one_of(BACKLOG),
    Key::new("kafka.enabled", "Whether events and dead letters are sent."),
    Key::new("kafka.bootstrap_servers", "host:port, several with commas between."),
    Key::new("kafka.topic_prefix", "Before the names of the topics."),
    Key::new("kafka.transactional_id", "Who we are to the cluster, one per node; empty: ingestd- and the node's id."),
    Key::new(
        "kafka.delivery",
        "\"exactly-once\" (transactions; readers want isolation.level=read_committed) or \"at-least-once\".",
    )
    .one_of(&["exactly-once", "at-least-once"]),
    Key::new("kafka.create_topics", "Whether topics that are missing are made."),
    Key::new("kafka.partitions", "Partitions of topics that are made.").number("partitions", 1, 100_000),
    Key::new("kafka.replication", "Replicas of topics that are made; -1: the cluster's default.")
        .number("replicas", -1, 32_767),
    Key::new("kafka.transaction_timeout_ms", "After so long without an end the cluster aborts a transaction.").number(
        "milliseconds",
        1000,
        i32::MAX as i64,
    ),
    Key::new("kafka.batch_age_ms", "A transaction is sent at this age.").number("milliseconds", 1, i32::MAX as i64),
    Key::new("kafka.backlog", BACKLOG_ABOUT).one_of(BACKLOG),
    Key::new(
        "kafka.options",
        "Settings for librdkafka, such as \"security.protocol\" = \"sasl_plaintext\". Not for secrets. Only \
         in the file.",
    ),
    Key::new(
        "kafka.option_files",
        "The same, but each value is read from a file: \"sasl.password\" = \
         \"/run/credentials/ingestd.service/kafka\". Only in the file.",
    ),
    Key::new("admin.socket", "The unix socket of `ingestd admin`; empty: admin.sock in the data folder."),
    Key::new("audit.file_bytes_max", "A file of the audit log is closed at this size.")
        .number("bytes", 64 << 10, GIB)
        .hot(),
    Key::new("audit.files_max", "Files of it that are kept, with the one that is written to; the oldest goes first.")
        .number("files", 2, 10_000)
        .hot(),
    Key::new("traces.endpoint", "http://host:port of the collector; empty: nothing is traced."),
    Key::new(
        "traces.sample_ratio",
        "Share of the requests without a traceparent that are traced, from 0.0 to 1.0; one with a traceparent is as its \
         client says.",
    ),
    Key::new(
        "alerts.webhook_url",
        "http address that is posted one JSON object when something is wrong and one when it no longer is: dead_letter_rate, \
         sink_lag, disk_reserve (less than twice the reserve is free), fsync_latency, ledger_imbalance. Empty: none.",
    ),
    Key::new("alerts.hold_s", "How long something must have been wrong before it is told.").number("seconds", 0, YEAR_S),
    Key::new(
        "alerts.dead_letters_per_minute",
        "More events in a minute than this, rejected or refused by a sink for good, are wrong.",
    )
    .number("events", 0, ANY),
    Key::new("alerts.sink_lag_s", "A sink whose oldest missing event is older is wrong.").number("seconds", 1, YEAR_S),
    Key::new("alerts.fsync_p99_ms", "A 99th percentile of the last minute's syncs above this is wrong.").number(
        "milliseconds",
        1,
        YEAR_MS,
    ),
];
