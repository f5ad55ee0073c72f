use super::failures::as_user;
use super::rows::{ORIGIN, event, noon, numbered, real_batches, real_lines, seen};
use super::server::{Server, Setup};
use crate::{Batch, ErrorRow, Held, Misfit, Partition, ProcessedRow, RawRow, Span, Table};
use event::{Seq, UnixMicros};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_file_arrives_exactly() {
    let server = Server::shared();
    let client = server.client().await;
    let lines = real_lines();
    assert_eq!(lines.len(), 10_828);
    let (raw, processed) = real_batches(&client, &lines);
    client.insert(&client.target(), "raw-1", &raw).await.unwrap();
    client.insert(&client.target(), "processed-1", &processed).await.unwrap();

    let place = client.config().place(Table::Raw);
    server.sql(&format!("OPTIMIZE TABLE {place} FINAL"));
    let stored = server.sql(&format!("SELECT seq, hex(raw) FROM {place} ORDER BY seq"));
    let expected: Vec<_> = (1..).zip(&lines).map(|(seq, line)| format!("{seq}\t{}", hex(line.as_bytes()))).collect();
    assert!(stored.lines().eq(expected.iter().map(String::as_str)), "raw rows differ");

    // Every column of the envelope against the raw bytes, by the server's own JSON parser.
    let differing = format!(
        "SELECT count() FROM {place} WHERE event_id != JSONExtractString(raw, 'eventId')
         OR event_type != JSONExtractString(raw, 'eventType') OR session_id != JSONExtractString(raw, 'sessionId')
         OR store_id != JSONExtractString(raw, 'storeId')
         OR (user_id IS NULL) != (NOT JSONHas(raw, 'userId')) OR ifNull(user_id, '') != JSONExtractString(raw, 'userId')
         OR timestamp != parseDateTime64BestEffort(JSONExtractString(raw, 'timestamp'), 3, 'UTC')
         OR toUnixTimestamp64Micro(committed_at) != {} OR received_at != committed_at
         OR tenant != 'default' OR source != 'http' OR incarnation != {}
         OR node != '01234567-89ab-cdef-0011-223344556677'",
        noon().get(),
        ORIGIN.incarnation
    );
    assert_eq!(server.number(&differing), 0);

    let place = client.config().place(Table::Processed);
    let total = format!(
        "SELECT sum(JSONExtract(data, 'total', 'Decimal(18, 2)')) FROM {place} WHERE event_type = 'purchase_completed'"
    );
    assert_eq!(server.sql(&total), "184248.33");
    let users = format!("SELECT uniqExact(user_id), uniqExact(store_id), uniqExact(session_id) FROM {place}");
    assert_eq!(server.sql(&users), "323\t15\t512");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_part_whatever_the_users_settings_are() {
    let users = "<tiny><password>p</password><networks><ip>127.0.0.1</ip></networks><profile>tiny</profile>\
                 <quota>default</quota></tiny>";
    let profiles = "<tiny><max_insert_block_size>1000</max_insert_block_size><async_insert>1</async_insert>\
                    <min_insert_block_size_rows>1</min_insert_block_size_rows>\
                    <min_insert_block_size_bytes>1</min_insert_block_size_bytes>\
                    <insert_deduplicate>0</insert_deduplicate></tiny>";
    let server = Server::start(Setup { users, profiles, ..Setup::default() });
    let owner = server.client().await;
    let client = as_user(&server, &owner, "tiny", "p");
    let batch = numbered(&client, 1..=20_000);
    for _ in 0..2 {
        client.insert(&client.target(), "t", &batch).await.unwrap();
    }
    let parts = format!(
        "SELECT count(), sum(rows) FROM system.parts WHERE database = '{}' AND table = 'events_raw' AND level = 0",
        client.config().database
    );
    assert_eq!(server.sql(&parts), "1\t20000");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_token_counts_once_and_another_one_again() {
    let server = Server::shared();
    let client = server.client().await;
    let batch = numbered(&client, 1..=1000);
    for _ in 0..3 {
        client.insert(&client.target(), "a", &batch).await.unwrap();
    }
    assert_eq!(seen(server, &client), (1000, 1000));
    client.insert(&client.target(), "b", &batch).await.unwrap();
    assert_eq!(seen(server, &client), (2000, 1000), "a token is what tells repeats, not the rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_compression_rows_arrive_too() {
    let server = Server::shared();
    let mut config = server.config();
    config.compress = false;
    let client = crate::Client::new(config).unwrap();
    client.prepare().await.unwrap();
    client.insert(&client.target(), "t", &numbered(&client, 1..=5000)).await.unwrap();
    assert_eq!(seen(server, &client), (5000, 5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_comes_back() {
    let server = Server::shared();
    let client = server.client().await;
    let odd = "nul \0 quote ' \" back \\ tab \t line \n 日本語 🛒";
    let mut batch = Batch::new(Table::Processed, ORIGIN, client.config());
    let first = crate::EventRow {
        user_id: None,
        timestamp: UnixMicros::new(253_402_300_799_999_999),
        tenant: odd,
        store_id: odd,
        event_id: odd,
        ..event(1)
    };
    let long = "x".repeat(300_000);
    let row = ProcessedRow { event: first, schema_version: u32::MAX, data: &long, metadata: None, enriched: odd };
    batch.push(&row).unwrap();
    let second = crate::EventRow { user_id: Some(""), timestamp: UnixMicros::new(-1), ..event(u64::MAX) };
    let row = ProcessedRow { event: second, schema_version: 0, data: "", metadata: Some(""), enriched: "{}" };
    batch.push(&row).unwrap();
    client.insert(&client.target(), "t", &batch).await.unwrap();
    let place = client.config().place(Table::Processed);
    let stored = server.sql(&format!(
        "SELECT seq, hex(tenant), hex(store_id), hex(event_id), user_id, toUnixTimestamp64Milli(timestamp),
         length(data), metadata, schema_version, hex(enriched) FROM {place} ORDER BY seq"
    ));
    let odd = hex(odd.as_bytes());
    let lines = [
        format!("1\t{odd}\t{odd}\t{odd}\t\\N\t253402300799999\t300000\t\\N\t{}\t{odd}", u32::MAX),
        format!("{}\t{}\t{}\t{}\t\t-1\t0\t\t0\t7B7D", u64::MAX, hex(b"default"), hex(b"st"), hex(b"id")),
    ];
    assert_eq!(stored, lines.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_arrive_by_their_own_positions() {
    let server = Server::shared();
    let client = server.client().await;
    let mut batch = Batch::new(Table::Errors, ORIGIN, client.config());
    let row = |dead_seq, seq| ErrorRow {
        dead_seq: Seq::new(dead_seq),
        seq,
        tenant: "default",
        source: "http",
        sink: "",
        code: "missing_field",
        pointer: "/storeId",
        message: "is missing",
        event_id: None,
        event_type: "",
        store_id: "",
        received_at: noon(),
        committed_at: noon(),
        raw: b"\xff not UTF-8",
    };
    batch.push(&row(1, None)).unwrap();
    batch.push(&row(2, Some(Seq::new(77)))).unwrap();
    client.insert(&client.target(), "t", &batch).await.unwrap();
    let place = client.config().place(Table::Errors);
    let stored =
        server.sql(&format!("SELECT dead_seq, seq, code, pointer, event_id, hex(raw) FROM {place} ORDER BY 1"));
    let raw = hex(b"\xff not UTF-8");
    let line = |start| format!("{start}\tmissing_field\t/storeId\t\\N\t{raw}");
    assert_eq!(stored, [line("1\t\\N"), line("2\t77")].join("\n"));
    assert_eq!(client.count(&client.target(), &batch.span().unwrap()).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_holds_can_be_counted() {
    let server = Server::shared();
    let client = server.client().await;
    let target = client.target();
    client.insert(&target, "a", &numbered(&client, 11..=20)).await.unwrap();
    client.insert(&target, "b", &numbered(&client, 31..=40)).await.unwrap();
    let span = |from, to| Span {
        table: Table::Raw,
        origin: ORIGIN,
        range: Seq::new(from)..=Seq::new(to),
        committed: noon()..=noon(),
    };
    assert_eq!(client.count(&target, &span(1, 100)).await.unwrap(), 20);
    assert_eq!(client.count(&target, &span(20, 31)).await.unwrap(), 2);
    let other = crate::Origin { incarnation: 1, ..ORIGIN };
    assert_eq!(client.count(&target, &Span { origin: other, ..span(1, 100) }).await.unwrap(), 0);
    let other = UnixMicros::new(0)..=noon().minus(Duration::from_micros(1));
    assert_eq!(client.count(&target, &Span { committed: other, ..span(1, 100) }).await.unwrap(), 0);

    let missing = client.missing(&target, &numbered(&client, 18..=32)).await.unwrap();
    assert_eq!(missing, (21..=30).map(Seq::new).collect::<Vec<_>>());
}

/// One row from another start of the node's daemon.
async fn insert_as(client: &crate::Client, incarnation: u64, seq: u64, committed_at: UnixMicros) {
    let mut batch = Batch::new(Table::Raw, crate::Origin { incarnation, ..ORIGIN }, client.config());
    batch.push(&RawRow { event: crate::EventRow { committed_at, ..event(seq) }, raw: b"{}" }).unwrap();
    client.insert(&client.target(), &format!("{incarnation}/{seq}"), &batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_and_a_restored_copy_show_in_the_table() {
    let server = Server::shared();
    let client = server.client().await;
    let target = client.target();
    let newest = async |since| client.newest(&target, Table::Raw, ORIGIN.node, since).await.unwrap();
    let held = |incarnation, first, last, rows| Held {
        node: ORIGIN.node,
        incarnation,
        first: Seq::new(first),
        last: Seq::new(last),
        rows,
        committed_at: noon(),
    };
    client.insert(&target, "a", &numbered(&client, 11..=20)).await.unwrap();
    // Our own history: nothing beyond what our log knows.
    assert_eq!(newest(noon()).await, [held(ORIGIN.incarnation, 11, 20, 10)]);
    // The same node id at work elsewhere, with positions of ours: another incarnation.
    insert_as(&client, 7, 15, noon()).await;
    // After a restore the table is ahead of the log: a position that it has not reached.
    insert_as(&client, ORIGIN.incarnation, 31, noon()).await;
    let all = [held(7, 15, 15, 1), held(ORIGIN.incarnation, 11, 31, 11)];
    assert_eq!(newest(noon()).await, all);
    // Their positions do not keep ours out: what is told apart is (incarnation, position).
    let missing = client.missing(&target, &numbered(&client, 11..=21)).await.unwrap();
    assert_eq!(missing, [Seq::new(21)]);
    assert_eq!(newest(noon().minus(Duration::from_secs(1))).await, all);
    insert_as(&client, 8, 1, noon().minus(Duration::from_secs(7200))).await;
    assert_eq!(newest(noon()).await, all, "what is older than the cursor is not read");
    assert_eq!(client.newest(&target, Table::Raw, 1, noon()).await.unwrap(), []);
    assert_eq!(client.newest(&target, Table::Errors, ORIGIN.node, noon()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_reads_only_parts_of_that_time() {
    let server = Server::shared();
    let client = server.client().await;
    let hours = |hours: u64| noon().minus(Duration::from_secs(hours * 3600));
    server.sql(&format!("SYSTEM STOP MERGES {}", client.config().place(Table::Raw)));
    for (seq, at) in [(1, hours(3)), (2, hours(2)), (3, hours(1))] {
        insert_as(&client, ORIGIN.incarnation, seq, at).await;
    }
    let committed = hours(2)..=hours(2);
    let span = Span { table: Table::Raw, origin: ORIGIN, range: Seq::new(1)..=Seq::new(3), committed };
    assert_eq!(client.count(&client.target(), &span).await.unwrap(), 1);
    let plan = server.sql(&format!("EXPLAIN indexes = 1 {}", client.count_sql(&span)));
    assert!(plan.contains("Parts: 1/3"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_an_hour_doubles_and_loses_nothing() {
    let server = Server::shared();
    let client = server.client().await;
    let target = client.target();
    // The first hour of a month, and then again the last one of the month before.
    let (month, before) = (UnixMicros::new(1_796_083_200_000_000), UnixMicros::new(1_796_083_199_000_000));
    let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
    let mut sent = Vec::new();
    for (seq, committed_at) in (1..).zip([month, month, before, before, month]) {
        if !batch.admits(committed_at) {
            sent.push(batch.clone());
            batch.begin(ORIGIN);
        }
        batch.push(&RawRow { event: crate::EventRow { committed_at, ..event(seq) }, raw: b"{}" }).unwrap();
    }
    sent.push(batch);
    assert_eq!(sent.iter().map(Batch::rows).collect::<Vec<_>>(), [2, 2, 1]);
    for (number, batch) in sent.iter().enumerate() {
        client.insert(&target, &number.to_string(), batch).await.unwrap();
        assert_eq!(client.settle(&target, &number.to_string(), batch).await.unwrap(), crate::Settled::Whole);
    }
    assert_eq!(seen(server, &client), (5, 5));
    // Within one batch, too: the range of times covers rows that go back.
    let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
    for (seq, minutes) in [(6, 0), (7, 60), (8, 30)] {
        let committed_at = UnixMicros::new(month.get() + 7_200_000_000).minus(Duration::from_secs(minutes * 60));
        batch.push(&RawRow { event: crate::EventRow { committed_at, ..event(seq) }, raw: b"{}" }).unwrap();
    }
    client.insert(&target, "back", &batch).await.unwrap();
    assert_eq!(client.count(&target, &batch.span().unwrap()).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_of_one_table_one_month_and_growing_positions() {
    let server = Server::shared();
    let client = crate::Client::new(server.config()).unwrap();
    let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
    // The last microsecond of November, and the first of December.
    let (last, first) = (UnixMicros::new(1_796_083_199_999_999), UnixMicros::new(1_796_083_200_000_000));
    assert!(batch.admits(last) && batch.admits(first), "any row may begin a batch");
    let at = |seq, committed_at| RawRow { event: crate::EventRow { committed_at, ..event(seq) }, raw: b"{}" };
    batch.push(&at(3, last)).unwrap();
    assert!(batch.admits(last) && !batch.admits(first));
    let misfit = batch.push(&at(4, first)).unwrap_err();
    assert_eq!(misfit, Misfit::Partition { batch: Partition::of(last), row: Partition::of(first) });
    let misfit = batch.push(&at(3, last)).unwrap_err();
    assert_eq!(misfit, Misfit::Order { last: Seq::new(3), row: Seq::new(3) });
    let row = ProcessedRow { event: event(9), schema_version: 0, data: "{}", metadata: None, enriched: "{}" };
    assert_eq!(batch.push(&row), Err(Misfit::Table { batch: Table::Raw, row: Table::Processed }));
    assert_eq!(batch.rows(), 1);
    batch.begin(ORIGIN);
    assert!(batch.admits(first) && batch.span().is_none());
    client.insert(&client.target(), "t", &batch).await.unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
