//! What is to be run where the daemon has delivered to: it deletes nothing there itself.

use super::subject::{Of, Subject};
use crate::control::config::Config;
use prepare::sanitise;
use std::path::Path;

/// ClickHouse: `ALTER TABLE … DELETE`, which takes the rows out of the tables' files; a lightweight `DELETE` would only
/// hide them until a merge.
pub(super) fn clickhouse(config: &Config, subject: &Subject) -> Vec<String> {
    let [raw, processed, errors] = config.clickhouse.tables();
    let cluster = match config.clickhouse.cluster.as_str() {
        "" => String::new(),
        name => format!(" ON CLUSTER {}", literal(name)),
    };
    let statement = |table: &str, condition: &str| {
        let tenant = subject.tenant.as_deref().map(|tenant| format!(" AND tenant = {}", literal(tenant)));
        let tenant = tenant.unwrap_or_default();
        format!("ALTER TABLE {table}{cluster} DELETE WHERE {condition}{tenant} SETTINGS mutations_sync = 2;")
    };
    let id = literal(&subject.id);
    // In the processed form texts are sanitised.
    let clean = literal(&sanitise::text(&subject.id));
    let (column, field) = match subject.of {
        Of::User => ("user_id", "userId"),
        Of::Event => ("event_id", "eventId"),
    };
    let in_letter = format!("JSONExtractString(raw, '{field}') = {id}");
    let in_letter = match subject.of {
        Of::User => in_letter,
        Of::Event => format!("(event_id = {id} OR {in_letter})"),
    };
    vec![
        statement(&raw, &format!("{column} = {id}")),
        statement(&processed, &format!("{column} IN ({id}, {clean})")),
        statement(&errors, &in_letter),
    ]
}

/// DuckDB: the file without those rows, with what the sink knows its files by, beside the file that it replaces.
pub(super) fn duckdb(file: &Path, mark: &[(String, String)], subject: &Subject) -> String {
    let column = match subject.of {
        Of::User => "user_id",
        Of::Event => "event_id",
    };
    let id = sql_literal(&subject.id);
    let others = match &subject.tenant {
        None => format!("{column} IS DISTINCT FROM {id}"),
        Some(tenant) => format!("NOT (tenant = {} AND {column} IS NOT DISTINCT FROM {id})", sql_literal(tenant)),
    };
    let path = file.display().to_string();
    let metadata: Vec<_> =
        mark.iter().map(|(key, value)| format!("{}: {}", sql_literal(key), sql_literal(value))).collect();
    format!(
        "COPY (SELECT * FROM read_parquet({}, hive_partitioning = false) WHERE {others} ORDER BY seq) TO {} (FORMAT parquet, \
         COMPRESSION zstd, KV_METADATA {{{}}});",
        sql_literal(&path),
        sql_literal(&format!("{path}.new")),
        metadata.join(", "),
    )
}

/// A text in ClickHouse's SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A text in standard SQL, where only a quote ends it.
fn sql_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_end_its_quotes() {
        let mut config = Config::default();
        config.clickhouse.database = "shop".into();
        config.clickhouse.table_prefix = "eu_".into();
        let subject = Subject { of: Of::User, id: r"o'b\' OR 1=1 --".into(), tenant: Some("t'".into()) };
        let [raw, processed, errors] = clickhouse(&config, &subject).try_into().unwrap();
        let id = r"'o\'b\\\' OR 1=1 --'";
        assert_eq!(
            raw,
            format!(
                r"ALTER TABLE `shop`.`eu_events_raw` DELETE WHERE user_id = {id} AND tenant = 't\'' SETTINGS mutations_sync = 2;"
            )
        );
        assert!(processed.contains("`shop`.`eu_events_processed`") && processed.contains(id), "{processed}");
        assert!(
            errors.contains("`eu_events_errors`") && errors.contains("JSONExtractString(raw, 'userId')"),
            "{errors}"
        );
        let copied = duckdb(Path::new("/a/b.parquet"), &[("k".into(), "1".into())], &subject);
        assert!(copied.contains(r"IS NOT DISTINCT FROM 'o''b\'' OR 1=1 --'"), "{copied}");
        assert!(copied.contains("'/a/b.parquet.new'") && copied.contains("KV_METADATA {'k': '1'}"), "{copied}");
    }
}
