//! `Idempotency-Key`: the first answer is the answer.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use support::{Answer, ApiKey, Daemon, Place, Shim, event, events, request};

fn post(daemon: &Daemon, path: &str, key: &str, body: impl AsRef<[u8]>) -> Answer {
    daemon.request("POST", path, &[("Idempotency-Key", key)], body.as_ref())
}

#[track_caller]
fn assert_same(first: &Answer, repeat: &Answer) {
    assert_eq!(repeat.status, first.status);
    assert_eq!(repeat.text(), first.text());
    assert_eq!(repeat.header("content-type"), first.header("content-type"));
}

#[test]
fn a_repeat_gets_the_first_answer_byte_for_byte() {
    let daemon = Daemon::start();
    let first = post(&daemon, "/events", "k-1", event("e-1").to_string());
    assert_eq!(first.with_status(202)["duplicate"], Value::Null);
    assert_same(&first, &post(&daemon, "/events", "k-1", event("e-1").to_string()));
    let batch = Value::from(events("b", 5)).to_string();
    let first = post(&daemon, "/events/batch", "k-2", &batch);
    assert_eq!(first.with_status(202)["successful"], 5);
    assert_same(&first, &post(&daemon, "/events/batch", "k-2", &batch));
    assert_eq!(daemon.totals(), [6, 0, 0, 0], "a repeat is not processed");
}

#[test]
fn without_a_key_the_repeat_is_a_duplicate_like_any_other() {
    let daemon = Daemon::start();
    post(&daemon, "/events", "k", event("e").to_string()).with_status(202);
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], true);
    assert_eq!(post(&daemon, "/events", "other", event("e").to_string()).with_status(202)["duplicate"], true);
}

#[test]
fn a_key_that_comes_back_with_something_else_is_422() {
    let daemon = Daemon::start();
    post(&daemon, "/events", "k", event("e-1").to_string()).with_status(202);
    post(&daemon, "/events", "k", event("e-2").to_string()).problem(422);
    post(&daemon, "/events/batch", "k", event("e-1").to_string()).problem(422);
    let batch = format!("[{}]", event("b"));
    post(&daemon, "/events/batch", "k2", &batch).with_status(202);
    post(&daemon, "/events/batch?failOnError=true", "k2", &batch).problem(422);
    assert_eq!(daemon.totals()[0], 2);
}

#[test]
fn a_key_means_the_same_quoted_and_bare() {
    let daemon = Daemon::start();
    let first = post(&daemon, "/events", "\"k-1\"", event("e-1").to_string());
    assert_same(&first, &post(&daemon, "/events", "k-1", event("e-1").to_string()));
    post(&daemon, "/events", "K-1", event("e-2").to_string()).with_status(202);
}

#[test]
fn a_key_has_1_to_255_bytes() {
    let daemon = Daemon::start();
    for key in ["", "\"\"", &"k".repeat(256), &format!("\"{}\"", "k".repeat(256))] {
        post(&daemon, "/events", key, event("e").to_string()).problem(400);
    }
    let twice = [("Idempotency-Key", "k-1"), ("Idempotency-Key", "k-2")];
    daemon.request("POST", "/events", &twice, event("e").to_string().as_bytes()).problem(400);
    let longest = "k".repeat(255);
    post(&daemon, "/events", &longest, event("e").to_string()).with_status(202);
    post(&daemon, "/events", &format!("\"{longest}\""), event("e").to_string()).with_status(202);
    assert_eq!(daemon.totals(), [1, 0, 0, 0]);
}

#[test]
fn a_refusal_for_good_is_remembered_too() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_BATCH_EVENTS_MAX", "3")]);
    let mut bad = event("e");
    bad["eventType"] = "unknown".into();
    let cases = [
        ("/events", bad.to_string()),
        ("/events", "no json".into()),
        ("/events/batch", "no json".into()),
        ("/events/batch?failOnError=true", format!("[{},{bad}]", event("good"))),
        ("/events/batch", Value::from(events("many", 4)).to_string()),
        ("/events/batch", "[7]".into()),
    ];
    for (number, (path, body)) in cases.into_iter().enumerate() {
        let key = format!("k-{number}");
        let first = post(&daemon, path, &key, &body);
        assert_eq!(first.status, if body == "[7]" { 202 } else { 400 }, "{first:?}");
        let counted = daemon.totals();
        assert_same(&first, &post(&daemon, path, &key, &body));
        assert_eq!(daemon.totals(), counted, "a repeat is not processed: {body}");
        post(&daemon, path, &key, event("other").to_string()).problem(422);
    }
}

#[test]
fn a_refusal_for_now_is_not_remembered() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let body = event("e").to_string();
    let mut holder = daemon.connect();
    let length = body.len().to_string();
    let head = [("Content-Length", length.as_str()), ("Expect", "100-continue")];
    holder.send(request("POST", "/events", &head, b""));
    assert_eq!(holder.answer().status, 100, "the one place is taken");
    post(&daemon, "/events", "k", &body).problem(503);
    holder.send(event("h").to_string());
    holder.answer().with_status(202);
    assert_eq!(post(&daemon, "/events", "k", &body).with_status(202)["duplicate"], Value::Null);
}

#[test]
fn parallel_requests_with_one_key_run_once() {
    let daemon = Daemon::start();
    for round in 0..30 {
        let key = format!("k-{round}");
        let body = Value::from(events(&key, 200)).to_string();
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| post(&daemon, "/events/batch", &key, &body))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let first = answers.iter().find(|answer| answer.status == 202).expect("one of them ran");
        for answer in &answers {
            if answer.status == 202 {
                assert_same(first, answer);
            } else {
                answer.problem(409);
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
        }
        assert_same(first, &post(&daemon, "/events/batch", &key, &body));
    }
    assert_eq!(daemon.totals(), [30 * 200, 0, 0, 0]);
}

#[test]
fn keys_and_answers_survive_a_kill() {
    let mut daemon = Daemon::start();
    let mut firsts = Vec::new();
    let body = |number: usize| match number % 3 {
        0 => ("/events", event(&format!("e-{number}")).to_string()),
        1 => ("/events/batch", Value::from(events(&format!("b-{number}"), 3)).to_string()),
        _ => ("/events", "{}".to_owned()),
    };
    for end in [Daemon::kill, Daemon::stop, Daemon::kill] {
        for number in firsts.len()..firsts.len() + 10 {
            let (path, body) = body(number);
            firsts.push(post(&daemon, path, &format!("k-{number}"), body));
        }
        daemon = end(daemon).start();
        for (number, first) in firsts.iter().enumerate() {
            let (path, text) = body(number);
            assert_same(first, &post(&daemon, path, &format!("k-{number}"), text));
            post(&daemon, path, &format!("k-{number}"), "something else").problem(422);
        }
        assert_eq!(daemon.totals(), [0; 4]);
    }
}

#[test]
fn the_oldest_keys_give_way_when_there_are_too_many() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_IDEMPOTENCY_KEYS_MAX", "10")]);
    for number in 0..200 {
        post(&daemon, "/events", &format!("k-{number}"), event(&format!("e-{number}")).to_string()).with_status(202);
    }
    let newest = post(&daemon, "/events", "k-199", event("e-199").to_string());
    assert_eq!(newest.with_status(202)["duplicate"], Value::Null, "still the first answer");
    let oldest = post(&daemon, "/events", "k-0", event("e-0").to_string());
    assert_eq!(oldest.with_status(202)["duplicate"], true, "processed anew");
}

#[test]
fn a_tenant_with_many_keys_has_no_other_forget_its_own() {
    let env = [("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_LIMITS_IDEMPOTENCY_KEYS_MAX", "10")];
    let mut daemon = Daemon::with(&env);
    let [quiet, busy] = ["quiet", "busy"].map(|tenant| ApiKey::add(&daemon, tenant, "intake").bearer());
    let send = |daemon: &Daemon, bearer: &str, key: &str| {
        let headers = [("Authorization", bearer), ("Idempotency-Key", key)];
        daemon.request("POST", "/events", &headers, event(&format!("e-{key}")).to_string().as_bytes())
    };
    let first = send(&daemon, &quiet, "own");
    first.with_status(202);
    for end in [Daemon::stop, Daemon::kill] {
        for number in 0..50 {
            send(&daemon, &busy, &format!("k-{number}"));
        }
        assert_same(&first, &send(&daemon, &quiet, "own"));
        // Whose they are is known to the next start, too.
        daemon = end(daemon).start();
    }
    assert_same(&first, &send(&daemon, &quiet, "own"));
    assert_eq!(send(&daemon, &busy, "k-0").with_status(202)["duplicate"], true, "processed anew");
}

#[test]
fn the_oldest_keys_give_way_when_their_answers_take_too_much_room() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_IDEMPOTENCY_BYTES_MAX", "100000")]);
    post(&daemon, "/events", "first", event("e-1").to_string()).with_status(202);
    let bad = format!("[{}]", vec!["{}"; 500].join(","));
    for number in 0..10 {
        let answer = post(&daemon, "/events/batch", &format!("large-{number}"), bad.clone());
        assert!(answer.with_status(202).to_string().len() > 20_000, "an answer of some size");
    }
    let oldest = post(&daemon, "/events", "first", event("e-1").to_string());
    assert_eq!(oldest.with_status(202)["duplicate"], true, "processed anew");
    let first = post(&daemon, "/events/batch", "large-9", bad.clone()).with_status(202);
    assert_eq!(post(&daemon, "/events/batch", "large-9", bad).with_status(202), first, "still the first answer");
}

#[test]
fn a_key_may_be_used_anew_after_its_age() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_IDEMPOTENCY_AGE_S", "1")]);
    post(&daemon, "/events", "k", event("e-1").to_string()).with_status(202);
    support::eventually("the key is free again", || {
        let answer = post(&daemon, "/events", "k", event("e-2").to_string());
        assert!(matches!(answer.status, 202 | 422), "{answer:?}");
        answer.status == 202
    });
    let daemon = daemon.kill().start();
    assert_eq!(daemon.post("/events", event("e-2").to_string()).with_status(202)["duplicate"], true);
}

#[test]
fn a_client_that_left_before_its_answer_gets_it_with_the_repeat() {
    let daemon = Daemon::start();
    for number in 0..50 {
        let (key, body) = (format!("k-{number}"), event(&format!("e-{number}")).to_string());
        let mut connection = daemon.connect();
        connection.send(request("POST", "/events", &[("Idempotency-Key", &key)], body.as_bytes()));
        drop(connection);
        let mut answer = post(&daemon, "/events", &key, &body);
        support::eventually("the first one has ended", || {
            if answer.status == 409 {
                answer = post(&daemon, "/events", &key, &body);
            }
            answer.status != 409
        });
        assert_eq!(answer.with_status(202)["duplicate"], Value::Null, "both are the first: {answer:?}");
    }
    assert_eq!(daemon.totals()[..2], [50, 0]);
}

#[test]
fn an_answer_that_cannot_be_read_is_our_failure_and_told_by_its_id() {
    let shim = Shim::compiled();
    let daemon = Place::with(&[]).and_all(shim.strikes("pread", "*/data/log/*.sst")).start();
    let body = event("secret-event").to_string();
    let first = post(&daemon, "/events", "k", &body);
    first.with_status(202);
    // From the checkpoint on it is in a table, of which nothing is in memory yet.
    daemon.checkpoint();
    shim.arm();
    let headers = [("Idempotency-Key", "k"), ("X-Request-Id", "request-1")];
    let failed = daemon.request("POST", "/events", &headers, body.as_bytes());
    failed.problem(500);
    assert_eq!(failed.header("x-request-id"), Some("request-1"));
    let log = daemon.log();
    let is_told = |line: &str| line.contains("ERROR") && line.contains("request-1") && line.contains("500");
    assert!(log.lines().any(is_told) && !log.contains("secret-event"), "{log}");
    shim.disarm();
    assert_same(&first, &post(&daemon, "/events", "k", &body));
    assert_eq!(daemon.totals(), [1, 0, 0, 0]);
}
