//! The statements that make the tables.
//!
//! # Why the tables are laid out as they are
//!
//! * **Partition and TTL by `committed_at`**, never by the client's `timestamp`: that may be sixteen years old, and
//!   rows would be gone with the first merge. By month: a year and a half is 19 partitions, few enough for any query, and
//!   batches are hardly ever cut. `ttl_only_drop_parts` lets whole months go, without rewriting anything, so that a row
//!   stays 18 months and at most 19.
//! * **Sorted by tenant, store, type, time**: analysts ask about one shop, mostly about one kind of event, over a time,
//!   and the time that they mean is when the shopper acted, `timestamp`. The few-valued columns come first, so each
//!   question reads a few stretches of the table, and what lies side by side is alike and packs well. Dead letters are
//!   sorted by tenant, code, time of death. The way back to a range of `seq` is a scan of three narrow columns of one
//!   partition; it is needed after crashes only.
//! * **`LowCardinality`** for tenant, source, event type and store; not for session, user and event ids, nearly all of
//!   which differ.
//! * **`payload` columns are `String`** with the JSON text as it came: exact, and `JSONExtract…` takes it as it is.
//! * **Deduplication windows**: a token is remembered for so many inserts, on a `Replicated…` table also for a week at
//!   most. A plain table remembers none unless told.
//! * **fsync of part and directory**: without it a power cut takes inserts that were answered.

use crate::partition::PARTITION_KEY;
use crate::table::Column;
use crate::{Config, Table};

/// Inserts whose tokens a table remembers.
pub const WINDOW_INSERTS: u64 = 10_000;
/// How long a `Replicated…` table remembers a token, in seconds.
pub const WINDOW_SECONDS: u64 = 604_800;

/// What a table's settings must be: name, value, and whether delivery is not exactly once without it.
pub(crate) const SETTINGS: [(&str, u64, bool); 5] = [
    ("non_replicated_deduplication_window", WINDOW_INSERTS, true),
    ("replicated_deduplication_window", WINDOW_INSERTS, true),
    ("replicated_deduplication_window_seconds", WINDOW_SECONDS, true),
    ("fsync_after_insert", 1, false),
    ("fsync_part_directory", 1, false),
];

/// Makes the database.
#[must_use]
pub fn create_database(config: &Config) -> String {
    format!("CREATE DATABASE IF NOT EXISTS `{}`{}", config.database, on_cluster(config))
}

/// Makes a table in its present layout, in one line.
#[must_use]
pub fn create_table(config: &Config, table: Table, version: u32, columns: &[Column]) -> String {
    let columns: Vec<_> = columns.iter().map(definition).collect();
    let ttl = match (table, config.raw_months) {
        (Table::Raw, months @ 1..) => format!(" TTL toDateTime(committed_at) + toIntervalMonth({months})"),
        _ => String::new(),
    };
    let settings = SETTINGS.map(|(name, value, _)| format!("{name} = {value}")).join(", ");
    format!(
        "CREATE TABLE IF NOT EXISTS {place}{cluster} ({columns}) ENGINE = {engine} PARTITION BY {PARTITION_KEY} \
         ORDER BY ({key}){ttl} SETTINGS {settings}, ttl_only_drop_parts = 1 COMMENT '{comment}'",
        place = config.place(table),
        cluster = on_cluster(config),
        columns = columns.join(", "),
        engine = engine(config),
        key = table.sorting_key(),
        comment = comment(table, version),
    )
}

/// Name of the table through which readers see all shards, if one is wanted, and what makes it.
#[must_use]
pub fn create_distributed(config: &Config, table: Table) -> Option<(String, String)> {
    let cluster = config.cluster.as_ref()?;
    let suffix = cluster.distributed_suffix.as_ref()?;
    let (database, name) = (&config.database, config.name(table));
    let readers = format!("{name}{suffix}");
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS `{database}`.`{readers}`{} AS {} \
         ENGINE = Distributed('{}', '{database}', '{name}', rand())",
        on_cluster(config),
        config.place(table),
        cluster.name,
    );
    Some((readers, sql))
}

/// Changes a table.
pub(crate) fn alter(config: &Config, table: Table, change: &str) -> String {
    format!("ALTER TABLE {}{} {change}", config.place(table), on_cluster(config))
}

/// The comment by which a table's layout is known.
pub(crate) fn comment(table: Table, version: u32) -> String {
    format!("ingestd {} layout {version}", table.layout_name())
}

/// The layout's number in a table's comment.
pub(crate) fn version_in(table: Table, text: &str) -> Option<u32> {
    let number = text.strip_prefix("ingestd ")?.strip_prefix(table.layout_name())?.strip_prefix(" layout ")?;
    number.parse().ok().filter(|version| *version > 0)
}

/// A column as in `CREATE TABLE` and `ADD COLUMN`.
pub(crate) fn definition(column: &Column) -> String {
    let Column { name, kind, codec } = column;
    match *codec {
        "" => format!("{name} {kind}"),
        codec => format!("{name} {kind} CODEC({codec})"),
    }
}

fn engine(config: &Config) -> String {
    match &config.cluster {
        None => "MergeTree".into(),
        Some(cluster) => format!("ReplicatedMergeTree('{}', '{}')", cluster.path, cluster.replica),
    }
}

fn on_cluster(config: &Config) -> String {
    // A macro has to stand in quotes of its own.
    config.cluster.as_ref().map(|cluster| format!(" ON CLUSTER '{}'", cluster.name)).unwrap_or_default()
}
