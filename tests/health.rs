//! What the daemon says of itself.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support::{Daemon, Place, Socket, event, events, eventually, shape};

#[test]
fn health_names_each_service_and_the_figures_that_matter() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    let health = daemon.get("/health").with_status(200);
    assert_eq!(shape(&health), ["metrics", "services", "status", "timestamp"]);
    assert_eq!(health["status"], "healthy");
    assert_eq!(shape(&health["metrics"]), ["activeConnections", "errorRate", "eventsPerSecond"]);
    assert!(health["metrics"]["activeConnections"].as_u64().unwrap() >= 1, "this one: {health}");
    for figure in ["errorRate", "eventsPerSecond"] {
        assert!(health["metrics"][figure].is_number(), "{health}");
    }
    let wal = &health["services"]["wal"];
    assert_eq!(wal["status"], "up");
    assert!(wal["since"].is_string() && shape(wal).contains(&"latencyMs"), "{wal}");
    eventually("the log's latency is known", || {
        daemon.get("/health").json()["services"]["wal"]["latencyMs"].as_f64().is_some_and(|latency| latency > 0.0)
    });
}

#[test]
fn sinks_that_are_switched_off_are_named_and_do_not_count() {
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ENABLED", "false")]);
    let health = daemon.get("/health").with_status(200);
    assert_eq!(health["status"], "healthy");
    for sink in ["parquet", "clickhouse", "kafka"] {
        let service = &health["services"][sink];
        assert_eq!((&service["status"], &service["latencyMs"]), (&"disabled".into(), &Value::Null), "{health}");
        assert!(service["since"].is_string(), "{health}");
    }
    let daemon = Daemon::start();
    eventually("one that is on is up", || daemon.get("/health").json()["services"]["parquet"]["status"] == "up");
    assert_eq!(daemon.get("/health").json()["services"]["kafka"]["status"], "disabled");
}

#[test]
fn live_and_ready_are_two_questions() {
    let daemon = Daemon::start();
    assert_eq!(daemon.get("/health/live").with_status(200)["status"], "live");
    assert_eq!(daemon.get("/health/ready").with_status(200)["status"], "ready");
    let reserve = [("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000")];
    let full = Daemon::with(&reserve);
    eventually("the reserve is noticed", || full.get("/health/ready").status == 503);
    let ready = full.get("/health/ready").json();
    assert_eq!(ready["reasons"], json!(["disk_reserve"]));
    assert_eq!(full.get("/health/live").status, 200, "it lives, it only cannot take events");
}

#[test]
fn a_daemon_that_says_it_listens_is_ready_and_can_be_steered_at_once() {
    let mut place = Place::with(&[]);
    for _ in 0..10 {
        let daemon = place.start();
        assert_eq!(daemon.get("/health/ready").with_status(200)["status"], "ready");
        let status = daemon.admin(&["status", "--json"]);
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        place = daemon.stop();
    }
}

#[test]
fn below_the_disk_reserve_events_are_refused_and_the_daemon_says_degraded() {
    let daemon = Daemon::with(&[("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000")]);
    eventually("the reserve is noticed", || daemon.get("/health").json()["status"] == "degraded");
    for (path, body) in [("/events", event("e").to_string()), ("/events/batch", format!("[{}]", event("e")))] {
        let answer = daemon.post(path, body);
        assert_eq!(answer.problem(503)["reason"], "disk_reserve");
        assert!(answer.header("retry-after").is_some());
    }
    let health = daemon.get("/health").with_status(200);
    assert_eq!(health["services"]["wal"]["status"], "degraded");
    let mut socket = Socket::open(&daemon);
    socket.text(r#"{"type":"heartbeat"}"#);
    socket.message("heartbeat_ack");
    socket.cart(&event("e"));
    let error = socket.message("event_error");
    assert_eq!((&error["code"], &error["eventId"]), (&"disk_reserve".into(), &"e".into()));
    // A batch's number of events is not known: it is counted as a request.
    let stats = daemon.get("/events/stats").json();
    assert_eq!(stats["totals"], json!({"accepted": 0, "duplicate": 0, "rejected": 0, "refused": 2}));
    assert_eq!(stats["refusedByReason"], json!({"disk_reserve": 2}));
    assert_eq!(stats["requestsRefusedByReason"], json!({"disk_reserve": 1}));
    let ingestion = daemon.get("/metrics?format=json").json()["ingestion"].clone();
    assert_eq!((&ingestion["eventsReceived"], &ingestion["eventsFailed"]), (&2.into(), &2.into()));
    let place = daemon.stop();
    assert_eq!(place.stored().len(), 0);
    // The operator has made room.
    let daemon = place.and("INGESTD_LOG_DISK_RESERVE_BYTES", "1").start();
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], Value::Null);
}

#[test]
fn statistics_count_each_outcome_type_and_stage() {
    let daemon = Daemon::start();
    for body in [event("a").to_string(), event("a").to_string(), event("b").to_string(), "{}".into()] {
        daemon.post("/events", body);
    }
    let stats = daemon.get("/events/stats").with_status(200);
    for member in ["byType", "latencyMs", "rates", "totals"] {
        assert!(shape(&stats).contains(&member), "{stats}");
    }
    assert_eq!(stats["totals"], json!({"accepted": 2, "duplicate": 1, "rejected": 1, "refused": 0}));
    assert_eq!(stats["byType"]["cart_created"], 2);
    assert_eq!(shape(&stats["rates"]), ["s1", "s10", "s60"]);
    let stages = stats["latencyMs"].as_object().unwrap();
    assert_eq!(
        stages.keys().collect::<Vec<_>>(),
        ["accept", "ack", "commit", "encode", "enqueue", "fsync", "parse", "request", "ship"]
    );
    for (stage, figures) in stages {
        assert_eq!(shape(figures), ["max", "p50", "p99", "p999"], "{stage}");
        let [p50, p99, max] = ["p50", "p99", "max"].map(|name| figures[name].as_f64().unwrap());
        assert!(0.0 <= p50 && p50 <= p99 && p99 <= max, "{stage}: {figures}");
    }
}

/// The exposition, taken apart: type by name, value by name and labels.
type Exposition = (BTreeMap<String, String>, BTreeMap<(String, BTreeMap<String, String>), f64>);

/// Reads the text format 0.0.4, and stumbles over everything that Prometheus would stumble over.
#[track_caller]
fn exposition(text: &str) -> Exposition {
    let (mut kinds, mut values) = Exposition::default();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
                assert!(["counter", "gauge", "summary", "histogram"].contains(&kind), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
        let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
            let (label, text) = pair.split_once('=').unwrap_or_else(|| panic!("{line}"));
            (label.to_owned(), text.trim_matches('"').to_owned())
        });
        let family = name.trim_end_matches("_sum").trim_end_matches("_count").trim_end_matches("_bucket");
        assert!(kinds.contains_key(name) || kinds.contains_key(family), "no TYPE before {line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(values.insert((name.to_owned(), pairs.collect()), value).is_none(), "twice: {line}");
    }
    (kinds, values)
}

#[test]
fn metrics_are_prometheus_text_whose_labels_never_carry_what_a_client_sent() {
    let daemon = Daemon::start();
    let before = daemon.get("/metrics");
    assert!(before.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let (kinds, values) = exposition(&before.text());
    let series: BTreeSet<_> = values.keys().cloned().collect();
    assert!(kinds.len() > 10 && series.len() > 30, "{kinds:?}");
    let client = "client-value-77";
    let mut bad = event(client);
    bad["eventType"] = client.into();
    daemon.post("/events", event(client).to_string()).with_status(202);
    daemon.post("/events", bad.to_string()).with_status(400);
    daemon.request(client, &format!("/{client}"), &[("X-Request-Id", client), ("User-Agent", client)], b"");
    let mut socket = Socket::open(&daemon);
    socket.text(format!(r#"{{"type":"{client}"}}"#));
    socket.message("event_error");
    let after = daemon.get("/metrics").text();
    assert!(!after.contains(client));
    let (_, values) = exposition(&after);
    assert_eq!(values.keys().cloned().collect::<BTreeSet<_>>(), series, "no series comes or goes");
    let of = |name: &str, label: &str, value: &str| {
        values[&(name.to_owned(), BTreeMap::from([(label.to_owned(), value.to_owned())]))]
    };
    assert_eq!(of("ingestd_events_rejected_total", "code", "unknown_event_type"), 1.0);
    assert_eq!(of("ingestd_events_rejected_total", "code", "unknown_message_type"), 1.0);
    assert_eq!(of("ingestd_events_by_type_total", "type", "cart_created"), 1.0);
}

#[test]
fn metrics_are_json_for_those_who_ask() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    daemon.post("/events", event("e").to_string()).with_status(202);
    daemon.post("/events", "{}").with_status(400);
    let mut socket = Socket::open(&daemon);
    socket.cart(&event("ws"));
    socket.message("event_ack");
    for (path, headers) in [
        ("/metrics?format=json", &[][..]),
        ("/metrics", &[("Accept", "application/json")]),
        ("/metrics", &[("Accept", "application/json, text/plain;q=0.5")]),
        ("/metrics", &[("Accept", "text/plain;q=0.5, application/json")]),
        ("/metrics", &[("Accept", "application/json, text/plain, */*")]),
    ] {
        let answer = daemon.request("GET", path, headers, b"");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{headers:?}");
        let body = answer.with_status(200);
        assert_eq!(shape(&body), ["ingestion", "storage", "websocket"]);
        let ingestion = &body["ingestion"];
        assert_eq!(shape(ingestion), ["averageProcessingTime", "eventsFailed", "eventsProcessed", "eventsReceived"]);
        let [received, processed, failed] =
            ["eventsReceived", "eventsProcessed", "eventsFailed"].map(|name| ingestion[name].as_u64().unwrap());
        assert_eq!((received, processed, failed), (4, 3, 1));
        let socket = &body["websocket"];
        assert_eq!(shape(socket), ["activeConnections", "messagesReceived", "messagesSent", "totalConnections"]);
        assert_eq!((&socket["activeConnections"], &socket["totalConnections"]), (&1.into(), &1.into()));
        assert_eq!((&socket["messagesReceived"], &socket["messagesSent"]), (&1.into(), &1.into()));
        assert_eq!(shape(&body["storage"]), ["duplicatesIgnored", "eventsStored", "storageLatency"]);
        assert_eq!((&body["storage"]["eventsStored"], &body["storage"]["duplicatesIgnored"]), (&2.into(), &1.into()));
    }
    for accept in [
        "*/*",
        "text/plain",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        "text/plain, application/json;q=0.5",
    ] {
        let answer = daemon.request("GET", "/metrics", &[("Accept", accept)], b"");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{accept}");
    }
}

#[test]
fn received_is_the_sum_of_all_outcomes() {
    let daemon = Daemon::start();
    let bad = r#"{"eventId":"x"}"#;
    daemon.post("/events", event("a").to_string());
    daemon.post("/events", bad);
    daemon.post("/events/batch", format!("[{},{},{bad}]", event("a"), event("b")));
    daemon.post("/events/batch?failOnError=true", format!("[{},{},{bad}]", event("c"), event("d")));
    daemon.post("/events/batch", "not json");
    let mut socket = Socket::open(&daemon);
    socket.cart(&json!([event("a"), event("e"), {}]));
    (0..3).for_each(|_| drop(socket.json()));
    socket.text("not json");
    socket.message("event_error");
    let counted = daemon.totals();
    assert_eq!(counted, [3, 2, 6, 2]);
    assert_eq!(daemon.metric("ingestd_events_received_total"), counted.iter().sum::<u64>() as f64);
    // What carries no event changes none of it.
    for text in [r#"{"type":"heartbeat"}"#, r#"{"type":"subscribe"}"#, r#"{"type":"unsubscribe"}"#] {
        socket.text(text);
        assert_ne!(socket.json()["type"], "event_error");
    }
    assert_eq!(daemon.totals(), counted);
    // A message that is none, or of no known type, is one rejected event, as a body is that does not parse.
    for text in ["", "{", "[]", r#"{"type":"nothing"}"#, r#"{"payload":{}}"#, r#"{"type":"subscribe","payload":7}"#] {
        socket.text(text);
        socket.message("event_error");
    }
    let received = daemon.metric("ingestd_events_received_total");
    assert_eq!(received, daemon.totals().iter().sum::<u64>() as f64, "{:?}", daemon.totals());
    // Requests that are refused before their body is split are no events.
    let before = daemon.totals();
    daemon.post("/events/batch?ack=nowhere", format!("[{}]", event("z"))).problem(400);
    daemon.request("POST", "/events", &[("Content-Type", "text/plain")], b"{}").problem(415);
    assert_eq!((daemon.totals(), daemon.metric("ingestd_events_received_total")), (before, received));
}

#[test]
fn rates_are_means_over_their_time() {
    let daemon = Daemon::start();
    let all = events("e", 500);
    daemon.post("/events/batch", Value::from(all).to_string()).with_status(202);
    let rate = |name: &str| daemon.get("/events/stats").json()["rates"][name].as_f64().unwrap();
    eventually("they are seen", || rate("s60") > 0.0);
    eventually("the last second is quiet again", || rate("s1") == 0.0);
    assert!(rate("s60") > 0.0, "they are of the last minute");
}
