//! A plain request that arrives whole goes a shorter way than any other: nobody may be able to tell from the answer.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::json;
use support::{Answer, ApiKey, Connection, Daemon, Socket, TEXT, cart_event, event, masked, request};

/// A header without a meaning: what has it is not plain.
const DETOUR: (&str, &str) = ("X-Detour", "1");

/// All that an answer says, but for what differs from answer to answer.
fn told(answer: &Answer, id: &str) -> String {
    let mut headers = answer.headers.clone();
    headers.sort();
    for (name, value) in &mut headers {
        match name.as_str() {
            "date" => assert!(value.ends_with(" GMT"), "{value}"),
            "x-request-id" if value.len() == 16 => "made".clone_into(value),
            // How much is left differs from answer to answer.
            "ratelimit" => "told".clone_into(value),
            _ => {}
        }
    }
    headers.retain(|(name, _)| name != "date" && name != "content-length");
    let mut body = answer.json();
    for (member, neutral) in [("timestamp", "T"), ("deadLetterId", "D"), ("seq", "S")] {
        if body.get(member).is_some() {
            body[member] = neutral.into();
        }
    }
    format!("{} {} {headers:?} {body}", answer.version, answer.status).replace(id, "ID")
}

/// Sends the same event both ways, each under an id of its own, and compares the answers.
fn assert_alike(daemon: &Daemon, name: &str, headers: &[(&str, &str)], body: &dyn Fn(&str) -> Vec<u8>) {
    let (plain, detour) = (format!("plain-{name}"), format!("round-{name}"));
    let short = daemon.request("POST", "/events", headers, &body(&plain));
    let long = daemon.request("POST", "/events", &[headers, &[DETOUR]].concat(), &body(&detour));
    assert!(short.header("date").is_some() && long.header("date").is_some());
    assert_eq!(told(&short, &plain), told(&long, &detour), "{name}");
}

#[test]
fn both_ways_answer_alike() {
    let daemon = Daemon::start();
    let good = |id: &str| event(id).to_string().into_bytes();
    let json = ("Content-Type", "application/json");
    assert_alike(&daemon, "new", &[], &good);
    assert_alike(&daemon, "new", &[json], &good);
    let differs = |id: &str| {
        let mut event = event(id);
        event["data"] = json!({"other": true});
        event.to_string().into_bytes()
    };
    assert_alike(&daemon, "new", &[json, ("User-Agent", "k6"), ("Accept", "*/*")], &differs);
    for (number, id) in ["r-1", "", &"x".repeat(128), &"x".repeat(129), "\u{e4}"].iter().enumerate() {
        assert_alike(&daemon, &format!("request-id-{number}"), &[("X-Request-Id", id)], &good);
    }
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_alike(&daemon, "trace", &[("traceparent", trace)], &good);
    assert_alike(&daemon, "no-trace", &[("traceparent", "nonsense")], &good);
    let large = |id: &str| {
        let mut event = event(id);
        event["data"] = json!({"note": "x".repeat(60_000)});
        event.to_string().into_bytes()
    };
    assert_alike(&daemon, "large", &[], &large);
    for (number, bad) in ["", "{", "[]", "17", "{} {}", "{\"eventId\":\"e\"}", "\u{0}", "[[[[[[[["].iter().enumerate() {
        assert_alike(&daemon, &format!("bad-{number}"), &[], &|_| bad.as_bytes().to_vec());
    }
    for member in ["eventType", "timestamp", "userId", "storeId", "data"] {
        let wrong = |id: &str| {
            let mut event = event(id);
            event[member] = json!([1]);
            event.to_string().into_bytes()
        };
        assert_alike(&daemon, &format!("wrong-{member}"), &[], &wrong);
    }
    let nested = |id: &str| {
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        event(id).to_string().replacen("\"data\":{", &format!("\"data\":{{\"deep\":{deep},"), 1).into_bytes()
    };
    assert_alike(&daemon, "deep", &[], &nested);
    let [accepted, duplicate, ..] = daemon.totals();
    assert_eq!(duplicate, 4, "the second and third event named new, both ways");
    assert_eq!(accepted, 18, "one of each good kind, both ways");
}

#[test]
fn limits_and_pages_are_told_both_ways() {
    let daemon = Daemon::with(&[
        ("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", "4"),
        ("INGESTD_RATE_LIMITS_ADDRESS_REQUESTS_PER_S", "1000"),
        ("INGESTD_CORS_ALLOWED_ORIGINS", "https://shop.example"),
    ]);
    let good = |id: &str| event(id).to_string().into_bytes();
    assert_alike(&daemon, "within", &[], &good);
    assert_alike(&daemon, "forwarded", &[("X-Forwarded-For", "203.0.113.9"), ("Via", "1.1 proxy")], &good);
    // What the quota is for is used up, unless midnight has just passed: then it is for the next four.
    for _ in 0..4 {
        daemon.post("/events", event("more").to_string());
    }
    let mut connection = daemon.connect();
    for headers in [&[][..], &[DETOUR]] {
        let answer = connection.post("/events", headers, event("beyond").to_string().as_bytes());
        assert_eq!(answer.problem(429)["reason"], "quota_exceeded");
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert!(answer.header("retry-after").is_some() && answer.header("ratelimit-policy").is_some());
    }
}

#[test]
fn a_limit_is_one_for_both_ways() {
    let daemon =
        Daemon::with(&[("INGESTD_RATE_LIMITS_ADDRESS_REQUESTS_PER_S", "1"), ("INGESTD_RATE_LIMITS_BURST_S", "40")]);
    let mut refused = Vec::new();
    // Forty, and one more for each second that this takes.
    for number in 0.. {
        assert!(number < 10_000, "nothing is refused");
        for headers in [&[][..], &[DETOUR]] {
            let id = format!("e-{number}-{}", headers.len());
            let answer = daemon.request("POST", "/events", headers, event(&id).to_string().as_bytes());
            match answer.status {
                202 => assert!(
                    answer.header("ratelimit").is_some_and(|field| field.starts_with("\"address-requests\";r="))
                ),
                _ => refused.push(answer),
            }
        }
        if refused.len() >= 4 {
            break;
        }
    }
    for answer in refused {
        assert_eq!(answer.problem(429)["limit"], "address-requests");
    }
    assert!(daemon.totals()[0] >= 40);
}

#[test]
fn a_weaker_promise_is_named_both_ways() {
    let daemon = Daemon::with(&[("INGESTD_LOG_DURABILITY", "os")]);
    assert_alike(&daemon, "weak", &[], &|id| event(id).to_string().into_bytes());
    let answer = daemon.post("/events", event("e").to_string()).with_status(202);
    assert_eq!(answer["durability"], "os");
}

#[test]
fn a_connection_may_change_its_ways_at_any_request() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    let post = |connection: &mut Connection, headers: &[(&str, &str)], id: &str| {
        let answer = connection.post("/events", headers, event(id).to_string().as_bytes()).with_status(202);
        assert_eq!((&answer["eventId"], &answer["duplicate"]), (&json!(id), &serde_json::Value::Null));
    };
    for number in 0..10 {
        post(&mut connection, &[], &format!("plain-{number}"));
    }
    connection.send(request("GET", "/health/live", &[], b""));
    connection.answer().with_status(200);
    for number in 0..10 {
        post(&mut connection, &[DETOUR], &format!("detour-{number}"));
        post(&mut connection, &[], &format!("again-{number}"));
    }
    assert_eq!(daemon.totals()[0], 30);
}

#[test]
fn a_plain_connection_becomes_a_websocket_that_has_already_sent() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    connection.post("/events", &[], event("first").to_string().as_bytes()).with_status(202);
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut bytes = request("GET", "/events/stream", &upgrade, b"");
    // More than any buffer on the way takes at once, so that some of it waits behind the handshake.
    for number in 0..200 {
        let mut event = event(&format!("e-{number}"));
        event["data"] = json!({"note": "x".repeat(1000)});
        bytes.extend(masked(TEXT, cart_event(&event).as_bytes()));
    }
    connection.send(&bytes);
    assert_eq!(connection.answer().status, 101);
    let mut socket = Socket::over(connection);
    for number in 0..200 {
        let ack: serde_json::Value = serde_json::from_slice(&socket.frame().payload).unwrap();
        assert_eq!((&ack["type"], &ack["eventId"]), (&json!("event_ack"), &json!(format!("e-{number}"))), "{ack}");
    }
    assert_eq!(daemon.totals()[0], 201);
}

#[test]
fn two_requests_in_one_packet_are_both_answered() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    for round in 0..20 {
        let ids = [format!("a-{round}"), format!("b-{round}")];
        let all = ids.iter().flat_map(|id| request("POST", "/events", &[], event(id).to_string().as_bytes()));
        connection.send(all.collect::<Vec<u8>>());
        for id in &ids {
            assert_eq!(connection.answer().with_status(202)["eventId"], *id);
        }
    }
}

#[test]
fn a_client_that_does_not_wait_for_its_answer_has_its_event_stored() {
    let daemon = Daemon::start();
    for number in 0..50 {
        let mut connection = daemon.connect();
        connection.send(request("POST", "/events", &[], event(&format!("e-{number}")).to_string().as_bytes()));
    }
    support::eventually("what arrived whole is stored", || daemon.totals()[0] == 50);
    support::eventually("the connections are gone", || daemon.metric("ingestd_http_connections") <= 1.0);
}

#[test]
fn a_plain_request_is_counted_like_any_other() {
    let daemon = Daemon::start();
    let names = [
        "ingestd_http_requests_total",
        "ingestd_http_requests_4xx_total",
        "ingestd_events_received_total",
        "ingestd_stage_duration_seconds_count{stage=\"parse\"}",
        "ingestd_stage_duration_seconds_count{stage=\"request\"}",
    ];
    let counts = || names.map(|name| daemon.metric(name));
    let counted = |headers: &[(&str, &str)], id: &str| {
        let before = counts();
        daemon.request("POST", "/events", headers, event(id).to_string().as_bytes()).with_status(202);
        daemon.request("POST", "/events", headers, b"{").with_status(400);
        let after = counts();
        std::array::from_fn::<_, 5, _>(|place| after[place] - before[place])
    };
    let plain = counted(&[], "plain");
    assert_eq!(plain, counted(&[DETOUR], "detour"));
    assert_eq!(plain[1..4], [1.0, 2.0, 2.0]);
}

#[test]
fn both_ways_ask_for_the_same_credential() {
    let daemon = Daemon::with(&[("INGESTD_AUTH_INTAKE", "key")]);
    let key = ApiKey::add(&daemon, "shop", "intake");
    let read = ApiKey::add(&daemon, "shop", "read");
    let good = |id: &str| event(id).to_string().into_bytes();
    let (bearer, wrong) = (key.bearer(), format!("{}x", key.bearer()));
    for (name, headers) in [
        ("none", &[][..]),
        ("bearer", &[("Authorization", bearer.as_str())]),
        ("key", &[("X-API-Key", key.text.as_str())]),
        ("token", &[("X-App-Token", key.text.as_str())]),
        ("both", &[("X-API-Key", key.text.as_str()), ("Authorization", bearer.as_str())]),
        ("wrong", &[("Authorization", wrong.as_str())]),
        ("basic", &[("Authorization", "Basic eA==")]),
        ("differing", &[("X-API-Key", read.text.as_str()), ("Authorization", bearer.as_str())]),
        ("twice", &[("X-API-Key", key.text.as_str()), ("X-API-Key", key.text.as_str())]),
        ("read", &[("X-API-Key", read.text.as_str())]),
    ] {
        assert_alike(&daemon, name, headers, &good);
        assert_alike(&daemon, name, headers, &|_| b"{".to_vec());
    }
    assert_eq!(daemon.totals(), [8, 0, 8, 0]);
    let refused = |reason: &str| daemon.metric(&format!("ingestd_auth_failures_total{{reason=\"{reason}\"}}"));
    assert_eq!(["missing", "malformed", "ambiguous", "scope"].map(refused), [4.0, 8.0, 8.0, 4.0], "once each");
    key.revoke(&daemon);
    assert_alike(&daemon, "revoked", &[("Authorization", &bearer)], &good);
    // Where nothing is asked for, a credential means nothing.
    let open = Daemon::start();
    assert_alike(&open, "open", &[("Authorization", &bearer)], &good);
    assert_alike(&open, "nonsense", &[("Authorization", "x"), ("X-API-Key", "y")], &good);
    assert_eq!(open.totals(), [4, 0, 0, 0]);
}
