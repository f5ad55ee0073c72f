//! To a real ClickHouse and a real Kafka: every accepted event exactly once in both, whatever is killed.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/clickhouse/mod.rs"]
mod clickhouse;
#[cfg(test)]
#[path = "support/kafka/mod.rs"]
mod kafka;
#[cfg(test)]
mod support;

use clickhouse::Server;
use kafka::{Broker, Record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Daemon, Place, event, eventually, real_lines};

const ACCEPTED: u64 = 10_828;
const TOPICS: [&str; 3] = ["raw", "validated", "enriched"];

/// A broker with topics of one's own.
struct Topics {
    broker: Arc<Broker>,
    prefix: String,
}

impl Topics {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Topics { broker: Broker::shared(), prefix: format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    fn records(&self, topic: &str) -> Vec<Record> {
        self.broker.committed(&[&format!("{}-{topic}", self.prefix)])
    }
}

/// A folder whose daemon ships to these; no Parquet files.
fn place(server: Option<&Server>, topics: Option<&Topics>) -> Place {
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
fn post(daemon: &Daemon, lines: &[String]) -> u64 {
    let mut connection = daemon.connect();
    let batches = lines.chunks(100).map(|batch| {
        let body = format!("[{}]", batch.join(","));
        connection.send(support::request("POST", "/events/batch", &[], body.as_bytes()));
        let answer = connection.answer().with_status(202);
        answer["successful"].as_u64().unwrap() - answer["duplicates"].as_u64().unwrap()
    });
    batches.sum()
}

/// Waits until every sink has everything, and sees that the counts balance.
#[track_caller]
fn settle(daemon: &Daemon) -> Value {
    let flushed = daemon.admin(&["flush"]);
    assert!(flushed.status.success(), "flush: {flushed:?} {}", daemon.log());
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
    serde_json::from_slice(&audit.stdout).unwrap()
}

#[track_caller]
fn assert_tables(server: &Server, events: u64, dead: u64) {
    for (table, rows) in [("events_raw", events), ("events_processed", events), ("events_errors", dead)] {
        assert_eq!(server.rows(table), (rows, rows), "{table}");
    }
}

#[track_caller]
fn assert_topics(topics: &Topics, events: u64, dead: usize) {
    for topic in TOPICS {
        let seqs: Vec<u64> = topics.records(topic).iter().map(Record::seq).collect();
        assert_eq!(seqs.len() as u64, events, "{topic}");
        assert_eq!(seqs.iter().collect::<BTreeSet<_>>().len() as u64, events, "{topic}: some twice");
    }
    assert_eq!(topics.records("dlq").len(), dead);
}

#[test]
fn the_real_events_are_in_every_table_and_topic_once_and_in_order() {
    let (server, topics) = (Server::start(), Topics::new());
    let lines = real_lines();
    let daemon = place(Some(&server), Some(&topics)).start();
    assert_eq!(post(&daemon, &lines), ACCEPTED);
    let audit = settle(&daemon);
    for sink in audit["sinks"].as_array().unwrap() {
        let ledger = &sink["ledger"];
        assert_eq!([&ledger["delivered"], &ledger["pending"], &ledger["dead"]], [ACCEPTED, 0, 0], "{sink}");
    }
    assert_tables(&server, ACCEPTED, 0);
    for table in ["events_raw", "events_processed"] {
        server.sql(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    assert_tables(&server, ACCEPTED, 0);
    assert_topics(&topics, ACCEPTED, 0);
    let sent: BTreeSet<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let mut newest: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for record in topics.records("raw") {
        let value = record.value.as_deref().unwrap();
        assert!(sent.contains(value), "other bytes than were sent");
        let parsed: Value = serde_json::from_slice(value).unwrap();
        assert_eq!(record.key.as_deref(), parsed["sessionId"].as_str().map(str::as_bytes));
        assert_eq!(record.partition, record.javas_partition, "Java's producers would put it elsewhere");
        assert_eq!(record.header("event_id"), parsed["eventId"].as_str().unwrap());
        assert_eq!(record.header("event_type"), parsed["eventType"].as_str().unwrap());
        assert_eq!(record.header("tenant"), "default");
        let seq = record.seq();
        let before = newest.insert(record.key.unwrap(), seq);
        assert!(before.is_none_or(|before| before < seq), "a session's events are out of order");
    }
    // Bad ones are where dead letters go, and nowhere else.
    let bad: Vec<String> = (0..100).map(|number| json!({"eventId": format!("bad-{number}")}).to_string()).collect();
    assert_eq!(post(&daemon, &bad), 0);
    eventually("the dead letters are there", || server.rows("events_errors").0 == 100);
    eventually("the dead letters are there", || topics.records("dlq").len() == 100);
    assert_tables(&server, ACCEPTED, 100);
    assert_topics(&topics, ACCEPTED, 100);
    let letter = &topics.records("dlq")[0];
    assert_eq!(letter.header("code"), "missing_field");
    daemon.stop();
}

#[test]
fn kills_of_the_daemon_lose_and_double_nothing() {
    let (server, topics) = (Server::start(), Topics::new());
    let lines = real_lines();
    let mut accepted = 0;
    let mut daemon = place(Some(&server), Some(&topics)).start();
    for part in lines.chunks(lines.len() / 8) {
        accepted += post(&daemon, part);
        daemon = daemon.kill().start();
    }
    assert_eq!(accepted, ACCEPTED);
    settle(&daemon);
    assert_tables(&server, ACCEPTED, 0);
    assert_topics(&topics, ACCEPTED, 0);
}

#[test]
fn a_clickhouse_that_is_away_holds_up_nobody_and_gets_everything_when_it_is_back() {
    let (mut server, topics) = (Server::start(), Topics::new());
    let lines = real_lines();
    let (first, second) = lines.split_at(lines.len() / 2);
    let daemon = place(Some(&server), Some(&topics)).start();
    let mut accepted = post(&daemon, first);
    settle(&daemon);
    server.kill();
    accepted += post(&daemon, second);
    assert_eq!(accepted, ACCEPTED);
    let flushed = daemon.admin(&["flush", "kafka"]);
    assert!(flushed.status.success(), "{flushed:?}");
    assert_topics(&topics, ACCEPTED, 0);
    eventually("the sink says what is wrong", || {
        let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
        let sink = sinks.as_array().unwrap().iter().find(|sink| sink["sink"] == "clickhouse").unwrap().clone();
        ["retrying", "circuit_open"].contains(&sink["state"].as_str().unwrap()) && sink["lastError"].is_object()
    });
    assert_eq!(daemon.get("/health").json()["services"]["clickhouse"]["status"], "degraded");
    server.start_again();
    settle(&daemon);
    assert_tables(&server, ACCEPTED, 0);
}

#[test]
fn a_row_that_clickhouse_refuses_is_a_dead_letter_and_all_others_arrive() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &[event("first").to_string()]);
    settle(&daemon);
    server.sql("ALTER TABLE events_raw ADD CONSTRAINT no_poison CHECK event_id != 'poison'");
    let mut events: Vec<String> = (0..50).map(|number| event(&format!("e-{number}")).to_string()).collect();
    events.insert(20, event("poison").to_string());
    assert_eq!(post(&daemon, &events), 51);
    let audit = settle(&daemon);
    let of = |name: &str| {
        audit["sinks"].as_array().unwrap().iter().find(|sink| sink["sink"] == name).unwrap()["ledger"].clone()
    };
    assert_eq!([&of("clickhouse")["delivered"], &of("clickhouse")["dead"]], [51, 1]);
    assert_eq!([&of("kafka")["delivered"], &of("kafka")["dead"]], [52, 0]);
    eventually("the dead letter is in the table", || server.rows("events_errors").0 == 1);
    eventually("the dead letter is in the topic", || topics.records("dlq").len() == 1);
    assert_eq!(
        server.sql("SELECT sink, code, event_id, seq FROM events_errors"),
        "clickhouse\tclickhouse_469\tpoison\t22"
    );
    assert_eq!(server.rows("events_raw"), (51, 51));
    let daemon = daemon.kill().start();
    settle(&daemon);
    assert_eq!((server.rows("events_raw").0, server.rows("events_errors").0), (51, 1));
}

#[test]
fn an_answer_can_wait_for_sinks() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    let answer = daemon.post("/events?ack=clickhouse", event("e-1").to_string()).with_status(202);
    assert_eq!(answer["delivery"], "delivered");
    assert_eq!(server.rows("events_raw"), (1, 1), "it is there when the answer is");
    let again = daemon.post("/events?ack=all", event("e-1").to_string()).with_status(202);
    assert_eq!((&again["duplicate"], &again["delivery"]), (&true.into(), &"delivered".into()));
    daemon.post("/events?ack=kafka", event("e-2").to_string()).problem(400);
    assert_eq!(daemon.totals(), [1, 1, 0, 0], "nothing was stored");
    server.sql("ALTER TABLE events_raw ADD CONSTRAINT no_poison CHECK event_id != 'poison'");
    let poison = daemon.post("/events?ack=clickhouse", event("poison").to_string()).with_status(202);
    assert_eq!(poison["delivery"], "dead");
    let daemon = daemon.stop().and("INGESTD_SERVER_ACK_TIMEOUT_S", "1").start();
    assert!(daemon.admin(&["pause", "clickhouse"]).status.success());
    let late = daemon.post("/events?ack=clickhouse", event("e-3").to_string()).with_status(202);
    assert_eq!(late["delivery"], "pending");
}

#[test]
fn a_paused_sink_stays_paused_over_a_restart_and_misses_nothing() {
    let topics = Topics::new();
    let daemon = place(None, Some(&topics)).start();
    post(&daemon, &[event("e-1").to_string()]);
    settle(&daemon);
    assert!(daemon.admin(&["pause", "kafka"]).status.success());
    let is_paused = |daemon: &Daemon| daemon.get("/pipeline/status").json()["sinks"][0]["state"] == "paused";
    eventually("it is paused", || is_paused(&daemon));
    post(&daemon, &[event("e-2").to_string()]);
    let daemon = daemon.kill().start();
    eventually("it is paused", || is_paused(&daemon));
    assert!(!daemon.admin(&["flush"]).status.success(), "a paused sink flushes nothing");
    assert_eq!(topics.records("raw").len(), 1);
    assert!(daemon.admin(&["resume", "kafka"]).status.success());
    settle(&daemon);
    assert_topics(&topics, 2, 0);
}
