//! Behind a load balancer that says with the PROXY protocol whose connections it passes on.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use support::{Connection, Daemon, Socket, event, eventually, request};

const REFUSED: &str = "ingestd_proxy_headers_refused_total";

/// Only 127.0.0.1 is a balancer, and a client may have two connections.
fn daemon(more: &[(&str, &str)]) -> Daemon {
    let env = [
        ("INGESTD_SERVER_PROXY_PROTOCOL", "true"),
        ("INGESTD_SERVER_TRUSTED_PROXIES", "127.0.0.1"),
        ("INGESTD_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "2"),
    ];
    Daemon::with(&[&env[..], more].concat())
}

fn text(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 10.0.0.1 56324 443\r\n").into_bytes()
}

fn binary(client: Ipv4Addr) -> Vec<u8> {
    let head = [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x21, 0x11, 0, 12]].concat();
    [&head[..], &client.octets(), &[10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb]].concat()
}

/// The balancer speaks for itself.
fn local() -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x20, 0, 0, 0]].concat()
}

fn post(id: &str) -> Vec<u8> {
    request("POST", "/events", &[], event(id).to_string().as_bytes())
}

/// A connection that begins with these bytes.
fn begun(daemon: &Daemon, header: &[u8]) -> Connection {
    let mut connection = daemon.connect();
    connection.send(header);
    connection
}

/// One figure of `/metrics`, asked as the balancer's own check would.
fn metric(daemon: &Daemon, name: &str) -> f64 {
    daemon.metric_over(&mut begun(daemon, &local()), name)
}

#[test]
fn requests_follow_the_header_in_one_packet_or_many() {
    let daemon = daemon(&[]);
    for (number, header) in [text("198.51.100.7"), binary(Ipv4Addr::new(198, 51, 100, 8)), local()].iter().enumerate() {
        let id = format!("whole-{number}");
        let mut connection = begun(&daemon, &[&header[..], &post(&id)].concat());
        assert_eq!(connection.answer().with_status(202)["eventId"], id);
        let id = format!("again-{number}");
        connection.send(post(&id));
        assert_eq!(connection.answer().with_status(202)["eventId"], id);

        let id = format!("pieces-{number}");
        let mut connection = daemon.connect();
        for byte in [&header[..], &post(&id)].concat() {
            connection.send([byte]);
        }
        assert_eq!(connection.answer().with_status(202)["eventId"], id);
    }
    let mut socket = Socket::on(begun(&daemon, &text("198.51.100.9")));
    socket.cart(&event("socket"));
    socket.message("event_ack");
}

#[test]
fn it_is_the_client_whose_connections_are_limited() {
    let daemon = daemon(&[]);
    let served = |header: &[u8]| {
        let mut connection = begun(&daemon, header);
        connection.send(request("GET", "/health/live", &[], b""));
        let answer = connection.answer();
        (answer.status == 200).then_some(connection).ok_or(answer)
    };
    let one = text("198.51.100.7");
    let held = [served(&one).unwrap(), served(&binary(Ipv4Addr::new(198, 51, 100, 7))).unwrap()];
    let refused = served(&one).err().unwrap();
    assert_eq!(refused.problem(429)["reason"], "connections_per_address");
    // Others come by the same balancer, which itself has no limit.
    let _other = served(&text("198.51.100.8")).unwrap();
    let _own: Vec<_> = (0..5).map(|_| served(&local()).unwrap()).collect();
    drop(held);
    eventually("there is room for the client again", || served(&one).is_ok());
}

#[test]
fn whoever_leaves_the_header_out_or_garbles_it_is_closed_without_an_answer() {
    let daemon = daemon(&[]);
    let bad = [
        post("e"),
        b"PROXY TCP4 198.51.100.7 10.0.0.1 56324\r\n".to_vec(),
        b"PROXY TCP4 nobody 10.0.0.1 56324 443\r\n".to_vec(),
        [&binary(Ipv4Addr::LOCALHOST)[..12], &[0x21, 0x11, 0xff, 0xff]].concat(),
        format!("PROXY {}", "x".repeat(200)).into_bytes(),
    ];
    for bytes in &bad {
        let mut connection = begun(&daemon, bytes);
        // Closed with something unread: the end may be a reset.
        assert!(!connection.has_more(), "{} is answered", bytes.escape_ascii());
    }
    eventually("each is counted", || metric(&daemon, REFUSED) == bad.len() as f64);
    begun(&daemon, &[text("198.51.100.7"), post("good")].concat()).answer().with_status(202);
    assert_eq!(metric(&daemon, "ingestd_events_accepted_total"), 1.0);
}

#[test]
fn nobody_else_may_say_whose_connection_it_is() {
    let daemon = daemon(&[]);
    for bytes in [[text("198.51.100.7"), post("e")].concat(), post("e")] {
        let mut connection = Connection::from("127.0.0.2".parse().unwrap(), daemon.address);
        // It may be closed before everything is sent.
        connection.try_send(bytes).ok();
        assert!(!connection.has_more());
    }
    assert_eq!(metric(&daemon, REFUSED), 2.0);
    assert_eq!(metric(&daemon, "ingestd_events_accepted_total"), 0.0);
}

#[test]
fn nobody_behind_it_is_taken_for_somebody_on_this_machine() {
    let daemon = daemon(&[]);
    let headers = [text("127.0.0.1"), binary(Ipv4Addr::LOCALHOST), local(), b"PROXY UNKNOWN\r\n".to_vec()];
    for header in headers {
        let mut connection = begun(&daemon, &header);
        connection.send(request("GET", "/dead-letters", &[], b""));
        connection.answer().problem(403);
    }
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let daemon = daemon(&[("INGESTD_SERVER_HEAD_TIMEOUT_S", "1")]);
    let mut silent = daemon.connect();
    let mut half = begun(&daemon, b"PROXY TCP4 198.51");
    assert!(!silent.has_more() && !half.has_more());
    eventually("both are counted", || metric(&daemon, REFUSED) == 2.0);
}

#[test]
fn a_stop_does_not_wait_for_a_header() {
    let daemon = daemon(&[("INGESTD_SERVER_HEAD_TIMEOUT_S", "600"), ("INGESTD_SERVER_DRAIN_TIMEOUT_S", "600")]);
    let _silent = daemon.connect();
    begun(&daemon, &[text("198.51.100.7"), post("e")].concat()).answer().with_status(202);
    assert_eq!(daemon.stop().stored().len(), 1);
}

const ON: &str = "[server]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
const OFF: &str = "[server]\nproxy_protocol = false\n";
const OTHERS: &str = "[server]\nproxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/8\"]\n";

/// A daemon with this configuration, and the file that it is in.
fn configured(text: &str) -> (Daemon, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let env = [("INGESTD_CONFIG", file.to_str().unwrap()), ("INGESTD_SERVER_PING_INTERVAL_S", "1")];
    (Daemon::with(&env), folder, file)
}

/// That it is told to connect again, and has to.
#[track_caller]
fn assert_sent_away(connection: &mut Connection) {
    let answer = connection.answer();
    assert!(answer.problem(503)["detail"].as_str().unwrap().contains("connect again"), "{answer:?}");
    assert_eq!((answer.header("connection"), answer.header("retry-after")), (Some("close"), Some("1")));
    assert!(connection.is_closed());
}

#[test]
fn who_was_named_by_a_header_is_nobody_once_none_is_asked_for() {
    for then in [OFF, OTHERS] {
        let (daemon, _folder, file) = configured(ON);
        let open = || begun(&daemon, &[text("127.0.0.1"), post("e")].concat());
        let mut known = [open(), open()];
        known.iter_mut().for_each(|one| drop(one.answer().with_status(202)));
        let mut socket = Socket::on(begun(&daemon, &text("127.0.0.1")));
        // One whose body comes when it is too late for a next request.
        let body = event("last").to_string();
        let headers = [("Content-Length", &*body.len().to_string()), ("Expect", "100-continue")];
        let mut busy = begun(&daemon, &[text("127.0.0.1"), request("POST", "/events", &headers, b"")].concat());
        assert_eq!(busy.answer().status, 100);

        daemon.reconfigure(&file, then);
        busy.send(body);
        let answer = busy.answer();
        assert_eq!((answer.status, answer.header("connection")), (202, Some("close")), "{answer:?}");
        for (one, asked) in known.iter_mut().zip([request("GET", "/dead-letters", &[], b""), post("never")]) {
            one.send(asked);
            assert_sent_away(one);
        }
        assert_eq!(socket.close_code(), Some(1012));
        if then == OFF {
            // Whoever comes now is who its address says.
            daemon.get("/dead-letters").with_status(200);
            assert_eq!(daemon.totals(), [2, 1, 0, 0]);
        }
    }
}

#[test]
fn who_was_named_by_none_is_nobody_once_one_is_asked_for() {
    let (daemon, _folder, file) = configured(OFF);
    let mut one = daemon.connect();
    one.send(post("e"));
    one.answer().with_status(202);
    let mut socket = Socket::open(&daemon);
    daemon.reconfigure(&file, ON);
    one.send(post("never"));
    assert_sent_away(&mut one);
    assert_eq!(socket.close_code(), Some(1012));
    begun(&daemon, &[text("198.51.100.7"), post("e")].concat()).answer().with_status(202);
    assert_eq!(metric(&daemon, "ingestd_events_accepted_total"), 1.0);
}
