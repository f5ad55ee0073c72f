//! A disk that hangs: writes neither fail nor return, and the daemon goes on talking.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use support::{Daemon, Place, Shim, Socket, event, eventually, request};

/// A daemon whose log can be made to hang.
fn hanging(shim: &Shim, env: &[(&str, &str)]) -> Daemon {
    let place = Place::with(env).and_all(shim.strikes("fdatasync", "*/data/log/*.log"));
    place.and("FAULT_HANG", "1").start()
}

#[track_caller]
fn stall(daemon: &Daemon) {
    eventually("the stall is noticed", || daemon.get("/health/ready").status == 503);
    assert_eq!(daemon.get("/health/ready").json()["reasons"], json!(["log_stalled"]));
}

#[test]
fn while_the_log_hangs_events_are_refused_with_a_reason_and_it_resumes_by_itself() {
    let shim = Shim::compiled();
    let daemon = hanging(&shim, &[("INGESTD_SERVER_REQUEST_TIMEOUT_S", "600")]);
    daemon.post("/events", event("before").to_string()).with_status(202);
    let mut socket = Socket::open(&daemon);
    shim.arm();
    let mut waiting = daemon.connect();
    waiting.send(request("POST", "/events", &[], event("waiting").to_string().as_bytes()));
    stall(&daemon);
    for (path, body) in [("/events", event("e").to_string()), ("/events/batch", format!("[{}]", event("e")))] {
        let answer = daemon.post(path, body);
        assert_eq!(answer.problem(503)["reason"], "log_stalled");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    socket.text(r#"{"type":"heartbeat"}"#);
    socket.message("heartbeat_ack");
    socket.cart(&event("e"));
    assert_eq!(socket.message("event_error")["code"], "log_stalled");
    let health = daemon.get("/health").with_status(503);
    assert_eq!((&health["status"], &health["services"]["wal"]["status"]), (&"unhealthy".into(), &"down".into()));
    assert_eq!(daemon.get("/health/live").status, 200);
    let status = daemon.admin(&["status", "--json"]);
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert!(!waiting.is_answered(), "nobody knows yet whether it will be stored");
    shim.disarm();
    waiting.answer().with_status(202);
    eventually("it is ready again", || daemon.get("/health/ready").status == 200);
    eventually("and healthy", || daemon.get("/health").json()["status"] == "healthy");
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], Value::Null);
    assert_eq!(daemon.metric("ingestd_events_received_total"), daemon.totals().iter().sum::<u64>() as f64);
    let ids: Vec<_> = daemon.stop().stored().into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["before", "waiting", "e"]);
}

#[test]
fn a_request_that_the_log_does_not_take_is_answered_all_the_same_and_counted_once() {
    let shim = Shim::compiled();
    let daemon = hanging(&shim, &[("INGESTD_SERVER_REQUEST_TIMEOUT_S", "1")]);
    daemon.post("/events", event("before").to_string()).with_status(202);
    let mut socket = Socket::open(&daemon);
    shim.arm();
    let requests = [
        request("POST", "/events", &[], event("express").to_string().as_bytes()),
        request("POST", "/events", &[("X-Other", "1")], event("general").to_string().as_bytes()),
        request("POST", "/events/batch", &[], format!("[{},{{}}]", event("batch")).as_bytes()),
    ];
    let waiting = requests.map(|bytes| {
        let mut connection = daemon.connect();
        connection.send(bytes);
        connection
    });
    socket.cart(&event("socket"));
    socket.cart(&json!([event("one"), {"eventId": "bad"}, event("two")]));
    for mut connection in waiting {
        let answer = connection.answer();
        assert_eq!(answer.problem(503)["reason"], "unknown");
        assert!(answer.header("retry-after").is_some() && answer.header("x-request-id").is_some(), "{answer:?}");
    }
    for (id, index) in [("socket", json!(null)), ("one", json!(0)), ("bad", json!(1)), ("two", json!(2))] {
        let error = socket.message("event_error");
        assert_eq!((&error["code"], &error["eventId"], &error["index"]), (&"unknown".into(), &id.into(), &index));
    }
    shim.disarm();
    // Each was stored after all, and counts as what it is: nobody was told that it was not.
    eventually("the log has taken all of them", || daemon.totals() == [7, 0, 2, 0]);
    assert_eq!(daemon.metric("ingestd_events_received_total"), 9.0);
    // On a slow machine the stall was long enough to be noticed.
    eventually("it is ready", || daemon.get("/health/ready").status == 200);
    assert_eq!(daemon.post("/events", event("express").to_string()).with_status(202)["duplicate"], true);
    assert_eq!(daemon.stop().stored().len(), 7);
}
