use super::rows::{ORIGIN, event, noon, numbered, seen};
use super::server::Server;
use crate::layout::{Layout, Step};
use crate::{Batch, Client, Cluster, Config, EventRow, Kind, Names, Prepared, RawRow, Table, ddl};
use event::{Seq, UnixMicros};
use std::time::Duration;

/// What the first release made, kept for ever; `{database}` stands for the database.
const VERSION_1: [(Table, &str); 3] = [
    (Table::Raw, include_str!("fixtures/v1_events_raw.sql")),
    (Table::Processed, include_str!("fixtures/v1_events_processed.sql")),
    (Table::Errors, include_str!("fixtures/v1_events_errors.sql")),
];

fn make_version_1(server: &Server, client: &Client) {
    let database = &client.config().database;
    server.sql(&format!("CREATE DATABASE {database}"));
    for (_, sql) in VERSION_1 {
        server.sql(&sql.replace("{database}", database));
    }
}

fn shape(server: &Server, client: &Client) -> String {
    let database = &client.config().database;
    let sql = format!("SELECT create_table_query FROM system.tables WHERE database = '{database}' ORDER BY name");
    server.sql(&sql).replace(database, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_once_by_whoever_is_first() {
    let server = Server::shared();
    let client = Client::new(server.config()).unwrap();
    let made = client.prepare().await.unwrap();
    assert_eq!(made, Table::ALL.map(|table| (table, Prepared::Created)));
    let shape_made = shape(server, &client);
    assert_eq!(client.prepare().await.unwrap(), Table::ALL.map(|table| (table, Prepared::Found)));
    assert_eq!(shape(server, &client), shape_made);
    assert_eq!(client.check().await, []);

    let other = Client::new(server.config()).unwrap();
    let results = tokio::join!(other.prepare(), other.prepare(), other.prepare(), other.prepare());
    for result in [results.0, results.1, results.2, results.3] {
        result.unwrap();
    }
    assert_eq!(shape(server, &other), shape_made);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_can_be_chosen() {
    let server = Server::shared();
    let config = Config { names: Names::with_prefix("shop_"), raw_months: 0, ..server.config() };
    let client = Client::new(config).unwrap();
    client.prepare().await.unwrap();
    assert_eq!(client.check().await, []);
    client.insert(&client.target(), "t", &numbered(&client, 1..=3)).await.unwrap();
    let database = &client.config().database;
    assert_eq!(server.number(&format!("SELECT count() FROM {database}.shop_events_raw")), 3);
    assert!(!shape(server, &client).contains("TTL"), "0 months are for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_version_1_are_taken_as_they_are() {
    let server = Server::shared();
    let client = Client::new(server.config()).unwrap();
    make_version_1(server, &client);
    let fixture = shape(server, &client);
    let prepared = client.prepare().await.unwrap();
    assert_eq!(prepared, Table::ALL.map(|table| (table, Prepared::Found)));
    assert_eq!(client.check().await, []);
    let fresh = server.client().await;
    assert_eq!(shape(server, &fresh), fixture, "a new version needs a step and a fixture of its own");
}

/// A layout of the future: a column more, and a type changed.
fn next_layout(table: Table) -> Layout {
    const STEPS: [Step; 2] = [
        Step { to: 2, changes: &["ADD COLUMN IF NOT EXISTS region LowCardinality(String) DEFAULT 'eu'"] },
        Step { to: 3, changes: &["MODIFY COLUMN region String", "MODIFY SETTING fsync_after_insert = 1"] },
    ];
    Layout { version: 3, steps: &STEPS, ..Layout::current(table) }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_version_1_are_brought_to_the_newest() {
    let server = Server::shared();
    let client = Client::new(server.config()).unwrap();
    make_version_1(server, &client);
    client.insert(&client.target(), "t", &numbered(&client, 1..=10)).await.unwrap();
    let host = &client.hosts()[0];
    // A crash between a change and the comment: the step is done again.
    let place = client.config().place(Table::Processed);
    server.sql(&format!("ALTER TABLE {place} ADD COLUMN region LowCardinality(String) DEFAULT 'eu'"));
    let prepared = client.prepare_host(host, next_layout).await.unwrap();
    assert_eq!(prepared, Table::ALL.map(|table| (table, Prepared::Migrated { from: 1 })));
    for table in Table::ALL {
        let comment = client.comment_of(host, table).await.unwrap();
        assert_eq!(comment, Some(ddl::comment(table, 3)));
    }
    let raw = client.config().place(Table::Raw);
    assert_eq!(server.sql(&format!("SELECT region, count() FROM {raw} GROUP BY 1")), "eu\t10");
    let again = client.prepare_host(host, next_layout).await.unwrap();
    assert_eq!(again, Table::ALL.map(|table| (table, Prepared::Found)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_refused_and_left_alone() {
    let server = Server::shared();
    for (comment, word) in [
        ("ingestd events_raw layout 2", "newer release"),
        ("ingestd events_errors layout 1", "not made by ingestd"),
        ("ingestd events_raw layout x", "not made by ingestd"),
        ("ingestd events_raw layout 0", "not made by ingestd"),
        ("", "not made by ingestd"),
    ] {
        let client = server.client().await;
        let place = client.config().place(Table::Raw);
        server.sql(&format!("ALTER TABLE {place} MODIFY COMMENT '{comment}'"));
        let before = shape(server, &client);
        let other = Client::new(client.config().clone()).unwrap();
        let failure = other.prepare().await.unwrap_err();
        assert_eq!(failure.kind, Kind::Schema);
        assert!(failure.message.contains(word), "{comment:?}: {failure}");
        assert_eq!(shape(server, &client), before);
        // Nothing is written into it either.
        let batch = numbered(&other, 1..=3);
        assert_eq!(other.insert(&other.target(), "t", &batch).await.unwrap_err().kind, Kind::Schema);
        assert_eq!(seen(server, &client), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_deduplicate_is_refused() {
    let server = Server::shared();
    let client = server.client().await;
    let place = client.config().place(Table::Errors);
    server.sql(&format!("DROP TABLE {place} SYNC"));
    let comment = ddl::comment(Table::Errors, 1);
    server.sql(&format!("CREATE TABLE {place} (x UInt8) ENGINE = Memory COMMENT '{comment}'"));
    let problems = client.check().await;
    assert!(problems[0].to_string().contains("has engine Memory, which cannot deduplicate"), "{}", problems[0]);
    assert!(problems[0].mend.as_ref().unwrap().starts_with("RENAME TABLE"), "{}", problems[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_shopping_stays_and_old_rows_go() {
    let server = Server::shared();
    let client = server.client().await;
    let target = client.target();
    // Committed now by the server's clock, and acted on in 2010.
    let now = UnixMicros::now();
    let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
    let row = |seq, committed_at| RawRow { event: EventRow { committed_at, ..event(seq) }, raw: b"{}" };
    batch.push(&row(1, now)).unwrap();
    client.insert(&target, "new", &batch).await.unwrap();
    for (seq, days) in [(2, 18 * 30), (3, 20 * 31)] {
        batch.begin(ORIGIN);
        batch.push(&row(seq, now.minus(Duration::from_secs(days * 86_400)))).unwrap();
        client.insert(&target, &format!("{seq}"), &batch).await.unwrap();
    }
    let place = client.config().place(Table::Raw);
    server.sql(&format!("OPTIMIZE TABLE {place} FINAL"));
    let left = server.sql(&format!("SELECT seq, toYear(timestamp) FROM {place} ORDER BY seq"));
    assert_eq!(left, "1\t2010\n2\t2010", "18 months after the commit, and not before");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_as_this_side_sees_them() {
    let server = Server::shared();
    let client = Client::new(Config { raw_months: 0, ..server.config() }).unwrap();
    client.prepare().await.unwrap();
    for (seq, micros) in (1..).zip([0, 951_782_400_000_000, 1_796_083_199_999_999, 1_796_083_200_000_000, noon().get()])
    {
        let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
        let committed_at = UnixMicros::new(micros);
        batch.push(&RawRow { event: EventRow { committed_at, ..event(seq) }, raw: b"{}" }).unwrap();
        client.insert(&client.target(), &format!("{seq}"), &batch).await.unwrap();
        let span = batch.span().unwrap();
        assert_eq!(client.count(&client.target(), &span).await.unwrap(), 1);
        assert_eq!(span.range, Seq::new(seq)..=Seq::new(seq));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_for_a_cluster_are_understood() {
    let server = Server::shared();
    for name in ["shards", "{cluster}"] {
        let mut cluster = Cluster::new(name);
        cluster.distributed_suffix = Some("_all".into());
        let config = Config { cluster: Some(cluster), ..server.config() };
        assert_eq!(config.check(), Ok(()));
        let mut statements = vec![ddl::create_database(&config)];
        for table in Table::ALL {
            let sql = ddl::create_table(&config, table, 1, table.columns());
            assert!(sql.contains(
                "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
            ));
            statements.push(sql);
            statements.push(ddl::create_distributed(&config, table).unwrap().1);
            statements.push(ddl::alter(&config, table, "MODIFY COMMENT 'x'"));
        }
        for sql in statements {
            assert!(sql.contains(&format!(" ON CLUSTER '{name}'")), "{sql}");
            server.sql(&format!("EXPLAIN AST {sql}"));
        }
    }
}
