//! A disk that hangs: writes neither fail nor return, and the daemon goes on talking. And one that fails: that is final,
//! everybody is told, and the daemon ends.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::Talk;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use support::{Connection, Daemon, Place, Shim, Socket, Stopped, event, events, eventually, request};

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

#[test]
fn nobody_reads_what_is_not_on_the_disk_yet() {
    let shim = Shim::compiled();
    let daemon = hanging(&shim, &[("INGESTD_SERVER_REQUEST_TIMEOUT_S", "600")]);
    daemon.post("/events", event("before").to_string()).with_status(202);
    let mut listener = Socket::open(&daemon);
    listener.text(r#"{"type":"subscribe","payload":{"channel":"confirmations"}}"#);
    listener.message("subscribed");
    let mut follower = daemon.place().command(&["admin", "wal", "tail", "--from", "1", "-n", "2", "--json"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut followed = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&followed.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["eventId"], "before");
    shim.arm();
    let mut waiting = daemon.connect();
    waiting.send(request("POST", "/events", &[], event("waiting").to_string().as_bytes()));
    stall(&daemon);
    // It is written by now, but for the sync.
    listener.text(r#"{"type":"heartbeat"}"#);
    listener.message("heartbeat_ack");
    let answer = |arguments: &[&str]| serde_json::from_slice::<Value>(&daemon.admin(arguments).stdout).unwrap();
    assert_eq!(answer(&["wal", "inspect", "--json"])["next"], 2);
    let verified = answer(&["wal", "verify", "--json"]);
    assert_eq!((&verified["to"], &verified["events"]), (&1.into(), &1.into()), "{verified}");
    assert_eq!(daemon.totals(), [1, 0, 0, 0]);
    assert!(follower.try_wait().unwrap().is_none(), "it waits for the second one");
    shim.disarm();
    waiting.answer().with_status(202);
    assert_eq!(listener.message("event_confirmation")["eventId"], "waiting");
    assert_eq!(next()["eventId"], "waiting");
    assert!(follower.wait().unwrap().success());
}

/// Six requests and a socket wait for one group, and the `calls` that are to make it durable fail.
#[track_caller]
fn assert_final(calls: &str) {
    let shim = Shim::compiled();
    let place = Place::with(&[("INGESTD_SERVER_ADMIN_LISTEN", "127.0.0.1:0")]);
    let mut daemon = place.and_all(shim.strikes(calls, "*/data/log/*.log")).start();
    daemon.post("/events", event("before").to_string()).with_status(202);
    let mut socket = Socket::open(&daemon);
    // Its body does not end: while it is under way the daemon does not go.
    let mut late = daemon.connect();
    let request_of =
        |path: &str, headers: &[(&str, &str)], body: Value| request("POST", path, headers, body.to_string().as_bytes());
    let bytes = request_of("/events", &[], event("late"));
    let (begun, rest) = bytes.split_at(bytes.len() - 1);
    late.send(begun);
    let writer = Stopped::thread(&daemon, "writer");
    let requests = [
        request_of("/events", &[], event("express")),
        request_of("/events", &[("X-Other", "1")], event("general")),
        request_of("/events", &[("Idempotency-Key", "k")], event("kept")),
        request_of("/events/batch", &[], Value::from(events("batch", 10))),
        request_of("/events/batch?failOnError=true", &[], Value::from(events("whole", 10))),
        request_of("/events", &[], json!({"eventId": "bad"})),
    ];
    let mut waiting = requests.each_ref().map(|bytes| {
        let mut connection = daemon.connect();
        connection.send(bytes);
        connection
    });
    socket.cart(&json!([event("one"), {"eventId": "bad"}, event("two")]));
    let mut talk = Talk::with(&daemon);
    let mut in_use = || talk.say(r#"{"command": "figures"}"#)["result"]["intake"]["requests"]["used"].clone();
    eventually("all of them wait", || in_use() == requests.len() + 2);
    shim.arm();
    drop(writer);
    for connection in &mut waiting {
        let answer = connection.answer();
        assert_eq!(answer.problem(503)["reason"], "storage_failed");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    for (id, index) in [("one", 0), ("bad", 1), ("two", 2)] {
        let error = socket.message("event_error");
        let told = (&error["code"], &error["eventId"], &error["index"]);
        assert_eq!(told, (&"storage_failed".into(), &id.into(), &index.into()));
    }
    let ask = |path: &str| {
        let mut connection = Connection::open(daemon.figures.unwrap());
        connection.send(request("GET", path, &[], b""));
        connection.answer()
    };
    eventually("it is not ready", || ask("/health/ready").status == 503);
    let reasons = ask("/health/ready").json()["reasons"].clone();
    assert_eq!(reasons[0], "storage_failed", "{reasons}");
    // Whoever looked at the log just before it failed may say so just after.
    eventually("the log is down", || ask("/health").json()["services"]["wal"]["status"] == "down");
    assert_eq!(ask("/health").with_status(503)["status"], "unhealthy");
    assert_eq!(ask("/health/live").status, 200);
    late.send(rest);
    assert_eq!(late.answer().problem(503)["reason"], "storage_failed");
    drop(socket);
    assert_eq!(daemon.exit().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(errors[0].contains("write to the log failed") && errors[0].contains("Input/output error"), "{log}");
    shim.disarm();
    let daemon = daemon.kill().start();
    assert_eq!(daemon.post("/events", event("before").to_string()).with_status(202)["duplicate"], true);
    for bytes in &requests {
        let mut connection = daemon.connect();
        connection.send(bytes);
        assert!(matches!(connection.answer().status, 202 | 400), "sent again it is taken as if nothing had been");
    }
    // Whether what was told to be unknown is there from the first time or the second: once.
    let mut ids: Vec<_> = daemon.stop().stored().into_iter().map(|event| event.id).collect();
    assert_eq!(ids.remove(0), "before");
    ids.retain(|id| !["one", "two"].contains(&id.as_str()));
    ids.sort_unstable();
    let batches = events("batch", 10).into_iter().chain(events("whole", 10));
    let mut wanted: Vec<_> = batches.map(|event| event["eventId"].as_str().unwrap().to_owned()).collect();
    wanted.extend(["express", "general", "kept"].map(str::to_owned));
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
}

#[test]
fn a_sync_that_fails_is_final_and_everybody_who_waits_is_told() {
    assert_final("fdatasync");
}

#[test]
fn a_write_that_fails_is_final_and_everybody_who_waits_is_told() {
    assert_final("write,pwrite,writev,pwritev");
}

#[test]
fn figures_are_answered_though_the_tables_of_the_log_hang() {
    let shim = Shim::compiled();
    let place = Place::with(&[
        ("INGESTD_SERVER_ACCEPTORS", "1"),
        ("INGESTD_PARQUET_ENABLED", "false"),
        ("INGESTD_CLICKHOUSE_ENABLED", "true"),
        // Nobody is there.
        ("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:1"),
        ("FAULT_HANG", "1"),
    ]);
    let daemon = place.and_all(shim.strikes("pread", "*/data/log/*.sst")).start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    // What was in memory is in tables then.
    let _copy = daemon.checkpoint();
    let lag = || daemon.metric("ingestd_sink_lag_seconds{sink=\"clickhouse\"}");
    eventually("it is known how long the event waits", || lag() > 0.0);
    shim.arm();
    let before = lag();
    eventually("it waits on", || lag() > before + 2.0);
    assert!(daemon.get("/pipeline/status").json()["sinks"][0]["lagSeconds"].as_f64().unwrap() > before + 2.0);
    shim.disarm();
    daemon.stop();
}
