//! The least that the same work costs: the same rows from memory through the vendor's crate, the same messages from
//! memory through a plain idempotent producer.

use super::clickhouse::ClickHouse;
use anyhow::{Context, Result};
use clickhouse::Row;
use prepare::processed::Extractor;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// A row of `events_raw`.
#[derive(Row, Serialize, Deserialize, Clone)]
struct RawRow {
    /// A UUID is two halves.
    node: (u64, u64),
    incarnation: u64,
    seq: u64,
    tenant: String,
    source: String,
    event_id: String,
    event_type: String,
    timestamp: i64,
    user_id: Option<String>,
    session_id: String,
    store_id: String,
    received_at: i64,
    committed_at: i64,
    raw: String,
}

/// A row of `events_processed`.
#[derive(Row, Serialize, Deserialize, Clone)]
struct ProcessedRow {
    node: (u64, u64),
    incarnation: u64,
    seq: u64,
    tenant: String,
    source: String,
    event_id: String,
    event_type: String,
    timestamp: i64,
    user_id: Option<String>,
    session_id: String,
    store_id: String,
    received_at: i64,
    committed_at: i64,
    schema_version: u32,
    data: String,
    metadata: Option<String>,
    enriched: String,
}

/// Inserts what the two tables hold into two others of the same kind, in batches of `rows`, over and over until
/// `events` are there; events per second.
pub async fn insert(server: &ClickHouse, events: u64, rows: u64) -> Result<f64> {
    let client = server.client();
    let sample = format!("ORDER BY seq LIMIT {rows}");
    let raw: Vec<RawRow> = client.query(&format!("SELECT ?fields FROM events_raw {sample}")).fetch_all().await?;
    let processed: Vec<ProcessedRow> =
        client.query(&format!("SELECT ?fields FROM events_processed {sample}")).fetch_all().await?;
    for table in ["raw", "processed"] {
        client.query(&format!("DROP TABLE IF EXISTS bare_{table}")).execute().await?;
        client.query(&format!("CREATE TABLE bare_{table} AS events_{table}")).execute().await?;
    }
    let started = Instant::now();
    for first in (0..events).step_by(rows as usize) {
        let count = rows.min(events - first) as usize;
        let mut insert = client.insert::<RawRow>("bare_raw").await?.with_setting("async_insert", "0");
        for (row, seq) in raw.iter().cycle().take(count).zip(first..) {
            insert.write(&RawRow { seq, ..row.clone() }).await?;
        }
        insert.end().await?;
        let mut insert = client.insert::<ProcessedRow>("bare_processed").await?.with_setting("async_insert", "0");
        for (row, seq) in processed.iter().cycle().take(count).zip(first..) {
            insert.write(&ProcessedRow { seq, ..row.clone() }).await?;
        }
        insert.end().await?;
    }
    let rate = events as f64 / started.elapsed().as_secs_f64();
    for table in ["raw", "processed"] {
        client.query(&format!("DROP TABLE bare_{table}")).execute().await?;
    }
    Ok(rate)
}

/// An event as the topics get it.
#[derive(Debug)]
pub struct Message {
    id: String,
    kind: String,
    session: String,
    raw: Vec<u8>,
    processed: Vec<u8>,
}

/// The first events of a log that nobody writes to.
pub fn messages(data: &Path, count: usize) -> Result<Vec<Message>> {
    let (reader, _) = wal::open_read_only(data)?;
    let (mut extractor, mut scratch, mut found) = (Extractor::new(), Vec::new(), Vec::new());
    reader.read(reader.start(), |block, _| {
        let visited = block.visit(&mut scratch, |event| {
            let Ok(envelope) = extractor.extract(&event) else { return };
            let mut processed = Vec::new();
            envelope.put_processed(&mut processed);
            found.push(Message {
                id: envelope.event_id.to_owned(),
                kind: envelope.event_type.to_owned(),
                session: envelope.session_id.to_owned(),
                raw: event.raw.to_vec(),
                processed,
            });
        });
        if visited.is_err() || found.len() >= count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Sends the messages to the three topics, over and over until `events` are acknowledged; events per second.
pub fn send(address: &str, topics: &[&str; 3], messages: &[Message], events: u64) -> Result<f64> {
    let mut settings = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", address),
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        ("compression.type", "lz4"),
        ("linger.ms", "2"),
    ] {
        settings.set(name, value);
    }
    let producer: BaseProducer = settings.create()?;
    let started = Instant::now();
    for (message, seq) in messages.iter().cycle().zip(1..=events) {
        let seq = seq.to_string();
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new_with_capacity(5)
            .insert(header("event_id", message.id.as_str()))
            .insert(header("event_type", message.kind.as_str()))
            .insert(header("tenant", "default"))
            .insert(header("seq", seq.as_str()))
            .insert(header("schema_version", "0"));
        for (topic, value) in topics.iter().zip([&message.raw, &message.processed, &message.processed]) {
            let mut record = BaseRecord::to(topic).key(&message.session).payload(value).headers(headers.clone());
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        producer.poll(Duration::from_millis(1));
                        record = back;
                    }
                    Err((error, _)) => return Err(error).context("bare producer"),
                }
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(600))?;
    Ok(events as f64 / started.elapsed().as_secs_f64())
}
