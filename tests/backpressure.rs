//! More than there is room for: refused clearly or slowed down, never forgotten, and all room is given back.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::time::Duration;
use support::{
    Answer, CLOSE, CONTINUATION, Connection, Daemon, PING, PONG, Socket, TEXT, cart_event, event, events, eventually,
    frame, masked, request, shape,
};

fn whole(id: &str) -> Vec<u8> {
    request("POST", "/events", &[], event(id).to_string().as_bytes())
}

/// A request that is let in and has not ended: it holds a slot. None where it was refused.
fn try_hold(daemon: &Daemon, id: &str) -> Option<(Connection, String)> {
    let body = event(id).to_string();
    let mut connection = daemon.connect();
    let length = body.len().to_string();
    connection.send(request("POST", "/events", &[("Content-Length", &length), ("Expect", "100-continue")], b""));
    let answer = connection.answer();
    assert!(matches!(answer.status, 100 | 503), "{answer:?}");
    (answer.status == 100).then_some((connection, body))
}

/// As [`try_hold`], as soon as there is a slot.
#[track_caller]
fn hold(daemon: &Daemon, id: &str) -> (Connection, String) {
    let mut held = None;
    eventually("there is a slot", || {
        held = try_hold(daemon, id);
        held.is_some()
    });
    held.unwrap()
}

fn finish((mut connection, body): (Connection, String)) -> Answer {
    connection.send(body);
    connection.answer()
}

#[track_caller]
fn assert_overloaded(answer: &Answer) {
    assert_eq!(answer.problem(503)["reason"], "overloaded");
    let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(seconds >= 1);
}

/// Takes all `slots`, sees that there are no more, and gives them back.
#[track_caller]
fn assert_free(daemon: &Daemon, slots: usize) {
    let holders: Vec<_> = (0..slots).map(|number| hold(daemon, &format!("holder-{number}"))).collect();
    assert_overloaded(&daemon.post("/events", event("probe").to_string()));
    for holder in holders {
        finish(holder).with_status(202);
    }
}

#[test]
fn without_a_free_slot_a_request_is_refused_at_once() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let holder = hold(&daemon, "holder");
    assert_overloaded(&daemon.post("/events", event("e").to_string()));
    assert_overloaded(&daemon.post("/events/batch", format!("[{}]", event("e"))));
    // What is no intake is answered all the same.
    assert_eq!(daemon.get("/health").status, 200);
    finish(holder).with_status(202);
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], Value::Null);
}

#[test]
fn a_refused_request_does_not_end_its_connection() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let holder = hold(&daemon, "holder");
    let mut connection = daemon.connect();
    for _ in 0..3 {
        assert_overloaded(&connection.post("/events", &[], event("e").to_string().as_bytes()));
    }
    finish(holder).with_status(202);
    connection.post("/events", &[], event("e").to_string().as_bytes()).with_status(202);
}

#[test]
fn bytes_on_their_way_are_bounded_too() {
    let daemon = Daemon::with(&[
        ("INGESTD_LIMITS_EVENT_BYTES_MAX", "40000"),
        ("INGESTD_LIMITS_BODY_BYTES_MAX", "40000"),
        ("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "80000"),
        // So that no two are refused at the same moment.
        ("INGESTD_SERVER_ACCEPTORS", "1"),
    ]);
    let large = event("large").to_string() + &" ".repeat(39_000);
    let bytes = request("POST", "/events", &[], large.as_bytes());
    // Room for two of three, until their last byte comes.
    let mut three: Vec<Connection> = (0..3).map(|_| daemon.connect()).collect();
    for one in &mut three {
        one.send(&bytes[..bytes.len() - 1]);
    }
    let mut refused = None;
    eventually("one is refused", || {
        refused = three.iter().position(Connection::is_answered);
        refused.is_some()
    });
    assert_overloaded(&three.remove(refused.unwrap()).answer());
    for mut one in three {
        assert!(!one.is_answered());
        one.send(b" ");
        one.answer().with_status(202);
    }
    for _ in 0..10 {
        daemon.post("/events", &large).with_status(202);
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_gives_its_room_back() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "4")]);
    for round in 0..25 {
        let holders: Vec<_> = (0..4).map(|number| hold(&daemon, &format!("gone-{round}-{number}"))).collect();
        drop(holders);
    }
    assert_free(&daemon, 4);
    let stored = daemon.stop().stored();
    assert!(stored.len() == 4 && stored.iter().all(|event| event.id.starts_with("holder-")), "{stored:?}");
}

#[test]
fn a_client_that_leaves_while_it_waits_gives_its_room_back() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "4")]);
    for number in 0..300 {
        let mut connection = daemon.connect();
        connection.send(whole(&format!("left-{number}")));
        drop(connection);
    }
    assert_free(&daemon, 4);
    eventually("whoever left, the counts balance", || {
        daemon.metric("ingestd_events_received_total") == daemon.totals().iter().sum::<u64>() as f64
    });
}

/// A flood of 20,000 connections, of which half are held open.
#[test]
fn connections_beyond_the_limit_get_a_clear_answer_and_the_others_work() {
    const LIMIT: usize = 9_000;
    const FLOOD: usize = 20_000;
    // They come one after the other, and none is to be closed while it waits for its turn.
    let limits = [("INGESTD_SERVER_CONNECTIONS_MAX", &*LIMIT.to_string()), ("INGESTD_SERVER_HEAD_TIMEOUT_S", "3600")];
    let daemon = Daemon::with(&limits);
    let mut open: Vec<_> = (0..LIMIT).map(|_| daemon.connect()).collect();
    eventually("all are let in", || daemon.sockets() > LIMIT);
    for _ in LIMIT..FLOOD {
        let mut connection = daemon.connect();
        // The daemon may have answered and closed before this.
        connection.try_send(whole("one-too-many")).ok();
        let answer = connection.answer();
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.problem(503)["reason"], "connections");
    }
    for (number, connection) in open.iter_mut().enumerate() {
        connection.post("/events", &[], event(&format!("e-{number}")).to_string().as_bytes()).with_status(202);
    }
    let refused = daemon.metric_over(&mut open[0], "ingestd_connections_refused_total");
    assert_eq!(refused, (FLOOD - LIMIT) as f64);
    drop(open.split_off(LIMIT / 2));
    eventually("there is room again", || {
        let mut connection = daemon.connect();
        connection.try_send(request("GET", "/health/live", &[], b"")).ok();
        connection.answer().status == 200
    });
    open[0].post("/events", &[], event("last").to_string().as_bytes()).with_status(202);
}

/// Writes messages until the socket has taken none for a while; returns how many were begun, and what is left of
/// the last.
fn send_until_blocked(socket: &Socket, message: impl Fn(usize) -> Vec<u8>) -> (usize, Vec<u8>) {
    let mut stream = socket.stream();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    for number in 0..2_000_000 {
        let bytes = message(number);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    stream.set_write_timeout(None).unwrap();
                    return (number + 1, rest.to_vec());
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    panic!("a client that reads nothing was never slowed down");
}

#[test]
fn a_client_that_does_not_read_is_slowed_down_and_gets_every_ack_once_it_does() {
    const EVENTS: usize = 20;
    // Few slots, so that one held by the client would be missed.
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let mut socket = Socket::narrow(&daemon);
    let before = daemon.resident_bytes();
    let message = |number| masked(TEXT, cart_event(&events(&format!("e-{number}"), EVENTS).into()).as_bytes());
    let (sent, rest) = send_until_blocked(&socket, message);
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes for {sent} messages");
    for number in 0..20 {
        let answer = daemon.post("/events", event(&format!("other-{number}")).to_string());
        assert_eq!(answer.status, 202, "a client that does not read holds up the others: {answer:?}");
    }
    let mut writer = socket.stream().try_clone().unwrap();
    let finisher = std::thread::spawn(move || writer.write_all(&rest).unwrap());
    let mut acked = HashSet::new();
    for _ in 0..sent * EVENTS {
        let ack = socket.message("event_ack");
        assert!(acked.insert(ack["eventId"].as_str().unwrap().to_owned()), "twice: {ack}");
        assert_eq!(ack["duplicate"], Value::Null);
    }
    finisher.join().unwrap();
    socket.text(r#"{"type":"heartbeat"}"#);
    socket.message("heartbeat_ack");
}

#[test]
fn a_client_that_never_reads_is_given_up_in_the_end() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_WRITE_TIMEOUT_S", "1")]);
    let socket = Socket::narrow(&daemon);
    let mut stream = socket.stream();
    let pings = masked(PING, &[0; 125]).repeat(100);
    // Ends with a reset, not with this test's patience.
    while let Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) | Ok(()) =
        stream.write_all(&pings).map_err(|error| error.kind())
    {}
    eventually("it is gone", || daemon.metric("ingestd_websockets") == 0.0);
}

#[test]
fn a_client_that_never_reads_its_answers_is_given_up_too() {
    // So that no other deadline ends it.
    let daemon = Daemon::with(&[("INGESTD_SERVER_WRITE_TIMEOUT_S", "1"), ("INGESTD_SERVER_HEAD_TIMEOUT_S", "3600")]);
    let mut connection = Connection::narrow(daemon.address);
    let gets = request("GET", "/metrics", &[], b"").repeat(100);
    connection.stream().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // Until nothing moves any more, or the daemon has had enough.
    while connection.try_send(&gets).is_ok() {}
    eventually("it is gone", || daemon.metric("ingestd_http_connections") <= 1.0);
}

#[test]
fn a_socket_waits_for_a_free_slot_instead_of_being_refused() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let mut socket = Socket::open(&daemon);
    let holder = hold(&daemon, "holder");
    socket.cart(&event("patient"));
    finish(holder).with_status(202);
    assert_eq!(socket.message("event_ack")["eventId"], "patient");
}

#[test]
fn a_socket_that_has_waited_too_long_is_told_overloaded() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let mut socket = Socket::open(&daemon);
    let holder = hold(&daemon, "holder");
    socket.cart(&event("e"));
    let error = socket.message("event_error");
    assert_eq!((&error["code"], &error["eventId"]), (&"overloaded".into(), &"e".into()));
    finish(holder).with_status(202);
    socket.cart(&event("e"));
    assert_eq!(socket.message("event_ack")["duplicate"], Value::Null);
}

#[test]
fn unfinished_messages_count_against_the_budget() {
    const MIB: usize = 1 << 20;
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", &(64 * MIB).to_string())]);
    let before = daemon.resident_bytes();
    let part = [frame(TEXT, b"{"), frame(CONTINUATION, &vec![b' '; 6 * MIB])].concat();
    let mut sockets: Vec<_> = (0..60).map(|_| Socket::open(&daemon)).collect();
    // 360 MiB of messages that never end. Whoever is turned away finds that out while it writes.
    std::thread::scope(|scope| {
        for socket in &mut sockets {
            scope.spawn(|| socket.try_send_raw(&part).ok());
        }
    });
    let grown = daemon.resident_bytes().saturating_sub(before) / MIB as u64;
    assert!(grown < 160, "{grown} MiB for a budget of 64");
    drop(sockets);
    eventually("all room is given back", || {
        let body = event("after").to_string() + &" ".repeat(7 * MIB);
        daemon.post("/events", body).status == 202
    });
}

#[test]
fn a_message_that_does_not_arrive_in_time_is_given_up() {
    let deadlines = [("INGESTD_SERVER_BODY_TIMEOUT_S", "1"), ("INGESTD_SERVER_PING_INTERVAL_S", "1")];
    let daemon = Daemon::with(&deadlines);
    let mut socket = Socket::open(&daemon);
    socket.send_raw(&[frame(TEXT, b"{"), frame(CONTINUATION, &vec![b' '; 1 << 20])].concat());
    // It lives, it answers, it only does not go on.
    let end = loop {
        let frame = socket.try_frame().unwrap();
        if frame.opcode == CLOSE {
            break frame.payload;
        }
        socket.send(PONG, &frame.payload);
    };
    assert_eq!(end.first_chunk(), Some(&1008_u16.to_be_bytes()));
}

#[test]
fn a_listener_that_does_not_read_is_told_what_it_missed() {
    const BATCHES: u64 = 600;
    const EVENTS: u64 = 100;
    let daemon = Daemon::start();
    let mut listener = Socket::narrow(&daemon);
    listener.text(r#"{"type":"subscribe"}"#);
    listener.message("subscribed");
    let before = daemon.resident_bytes();
    let mut connection = daemon.connect();
    for batch in 0..BATCHES {
        let body =
            Value::from(events(&format!("a-rather-long-name-for-an-event-{batch}"), EVENTS as usize)).to_string();
        connection.post("/events/batch", &[], body.as_bytes()).with_status(202);
    }
    assert!(daemon.resident_bytes().saturating_sub(before) < 200 << 20, "{}", daemon.resident_bytes());
    let (mut next, mut missed) = (1, 0);
    while next <= BATCHES * EVENTS {
        let message = listener.json();
        match message["type"].as_str().unwrap() {
            "lagged" => {
                assert_eq!(shape(&message), ["fromSeq", "missed", "timestamp", "type"]);
                assert_eq!(message["fromSeq"], next);
                let some = message["missed"].as_u64().unwrap();
                next += some;
                missed += some;
            }
            _ => {
                assert_eq!(message["seq"], next, "neither twice nor left out in silence: {message}");
                next += 1;
            }
        }
    }
    assert!(missed > 0, "it kept up: this test needs more events");
}

#[test]
fn a_listener_that_lags_is_told_though_nothing_new_comes_behind() {
    const EVENTS: u64 = 100;
    let daemon = Daemon::start();
    let mut listener = Socket::narrow(&daemon);
    listener.text(r#"{"type":"subscribe"}"#);
    listener.message("subscribed");
    let mut connection = daemon.connect();
    let batch =
        |name: &str| Value::from(events(&format!("a-rather-long-name-for-{name}"), EVENTS as usize)).to_string();
    for number in 0..600 {
        connection.post("/events/batch", &[], batch(&number.to_string()).as_bytes()).with_status(202);
    }
    // As many groups of known events as are kept, and more.
    let (known, repeats) = (batch("0"), 300);
    for _ in 0..repeats {
        connection.post("/events/batch", &[], known.as_bytes()).with_status(202);
    }
    let (all, mut told, mut missed, mut duplicates) = ((600 + repeats) * EVENTS, 0, 0, 0);
    while told + missed < all {
        let message = listener.json();
        match message["type"].as_str().unwrap() {
            "lagged" => missed += message["missed"].as_u64().unwrap(),
            _ => {
                told += 1;
                duplicates += u64::from(message["status"] == "duplicate");
            }
        }
    }
    assert_eq!(told + missed, all, "each is told or counted, once");
    assert!(missed > 0, "it kept up: this test needs more events");
    assert!(duplicates < repeats * EVENTS, "and the last of them, too");
}

/// What every sink has is held for an hour by default, but not at the price of refusing events.
#[test]
fn a_log_over_its_budget_lets_go_of_what_the_sinks_have_and_goes_on() {
    const BUDGET: u64 = 256 << 20;
    let daemon = Daemon::with(&[("INGESTD_LOG_BUDGET_BYTES", &BUDGET.to_string()), ("INGESTD_PARQUET_ROLL_S", "1")]);
    let mut number = 0u64;
    let send = |number: u64| {
        let mut batch = events(&format!("batch-{number}"), 30);
        for (place, event) in batch.iter_mut().enumerate() {
            event["data"]["noise"] = noise(number * 30 + place as u64, 240 << 10).into();
        }
        // Each on a connection of its own: one whose body was not wanted is closed.
        daemon.post("/events/batch", Value::from(batch).to_string())
    };
    // A sink that works may let go of more than a slow client sends.
    assert!(daemon.admin(&["sinks", "pause", "parquet"]).status.success());
    eventually("the log is over its budget", || {
        number += 1;
        let answer = send(number);
        answer.status == 503 && answer.problem(503)["reason"] == "log_budget"
    });
    assert!(number * 30 * (240 << 10) > BUDGET, "refused after {number} batches");
    assert!(daemon.admin(&["sinks", "resume", "parquet"]).status.success());
    eventually("there is room again", || send(number).status == 202);
    assert_eq!(daemon.get("/health").json()["services"]["wal"]["status"], "up");
}

/// Text that no packer makes smaller by much.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let digit = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state % 75) as u8)
    };
    (0..bytes).map(digit).filter(|character| character.is_ascii_alphanumeric()).collect()
}

/// A quarter of it is for answers, 16 MiB, and any address may have all of that.
const ROOM_FOR_ANSWERS: [(&str, &str); 3] = [
    ("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "67108864"),
    ("INGESTD_LIMITS_ADDRESS_SHARE_PERCENT", "100"),
    ("INGESTD_SERVER_WRITE_TIMEOUT_S", "3600"),
];

#[test]
fn large_answers_that_nobody_reads_are_bounded_over_all_connections() {
    let daemon = Daemon::with(&ROOM_FOR_ANSWERS);
    let path = daemon.large_letter();
    let (mut unread, refused) = unread_until_refused(&daemon, &path);
    assert_overloaded(&refused);
    // What is not large is answered, and who reads gets all of it.
    daemon.post("/events", event("e").to_string()).with_status(202);
    assert!(daemon.metric("ingestd_http_connections") > unread.len() as f64);
    assert_eq!(unread.remove(0).answer().with_status(200)["raw"].as_str().unwrap().len(), 250 << 10);
    drop(unread);
    eventually("there is room again", || daemon.get(&path).status == 200);
}

/// Asks over ever more connections and reads nothing, until an answer is refused: that one.
#[track_caller]
fn unread_until_refused(daemon: &Daemon, path: &str) -> (Vec<Connection>, Answer) {
    let mut unread = Vec::new();
    // Six of 3 MB are more than there may be, of which the system itself keeps little.
    while unread.len() < 20 {
        let mut connection = Connection::narrow(daemon.address);
        connection.send(request("GET", path, &[], b""));
        let mut status = *b"HTTP/1.1 ???";
        connection.stream().peek(&mut status).unwrap();
        if status != *b"HTTP/1.1 200" {
            return (unread, connection.answer());
        }
        unread.push(connection);
    }
    panic!("nothing is refused");
}

#[test]
fn an_address_that_reads_nothing_leaves_room_for_the_answers_of_others() {
    // Of which a sixteenth is for the answers of one address.
    let daemon = Daemon::with(&[ROOM_FOR_ANSWERS[0], ROOM_FOR_ANSWERS[2]]);
    let path = daemon.large_letter();
    let (unread, refused) = unread_until_refused(&daemon, &path);
    assert_overloaded(&refused);
    let mut other = Connection::from([127, 0, 0, 2].into(), daemon.address);
    other.send(request("GET", &path, &[], b""));
    other.answer().with_status(200);
    drop(unread);
    eventually("there is room again", || daemon.get(&path).status == 200);
}
