use super::rows::{ORIGIN, event, numbered, seen};
use super::server::{Server, until};
use crate::{Batch, Client, Config, EventRow, Kind, Outcome, RawRow, Refused, Remedy, Settled, Table};
use event::Seq;
use std::ops::RangeInclusive;

/// Rows, those at `poison` with a session that a constraint refuses.
fn poisoned(client: &Client, range: RangeInclusive<u64>, poison: &[u64]) -> Batch {
    let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
    for seq in range {
        let session_id = if poison.contains(&seq) { "secret poison" } else { "s" };
        batch.push(&RawRow { event: EventRow { session_id, ..event(seq) }, raw: seq.to_string().as_bytes() }).unwrap();
    }
    batch
}

fn constrain(server: &Server, client: &Client) {
    let place = client.config().place(Table::Raw);
    server.sql(&format!("ALTER TABLE {place} ADD CONSTRAINT no_poison CHECK session_id NOT LIKE '%poison%'"));
}

fn positions(refused: &[Refused]) -> Vec<u64> {
    refused.iter().map(|row| row.position.get()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_found_and_the_rest_arrives_once() {
    let server = Server::shared();
    let client = server.client().await;
    constrain(server, &client);
    let poison = [1, 2, 499, 1000];
    let (target, batch) = (client.target(), poisoned(&client, 1..=1000, &poison));
    let failure = client.insert(&target, "t", &batch).await.unwrap_err();
    assert_eq!(failure.remedy(), Remedy::Isolate);
    assert_eq!(failure.kind, Kind::Row { column: Some("session_id".into()) });
    assert_eq!(failure.code, Some(469));
    assert!(!failure.message.contains("secret"), "a client's data: {failure}");

    // As often as a crash may have it done again.
    for _ in 0..3 {
        let refused = client.isolate(&target, "t", &batch).await.unwrap();
        assert_eq!(positions(&refused), poison);
        for row in &refused {
            assert_eq!((row.code, row.column.as_deref()), (469, Some("session_id")));
            assert!(row.message.contains("no_poison") && !row.message.contains("secret"), "{}", row.message);
        }
        assert_eq!(seen(server, &client), (996, 996));
    }
    let Settled::Completed(refused) = client.settle(&target, "t", &batch).await.unwrap() else { panic!() };
    assert_eq!(positions(&refused), poison);
    assert_eq!(seen(server, &client), (996, 996));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_batches_are_isolated_too() {
    let server = Server::shared();
    let client = server.client().await;
    constrain(server, &client);
    let target = client.target();
    for (token, range, poison) in [("a", 1..=1, vec![1]), ("b", 2..=4, vec![4]), ("c", 5..=6, vec![5, 6])] {
        let batch = poisoned(&client, range, &poison);
        client.insert(&target, token, &batch).await.unwrap_err();
        assert_eq!(positions(&client.isolate(&target, token, &batch).await.unwrap()), poison);
    }
    assert_eq!(seen(server, &client), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn isolating_may_be_broken_off_anywhere() {
    let server = Server::shared();
    let client = server.client().await;
    constrain(server, &client);
    let (target, batch) = (client.target(), poisoned(&client, 1..=512, &[100, 300, 511]));
    // Broken off as soon as one more part is there, again and again.
    for more in 1..=6 {
        let before = seen(server, &client).0;
        let is_more = async || {
            let is_there = |rows| rows > before || rows == 509;
            until("another part", async || is_there(seen(server, &client).0)).await;
        };
        tokio::select! {
            result = client.isolate(&target, "t", &batch) => assert_eq!(positions(&result.unwrap()), [100, 300, 511]),
            () = is_more() => {}
        }
        // What was broken off may still be arriving: both figures are of one moment.
        let (rows, different) = seen(server, &client);
        assert_eq!(rows, different, "after {more} breaks");
    }
    let refused = client.isolate(&target, "t", &batch).await.unwrap();
    assert_eq!(positions(&refused), [100, 300, 511]);
    assert_eq!(seen(server, &client), (509, 509));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_went_away_in_between_brings_no_row_twice() {
    let server = Server::shared();
    let client = server.client().await;
    constrain(server, &client);
    let (target, batch) = (client.target(), poisoned(&client, 1..=64, &[20]));
    client.isolate(&target, "t", &batch).await.unwrap();
    server.sql(&format!("ALTER TABLE {} DROP CONSTRAINT no_poison", client.config().place(Table::Raw)));
    assert_eq!(client.settle(&target, "t", &batch).await.unwrap(), Settled::Completed(vec![]));
    assert_eq!(seen(server, &client), (64, 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_refuses_everything_is_a_mistake_in_the_table() {
    let server = Server::shared();
    let client = Client::new(Config { refused_rows_max: 10, ..server.config() }).unwrap();
    client.prepare().await.unwrap();
    constrain(server, &client);
    let all: Vec<_> = (1..=100).collect();
    let (target, batch) = (client.target(), poisoned(&client, 1..=100, &all));
    let failure = client.isolate(&target, "t", &batch).await.unwrap_err();
    assert_eq!((failure.remedy(), &failure.kind), (Remedy::Final, &Kind::Schema), "{failure}");
    assert_eq!(seen(server, &client), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_added_column_cannot_read_is_refused_by_row() {
    let server = Server::shared();
    let client = server.client().await;
    let place = client.config().place(Table::Raw);
    server.sql(&format!("ALTER TABLE {place} ADD COLUMN number UInt64 MATERIALIZED toUInt64(raw)"));
    assert_eq!(client.check().await, [], "columns of others do no harm");
    let mut batch = numbered(&client, 1..=9);
    batch.push(&RawRow { event: event(10), raw: b"'secret'" }).unwrap();
    let target = client.target();
    let failure = client.insert(&target, "t", &batch).await.unwrap_err();
    assert_eq!(failure.remedy(), Remedy::Isolate, "{failure}");
    assert!(!failure.message.contains("secret"), "a client's data: {failure}");
    let refused = client.isolate(&target, "t", &batch).await.unwrap();
    assert_eq!(positions(&refused), [10]);
    assert_eq!(server.number(&format!("SELECT sum(number) FROM {place}")), 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_refuses_rows_costs_none_and_doubles_none() {
    let server = Server::shared();
    let client = server.client().await;
    let (place, database) = (client.config().place(Table::Raw), &client.config().database);
    server.sql(&format!("CREATE TABLE {database}.behind (n UInt64) ENGINE = MergeTree ORDER BY n"));
    server.sql(&format!(
        "CREATE MATERIALIZED VIEW {database}.view TO {database}.behind AS
         SELECT seq + throwIf(seq = 5) AS n FROM {place}"
    ));
    let (target, batch) = (client.target(), numbered(&client, 1..=10));
    let failure = client.insert(&target, "t", &batch).await.unwrap_err();
    assert_eq!(failure.remedy(), Remedy::Isolate, "{failure}");
    let settled = seen(server, &client);
    match client.isolate(&target, "t", &batch).await {
        // The table had the rows before the view refused one of them.
        Err(failure) => assert_eq!((failure.remedy(), settled), (Remedy::Final, (10, 10)), "{failure}"),
        Ok(refused) => assert_eq!((positions(&refused), settled), (vec![5], (0, 0))),
    }
    let (rows, different) = seen(server, &client);
    assert_eq!(rows, different, "some rows are there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_error_of_a_view_leaves_the_outcome_open() {
    let server = Server::shared();
    let client = server.client().await;
    let (place, database) = (client.config().place(Table::Raw), &client.config().database);
    server.sql(&format!("CREATE TABLE {database}.behind (n String) ENGINE = MergeTree ORDER BY n"));
    server.sql(&format!(
        "CREATE MATERIALIZED VIEW {database}.view TO {database}.behind AS
         SELECT base64Decode(if(seq = 5, '!', 'YQ==')) AS n FROM {place}"
    ));
    let (target, batch) = (client.target(), numbered(&client, 1..=10));
    let failure = client.insert(&target, "t", &batch).await.unwrap_err();
    assert_eq!((&failure.kind, failure.code), (&Kind::Schema, Some(117)), "{failure}");
    assert_eq!((failure.outcome, failure.remedy()), (Outcome::Unknown, Remedy::Final));
    // Once the view is mended the batch goes on as any other that may be there.
    server.sql(&format!("DROP TABLE {database}.view SYNC"));
    client.settle(&target, "t", &batch).await.unwrap();
    assert_eq!(seen(server, &client), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_halves_say_which_half() {
    let server = Server::shared();
    let client = Client::new(server.config()).unwrap();
    let batch = numbered(&client, 10..=14);
    let whole = batch.whole();
    assert_eq!(whole.token("t"), "t");
    let [first, second] = whole.halves();
    assert_eq!((first.token("t").as_str(), second.token("t").as_str()), ("t/10-12", "t/13-14"));
    let bytes: Vec<u8> = [first.body(), second.body()].concat();
    assert_eq!(bytes, whole.body());
    assert_eq!(second.positions(), [Seq::new(13), Seq::new(14)]);
}
