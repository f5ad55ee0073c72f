//! `WS /events/stream`: messages in, one ack or error for every event out.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use support::{
    Answer, CLOSE, Daemon, PING, PONG, Place, Socket, TEXT, cart_event, event, events, events_with, eventually, masked,
    request, shape,
};

const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The answer to a handshake in which one header is another, or missing.
fn handshake(daemon: &Daemon, name: &str, value: Option<&str>) -> Answer {
    let kept = HANDSHAKE.into_iter().filter(|(known, _)| *known != name);
    let headers: Vec<_> = kept.chain(value.map(|value| (name, value))).collect();
    daemon.request("GET", "/events/stream", &headers, b"")
}

#[test]
fn a_handshake_is_accepted_as_rfc_6455_has_it() {
    let daemon = Daemon::start();
    for path in ["/events/stream", "/v1/events/stream"] {
        let answer = daemon.request("GET", path, &HANDSHAKE, b"");
        assert_eq!(answer.status, 101);
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(answer.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
        assert!(answer.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
        assert_eq!(answer.header("sec-websocket-extensions"), None);
    }
    // As Firefox and proxies write it.
    assert_eq!(handshake(&daemon, "Connection", Some("keep-alive, upgrade")).status, 101);
    assert_eq!(handshake(&daemon, "Upgrade", Some("WebSocket")).status, 101);
    assert_eq!(handshake(&daemon, "Origin", Some("https://shop.example")).status, 101);
    // Every browser offers to compress.
    let offered = "permessage-deflate; client_max_window_bits";
    let answer = handshake(&daemon, "Sec-WebSocket-Extensions", Some(offered));
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None), "it is not taken up");
}

#[test]
fn a_handshake_that_is_none_is_refused_with_the_reason() {
    let daemon = Daemon::start();
    for (name, value) in [
        ("Connection", Some("keep-alive")),
        ("Sec-WebSocket-Key", None),
        ("Sec-WebSocket-Key", Some("short")),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ====")),
        ("Sec-WebSocket-Version", None),
    ] {
        handshake(&daemon, name, value).problem(400);
    }
    for (name, value) in [("Upgrade", None), ("Upgrade", Some("h2c")), ("Sec-WebSocket-Version", Some("8"))] {
        let answer = handshake(&daemon, name, value);
        answer.problem(426);
        assert_eq!(answer.header("upgrade"), Some("websocket"), "{name}: {value:?}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        assert!(answer.header("connection").unwrap().to_ascii_lowercase().contains("upgrade"), "{answer:?}");
    }
    let mut old = daemon.connect();
    let text = String::from_utf8(request("GET", "/events/stream", &HANDSHAKE, b"")).unwrap();
    old.send(text.replace("HTTP/1.1", "HTTP/1.0"));
    old.answer().problem(400);
    daemon.request("POST", "/events/stream", &HANDSHAKE, b"").problem(405);
    daemon.request("GET", "/events/stream", &HANDSHAKE, b"a body").problem(400);
}

#[test]
fn what_follows_the_handshake_at_once_is_not_lost() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    let mut bytes = request("GET", "/events/stream", &HANDSHAKE, b"");
    let frame = masked(TEXT, cart_event(&event("early")).as_bytes());
    // Cut in the middle of the second message.
    bytes.extend([&frame[..], &frame[..50]].concat());
    connection.send(bytes);
    assert_eq!(connection.answer().status, 101);
    let mut socket = Socket::over(connection);
    assert_eq!(socket.message("event_ack")["eventId"], "early");
    socket.send_raw(&frame[50..]);
    assert_eq!(socket.message("event_ack")["duplicate"], true);
}

#[test]
fn an_event_is_acknowledged_with_its_position() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    socket.cart(&event("e-1"));
    let ack = socket.message("event_ack");
    assert_eq!(shape(&ack), ["eventId", "seq", "status", "timestamp", "type"]);
    assert_eq!((&ack["eventId"], &ack["status"]), (&"e-1".into(), &"received".into()));
    socket.cart(&event("e-1"));
    let repeat = socket.message("event_ack");
    assert_eq!(shape(&repeat), ["duplicate", "eventId", "seq", "status", "timestamp", "type"]);
    assert_eq!((&repeat["duplicate"], &repeat["seq"]), (&true.into(), &ack["seq"]));
    let other = daemon.post("/events", event("e-1").to_string()).with_status(202);
    assert_eq!(other["seq"], ack["seq"]);
}

#[test]
fn a_duplicate_with_other_content_is_acknowledged_with_a_message() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let mut other = event("e-1");
    other["data"] = json!({"other": 1});
    socket.cart(&json!([event("e-1"), event("e-1"), other]));
    let acks: Vec<Value> = (0..3).map(|_| socket.message("event_ack")).collect();
    assert!(acks[0]["message"].is_null() && acks[1]["message"].is_null(), "{acks:?}");
    assert_eq!(shape(&acks[2]), ["duplicate", "eventId", "message", "seq", "status", "timestamp", "type"]);
    assert_eq!(acks[2]["seq"], acks[0]["seq"]);
}

#[test]
fn an_acknowledged_event_survives_a_kill_right_behind_the_ack() {
    let mut place = Place::with(&[]);
    for round in 0..5 {
        let daemon = place.start();
        let mut socket = Socket::open(&daemon);
        socket.cart(&Value::from(events(&format!("r-{round}"), 20)));
        let last = (0..20).map(|_| socket.message("event_ack")).last().unwrap();
        place = daemon.kill();
        let stored = place.stored();
        assert_eq!(stored.len(), (round + 1) * 20);
        assert_eq!(
            (Some(stored.last().unwrap().seq), stored.last().unwrap().id.as_str()),
            (last["seq"].as_u64(), last["eventId"].as_str().unwrap())
        );
    }
}

#[test]
fn an_array_gets_one_answer_per_element_in_order() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let mut bad = event("c");
    bad["storeId"] = 7.into();
    socket.cart(&json!([event("a"), {"eventId": "b"}, bad, event("d"), event("a"), 5]));
    let answers: Vec<Value> = (0..6).map(|_| socket.json()).collect();
    let told: Vec<_> = answers
        .iter()
        .map(|answer| (answer["type"].as_str().unwrap(), answer["eventId"].as_str(), answer["index"].as_u64()))
        .collect();
    let (ack, error) = ("event_ack", "event_error");
    let wanted = [
        (ack, Some("a"), None),
        (error, Some("b"), Some(1)),
        (error, Some("c"), Some(2)),
        (ack, Some("d"), None),
        (ack, Some("a"), None),
        (error, None, Some(5)),
    ];
    assert_eq!(told, wanted);
    assert_eq!(shape(&answers[2]), ["code", "error", "eventId", "index", "pointer", "timestamp", "type"]);
    assert_eq!((&answers[2]["code"], &answers[2]["pointer"]), (&"wrong_type".into(), &"/storeId".into()));
    assert_eq!((&answers[4]["duplicate"], &answers[4]["seq"]), (&true.into(), &answers[0]["seq"]));
    assert_eq!(daemon.totals(), [2, 1, 3, 0]);
}

#[test]
fn the_envelope_fills_in_what_the_payload_lacks() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let mut bare = event("own");
    bare.as_object_mut().unwrap().retain(|name, _| name != "eventId" && name != "timestamp");
    let send = |socket: &mut Socket, payload: &Value, id: Value| {
        socket.text(
            json!({"type": "cart_event", "payload": payload, "eventId": id, "timestamp": "2026-02-03T04:05:06Z"})
                .to_string(),
        );
        socket.json()
    };
    assert_eq!(send(&mut socket, &bare, "lent".into())["eventId"], "lent");
    assert_eq!(send(&mut socket, &json!([bare]), "lent-2".into())["type"], "event_ack", "an array of one");
    assert_eq!(send(&mut socket, &event("own"), "own".into())["type"], "event_ack", "both and equal");
    assert_eq!(send(&mut socket, &event("own-2"), Value::Null)["eventId"], "own-2");
    let mismatch = send(&mut socket, &event("own-3"), "lent-3".into());
    assert_eq!((&mismatch["type"], &mismatch["code"]), (&"event_error".into(), &"id_mismatch".into()));
    let several = send(&mut socket, &json!([bare, bare]), "lent-4".into());
    assert_eq!((&several["type"], &several["code"]), (&"event_error".into(), &"id_mismatch".into()));
    let missing = send(&mut socket, &bare, Value::Null);
    assert_eq!((&missing["code"], &missing["pointer"]), (&"missing_field".into(), &"/eventId".into()));
    let ids: Vec<_> = daemon.stop().stored().into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["lent", "lent-2", "own", "own-2"]);
}

#[test]
fn a_message_that_cannot_be_read_gets_exactly_one_error() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let many = cart_event(&Value::from(events("many", 1001)));
    let cases = [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[]", "not_an_object"),
        ("{}", "missing_field"),
        (r#"{"type":"cart_event"}"#, "missing_field"),
        (r#"{"type":"cart_event","payload":"x"}"#, "wrong_type"),
        (r#"{"type":"cart_event","payload":[]}"#, "invalid_length"),
        (r#"{"type":"cart_events","payload":{}}"#, "unknown_message_type"),
        (r#"{"type":7}"#, "wrong_type"),
        (r#"{"type":"heartbeat","type":"heartbeat"}"#, "duplicate_key"),
        (&many, "batch_too_large"),
        (r#"{"type":"subscribe","payload":{"channel":"all"}}"#, "invalid_value"),
        (r#"{"type":"subscribe","payload":7}"#, "wrong_type"),
    ];
    for (text, code) in cases {
        socket.text(text);
        let error = socket.message("event_error");
        assert_eq!(error["code"], code, "{text:.80}: {error}");
        assert!(error["error"].is_string() && error["timestamp"].is_string(), "{error}");
    }
    // Nothing more came for any of them, and the connection goes on.
    socket.cart(&event("after"));
    assert_eq!(socket.message("event_ack")["eventId"], "after");
    assert_eq!(daemon.totals(), [1, 0, cases.len() as u64, 0]);
}

#[test]
fn many_messages_in_one_write_are_answered_in_order() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let bytes: Vec<u8> = (0..2000)
        .flat_map(|number| match number % 10 {
            0 => masked(TEXT, br#"{"type":"heartbeat"}"#),
            5 => masked(PING, number.to_string().as_bytes()),
            _ => masked(TEXT, cart_event(&event(&format!("e-{number}"))).as_bytes()),
        })
        .collect();
    socket.send_raw(&bytes);
    for number in 0..2000 {
        match number % 10 {
            0 => drop(socket.message("heartbeat_ack")),
            5 => {
                let pong = socket.frame();
                assert_eq!((pong.opcode, pong.payload), (PONG, number.to_string().into_bytes()));
            }
            _ => assert_eq!(socket.message("event_ack")["eventId"], format!("e-{number}")),
        }
    }
}

#[test]
fn a_heartbeat_is_acknowledged() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    socket.text(r#"{"type":"heartbeat","timestamp":"2026-01-01T00:00:00Z"}"#);
    assert_eq!(shape(&socket.message("heartbeat_ack")), ["timestamp", "type"]);
    assert_eq!(daemon.totals(), [0; 4]);
}

#[test]
fn a_subscriber_hears_what_became_of_everybodys_events() {
    let daemon = Daemon::start();
    let mut listener = Socket::open(&daemon);
    daemon.post("/events", event("before").to_string()).with_status(202);
    listener.text(r#"{"type":"subscribe"}"#);
    let subscribed = listener.message("subscribed");
    assert_eq!(shape(&subscribed), ["channel", "timestamp", "type"]);
    assert_eq!(subscribed["channel"], "confirmations");
    let seq = daemon.post("/events", event("http").to_string()).with_status(202)["seq"].clone();
    daemon.post("/events", event("http").to_string()).with_status(202);
    daemon.post("/events", r#"{"eventId":"bad"}"#).with_status(400);
    let mut other = Socket::open(&daemon);
    other.cart(&json!([event("ws-1"), event("ws-2")]));
    (0..2).for_each(|_| drop(other.message("event_ack")));
    let heard: Vec<Value> = (0..5).map(|_| listener.message("event_confirmation")).collect();
    let told: Vec<_> =
        heard.iter().map(|one| (one["eventId"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
    let wanted =
        [("http", "accepted"), ("http", "duplicate"), ("bad", "rejected"), ("ws-1", "accepted"), ("ws-2", "accepted")];
    assert_eq!(told, wanted);
    assert_eq!(shape(&heard[0]), ["eventId", "seq", "status", "timestamp", "type"]);
    assert_eq!((&heard[0]["seq"], &heard[1]["seq"], &heard[2]["seq"]), (&seq, &seq, &Value::Null));
}

#[test]
fn a_subscriber_hears_of_its_own_events_once_behind_their_acks() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    for _ in 0..2 {
        socket.text(r#"{"type":"subscribe","payload":{"channel":"confirmations"}}"#);
        socket.message("subscribed");
    }
    socket.cart(&event("mine"));
    socket.message("event_ack");
    assert_eq!(socket.message("event_confirmation")["eventId"], "mine");
    socket.text(r#"{"type":"heartbeat"}"#);
    socket.message("heartbeat_ack");
}

#[test]
fn a_subscription_and_an_event_in_one_write_miss_no_confirmation() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let subscribe = masked(TEXT, br#"{"type":"subscribe"}"#);
    socket.send_raw(&[subscribe, masked(TEXT, cart_event(&event("mine")).as_bytes())].concat());
    socket.message("subscribed");
    socket.message("event_ack");
    assert_eq!(socket.message("event_confirmation")["eventId"], "mine");
}

#[test]
fn a_subscription_that_begins_anew_in_one_write_with_an_event_misses_no_confirmation() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let (subscribe, unsubscribe) = (br#"{"type":"subscribe"}"#, br#"{"type":"unsubscribe"}"#);
    socket.text(r#"{"type":"subscribe"}"#);
    socket.message("subscribed");
    for id in ["first", "second"] {
        let parts =
            [masked(TEXT, unsubscribe), masked(TEXT, subscribe), masked(TEXT, cart_event(&event(id)).as_bytes())];
        socket.send_raw(&parts.concat());
        for kind in ["unsubscribed", "subscribed", "event_ack"] {
            socket.message(kind);
        }
        assert_eq!(socket.message("event_confirmation")["eventId"], id);
    }
    // Nor is it told of what comes behind the end of one.
    socket.send_raw(&[masked(TEXT, subscribe), masked(TEXT, unsubscribe)].concat());
    socket.message("subscribed");
    socket.message("unsubscribed");
    socket.cart(&event("third"));
    socket.message("event_ack");
    socket.text(r#"{"type":"heartbeat"}"#);
    socket.message("heartbeat_ack");
}

#[test]
fn who_asks_for_some_confirmations_only_is_not_given_all() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    for filter in [json!({"storeId": "s"}), json!({"eventType": "item_added"}), json!({"fromSeq": 1})] {
        socket.text(json!({"type": "subscribe", "payload": filter}).to_string());
        assert_eq!(socket.message("event_error")["code"], "unsupported_filter");
    }
    daemon.post("/events", event("e").to_string()).with_status(202);
    socket.text(r#"{"type":"heartbeat"}"#);
    socket.message("heartbeat_ack");
}

#[test]
fn unsubscribing_ends_what_it_names_or_everything() {
    let daemon = Daemon::start();
    let mut listener = Socket::open(&daemon);
    for (unsubscribe, channel, ends) in [
        (r#"{"type":"unsubscribe","payload":{"channel":"live"}}"#, "live", false),
        (r#"{"type":"unsubscribe","payload":{"channel":"confirmations"}}"#, "confirmations", true),
        (r#"{"type":"unsubscribe"}"#, "confirmations", true),
    ] {
        listener.text(r#"{"type":"subscribe"}"#);
        listener.message("subscribed");
        listener.text(unsubscribe);
        let unsubscribed = listener.message("unsubscribed");
        assert_eq!(shape(&unsubscribed), ["channel", "timestamp", "type"]);
        assert_eq!(unsubscribed["channel"], channel);
        daemon.post("/events", event("e").to_string()).with_status(202);
        if !ends {
            assert_eq!(listener.message("event_confirmation")["eventId"], "e");
        }
        // Whatever were still to come would come before this.
        listener.text(r#"{"type":"heartbeat"}"#);
        listener.message("heartbeat_ack");
    }
}

#[test]
fn a_busy_sender_still_hears_what_it_subscribed_to() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    socket.text(r#"{"type":"subscribe"}"#);
    socket.message("subscribed");
    let rounds = 3000;
    let (mut acks, mut confirmations) = (0, 0);
    let mut writer = socket.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            for number in 0..rounds {
                writer.write_all(&masked(TEXT, cart_event(&event(&format!("e-{number}"))).as_bytes())).unwrap();
            }
        });
        while acks < rounds || confirmations < rounds {
            match socket.json()["type"].as_str().unwrap() {
                "event_ack" => acks += 1,
                "event_confirmation" => confirmations += 1,
                other => panic!("{other} after {acks} acks and {confirmations} confirmations"),
            }
        }
    });
}

#[test]
fn a_peer_that_answers_pings_stays_and_a_dead_one_is_closed_after_two() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_PING_INTERVAL_S", "1")]);
    let mut dead = Socket::open(&daemon);
    let mut alive = Socket::open(&daemon);
    let pings = std::thread::scope(|scope| {
        let listener = scope.spawn(|| {
            for _ in 0..5 {
                let ping = alive.try_frame().unwrap();
                assert_eq!(ping.opcode, PING);
                alive.send(PONG, &ping.payload);
            }
        });
        let mut pings = 0;
        while let Ok(frame) = dead.try_frame() {
            assert!(matches!(frame.opcode, PING | CLOSE), "{frame:?}");
            pings += usize::from(frame.opcode == PING);
        }
        listener.join().unwrap();
        pings
    });
    assert_eq!(pings, 2);
    alive.cart(&event("still-here"));
    alive.message("event_ack");
    eventually("only the living is counted", || daemon.metric("ingestd_websockets") == 1.0);
}

#[test]
fn refused_events_are_told_one_by_one_with_their_places() {
    let daemon = Daemon::with(&[("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000")]);
    eventually("the reserve is noticed", || daemon.get("/health/ready").status == 503);
    let mut socket = Socket::open(&daemon);
    socket.cart(&json!([event("a"), {"eventId": "bad"}, event("c")]));
    for (index, id) in ["a", "bad", "c"].into_iter().enumerate() {
        let error = socket.message("event_error");
        assert_eq!((&error["code"], &error["index"]), (&"disk_reserve".into(), &index.into()), "{error}");
        assert_eq!(error["eventId"], id);
    }
    socket.cart(&event("single"));
    let error = socket.message("event_error");
    assert_eq!((&error["eventId"], &error["index"]), (&"single".into(), &Value::Null));
    assert_eq!(daemon.totals(), [0, 0, 0, 4]);
}

#[test]
fn a_message_of_very_many_values_waits_for_memory_as_a_body_does() {
    const EVENTS: usize = 600;
    let daemon =
        Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "41943040"), ("INGESTD_SERVER_BODY_TIMEOUT_S", "3600")]);
    let payload = events_with("e", EVENTS, &format!("[{}1]", "1,".repeat(3900))).join(",");
    let message = format!("{{\"type\":\"cart_event\",\"payload\":[{payload}]}}");
    let mut socket = Socket::open(&daemon);
    // Whether it was taken.
    let mut send = || {
        socket.text(&message);
        let first = socket.json();
        if first["type"] == "event_error" {
            assert_eq!((&first["code"], &first["index"]), (&"overloaded".into(), &Value::Null), "{first}");
            return false;
        }
        (1..EVENTS).for_each(|_| drop(socket.message("event_ack")));
        true
    };
    assert!(send(), "alone it fits");
    let mut stalled = daemon.connect();
    stalled.send(request("POST", "/events", &[("Content-Length", "4000000")], b""));
    stalled.send(vec![b' '; 3_000_000]);
    eventually("it is refused", || !send());
    drop(stalled);
    eventually("it is taken again", send);
}
