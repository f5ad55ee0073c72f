//! `POST /events/batch`: each event with its own outcome, or all or nothing.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use support::{Daemon, event, events, ndjson, shape};

const NDJSON: [(&str, &str); 1] = [("Content-Type", "application/x-ndjson")];

#[test]
fn an_object_an_array_and_lines_are_the_same_batch() {
    let daemon = Daemon::start();
    let batch = events("e", 3);
    let first = daemon.post("/events/batch", json!({"events": batch}).to_string()).with_status(202);
    assert_eq!(shape(&first), ["batchId", "duplicates", "failed", "processedAt", "successful", "totalEvents"]);
    assert_eq!(counts(&first), [3, 3, 0, 0]);
    assert!(first["processedAt"].as_str().unwrap().ends_with('Z'));
    let array = daemon.post("/events/batch", Value::from(batch.clone()).to_string()).with_status(202);
    let lines = daemon.request("POST", "/events/batch", &NDJSON, ndjson(&batch).as_bytes()).with_status(202);
    for repeat in [&array, &lines] {
        assert_eq!(counts(repeat), [3, 3, 0, 3]);
        assert_ne!(repeat["batchId"], first["batchId"]);
    }
    assert_eq!(daemon.totals(), [3, 6, 0, 0]);
}

/// totalEvents, successful, failed, duplicates.
#[track_caller]
fn counts(batch: &Value) -> [u64; 4] {
    let counts = ["totalEvents", "successful", "failed", "duplicates"].map(|name| batch[name].as_u64());
    counts.map(|count| count.unwrap_or_else(|| panic!("no count in {batch}")))
}

/// Ten events; the third, fifth and eighth are bad, each in another way.
fn three_bad_of_ten() -> Vec<Value> {
    let mut batch = events("e", 10);
    batch[2]["eventType"] = "cart_eaten".into();
    batch[4]["storeId"] = Value::Null;
    batch[7] = json!(7);
    batch
}

#[test]
fn the_good_events_of_a_batch_are_stored_and_the_bad_ones_named() {
    let daemon = Daemon::start();
    let batch = three_bad_of_ten();
    let body = daemon.post("/events/batch", json!({"events": batch}).to_string()).with_status(202);
    let names = ["batchId", "details", "duplicates", "errors", "failed", "processedAt", "successful", "totalEvents"];
    assert_eq!(shape(&body), names);
    assert_eq!(counts(&body), [10, 7, 3, 0]);
    let details = body["details"].as_array().unwrap();
    let short: Vec<_> =
        details.iter().map(|one| (one["index"].as_u64(), one["code"].as_str(), one["pointer"].as_str())).collect();
    let wanted = [
        (Some(2), Some("unknown_event_type"), Some("/eventType")),
        (Some(4), Some("wrong_type"), Some("/storeId")),
        (Some(7), Some("not_an_object"), None),
    ];
    assert_eq!(short, wanted);
    assert_eq!(shape(&details[0]), ["code", "deadLetterId", "eventId", "index", "message", "pointer"]);
    assert_eq!(shape(&details[2]), ["code", "deadLetterId", "index", "message"]);
    assert_eq!(details[0]["eventId"], "e-2");
    for one in details {
        let path = format!("/dead-letters/{}", one["deadLetterId"].as_str().unwrap());
        assert_eq!(daemon.get(&path).with_status(200)["code"], one["code"]);
    }
    let errors = body["errors"].as_array().unwrap();
    assert!(errors.len() == 3 && errors.iter().all(Value::is_string), "{body}");
    assert_eq!(daemon.totals(), [7, 0, 3, 0]);
    let again = daemon.post("/events/batch", Value::from(batch).to_string()).with_status(202);
    assert_eq!(counts(&again), [10, 7, 3, 7]);
}

#[test]
fn one_bad_event_fails_an_all_or_nothing_batch_whole() {
    let daemon = Daemon::start();
    let batch = three_bad_of_ten();
    let wrapped = json!({"events": batch, "options": {"failOnError": true}}).to_string();
    let answers = [
        daemon.post("/events/batch", wrapped),
        daemon.post("/events/batch?failOnError=true", Value::from(batch.clone()).to_string()),
        daemon.request("POST", "/events/batch?failOnError=true", &NDJSON, ndjson(&batch).as_bytes()),
    ];
    for answer in answers {
        let body = answer.with_status(400);
        assert_eq!(answer.header("content-type"), Some("application/json"), "the shape of a batch, not of a problem");
        assert_eq!(counts(&body), [10, 0, 10, 0]);
        let details = body["details"].as_array().unwrap();
        let codes: Vec<_> = details.iter().map(|one| one["code"].as_str().unwrap()).collect();
        let ba = "batch_aborted";
        let wanted = [ba, ba, "unknown_event_type", ba, "wrong_type", ba, ba, "not_an_object", ba, ba];
        assert_eq!(codes, wanted);
        let in_order = details.iter().enumerate().all(|(at, one)| one["index"] == at);
        assert!(in_order && details.iter().all(|one| one["message"].is_string()), "{body}");
    }
    assert_eq!(daemon.totals(), [0, 0, 9, 21], "the good ones are refused, the bad ones rejected");
    let good: Vec<Value> = [0, 1, 3, 5, 6, 8, 9].map(|at| batch[at].clone()).into();
    let body = daemon.post("/events/batch?failOnError=true", Value::from(good).to_string()).with_status(202);
    assert_eq!(counts(&body), [7, 7, 0, 0], "nothing had been stored");
}

#[test]
fn a_duplicate_is_no_failure() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    let mut batch = events("e", 3);
    batch.push(event("e-2"));
    let body = daemon.post("/events/batch?failOnError=true", Value::from(batch).to_string()).with_status(202);
    assert_eq!(counts(&body), [4, 4, 0, 2], "one known before, one twice in this batch");
}

#[test]
fn a_duplicate_with_other_content_is_told_among_the_details() {
    let daemon = Daemon::start();
    daemon.post("/events/batch", Value::from(events("e", 5)).to_string()).with_status(202);
    let mut batch = events("e", 6);
    batch[0] = json!(7);
    batch[2]["data"] = json!({"other": 1});
    batch[4]["eventId"] = "\u{e9}\"".into();
    batch[5] = batch[4].clone();
    batch[5]["storeId"] = "other".into();
    let body = daemon.post("/events/batch", Value::from(batch.clone()).to_string()).with_status(202);
    assert_eq!(counts(&body), [6, 5, 1, 4]);
    let details = body["details"].as_array().unwrap();
    let told: Vec<_> =
        details.iter().map(|one| (one["index"].as_u64().unwrap(), one["code"].as_str().unwrap())).collect();
    assert_eq!(told, [(0, "not_an_object"), (2, "duplicate_differs"), (5, "duplicate_differs")]);
    assert_eq!(shape(&details[1]), ["code", "eventId", "index", "message"]);
    assert_eq!((&details[1]["eventId"], &details[2]["eventId"]), (&"e-2".into(), &"\u{e9}\"".into()));
    assert_eq!(body["errors"].as_array().unwrap().len(), 1, "it is no failure");
    // Also where nothing has failed, and remembered under a key.
    let (key, text) = ([("Idempotency-Key", "k")], Value::from(&batch[1..3]).to_string());
    let whole = daemon.request("POST", "/events/batch?failOnError=true", &key, text.as_bytes()).with_status(202);
    assert_eq!((&whole["details"][0]["index"], whole["details"].as_array().unwrap().len()), (&1.into(), 1));
    assert!(whole["errors"].is_null(), "{whole}");
    assert_eq!(daemon.request("POST", "/events/batch?failOnError=true", &key, text.as_bytes()).with_status(202), whole);
}

#[test]
fn a_batch_of_bad_events_only_is_a_readable_batch() {
    let daemon = Daemon::start();
    let body = daemon.post("/events/batch", r#"[{}, 1, "e", null]"#).with_status(202);
    assert_eq!(counts(&body), [4, 0, 4, 0]);
    assert_eq!(daemon.totals(), [0, 0, 4, 0]);
}

#[test]
fn a_body_that_fails_whole_names_the_dead_letter_that_it_is_kept_as() {
    let daemon = Daemon::start();
    for key in [&[][..], &[("Idempotency-Key", "k")]] {
        let problem = daemon.request("POST", "/events/batch", key, b"no json").problem(400);
        let path = format!("/dead-letters/{}", problem["deadLetterId"].as_str().unwrap());
        assert_eq!(daemon.get(&path).with_status(200)["code"], "invalid_json");
    }
    let many = daemon.post("/events/batch?maxSize=1", Value::from(events("e", 2)).to_string()).problem(400);
    assert!(many["deadLetterId"].is_null(), "nothing is kept of it: {many}");
}

#[test]
fn a_batch_may_be_empty() {
    let daemon = Daemon::start();
    for (headers, body) in [(&[][..], "[]"), (&[], r#"{"events":[]}"#), (&NDJSON, ""), (&NDJSON, "\n \r\n")] {
        let body = daemon.request("POST", "/events/batch", headers, body.as_bytes()).with_status(202);
        assert_eq!(counts(&body), [0; 4]);
    }
}

#[test]
fn a_batch_of_1000_is_taken_and_one_of_1001_is_refused_whole() {
    let daemon = Daemon::start();
    let batch = events("e", 1001);
    let bodies = [
        (&[][..], json!({"events": batch}).to_string()),
        (&[], Value::from(batch.clone()).to_string()),
        (&NDJSON, ndjson(&batch)),
    ];
    for (headers, body) in bodies {
        let problem = daemon.request("POST", "/events/batch", headers, body.as_bytes()).problem(400);
        assert_eq!(problem["detail"], "Batch size 1001 exceeds limit 1000");
        assert_eq!(problem["message"], "Batch size 1001 exceeds limit 1000");
    }
    assert_eq!(daemon.totals(), [0; 4]);
    let body = daemon.post("/events/batch", Value::from(&batch[..1000]).to_string()).with_status(202);
    assert_eq!(counts(&body), [1000, 1000, 0, 0]);
}

#[test]
fn a_request_may_lower_the_limit_for_itself_but_not_raise_it() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_BATCH_EVENTS_MAX", "5")]);
    let post = |path: &str, count: usize, options: Value| {
        daemon.post(path, json!({"events": events("e", count), "options": options}).to_string())
    };
    assert_eq!(post("/events/batch", 4, json!({"maxSize": 3})).problem(400)["detail"], "Batch size 4 exceeds limit 3");
    assert_eq!(post("/events/batch?maxSize=2", 3, json!({})).problem(400)["detail"], "Batch size 3 exceeds limit 2");
    assert_eq!(post("/events/batch", 6, json!({"maxSize": 9})).problem(400)["detail"], "Batch size 6 exceeds limit 5");
    assert_eq!(post("/events/batch?maxSize=9", 6, json!({})).problem(400)["detail"], "Batch size 6 exceeds limit 5");
    post("/events/batch?maxSize=9", 5, json!({"maxSize": 10})).with_status(202);
    assert_eq!(daemon.totals(), [5, 0, 0, 0]);
}

#[test]
fn a_body_that_does_not_parse_fails_whole_and_counts_once() {
    let daemon = Daemon::start();
    let cut = format!("[{},{}", event("e-1"), event("e-2"));
    for (body, pointer) in
        [(cut.as_str(), ""), ("42", ""), (r#"{"event":[]}"#, "/events"), (r#"{"events":{}}"#, "/events")]
    {
        let problem = daemon.post("/events/batch", body).problem(400);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(problem["code"].is_string(), "{problem}");
    }
    assert_eq!(daemon.totals(), [0, 0, 4, 0]);
}

#[test]
fn a_bad_line_fails_alone() {
    let daemon = Daemon::start();
    let lines = format!("\n{}\r\n{{\"eventId\":\n\n  {}  \n[1]\n{}", event("a"), event("b"), event("c"));
    let body = daemon.request("POST", "/events/batch", &NDJSON, lines.as_bytes()).with_status(202);
    assert_eq!(counts(&body), [5, 3, 2, 0]);
    let details = body["details"].as_array().unwrap();
    let short: Vec<_> = details.iter().map(|one| (one["index"].as_u64(), one["code"].as_str())).collect();
    assert_eq!(short, [(Some(1), Some("invalid_json")), (Some(3), Some("not_an_object"))]);
    assert_eq!(daemon.totals(), [3, 0, 2, 0]);
}

#[test]
fn an_option_of_a_wrong_type_is_told_instead_of_guessed() {
    let daemon = Daemon::start();
    for path in ["/events/batch?failOnError=maybe", "/events/batch?maxSize=%30", "/events/batch?maxSize="] {
        daemon.post(path, format!("[{}]", event("e"))).problem(400);
    }
    for options in [json!({"maxSize": "3"}), json!({"failOnError": 1}), json!([])] {
        daemon.post("/events/batch", json!({"events": [event("e")], "options": options}).to_string()).problem(400);
    }
    assert_eq!(daemon.totals()[0], 0);
}
