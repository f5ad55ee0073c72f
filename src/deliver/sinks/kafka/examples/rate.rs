//! How fast a session sends in transactions, beside a bare idempotent producer of the same messages in the same run:
//!
//! ```text
//! cargo run --release -p kafka-sink --example rate [EVENTS [EVENTS_OF_A_SLICE]]
//! ```

#![allow(clippy::unwrap_used, reason = "it may end with a panic")]

#[path = "../../../../../tests/support/kafka/mod.rs"]
mod kafka;

use event::Seq;
use kafka_sink::{Config, Event, History, Position, Session, Slice, Start, Topic};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::time::{Duration, Instant};

const INCARNATION: u64 = 1;
const ROUNDS: u64 = 5;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let events = arguments.next().unwrap_or(50_000);
    let of_a_slice = arguments.next().unwrap_or(5_000);
    let broker = kafka::Broker::start();
    let config = Config::new(broker.address(), "rate-kafka");
    let starts = [(INCARNATION, Seq::FIRST)];
    let history = History { starts: &starts, end: Position { seq: Seq::new(events * ROUNDS), dead_seq: 0 } };
    let start = Start { run: INCARNATION, history, cursor: None, passed: None, begin: Position::START };
    let mut session = Session::open(config.clone(), &start).unwrap();
    let bare = bare(&config);
    for round in 0..ROUNDS {
        let firsts = (round * events..(round + 1) * events).step_by(of_a_slice as usize);
        let slices: Vec<_> = firsts.map(|first| slice(first, of_a_slice)).collect();
        let bare_rate = rate(events, || slices.iter().for_each(|slice| send_bare(&bare, &config, slice)));
        let rate = rate(events, || slices.iter().for_each(|slice| session.send(slice).unwrap()));
        println!("transactions {rate:8.0} events/s   bare {bare_rate:8.0} events/s   ratio {:.2}", rate / bare_rate);
    }
}

fn rate(events: u64, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    events as f64 / started.elapsed().as_secs_f64()
}

fn slice(first: u64, count: u64) -> Slice {
    let mut slice = Slice::new(Position { seq: Seq::new(first), dead_seq: 0 });
    for seq in first + 1..=first + count {
        let body = format!(
            r#"{{"eventId":"e-{seq}","eventType":"item_added","timestamp":"2026-01-01T00:00:00Z","sessionId":"s-{}","storeId":"st-{}","data":{{"sku":"{:x}","quantity":{},"price":"{}.99"}},"metadata":{{"userAgent":"Mozilla/5.0"}}}}"#,
            seq % 997,
            seq % 31,
            seq.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            seq % 5,
            seq % 173
        );
        slice.push(&Event {
            seq: Seq::new(seq),
            incarnation: INCARNATION,
            tenant: "default",
            event_id: &format!("e-{seq}"),
            event_type: "item_added",
            session_id: &format!("s-{}", seq % 997),
            schema_version: 1,
            traceparent: None,
            raw: body.as_bytes(),
            validated: Some(body.as_bytes()),
            enriched: Some(body.as_bytes()),
        });
    }
    slice
}

fn bare(config: &Config) -> BaseProducer {
    let mut settings = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", &*config.bootstrap_servers),
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        ("compression.type", "lz4"),
        ("linger.ms", "2"),
    ] {
        settings.set(name, value);
    }
    settings.create().unwrap()
}

/// Sends the messages of a slice, and waits until all are acknowledged.
fn send_bare(producer: &BaseProducer, config: &Config, slice: &Slice) {
    for message in slice.messages() {
        let topic = match message.topic {
            Topic::Raw => &config.topics.raw,
            Topic::Validated => &config.topics.validated,
            Topic::Enriched => &config.topics.enriched,
            Topic::Dead => &config.topics.dead,
        };
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record = BaseRecord::to(topic).payload(message.value).headers(headers);
        record.key = message.key;
        while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) = producer.send(record) {
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(600)).unwrap();
}
