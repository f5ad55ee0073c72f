//! Health and figures on an address of their own.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::io::ErrorKind;
use support::{Authority, Connection, Daemon, Files, Place, Stopped, event, request};

const APART: (&str, &str) = ("INGESTD_SERVER_ADMIN_LISTEN", "127.0.0.1:0");

/// Asks where the figures are.
fn ask(daemon: &Daemon, method: &str, path: &str) -> support::Answer {
    let mut connection = Connection::open(daemon.figures.unwrap());
    connection.send(request(method, path, &[], b""));
    connection.answer()
}

#[test]
fn they_are_answered_there_and_no_longer_with_intake() {
    let daemon = Daemon::with(&[APART]);
    daemon.post("/events", event("e").to_string()).with_status(202);
    for path in ["/health", "/metrics", "/pipeline/status", "/events/stats", "/v1/events/stats"] {
        assert_eq!(ask(&daemon, "GET", path).status, 200, "{path}");
        let told = daemon.get(path).problem(404);
        assert!(told["detail"].as_str().unwrap().contains("server.admin_listen"), "{told}");
    }
    assert_eq!(ask(&daemon, "GET", "/events/stats").json()["totals"]["accepted"], 1);
    // What a balancer asks is answered at both.
    for path in ["/", "/health/live", "/health/ready"] {
        assert_eq!((ask(&daemon, "GET", path).status, daemon.get(path).status), (200, 200), "{path}");
    }
    ask(&daemon, "GET", "/nowhere").problem(404);
    ask(&daemon, "POST", "/events").problem(404);
    ask(&daemon, "POST", "/metrics").problem(405);
    daemon.stop();
}

#[test]
fn they_are_answered_while_intake_does_not_turn() {
    let daemon = Daemon::with(&[APART, ("INGESTD_SERVER_ACCEPTORS", "1")]);
    let stopped = Stopped::thread(&daemon, "accept-0");
    let mut waiting = daemon.connect();
    waiting.send(request("GET", "/health/live", &[], b""));
    for path in ["/health/live", "/health", "/metrics", "/events/stats", "/pipeline/status"] {
        assert_eq!(ask(&daemon, "GET", path).status, 200, "{path}");
    }
    assert!(!waiting.is_answered(), "intake was to stand still");
    drop(stopped);
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn who_never_reads_them_is_given_up() {
    let daemon = Daemon::with(&[APART, ("INGESTD_SERVER_WRITE_TIMEOUT_S", "1")]);
    let mut connection = Connection::narrow(daemon.figures.unwrap());
    let asked = request("GET", "/metrics", &[], b"").repeat(100);
    // Ends with a reset, not with this test's patience.
    let error = std::iter::repeat_with(|| connection.try_send(&asked)).find_map(Result::err).unwrap();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_eq!(ask(&daemon, "GET", "/health/live").status, 200);
}

#[test]
fn they_are_plain_where_intake_speaks_tls() {
    let authority = Authority::new("test");
    let files = Files::new(&authority.server(90));
    let daemon = Place::with(&[APART]).and_all(files.env()).trusted(authority.trusted(None)).start();
    assert_eq!(daemon.get("/health/live").status, 200);
    let text = ask(&daemon, "GET", "/metrics").text();
    assert!(text.contains("ingestd_tls_handshakes_total 1\n"), "{text}");
}

#[test]
fn beyond_loopback_they_are_meant_to_be() {
    let place = Place::with(&[("INGESTD_SERVER_ADMIN_LISTEN", "0.0.0.0:0"), ("INGESTD_SERVER_LISTEN", "127.0.0.1:0")]);
    let refused = place.command(&["check", "--json", "--config-only"]).output().unwrap();
    let report: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{report}");
    assert!(report.to_string().contains("server.admin_allow_unauthenticated = true"), "{report}");
    let place = place.and("INGESTD_SERVER_ADMIN_ALLOW_UNAUTHENTICATED", "true");
    assert!(place.command(&["check", "--config-only"]).output().unwrap().status.success());
    let nonsense =
        Place::with(&[("INGESTD_SERVER_ADMIN_LISTEN", "metrics")]).command(&["check", "--config-only"]).output();
    let nonsense = nonsense.unwrap();
    assert_eq!(nonsense.status.code(), Some(64));
    let said = String::from_utf8_lossy(&nonsense.stderr).into_owned() + &String::from_utf8_lossy(&nonsense.stdout);
    assert!(said.contains("\"metrics\" is no address such as 127.0.0.1:9001"), "{said}");
}

#[test]
fn beyond_loopback_they_are_named_at_each_start() {
    let open = [
        ("INGESTD_SERVER_ADMIN_LISTEN", "0.0.0.0:0"),
        ("INGESTD_SERVER_ADMIN_ALLOW_UNAUTHENTICATED", "true"),
        ("INGESTD_AUTH_READ", "key"),
    ];
    let daemon = Daemon::with(&open);
    assert_eq!((ask(&daemon, "GET", "/metrics").status, daemon.get("/metrics").status), (200, 401));
    let named = || daemon.log().matches("WARN server.admin_listen is beyond loopback").count();
    assert_eq!(named(), 1, "{}", daemon.log());
    let daemon = daemon.stop().start();
    assert_eq!(daemon.log().matches("WARN server.admin_listen is beyond loopback").count(), 2, "{}", daemon.log());
    daemon.stop();
    let daemon = Daemon::with(&[APART]);
    assert!(!daemon.log().contains("beyond loopback"), "{}", daemon.log());
    daemon.stop();
}
