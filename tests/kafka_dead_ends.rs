//! Where the way to Kafka could end: a message that its topic never takes, another kind of delivery, a place that was
//! forgotten, a topic that was taken away. On a real broker.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/kafka/mod.rs"]
mod kafka;
#[cfg(test)]
mod support;

use kafka::{Broker, Record, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{Daemon, Place, event};

const TOPICS: [&str; 3] = ["raw", "validated", "enriched"];

/// A broker, the topics of a prefix, and a folder whose daemon ships there and nowhere else.
fn place(prefix: &str) -> (Arc<Broker>, Place) {
    let broker = Broker::shared();
    let place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false"), ("INGESTD_KAFKA_ENABLED", "true")]);
    let place = place.and("INGESTD_KAFKA_TOPIC_PREFIX", prefix);
    let place = place.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &broker.address());
    (broker, place)
}

fn some(name: &str, count: usize) -> Vec<Value> {
    support::events(name, count)
}

/// Posts events in batches; all are new.
#[track_caller]
fn post(daemon: &Daemon, events: &[Value]) {
    for batch in events.chunks(100) {
        let answer = daemon.post("/events/batch", json!(batch).to_string()).with_status(202);
        assert_eq!(answer["successful"], batch.len(), "{answer}");
    }
}

/// What the sink says of itself, once all is handed over and the counts balance.
#[track_caller]
fn settle(daemon: &Daemon) -> Value {
    let flushed = daemon.admin(&["flush"]);
    assert!(flushed.status.success(), "flush: {flushed:?} {}", daemon.log());
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
    let audit: Value = serde_json::from_slice(&audit.stdout).unwrap();
    audit["sinks"].as_array().unwrap().iter().find(|sink| sink["sink"] == "kafka").unwrap().clone()
}

/// Each topic has so many events, each once.
#[track_caller]
fn assert_each_once(broker: &Broker, prefix: &str, events: usize) {
    for topic in TOPICS {
        let name = format!("{prefix}-{topic}");
        // A commit may return before readers can see it.
        eventually("no transaction is open", || !broker.has_open_transaction(&[&name]));
        let records = broker.committed(&[&name]);
        let seqs: BTreeSet<u64> = records.iter().map(Record::seq).collect();
        assert_eq!((records.len(), seqs.len()), (events, events), "{topic}");
    }
}

#[test]
fn an_event_too_large_for_its_topic_is_a_dead_letter_and_the_rest_flows() {
    let (broker, place) = place("large");
    broker.make_topic("large-raw", &["max.message.bytes=102400"]);
    let daemon = place.start();
    let mut events = some("good", 2_000);
    let mut large = event("large");
    large["data"]["note"] = "x".repeat(200 << 10).into();
    events.insert(1_234, large.clone());
    post(&daemon, &events);
    let ledger = settle(&daemon)["ledger"].clone();
    assert_eq!([&ledger["delivered"], &ledger["dead"], &ledger["pending"]], [2_000, 1, 0], "{ledger}");
    eventually("the dead letter is there", || broker.committed(&["large-dlq"]).len() == 1);
    let letter = &broker.committed(&["large-dlq"])[0];
    assert_eq!((letter.header("code"), letter.header("pointer"), letter.seq()), ("kafka_too_large", "Raw", 1_235));
    assert_eq!(letter.value.as_deref(), Some(large.to_string().as_bytes()));
    assert_each_once(&broker, "large", 2_000);
    let ids = broker.committed(&["large-enriched"]);
    assert!(ids.iter().all(|record| record.header("event_id") != "large"), "all or nothing");
    // And once more over a restart: nothing comes again.
    let daemon = daemon.stop().start();
    post(&daemon, &some("more", 10));
    settle(&daemon);
    assert_each_once(&broker, "large", 2_010);
    assert_eq!(broker.committed(&["large-dlq"]).len(), 1);
}

#[test]
fn delivery_is_switched_there_and_back_and_the_place_forgotten_and_all_is_there_once() {
    let (broker, mut place) = place("switched");
    for (round, delivery) in (1..).zip(["exactly-once", "at-least-once", "exactly-once", "at-least-once"]) {
        let daemon = place.and("INGESTD_KAFKA_DELIVERY", delivery).start();
        post(&daemon, &some(&format!("round-{round}"), 50));
        settle(&daemon);
        assert_each_once(&broker, "switched", 50 * round);
        place = daemon.stop();
    }
    for (round, delivery) in (5..).zip(["at-least-once", "exactly-once"]) {
        let forgotten = place.wal(&["forget-sink", "kafka"]);
        assert!(forgotten.status.success(), "{forgotten:?}");
        let daemon = place.and("INGESTD_KAFKA_DELIVERY", delivery).start();
        post(&daemon, &some(&format!("round-{round}"), 50));
        settle(&daemon);
        assert_each_once(&broker, "switched", 50 * round);
        place = daemon.stop();
    }
}

#[test]
fn a_topic_that_is_taken_away_under_a_running_daemon_is_made_again() {
    let (broker, place) = place("taken");
    let daemon = place.start();
    post(&daemon, &some("before", 20));
    settle(&daemon);
    broker.delete_topic("taken-enriched");
    post(&daemon, &some("after", 20));
    let count = |topic: &str| broker.committed(&[&format!("taken-{topic}")]).len();
    eventually("it is all handed over", || {
        let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
        let sink = sinks.as_array().unwrap().iter().find(|sink| sink["sink"] == "kafka").unwrap().clone();
        sink["ledger"]["pending"] == 0
    });
    eventually("readers see it", || TOPICS.map(count) == [40, 40, 20]);
    settle(&daemon);
}

#[test]
fn after_a_lost_watermark_the_sink_goes_on_where_the_operator_says() {
    let (broker, place) = place("lost");
    let daemon = place.start();
    post(&daemon, &some("before", 20));
    settle(&daemon);
    broker.delete_topic("lost-watermarks");
    post(&daemon, &some("after", 20));
    let kafka = || daemon.get("/pipeline/status").json()["sinks"][0].clone();
    eventually("it has failed", || kafka()["state"] == "failed");
    let reason = kafka()["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("watermark_lost: "), "{reason}");
    assert!(reason.contains("admin sinks reconcile kafka --from"), "{reason}");
    let reconciled = daemon.admin(&["sinks", "reconcile", "kafka", "--from", "21"]);
    assert!(reconciled.status.success(), "{reconciled:?}");
    settle(&daemon);
    assert_each_once(&broker, "lost", 40);
    // And the place is known again.
    let daemon = daemon.kill().start();
    post(&daemon, &some("last", 20));
    settle(&daemon);
    assert_each_once(&broker, "lost", 60);
}
