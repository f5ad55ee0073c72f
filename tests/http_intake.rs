//! `POST /events`, and what every HTTP answer has in common.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use support::{Daemon, Socket, event, shape};

#[test]
fn an_accepted_event_is_answered_with_its_id_its_position_and_the_time_of_its_commit() {
    let daemon = Daemon::start();
    let answer = daemon.post("/events", event("e-1").to_string());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.with_status(202);
    assert_eq!(shape(&body), ["eventId", "seq", "status", "timestamp"]);
    assert_eq!((&body["eventId"], &body["status"]), (&"e-1".into(), &"accepted".into()));
    let timestamp = body["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 27 && timestamp.ends_with('Z') && timestamp.starts_with("20"), "{timestamp}");
    let second = daemon.post("/events", event("e-2").to_string()).with_status(202);
    assert_eq!(second["seq"].as_u64(), body["seq"].as_u64().map(|seq| seq + 1));
    assert!(second["timestamp"].as_str() >= body["timestamp"].as_str(), "{second}");
}

#[test]
fn the_stored_bytes_are_the_received_ones() {
    let daemon = Daemon::start();
    let raw = r#"{ "eventId":"e\u002d1",  "eventType":"item_added","timestamp":"2026-01-01T00:00:00+01:00",
        "sessionId":"s","storeId":"ü", "data":{"b":1.10,"a":[ ]}, "unknown":"<b>kept</b>" }"#;
    let body = daemon.post("/events", format!("\n {raw} \n")).with_status(202);
    assert_eq!(body["eventId"], "e-1");
    let stored = daemon.stop().stored();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].id.as_str(), stored[0].raw.as_str()), ("e-1", raw));
}

#[test]
fn the_calls_exist_under_v1_too_except_the_one_that_is_segments() {
    let daemon = Daemon::start();
    daemon.post("/v1/events", event("e-1").to_string()).with_status(202);
    for path in ["/events/batch", "/v1/events/batch", "/batch"] {
        let body = daemon.post(path, format!("[{}]", event("e-1"))).with_status(202);
        assert_eq!(body["duplicates"], 1, "{path}: {body}");
    }
    daemon.post("/v1/batch", format!("[{}]", event("e-1"))).problem(404);
    assert_eq!(daemon.get("/v1/events/stats").with_status(200)["totals"]["duplicate"], 3);
}

#[test]
fn a_request_id_is_echoed_or_made() {
    let daemon = Daemon::start();
    let id = |headers: &[(&str, &str)]| {
        let answer = daemon.request("POST", "/events", headers, event("e").to_string().as_bytes());
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id(&[("X-Request-Id", "mine-7")]), "mine-7");
    let made = id(&[]);
    assert!(!made.is_empty() && made != id(&[]), "{made}");
    let long = "x".repeat(1000);
    assert_ne!(id(&[("X-Request-Id", &long)]), long, "a client cannot fill the logs");
    assert_eq!(daemon.request("GET", "/nowhere", &[("X-Request-Id", "e")], b"").header("x-request-id"), Some("e"));
}

#[test]
fn an_unknown_path_is_404() {
    let daemon = Daemon::start();
    for path in ["/event", "/events/", "/events/batch/", "/v2/events", "/EVENTS", "//events"] {
        daemon.post(path, event("e").to_string()).problem(404);
    }
    assert_eq!(daemon.totals(), [0; 4]);
}

#[test]
fn another_method_is_405_and_says_which_one_is_meant() {
    let daemon = Daemon::start();
    for (method, path, allow) in [
        ("GET", "/events", "POST, OPTIONS"),
        ("HEAD", "/events", "POST, OPTIONS"),
        ("PUT", "/v1/events", "POST, OPTIONS"),
        ("DELETE", "/events/batch", "POST, OPTIONS"),
        ("PATCH", "/batch", "POST, OPTIONS"),
        ("POST", "/events/stats", "GET, HEAD, OPTIONS"),
        ("POST", "/events/stream", "GET, OPTIONS"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
    ] {
        let answer = daemon.request(method, path, &[], b"");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        if method == "HEAD" {
            assert_eq!(answer.status, 405);
        } else {
            answer.problem(405);
        }
    }
}

#[test]
fn head_is_answered_like_get_but_without_the_body() {
    let daemon = Daemon::start();
    for path in ["/", "/health/live", "/health/ready", "/metrics", "/events/stats", "/v1/events/stats"] {
        let mut connection = daemon.connect();
        connection.send(support::request("HEAD", path, &[], b""));
        let head = connection.head();
        assert_eq!(head.status, 200, "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"), "{path}: {head:?}");
        // Nothing of a body stands between this answer and the next.
        connection.send(support::request("GET", path, &[], b""));
        let get = connection.answer();
        assert_eq!((get.status, get.header("content-type")), (200, head.header("content-type")), "{path}");
    }
}

#[test]
fn a_browser_of_any_origin_may_send_events() {
    let daemon = Daemon::start();
    for path in ["/events", "/v1/events", "/events/batch", "/events/stats"] {
        let headers = [
            ("Origin", "https://shop.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type, idempotency-key"),
        ];
        let answer = daemon.request("OPTIONS", path, &headers, b"");
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
        let allowed = answer.header("access-control-allow-headers").unwrap();
        for header in ["content-type", "content-encoding", "idempotency-key", "authorization", "x-request-id"] {
            assert!(allowed.split(", ").any(|name| name == header), "{header} in {allowed}");
        }
    }
    let origin = [("Origin", "https://shop.example")];
    let answer = daemon.request("POST", "/events", &origin, event("e").to_string().as_bytes());
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (202, Some("*")));
    let answer = daemon.request("POST", "/events", &origin, b"{");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (400, Some("*")), "an error is readable");
    assert_eq!(daemon.post("/events", event("e").to_string()).header("access-control-allow-origin"), None);
    assert_eq!(daemon.request("GET", "/metrics", &origin, b"").header("access-control-allow-origin"), None);
}

/// Status, method, path, headers, body.
type Case<'a> = (u16, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);

#[test]
fn every_error_is_a_problem_document_that_repeats_its_status() {
    let daemon = Daemon::start();
    let json = ("Content-Type", "application/json");
    let cases: [Case; 10] = [
        (404, "GET", "/nothing", &[], b""),
        (405, "GET", "/events", &[], b""),
        (415, "POST", "/events", &[("Content-Type", "text/html")], b"{}"),
        (415, "POST", "/events", &[json, ("Content-Encoding", "compress")], b"{}"),
        (400, "POST", "/events", &[json, ("Content-Encoding", "gzip")], b"not gzip"),
        (400, "POST", "/events", &[json, ("Idempotency-Key", "")], b"{}"),
        (400, "POST", "/events/batch", &[json], b"{"),
        (400, "POST", "/events/batch?maxSize=few", &[json], b"[]"),
        (400, "POST", "/events?ack=kafka", &[json], b"{}"),
        (426, "GET", "/events/stream", &[], b""),
    ];
    for (status, method, path, headers, body) in cases {
        let answer = daemon.request(method, path, headers, body);
        assert!(answer.header("x-request-id").is_some());
        answer.problem(status);
    }
}

#[test]
fn an_event_to_be_acknowledged_by_a_sink_that_is_not_configured_is_not_stored() {
    let daemon = Daemon::start();
    for path in ["/events?ack=kafka", "/events?x=1&ack=clickhouse", "/events?ack=", "/events?ack=nowhere"] {
        daemon.post(path, event("e").to_string()).problem(400);
    }
    daemon.post("/events/batch?ack=kafka", format!("[{}]", event("e"))).problem(400);
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], Value::Null);
}

#[test]
fn all_sinks_are_those_that_are_switched_on_and_without_any_nothing_is_stored() {
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ROLL_S", "1")]);
    let answer = daemon.post("/events?ack=all", event("e").to_string()).with_status(202);
    assert_eq!(answer["delivery"], "delivered", "{answer}");
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ENABLED", "false")]);
    daemon.post("/events?ack=all", event("e").to_string()).problem(400);
    daemon.post("/events/batch?ack=all", format!("[{}]", event("e"))).problem(400);
    assert_eq!(daemon.totals(), [0; 4]);
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], Value::Null);
}

#[test]
fn a_weaker_durability_is_named_in_each_answer() {
    for durability in ["interval", "os"] {
        let daemon = Daemon::with(&[("INGESTD_LOG_DURABILITY", durability), ("INGESTD_SERVER_ACK_TIMEOUT_S", "1")]);
        assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["durability"], durability);
        let batch = daemon.post("/events/batch", format!("[{}]", event("e"))).with_status(202);
        assert_eq!(batch["durability"], durability);
        let again = daemon.post("/events", event("e").to_string()).with_status(202);
        assert_eq!((&again["duplicate"], &again["durability"]), (&true.into(), &durability.into()));
        let kind = [("Content-Type", "application/x-ndjson")];
        let lines = daemon.request("POST", "/events/batch", &kind, event("n").to_string().as_bytes());
        assert_eq!(lines.with_status(202)["durability"], durability);
        let key = [("Content-Type", "application/json"), ("Idempotency-Key", "k")];
        for _ in 0..2 {
            let answer = daemon.request("POST", "/events", &key, event("k").to_string().as_bytes());
            assert_eq!(answer.with_status(202)["durability"], durability, "{answer:?}");
        }
        let waits = daemon.post("/events?ack=parquet", event("p").to_string()).with_status(202);
        assert_eq!(waits["durability"], durability);
        let (mut listener, mut socket) = (Socket::open(&daemon), Socket::open(&daemon));
        listener.text(r#"{"type":"subscribe"}"#);
        listener.message("subscribed");
        for _ in 0..2 {
            socket.cart(&event("w"));
            assert_eq!(socket.message("event_ack")["durability"], durability);
            assert_eq!(listener.message("event_confirmation")["durability"], durability);
        }
    }
}

#[test]
fn full_durability_goes_without_saying() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    socket.text(r#"{"type":"subscribe"}"#);
    socket.message("subscribed");
    socket.cart(&event("w"));
    assert_eq!(socket.message("event_ack")["durability"], Value::Null);
    assert_eq!(socket.message("event_confirmation")["durability"], Value::Null);
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["durability"], Value::Null);
}
