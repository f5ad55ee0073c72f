//! An event counts once, whatever way and however often it comes.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use std::collections::HashSet;
use support::{Daemon, Socket, event, events, shape};

#[test]
fn a_repeat_is_answered_with_the_first_ones_position() {
    let daemon = Daemon::start();
    let body = event("e-1").to_string();
    let first = daemon.post("/events", &body).with_status(202);
    daemon.post("/events", event("e-2").to_string()).with_status(202);
    let repeat = daemon.post("/events", &body).with_status(202);
    assert_eq!(shape(&repeat), ["duplicate", "eventId", "seq", "status", "timestamp"]);
    assert_eq!((&repeat["duplicate"], &repeat["seq"]), (&true.into(), &first["seq"]));
    assert_eq!((&repeat["status"], &repeat["eventId"]), (&"accepted".into(), &"e-1".into()));
    assert_eq!(daemon.totals(), [2, 1, 0, 0]);
    assert_eq!(daemon.stop().stored().len(), 2);
}

#[test]
fn a_repeat_with_other_content_says_so_and_is_counted_apart() {
    let daemon = Daemon::start();
    let first = daemon.post("/events", event("e-1").to_string()).with_status(202);
    let mut other = event("e-1");
    other["data"]["cartId"] = "another".into();
    let repeat = daemon.post("/events", other.to_string()).with_status(202);
    assert_eq!(shape(&repeat), ["duplicate", "eventId", "message", "seq", "status", "timestamp"]);
    assert!(repeat["message"].is_string() && repeat["seq"] == first["seq"], "{repeat}");
    assert_eq!(daemon.metric("ingestd_events_duplicate_total"), 1.0);
    assert_eq!(daemon.metric("ingestd_events_duplicate_differs_total"), 1.0);
    let stored = daemon.stop().stored();
    assert!(stored.len() == 1 && stored[0].raw.contains("c-1"), "the first one stays: {stored:?}");
}

#[test]
fn ids_are_the_same_however_they_are_escaped() {
    let daemon = Daemon::start();
    let first = daemon.post("/events", event("é/e").to_string()).with_status(202);
    for escaped in ["\\u00e9/e", "\\u00E9\\/e", "é\\u002fe"] {
        let repeat = daemon.post("/events", event("ID").to_string().replace("ID", escaped)).with_status(202);
        assert_eq!((&repeat["duplicate"], &repeat["seq"]), (&true.into(), &first["seq"]), "{escaped}");
    }
    for other in ["é/E", "e\u{301}/e", "é/e "] {
        assert_eq!(daemon.post("/events", event(other).to_string()).with_status(202)["duplicate"], Value::Null);
    }
}

#[test]
fn a_rejected_event_does_not_use_up_its_id() {
    let daemon = Daemon::start();
    let mut bad = event("e-1");
    bad["eventType"] = "unknown".into();
    daemon.post("/events", bad.to_string()).with_status(400);
    assert_eq!(daemon.post("/events", event("e-1").to_string()).with_status(202)["duplicate"], Value::Null);
}

#[test]
fn an_id_is_one_over_all_ways_in() {
    let daemon = Daemon::start();
    let single = daemon.post("/events", event("a").to_string()).with_status(202);
    let mut socket = Socket::open(&daemon);
    socket.cart(&json!([event("a"), event("b"), event("b")]));
    let acks: Vec<Value> = (0..3).map(|_| socket.message("event_ack")).collect();
    assert_eq!((&acks[0]["duplicate"], &acks[0]["seq"]), (&true.into(), &single["seq"]));
    assert_eq!((&acks[1]["duplicate"], &acks[2]["duplicate"]), (&Value::Null, &true.into()));
    assert_eq!(acks[1]["seq"], acks[2]["seq"], "also within one message");
    let batch = json!({"events": [event("a"), event("b"), event("c"), event("c")]});
    let body = daemon.post("/events/batch", batch.to_string()).with_status(202);
    assert_eq!((&body["successful"], &body["duplicates"]), (&4.into(), &3.into()));
    let stored = daemon.stop().stored();
    assert_eq!(stored.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn of_many_that_race_with_one_id_exactly_one_is_first() {
    let daemon = Daemon::start();
    let rounds = 50;
    let answers: Vec<Vec<Value>> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = daemon.connect();
                    let post =
                        |round| connection.post("/events", &[], event(&format!("race-{round}")).to_string().as_bytes());
                    (0..rounds).map(post).map(|answer| answer.with_status(202)).collect()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    for round in 0..rounds {
        let told: Vec<&Value> = answers.iter().map(|racer| &racer[round]).collect();
        assert_eq!(told.iter().filter(|answer| answer["duplicate"].is_null()).count(), 1, "round {round}");
        assert_eq!(told.iter().map(|answer| answer["seq"].as_u64()).collect::<HashSet<_>>().len(), 1, "round {round}");
    }
    assert_eq!(daemon.totals(), [rounds as u64, 7 * rounds as u64, 0, 0]);
}

#[test]
fn ids_are_remembered_over_a_stop_and_over_a_kill() {
    let mut daemon = Daemon::start();
    let batch = Value::from(events("e", 500)).to_string();
    let first = daemon.post("/events", event("e-7").to_string()).with_status(202);
    daemon.post("/events/batch", &batch).with_status(202);
    for end in [Daemon::stop, Daemon::kill, Daemon::kill, Daemon::stop] {
        daemon = end(daemon).start();
        let body = daemon.post("/events/batch", &batch).with_status(202);
        assert_eq!(body["duplicates"], 500);
        assert_eq!(daemon.post("/events", event("e-7").to_string()).with_status(202)["seq"], first["seq"]);
    }
    assert_eq!(daemon.stop().stored().len(), 500);
}

#[test]
fn ids_that_have_left_memory_are_remembered_over_a_stop_and_over_a_kill() {
    let mut daemon = Daemon::with(&[("INGESTD_DEDUP_BUDGET_BYTES", "65536")]);
    let batches: Vec<String> =
        (0..20).map(|batch| Value::from(events(&format!("e{batch}"), 1000)).to_string()).collect();
    let oldest = daemon.post("/events", event("oldest").to_string()).with_status(202);
    let duplicates = |daemon: &Daemon| -> Vec<Value> {
        let post = |batch| daemon.post("/events/batch", batch).with_status(202)["duplicates"].clone();
        batches.iter().map(post).collect()
    };
    assert!(duplicates(&daemon).iter().all(|count| *count == 0));
    for end in [Daemon::kill, Daemon::stop, Daemon::kill] {
        let on_disk = |daemon: &Daemon| std::fs::read_dir(daemon.data().join("dedup")).unwrap().count() > 0;
        support::eventually("the oldest ids are on the disk", || on_disk(&daemon));
        daemon = end(daemon).start();
        assert!(duplicates(&daemon).iter().all(|count| *count == 1000));
        assert_eq!(daemon.post("/events", event("oldest").to_string()).with_status(202)["seq"], oldest["seq"]);
    }
    assert_eq!(daemon.stop().stored().len(), 20_001);
}

#[test]
fn an_id_may_be_used_again_once_the_window_is_over() {
    let daemon = Daemon::with(&[("INGESTD_DEDUP_WINDOW_S", "2")]);
    let body = event("e-1").to_string();
    let first = daemon.post("/events", &body).with_status(202);
    support::eventually("the window ends", || {
        let again = daemon.post("/events", &body).with_status(202);
        assert!(again["duplicate"] == true || again["seq"].as_u64() > first["seq"].as_u64(), "{again}");
        again["duplicate"].is_null()
    });
    // It counts from the first acceptance, so the repeats did not extend it; now it is a new first.
    assert_eq!(daemon.post("/events", &body).with_status(202)["duplicate"], true);
    assert_eq!(daemon.stop().stored().len(), 2);
}
