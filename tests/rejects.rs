//! What can never be accepted: said with a code and a pointer to each place, and kept as a dead letter.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use support::{Answer, Daemon, Place, event, shape};

/// The code and pointers of a rejected event.
#[track_caller]
fn told(answer: &Answer) -> (String, Vec<String>) {
    let body = answer.with_status(400);
    assert_eq!(body["status"], "rejected", "{body}");
    let errors = body["errors"].as_array().unwrap();
    let pointers = errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned());
    (body["code"].as_str().unwrap().to_owned(), pointers.collect())
}

#[track_caller]
fn assert_rejected(daemon: &Daemon, body: impl AsRef<[u8]>, code: &str, pointer: &str) {
    let answer = daemon.post("/events", body);
    assert_eq!(told(&answer), (code.to_owned(), vec![pointer.to_owned()]), "{answer:?}");
}

fn with(field: &str, value: Value) -> String {
    let mut event = event("e-1");
    event[field] = value;
    event.to_string()
}

fn without(field: &str) -> String {
    let mut event = event("e-1");
    event.as_object_mut().unwrap().remove(field);
    event.to_string()
}

#[test]
fn a_rejected_event_is_answered_with_all_that_a_program_and_a_person_need() {
    let daemon = Daemon::start();
    let body = daemon.post("/events", with("eventType", "cart_eaten".into())).with_status(400);
    let names =
        ["code", "deadLetterId", "detail", "errors", "eventId", "message", "status", "timestamp", "title", "type"];
    assert_eq!(shape(&body), names);
    assert_eq!((&body["eventId"], &body["status"]), (&"e-1".into(), &"rejected".into()));
    assert_eq!(shape(&body["errors"][0]), ["detail", "pointer"]);
    assert!(body["message"].as_str().unwrap().contains("/eventType"), "{body}");
    let without_id = daemon.post("/events", without("eventId")).with_status(400);
    assert_eq!(without_id["eventId"], Value::Null);
    assert!(shape(&without_id).contains(&"eventId"), "null, not left out: {without_id}");
    assert_eq!(daemon.totals(), [0, 0, 2, 0]);
}

#[test]
fn how_long_ids_may_be_is_for_the_operator_to_say() {
    let long = "x".repeat(8192);
    let daemon = Daemon::with(&[("INGESTD_LIMITS_ID_BYTES_MAX", "8192")]);
    for field in ["eventId", "sessionId", "storeId", "userId"] {
        daemon.post("/events", with(field, long.as_str().into())).with_status(202);
        assert_rejected(&daemon, with(field, format!("{long}x").into()), "invalid_length", &format!("/{field}"));
    }
    let stored = daemon.stop().stored();
    assert!(stored.iter().any(|event| event.id == long), "{}", stored.len());
    let daemon = Daemon::with(&[("INGESTD_LIMITS_ID_BYTES_MAX", "3")]);
    let answer = told(&daemon.post("/events", with("sessionId", "abc".into())));
    assert_eq!(answer, ("invalid_length".to_owned(), vec!["/storeId".to_owned()]));
}

#[test]
fn every_dead_letter_has_an_id_of_its_own_that_survives_a_kill() {
    let daemon = Daemon::start();
    let id = |daemon: &Daemon| {
        let body = daemon.post("/events", "{}").with_status(400);
        body["deadLetterId"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let (first, second) = (id(&daemon), id(&daemon));
    assert!(second > first);
    let daemon = daemon.kill().start();
    assert!(id(&daemon) > second, "an id was given twice");
}

#[test]
fn each_required_field_is_missed_by_its_name() {
    let daemon = Daemon::start();
    for field in ["eventId", "eventType", "timestamp", "sessionId", "storeId", "data"] {
        assert_rejected(&daemon, without(field), "missing_field", &format!("/{field}"));
    }
    for field in ["userId", "metadata"] {
        daemon.post("/events", without(field)).with_status(202);
        daemon.post("/events", with(field, Value::Null)).with_status(202);
    }
}

#[test]
fn each_field_of_a_wrong_type_is_named() {
    let daemon = Daemon::start();
    for field in ["eventId", "eventType", "timestamp", "sessionId", "storeId"] {
        for value in [json!(1), json!(null), json!(true), json!(["e"]), json!({"e": 1})] {
            assert_rejected(&daemon, with(field, value), "wrong_type", &format!("/{field}"));
        }
    }
    assert_rejected(&daemon, with("userId", json!(17850)), "wrong_type", "/userId");
    for value in [json!("{}"), json!([]), json!(1), json!(null)] {
        assert_rejected(&daemon, with("data", value), "wrong_type", "/data");
    }
    for value in [json!("{}"), json!([]), json!(false)] {
        assert_rejected(&daemon, with("metadata", value), "wrong_type", "/metadata");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let daemon = Daemon::start();
    let (code, pointers) = told(&daemon.post("/events", "{}"));
    assert_eq!(code, "missing_field");
    assert_eq!(pointers, ["/eventId", "/eventType", "/timestamp", "/sessionId", "/storeId", "/data"]);
    let body = json!({"eventId": "", "eventType": "x", "timestamp": "y", "sessionId": 1, "storeId": "s", "data": {}});
    let (code, pointers) = told(&daemon.post("/events", body.to_string()));
    assert_eq!(code, "invalid_length");
    assert_eq!(pointers, ["/eventId", "/eventType", "/timestamp", "/sessionId"]);
}

#[test]
fn an_id_has_1_to_128_bytes() {
    let daemon = Daemon::start();
    for field in ["eventId", "sessionId", "storeId"] {
        for text in [String::new(), "x".repeat(129), "ü".repeat(65)] {
            assert_rejected(&daemon, with(field, text.into()), "invalid_length", &format!("/{field}"));
        }
    }
    assert_rejected(&daemon, with("userId", "x".repeat(129).into()), "invalid_length", "/userId");
    for (field, text) in [("eventId", "ü".repeat(64)), ("sessionId", "x".repeat(128)), ("userId", String::new())] {
        daemon.post("/events", with(field, text.into())).with_status(202);
    }
}

#[test]
fn what_is_not_json_is_rejected() {
    let daemon = Daemon::start();
    let mut cases: Vec<Vec<u8>> =
        ["", " \n", "{", "nul", "{'eventId':'e'}", "{\"a\":1,}", "\u{feff}{}", "{}{}", "[1", "\"open", "{\"a\":01}"]
            .map(|text| text.as_bytes().to_vec())
            .into();
    let latin_1 = with("storeId", "caf\u{e9}".into()).replace('\u{e9}', "?").into_bytes();
    cases.push(latin_1.iter().map(|byte| if *byte == b'?' { 0xe9 } else { *byte }).collect());
    cases.push(with("storeId", "line".into()).replace("line", "li\nne").into_bytes());
    cases.push(with("storeId", "half".into()).replace("half", "\\ud800").into_bytes());
    for body in cases {
        let (code, pointers) = told(&daemon.post("/events", &body));
        assert_eq!(
            (code.as_str(), pointers),
            ("invalid_json", vec![String::new()]),
            "{:?}",
            String::from_utf8_lossy(&body)
        );
    }
    assert_eq!(daemon.totals()[0], 0);
}

#[test]
fn json_that_is_no_object_is_rejected() {
    let daemon = Daemon::start();
    for body in ["[]", "\"event\"", "1", "null", "true", &format!("[{}]", event("e"))] {
        assert_rejected(&daemon, body, "not_an_object", "");
    }
}

#[test]
fn only_the_six_types_are_known() {
    let daemon = Daemon::start();
    let known = ["cart_created", "cart_updated", "cart_abandoned", "item_added", "item_removed", "purchase_completed"];
    for kind in known {
        let mut event = event(kind);
        event["eventType"] = kind.into();
        daemon.post("/events", event.to_string()).with_status(202);
    }
    for kind in ["", "Cart_created", "cart_created ", "view"] {
        assert_rejected(&daemon, with("eventType", kind.into()), "unknown_event_type", "/eventType");
    }
    let stats = daemon.get("/events/stats").json();
    for kind in known {
        assert_eq!(stats["byType"][kind], 1, "{stats}");
    }
}

#[test]
fn a_timestamp_is_rfc_3339_between_1970_and_tomorrow() {
    let daemon = Daemon::start();
    for text in [
        "",
        "yesterday",
        "2026-01-01",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "1767225600",
        "2026-01-01T00:00:00",
    ] {
        assert_rejected(&daemon, with("timestamp", text.into()), "invalid_timestamp", "/timestamp");
    }
    for text in ["1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1970-01-01T00:30:00+01:00"] {
        assert_rejected(&daemon, with("timestamp", text.into()), "timestamp_too_old", "/timestamp");
    }
    for text in ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        assert_rejected(&daemon, with("timestamp", text.into()), "timestamp_in_future", "/timestamp");
    }
    for text in
        ["1970-01-01T00:00:00Z", "2010-12-01t08:26:00.123456789z", "2016-12-31T23:59:60Z", "2024-02-29T00:00:00-05:00"]
    {
        daemon.post("/events", with("timestamp", text.into())).with_status(202);
    }
}

#[test]
fn the_check_for_the_future_can_be_turned_off() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_FUTURE_MAX_S", "0")]);
    daemon.post("/events", with("timestamp", "2999-01-01T00:00:00Z".into())).with_status(202);
}

#[test]
fn nesting_is_taken_up_to_32_levels() {
    let daemon = Daemon::start();
    let nested = |levels: usize| {
        let text = "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1);
        with("data", "DATA".into()).replace("\"DATA\"", &text)
    };
    daemon.post("/events", nested(32)).with_status(202);
    assert_rejected(&daemon, nested(33), "too_deep", "/data");
    assert_rejected(&daemon, nested(900), "too_deep", "/data");
    let abyss = with("data", "DATA".into()).replace("\"DATA\"", &"[".repeat(200_000));
    let (code, _) = told(&daemon.post("/events", abyss));
    assert!(code == "too_deep" || code == "invalid_json", "{code}");
    let mut event = event("e");
    event["other/thing"] = serde_json::from_str(&("[".repeat(40) + &"]".repeat(40))).unwrap();
    assert_rejected(&daemon, event.to_string(), "too_deep", "/other~1thing");
}

#[test]
fn a_field_that_stands_twice_is_rejected() {
    let daemon = Daemon::start();
    for (field, text) in [("eventId", "\"e-1\""), ("data", "{}"), ("timestamp", "\"2026-01-01T00:00:00Z\"")] {
        let twice = event("e-1").to_string().replacen('{', &format!("{{\"{field}\":{text},"), 1);
        assert_rejected(&daemon, twice, "duplicate_key", &format!("/{field}"));
    }
    // Also where only the escapes tell that it is the same key.
    let twice = event("e-1").to_string().replacen('{', "{\"event\\u0049d\":\"e-2\",", 1);
    assert_rejected(&daemon, twice, "duplicate_key", "/eventId");
    let twice = event("e-1").to_string().replacen('{', "{\"other\":1,\"other\":2,", 1);
    daemon.post("/events", twice).with_status(202);
}

#[test]
fn an_answer_never_repeats_what_the_client_sent_but_its_id() {
    let daemon = Daemon::start();
    let secret = "s3cr3t-4111111111111111";
    for body in [
        with("eventType", secret.into()),
        with("timestamp", secret.into()),
        with("data", secret.into()),
        format!("{{\"eventId\":\"{secret}"),
    ] {
        let answer = daemon.post("/events", body);
        assert!(answer.status == 400 && !answer.text().contains(secret), "{answer:?}");
    }
    assert!(!daemon.log().contains(secret), "no payload in logs");
}

#[test]
fn dead_letters_make_room_for_new_ones_after_their_age() {
    let limits = [("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", "1000"), ("INGESTD_LIMITS_DEAD_LETTER_AGE_S", "2")];
    let daemon = Daemon::with(&limits);
    let is_kept = |daemon: &Daemon| {
        let answer = daemon.post("/events", with("eventType", "x".repeat(500).into())).with_status(400);
        answer["deadLetterId"].is_string()
    };
    assert!(is_kept(&daemon) && !is_kept(&daemon), "there is room for one");
    support::eventually("the first is gone", || is_kept(&daemon));
    let daemon = daemon.kill().start();
    assert!(!is_kept(&daemon), "the second is still there after a start");
    support::eventually("the second is gone", || is_kept(&daemon));
}

#[test]
fn dead_letters_go_at_their_age_though_nothing_else_comes() {
    let limits = [("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", "1000"), ("INGESTD_LIMITS_DEAD_LETTER_AGE_S", "1")];
    let daemon = Daemon::with(&limits);
    let refused = daemon.post("/events", with("eventType", "x".repeat(500).into())).with_status(400);
    assert!(refused["deadLetterId"].is_string());
    let kept = || {
        let (reader, _) = wal::open_read_only(&daemon.data()).ok()?;
        let mut letters = 0;
        let count = |_: &[u8], _: &[u8]| {
            letters += 1;
            std::ops::ControlFlow::Continue(())
        };
        reader.scan(wal::Family::Dead, &[], count).ok()?;
        Some(letters)
    };
    support::eventually("it is removed", || kept() == Some(0));
}

#[test]
fn dead_letters_beyond_their_room_are_counted_but_not_kept() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", "1000")]);
    let letters: Vec<bool> = (0..20)
        .map(|_| daemon.post("/events", with("eventType", "x".repeat(100).into())).with_status(400))
        .map(|body| body["deadLetterId"].is_string())
        .collect();
    assert!(letters[0] && !letters[19], "{letters:?}");
    assert_eq!(daemon.totals(), [0, 0, 20, 0]);
}

#[test]
fn dead_letters_do_not_go_while_a_sink_that_is_switched_off_has_not_got_them() {
    let limits = [("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", "1000"), ("INGESTD_LIMITS_DEAD_LETTER_AGE_S", "1")];
    // Nobody listens there: the sink is never reached.
    let place = Place::with(&limits).and("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9");
    let daemon = place.and("INGESTD_CLICKHOUSE_ENABLED", "true").start();
    let is_kept = |daemon: &Daemon| {
        let answer = daemon.post("/events", with("eventType", "x".repeat(500).into())).with_status(400);
        answer["deadLetterId"].is_string()
    };
    assert!(is_kept(&daemon) && !is_kept(&daemon), "there is room for one");
    support::eventually("the sink has its place", || {
        daemon.get("/pipeline/status").json()["sinks"]
            .as_array()
            .is_some_and(|sinks| sinks.iter().any(|sink| sink["sink"] == "clickhouse" && sink["nextDeadLetter"] == 1))
    });
    let daemon = daemon.stop().and("INGESTD_CLICKHOUSE_ENABLED", "false").start();
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(5) {
        assert!(!is_kept(&daemon), "there is room though nobody has got it");
    }
    let place = daemon.stop();
    assert!(place.wal(&["forget-sink", "clickhouse"]).status.success());
    let daemon = place.start();
    support::eventually("nobody wants it any more", || is_kept(&daemon));
}
