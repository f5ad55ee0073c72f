//! How fast this sink inserts, beside what crate `clickhouse` inserts from memory in a bare loop: the same rows, on the
//! same server, taking turns.
//!
//! ```sh
//! cargo run --release --package clickhouse-sink --example bare_loop -- http://127.0.0.1:8123 1000000
//! ```
//!
//! Makes a database `bare_loop` on that server, and drops it at the end.

use clickhouse::Row;
use clickhouse_sink::{Batch, Client, Config, EventRow, Origin, RawRow, Table};
use event::{Seq, UnixMicros};
use serde::Serialize;
use std::error::Error;
use std::time::Instant;

const BATCH_ROWS: u64 = 50_000;
const ROUNDS: u64 = 3;
const RAW: &str = r#"{"eventId":"0b7d2f0e-3c63-4c53-9f0b-4e2d8d6f1a11","eventType":"item_added","timestamp":"2026-11-23T09:30:00.000Z","sessionId":"session-1","storeId":"store-7","data":{"sku":"85123A","quantity":6,"price":2.55}}"#;

/// A row of `events_raw`, as one would write it for the crate alone.
#[derive(Row, Serialize)]
struct BareRow<'a> {
    /// A UUID is two halves.
    node: (u64, u64),
    incarnation: u64,
    seq: u64,
    tenant: &'a str,
    source: &'a str,
    event_id: &'a str,
    event_type: &'a str,
    timestamp: i64,
    user_id: Option<&'a str>,
    session_id: &'a str,
    store_id: &'a str,
    received_at: i64,
    committed_at: i64,
    raw: &'a str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("name a server, http://HOST:PORT, and how many rows")?;
    let rows = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let client = Client::new(Config { database: "bare_loop".into(), ..Config::new([url.as_str()]) })?;
    client.prepare().await?;
    // Its own validation off, as this sink leaves that to the server.
    let bare = clickhouse::Client::default().with_url(&url).with_database("bare_loop").with_validation(false);
    for round in 0..ROUNDS {
        let of_loop = bare_loop(&bare, rows).await?;
        let of_sink = sink(&client, round * rows, rows).await?;
        println!("bare loop {of_loop:.0} rows/s, sink {of_sink:.0} rows/s, ratio {:.2}", of_sink / of_loop);
        bare.query("TRUNCATE TABLE events_raw").execute().await?;
    }
    bare.query("DROP DATABASE bare_loop").execute().await?;
    Ok(())
}

async fn bare_loop(bare: &clickhouse::Client, rows: u64) -> Result<f64, Box<dyn Error>> {
    let now = UnixMicros::now().get();
    let started = Instant::now();
    for first in (0..rows).step_by(BATCH_ROWS as usize) {
        let mut insert = bare.insert::<BareRow<'_>>("events_raw").await?.with_setting("async_insert", "0");
        for seq in first..rows.min(first + BATCH_ROWS) {
            insert.write(&bare_row(seq, now)).await?;
        }
        insert.end().await?;
    }
    Ok(rows as f64 / started.elapsed().as_secs_f64())
}

fn bare_row(seq: u64, now: i64) -> BareRow<'static> {
    BareRow {
        node: (1, 1),
        incarnation: 1,
        seq,
        tenant: "default",
        source: "http",
        event_id: "0b7d2f0e-3c63-4c53-9f0b-4e2d8d6f1a11",
        event_type: "item_added",
        timestamp: now / 1000,
        user_id: None,
        session_id: "session-1",
        store_id: "store-7",
        received_at: now,
        committed_at: now,
        raw: RAW,
    }
}

async fn sink(client: &Client, before: u64, rows: u64) -> Result<f64, Box<dyn Error>> {
    let now = UnixMicros::now();
    let origin = Origin { node: 1, incarnation: 1 };
    let mut batch = Batch::new(Table::Raw, origin, client.config());
    let started = Instant::now();
    for first in (before..before + rows).step_by(BATCH_ROWS as usize) {
        batch.begin(origin);
        for seq in first..(before + rows).min(first + BATCH_ROWS) {
            batch.push(&RawRow { event: event_row(seq, now), raw: RAW.as_bytes() })?;
        }
        client.insert(&client.target(), &first.to_string(), &batch).await?;
    }
    Ok(rows as f64 / started.elapsed().as_secs_f64())
}

fn event_row(seq: u64, now: UnixMicros) -> EventRow<'static> {
    EventRow {
        seq: Seq::new(seq),
        tenant: "default",
        source: "http",
        event_id: "0b7d2f0e-3c63-4c53-9f0b-4e2d8d6f1a11",
        event_type: "item_added",
        timestamp: now,
        user_id: None,
        session_id: "session-1",
        store_id: "store-7",
        received_at: now,
        committed_at: now,
    }
}
