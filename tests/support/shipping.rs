//! What tests of shipping share: a daemon with a real ClickHouse and a real Kafka, events for it, and what arrived.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

use crate::clickhouse::Server;
use crate::kafka::{Broker, Record};
use crate::support::{Daemon, Place, event, eventually, request};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub const ACCEPTED: u64 = 10_828;
pub const TOPICS: [&str; 3] = ["raw", "validated", "enriched"];

/// A broker with topics of one's own.
pub struct Topics {
    pub broker: Arc<Broker>,
    pub prefix: String,
}

impl Topics {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Topics { broker: Broker::shared(), prefix: format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// On a broker that is nobody else's, to be killed.
    pub fn alone() -> Self {
        Topics { broker: Arc::new(Broker::start()), prefix: "t".into() }
    }

    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.broker.committed(&[&format!("{}-{topic}", self.prefix)])
    }
}

/// A folder whose daemon ships to these; no Parquet files.
pub fn place(server: Option<&Server>, topics: Option<&Topics>) -> Place {
    let mut place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false")]);
    if let Some(server) = server {
        place = place.and("INGESTD_CLICKHOUSE_ENABLED", "true").and("INGESTD_CLICKHOUSE_URLS", &server.url());
        place = place.and("INGESTD_CLICKHOUSE_BATCH_AGE_MS", "100");
    }
    if let Some(topics) = topics {
        place = place.and("INGESTD_KAFKA_ENABLED", "true").and("INGESTD_KAFKA_TOPIC_PREFIX", &topics.prefix);
        place = place.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &topics.broker.address());
    }
    place
}

/// Posts lines in batches of 100; returns how many were accepted as new.
pub fn post(daemon: &Daemon, lines: &[String]) -> u64 {
    let mut connection = daemon.connect();
    let batches = lines.chunks(100).map(|batch| {
        let body = format!("[{}]", batch.join(","));
        connection.send(request("POST", "/events/batch", &[], body.as_bytes()));
        let answer = connection.answer().with_status(202);
        answer["successful"].as_u64().unwrap() - answer["duplicates"].as_u64().unwrap()
    });
    batches.sum()
}

/// Waits until every sink has everything, and sees that the counts balance.
#[track_caller]
pub fn settle(daemon: &Daemon) -> Value {
    await_admin(daemon);
    let flushed = daemon.admin(&["flush"]);
    assert!(flushed.status.success(), "flush: {flushed:?} {}", daemon.log());
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
    serde_json::from_slice(&audit.stdout).unwrap()
}

#[track_caller]
pub fn assert_tables(server: &Server, events: u64, dead: u64) {
    for (table, rows) in [("events_raw", events), ("events_processed", events), ("events_errors", dead)] {
        assert_eq!(server.rows(table), (rows, rows), "{table}");
    }
}

#[track_caller]
pub fn assert_topics(topics: &Topics, events: u64, dead: usize) {
    for topic in TOPICS {
        let seqs: Vec<u64> = topics.records(topic).iter().map(Record::seq).collect();
        assert_eq!(seqs.len() as u64, events, "{topic}");
        assert_eq!(seqs.iter().collect::<BTreeSet<_>>().len() as u64, events, "{topic}: some twice");
    }
    assert_eq!(topics.records("dlq").len(), dead);
}

/// What the daemon says of a sink.
#[track_caller]
pub fn sink(daemon: &Daemon, name: &str) -> Value {
    let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
    sinks.as_array().unwrap().iter().find(|sink| sink["sink"] == name).unwrap().clone()
}

/// State and reason of a sink.
pub fn state(daemon: &Daemon, name: &str) -> (String, String) {
    let sink = sink(daemon, name);
    (sink["state"].as_str().unwrap().to_owned(), sink["reason"].as_str().unwrap_or_default().to_owned())
}

/// What a sink has delivered, what is pending, and what was given up.
pub fn ledger(daemon: &Daemon, name: &str) -> [u64; 3] {
    let sink = sink(daemon, name);
    ["delivered", "pending", "expired"].map(|key| sink["ledger"][key].as_u64().unwrap())
}

/// Waits until the daemon can be steered, which may be a little after it listens.
#[track_caller]
fn await_admin(daemon: &Daemon) {
    eventually("it can be steered", || {
        std::os::unix::net::UnixStream::connect(daemon.data().join("admin.sock")).is_ok()
    });
}

/// `ingestd admin` with these arguments, which must succeed; what it prints.
#[track_caller]
pub fn admin(daemon: &Daemon, arguments: &[&str]) -> String {
    await_admin(daemon);
    let output = daemon.admin(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?} {}", daemon.log());
    String::from_utf8(output.stdout).unwrap()
}

/// What `admin verify` says of a sink, and whether it found everything right.
pub fn verify(daemon: &Daemon, sink: &str) -> (bool, Value) {
    let output = daemon.admin(&["verify", sink, "--json"]);
    let said = serde_json::from_slice(&output.stdout);
    (output.status.success(), said.unwrap_or_else(|_| panic!("{output:?}")))
}

pub fn some(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| event(&format!("{name}-{number}")).to_string()).collect()
}

pub fn some_ids(name: &str) -> impl Iterator<Item = String> {
    (0..20).map(move |number| format!("{name}-{number}"))
}
