//! The WebSocket protocol itself: clients that break it, and clients that use all of it.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use support::{
    BINARY, CLOSE, CONTINUATION, Daemon, PING, PONG, Socket, TEXT, cart_event, event, eventually, frame, masked,
};

const FIN: u8 = 0x80;
const HEARTBEAT: &[u8] = br#"{"type":"heartbeat"}"#;

/// Sends an event and then `bytes`; the event is acknowledged, the rest answered with a Close of `code`.
#[track_caller]
fn assert_fails(daemon: &Daemon, what: &str, bytes: &[u8], code: u16) {
    let mut socket = Socket::open(daemon);
    let good = masked(TEXT, cart_event(&event(what)).as_bytes());
    socket.send_raw(&[&good, bytes].concat());
    assert_eq!(socket.message("event_ack")["eventId"], what, "what came before counts");
    assert_eq!(socket.close_code(), Some(code), "{what}");
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_how_and_closed() {
    let daemon = Daemon::start();
    let mut unmasked = vec![FIN | TEXT, HEARTBEAT.len() as u8];
    unmasked.extend_from_slice(HEARTBEAT);
    let long_ping = frame(FIN | PING, &[0; 126]);
    let start = frame(TEXT, b"{");
    let cases: [(&str, Vec<u8>, u16); 16] = [
        ("an unmasked frame", unmasked, 1002),
        ("a reserved bit", frame(FIN | 0x40 | TEXT, HEARTBEAT), 1002),
        ("another reserved bit", frame(FIN | 0x10 | PING, b""), 1002),
        ("opcode 3", frame(FIN | 3, b""), 1002),
        ("opcode 11", frame(FIN | 11, b""), 1002),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"x"), 1002),
        ("a message inside another", [start.clone(), frame(FIN | TEXT, b"}")].concat(), 1002),
        ("a fragmented ping", frame(PING, b""), 1002),
        ("a long ping", long_ping, 1002),
        ("a padded length", vec![FIN | TEXT, 0x80 | 126, 0, 5, 0, 0, 0, 0], 1002),
        ("a length with its sign set", [vec![FIN | TEXT, 0x80 | 127], vec![0xff; 12]].concat(), 1002),
        ("text that is not UTF-8", masked(TEXT, b"{\"type\":\"\xff\"}"), 1007),
        ("a character cut by the end", [start, frame(FIN | CONTINUATION, b"\xc3")].concat(), 1007),
        ("a binary message", masked(BINARY, HEARTBEAT), 1003),
        ("a close code of one byte", masked(CLOSE, b"\x03"), 1002),
        ("a close code that is not for the wire", masked(CLOSE, &1006_u16.to_be_bytes()), 1002),
    ];
    for (what, bytes, code) in &cases {
        assert_fails(&daemon, what, bytes, *code);
    }
    assert_eq!(daemon.totals(), [cases.len() as u64, 0, 0, 0]);
    eventually("all are gone", || daemon.metric("ingestd_websockets") == 0.0);
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_head() {
    let daemon = Daemon::start();
    let before = daemon.resident_bytes();
    let huge = masked(TEXT, &vec![b' '; 65 << 20]);
    assert_fails(&daemon, "the head of 65 MiB", &huge[..14], 1009);
    // A client that sends all of it finds the connection closed, not the daemon full.
    let mut socket = Socket::open(&daemon);
    socket.try_send_raw(&huge).ok();
    assert_eq!(socket.frame().opcode, CLOSE);
    let fragment = frame(CONTINUATION, &vec![b' '; 1 << 20]);
    let fragments = [frame(TEXT, b"{"), fragment.repeat(8)].concat();
    let mut socket = Socket::open(&daemon);
    socket.send_raw(&fragments);
    assert_eq!(socket.close_code(), Some(1009), "fragments count together");
    assert!(daemon.resident_bytes().saturating_sub(before) < 64 << 20);
}

#[test]
fn the_longest_message_is_taken() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let mut text = cart_event(&event("e"));
    text += &" ".repeat((8 << 20) - text.len());
    socket.text(&text);
    assert_eq!(socket.message("event_ack")["eventId"], "e");
    socket.send(TEXT, &vec![b' '; (8 << 20) + 1]);
    assert_eq!(socket.close_code(), Some(1009));
}

#[test]
fn a_fragmented_message_with_pings_in_between_is_one_message() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let text = cart_event(&event("frägments"));
    let bytes = text.as_bytes();
    let mut out = frame(TEXT, &bytes[..1]);
    for (number, byte) in bytes[1..bytes.len() - 1].iter().enumerate() {
        out.extend(frame(CONTINUATION, &[*byte]));
        if number % 7 == 0 {
            out.extend(masked(PING, number.to_string().as_bytes()));
            out.extend(frame(CONTINUATION, b""));
        }
    }
    out.extend(frame(FIN | CONTINUATION, &bytes[bytes.len() - 1..]));
    socket.send_raw(&out);
    for number in (0..bytes.len() - 2).step_by(7) {
        let pong = socket.frame();
        assert_eq!((pong.opcode, pong.payload), (PONG, number.to_string().into_bytes()));
    }
    assert_eq!(socket.message("event_ack")["eventId"], "frägments");
}

#[test]
fn a_message_may_arrive_byte_by_byte() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    for byte in [masked(PING, b"p"), masked(TEXT, cart_event(&event("e")).as_bytes())].concat() {
        socket.send_raw(&[byte]);
    }
    assert_eq!(socket.frame().opcode, PONG);
    assert_eq!(socket.message("event_ack")["eventId"], "e");
}

#[test]
fn a_ping_is_answered_with_its_own_payload() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        socket.send(PING, payload);
        let pong = socket.frame();
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, payload));
    }
    // Nobody asked for this one, and nobody answers it.
    socket.send(PONG, b"unasked");
    socket.send(TEXT, HEARTBEAT);
    socket.message("heartbeat_ack");
}

#[test]
fn a_flood_of_pings_takes_neither_memory_nor_the_daemon() {
    let daemon = Daemon::start();
    let before = daemon.resident_bytes();
    let flood = masked(PING, b"").repeat(100_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut socket = Socket::open(&daemon);
                let writer = socket.stream().try_clone().unwrap();
                let flood = &flood;
                scope.spawn(move || std::io::Write::write_all(&mut &writer, flood).unwrap());
                (0..100_000).for_each(|_| assert_eq!(socket.frame().opcode, PONG));
            });
        }
    });
    assert!(daemon.resident_bytes().saturating_sub(before) < 64 << 20);
    daemon.post("/events", event("after").to_string()).with_status(202);
}

#[test]
fn a_close_is_answered_with_its_own_code() {
    let daemon = Daemon::start();
    for code in [1000, 1001, 1011, 3000, 4999] {
        let mut socket = Socket::open(&daemon);
        socket.send(CLOSE, &[&u16::to_be_bytes(code)[..], "auf Wiederhören".as_bytes()].concat());
        assert_eq!(socket.close_code(), Some(code));
    }
    let mut socket = Socket::open(&daemon);
    socket.send(CLOSE, b"");
    assert_eq!(socket.close_code(), None);
}

#[test]
fn what_comes_before_a_close_is_acknowledged_and_what_follows_is_not_stored() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    let bytes = [
        masked(TEXT, cart_event(&event("before")).as_bytes()),
        masked(CLOSE, &1000_u16.to_be_bytes()),
        masked(TEXT, cart_event(&event("behind")).as_bytes()),
    ];
    socket.send_raw(&bytes.concat());
    assert_eq!(socket.message("event_ack")["eventId"], "before");
    assert_eq!(socket.close_code(), Some(1000));
    assert_eq!(daemon.totals(), [1, 0, 0, 0]);
}

#[test]
fn a_client_that_just_goes_away_leaves_nothing_behind() {
    let daemon = Daemon::start();
    for cut in 0..100 {
        let mut socket = Socket::open(&daemon);
        let bytes = masked(TEXT, cart_event(&event("e")).as_bytes());
        socket.send_raw(&bytes[..cut * bytes.len() / 100]);
    }
    eventually("all are gone", || daemon.metric("ingestd_websockets") == 0.0);
    eventually("their sockets are closed", || daemon.sockets() < 20);
}
