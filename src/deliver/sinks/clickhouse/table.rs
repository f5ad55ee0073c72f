//! The columns of the three tables, in the order in which rows are encoded.

/// A table of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// `events_raw`: every accepted event as received.
    Raw,
    /// `events_processed`: the processed form.
    Processed,
    /// `events_errors`: dead letters, with what was wrong.
    Errors,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type, exactly as the server spells it.
    pub kind: &'static str,
    /// How it is packed on disk; empty for the server's default.
    pub codec: &'static str,
}

const fn column(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, codec: "" }
}

const fn packed(name: &'static str, kind: &'static str, codec: &'static str) -> Column {
    Column { name, kind, codec }
}

const TEXT: &str = "String";
const MAYBE: &str = "Nullable(String)";
/// For what has few different values: one or two bytes a row, and fast to group by.
const WORD: &str = "LowCardinality(String)";
const MILLIS: &str = "DateTime64(3, 'UTC')";
const MICROS: &str = "DateTime64(6, 'UTC')";
/// For numbers that grow from row to row.
const GROWING: &str = "Delta(8), ZSTD(1)";
const LONG: &str = "ZSTD(1)";

const RAW: [Column; 14] = [
    column("node", "UUID"),
    column("incarnation", "UInt64"),
    packed("seq", "UInt64", GROWING),
    column("tenant", WORD),
    column("source", WORD),
    column("event_id", TEXT),
    column("event_type", WORD),
    packed("timestamp", MILLIS, GROWING),
    column("user_id", MAYBE),
    column("session_id", TEXT),
    column("store_id", WORD),
    packed("received_at", MICROS, GROWING),
    packed("committed_at", MICROS, GROWING),
    packed("raw", TEXT, LONG),
];

const PROCESSED: [Column; 17] = [
    column("node", "UUID"),
    column("incarnation", "UInt64"),
    packed("seq", "UInt64", GROWING),
    column("tenant", WORD),
    column("source", WORD),
    column("event_id", TEXT),
    column("event_type", WORD),
    packed("timestamp", MILLIS, GROWING),
    column("user_id", MAYBE),
    column("session_id", TEXT),
    column("store_id", WORD),
    packed("received_at", MICROS, GROWING),
    packed("committed_at", MICROS, GROWING),
    column("schema_version", "UInt32"),
    packed("data", TEXT, LONG),
    packed("metadata", MAYBE, LONG),
    packed("enriched", TEXT, LONG),
];

const ERRORS: [Column; 16] = [
    column("node", "UUID"),
    column("incarnation", "UInt64"),
    packed("dead_seq", "UInt64", GROWING),
    column("seq", "Nullable(UInt64)"),
    column("tenant", WORD),
    column("source", WORD),
    column("sink", WORD),
    column("code", WORD),
    column("pointer", TEXT),
    column("message", TEXT),
    column("event_id", MAYBE),
    column("event_type", WORD),
    column("store_id", WORD),
    packed("received_at", MICROS, GROWING),
    packed("committed_at", MICROS, GROWING),
    packed("raw", TEXT, LONG),
];

impl Table {
    /// All of them.
    pub const ALL: [Table; 3] = [Table::Raw, Table::Processed, Table::Errors];

    /// The name that its layout goes by, whatever the table is called.
    #[must_use]
    pub const fn layout_name(self) -> &'static str {
        match self {
            Table::Raw => "events_raw",
            Table::Processed => "events_processed",
            Table::Errors => "events_errors",
        }
    }

    /// Its columns, in the order of a row.
    #[must_use]
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Table::Raw => &RAW,
            Table::Processed => &PROCESSED,
            Table::Errors => &ERRORS,
        }
    }

    /// The column that holds a row's position.
    #[must_use]
    pub const fn position(self) -> &'static str {
        match self {
            Table::Raw | Table::Processed => "seq",
            Table::Errors => "dead_seq",
        }
    }

    /// What rows are sorted by: filters on a beginning of it read little.
    #[must_use]
    pub const fn sorting_key(self) -> &'static str {
        match self {
            Table::Raw | Table::Processed => "tenant, store_id, event_type, timestamp",
            Table::Errors => "tenant, code, committed_at",
        }
    }
}
