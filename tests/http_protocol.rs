//! HTTP/1.1 on the wire: order, versions, expectations, clients that are slow, gone or speak something else.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use support::{Daemon, event, eventually, request};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    let mut all = Vec::new();
    for number in 0..200 {
        // Some need no commit, so that an answer could overtake another.
        all.extend(match number % 4 {
            0 => request("GET", &format!("/nowhere/{number}"), &[], b""),
            _ => request("POST", "/events", &[], event(&format!("e-{number}")).to_string().as_bytes()),
        });
    }
    connection.send(&all);
    for number in 0..200 {
        let answer = connection.answer();
        if number % 4 == 0 {
            answer.problem(404);
        } else {
            assert_eq!(answer.with_status(202)["eventId"], format!("e-{number}"));
        }
    }
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    for byte in request("POST", "/events", &[], event("e").to_string().as_bytes()) {
        connection.send([byte]);
    }
    connection.answer().with_status(202);
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_go_on() {
    let daemon = Daemon::start();
    let body = event("e").to_string();
    let head = |more: &str| format!("POST /events HTTP/1.0\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut connection = daemon.connect();
    connection.send(head(""));
    connection.answer().with_status(202);
    assert!(connection.is_closed());
    let mut connection = daemon.connect();
    for _ in 0..2 {
        connection.send(head("Connection: keep-alive\r\n"));
        let answer = connection.answer();
        assert!(
            answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")),
            "{answer:?}"
        );
        answer.with_status(202);
    }
}

#[test]
fn a_client_that_wants_to_close_is_closed_after_its_answer() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    connection.post("/events", &[("Connection", "close")], event("e").to_string().as_bytes()).with_status(202);
    assert!(connection.is_closed());
}

#[test]
fn a_client_that_has_sent_everything_and_says_so_is_still_answered() {
    let daemon = Daemon::start();
    for number in 0..20 {
        let mut connection = daemon.connect();
        connection.send(request("POST", "/events", &[], event(&format!("e-{number}")).to_string().as_bytes()));
        connection.finish();
        connection.answer().with_status(202);
        assert!(connection.is_closed());
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_only_if_its_body_is_wanted() {
    let daemon = Daemon::start();
    let body = event("e").to_string();
    let length = body.len().to_string();
    let head = |kind: &str, length: &str| {
        let headers = [("Content-Type", kind), ("Content-Length", length), ("Expect", "100-continue")];
        request("POST", "/events", &headers, b"")
    };
    let mut connection = daemon.connect();
    connection.send(head("application/json", &length));
    assert_eq!(connection.answer().status, 100);
    connection.send(&body);
    connection.answer().with_status(202);
    for (kind, length, status) in [("text/html", length.as_str(), 415), ("application/json", "99999999", 413)] {
        let mut connection = daemon.connect();
        connection.send(head(kind, length));
        let answer = connection.answer();
        answer.problem(status);
        assert_eq!(
            answer.header("connection"),
            Some("close"),
            "the body that was not sent cannot be told from a request"
        );
        assert!(connection.is_closed());
    }
}

#[test]
fn a_slow_body_is_cut_off_with_408() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_BODY_TIMEOUT_S", "1")]);
    for framing in ["Content-Length: 500", "Transfer-Encoding: chunked"] {
        let mut connection = daemon.connect();
        connection.send(format!("POST /events HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
        // A byte now and then does not help.
        let drip = std::thread::scope(|scope| {
            let stream = connection.stream().try_clone().unwrap();
            let drip = scope.spawn(move || {
                use std::io::Write;
                let bytes: &[u8] = if framing.starts_with('C') { b"{" } else { b"1\r\n{\r\n" };
                // Until the daemon has closed.
                while (&stream).write_all(bytes).is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            });
            let answer = connection.answer();
            answer.problem(408);
            assert_eq!(answer.header("connection"), Some("close"));
            connection.stream().shutdown(std::net::Shutdown::Both).unwrap();
            drip.join()
        });
        drip.unwrap();
    }
    assert_eq!(daemon.totals(), [0; 4]);
}

#[test]
fn a_slow_head_is_cut_off_with_408() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_HEAD_TIMEOUT_S", "1")]);
    let mut connection = daemon.connect();
    connection.send("POST /events HTTP/1.1\r\nHost: te");
    connection.answer().problem(408);
    assert!(connection.is_closed());
    // Also as the second request of a connection.
    let mut connection = daemon.connect();
    connection.post("/events", &[], event("e").to_string().as_bytes()).with_status(202);
    connection.send("POST /events HTTP/1.1\r\n");
    connection.answer().problem(408);
    assert!(connection.is_closed());
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_HEAD_TIMEOUT_S", "1")]);
    let mut unused = daemon.connect();
    let mut used = daemon.connect();
    used.post("/events", &[], event("e").to_string().as_bytes()).with_status(202);
    // An answer that nobody asked for would be taken for the next request's.
    assert!(used.is_closed());
    assert!(unused.is_closed());
}

#[test]
fn what_is_no_http_is_400_and_closed() {
    let daemon = Daemon::start();
    for garbage in [
        "\u{16}\u{2}\u{1}\u{2}\u{0}TLS?\r\n\r\n",
        "GET\r\n\r\n",
        "POST /events HTTP/9.9\r\n\r\n",
        "G\u{0}T / HTTP/1.1\r\n\r\n",
    ] {
        let mut connection = daemon.connect();
        connection.send(garbage);
        let answer = connection.answer();
        assert!(
            answer.problem(400)["detail"].as_str().unwrap().starts_with("this is no HTTP request: "),
            "{garbage:?}"
        );
        assert_eq!(answer.header("connection"), Some("close"), "{garbage:?}");
        assert!(connection.is_closed());
    }
    for head in ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Content-Length: 1x"] {
        let mut connection = daemon.connect();
        connection.send(format!("POST /events HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n{{}}"));
        let answer = connection.answer();
        answer.problem(400);
        assert_eq!(answer.header("connection"), Some("close"), "{head}");
    }
    assert_eq!(daemon.metric("ingestd_http_requests_4xx_total"), 7.0);
    daemon.post("/events", event("e").to_string()).with_status(202);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    let long = "x".repeat(100_000);
    connection.try_send(request("GET", "/health", &[("X-Long", &long)], b"")).ok();
    let answer = connection.answer();
    assert_eq!(
        answer.problem(431)["detail"],
        "the request's head is larger than 16384 bytes, or has more than 100 headers"
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(connection.is_closed());
    // As the target, and as many headers.
    let mut connection = daemon.connect();
    connection.try_send(request("GET", &format!("/{long}"), &[], b"")).ok();
    let answer = connection.answer();
    answer.problem(answer.status);
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    let mut connection = daemon.connect();
    connection.send(request("GET", "/health/live", &[("X-A", "1"); 200], b""));
    connection.answer().problem(431);
    assert_eq!(daemon.get("/health/live").status, 200);
}

#[test]
fn what_cannot_be_read_is_told_behind_the_answers_of_what_could() {
    let daemon = Daemon::start();
    // On the short way, on the general way, and in the same read.
    for first in
        [request("POST", "/events", &[], event("e").to_string().as_bytes()), request("GET", "/nowhere", &[], b"")]
    {
        for apart in [true, false] {
            let mut connection = daemon.connect();
            let rest = b"NO HTTP\r\n\r\n".as_slice();
            let status = if apart {
                connection.send(&first);
                let status = connection.answer().status;
                connection.send(rest);
                status
            } else {
                connection.send([&first, rest].concat());
                connection.answer().status
            };
            assert!(matches!(status, 202 | 404), "{status}");
            let answer = connection.answer();
            answer.problem(400);
            assert_eq!(answer.header("connection"), Some("close"));
            assert!(connection.is_closed());
        }
    }
}

#[test]
fn an_id_that_looks_like_an_answer_is_an_id() {
    let daemon = Daemon::start();
    let id = [("X-Request-Id", "HTTP/1.1 404 x")];
    let mut connection = daemon.connect();
    for (method, path, status) in
        [("HEAD", "/nowhere", 404), ("HEAD", "/health/live", 200), ("OPTIONS", "/events", 204)]
    {
        // Nothing comes behind its head but the next answer.
        connection.send([request(method, path, &id, b""), request("GET", "/health/live", &id, b"")].concat());
        let (first, second) = (connection.head(), connection.answer());
        assert_eq!((first.status, first.header("x-request-id")), (status, Some(id[0].1)), "{first:?}");
        assert!(first.header("date").is_some(), "{first:?}");
        assert_eq!(
            (&second.with_status(200)["status"], second.header("x-request-id")),
            (&"live".into(), Some(id[0].1))
        );
    }
    connection.send(b"NO HTTP\r\n\r\n");
    connection.answer().problem(400);
    assert!(connection.is_closed());
}

#[test]
fn http_1_0_oddities_are_told_in_the_same_way() {
    let daemon = Daemon::start();
    for request in ["GET /health/live\r\n\r\n", "GET  /health/live HTTP/1.0\r\n\r\n", "get / HTTP/1.0 x\r\n\r\n"] {
        let mut connection = daemon.connect();
        connection.send(request);
        let answer = connection.answer();
        answer.problem(400);
        assert!(connection.is_closed(), "{request:?}");
    }
}

#[test]
fn tls_on_a_plain_port_is_closed_without_a_word() {
    let daemon = Daemon::with(&[("INGESTD_LOG_LEVEL", "debug")]);
    let mut connection = daemon.connect();
    // The beginning of a ClientHello.
    connection.send([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
    assert!(connection.is_closed());
    eventually("it is said", || daemon.log().contains("speaks TLS to a port that does not"));
}

#[test]
fn a_body_cannot_smuggle_a_request() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    let smuggled = "0\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n";
    connection.send(format!(
        "POST /events HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    assert_eq!(connection.answer().status, 400, "an empty event, or a refusal of the two lengths");
    // Whatever comes next, it is never an answer to what the length said was the body.
    if let Ok(answer) = connection.try_answer(false) {
        assert_eq!(answer.status, 404, "the chunks were the body: {answer:?}");
    }
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_request_is_forgotten() {
    let daemon = Daemon::start();
    let whole = request("POST", "/events", &[], event("e").to_string().as_bytes());
    for cut in [0, 1, 20, whole.len() - 1] {
        let mut connection = daemon.connect();
        connection.send(&whole[..cut]);
        drop(connection);
        let mut connection = daemon.connect();
        connection.send(&whole[..cut]);
        connection.finish();
        // A half-closed client is answered or closed, never kept.
        if connection.has_more() {
            connection.answer().problem(400);
        }
    }
    eventually("the connections are gone", || daemon.metric("ingestd_http_connections") <= 1.0);
    assert_eq!(daemon.totals()[0], 0, "a cut event is none");
    daemon.post("/events", event("e").to_string()).with_status(202);
}

#[test]
fn a_request_of_http_1_1_has_one_host() {
    let daemon = Daemon::start();
    let body = event("e").to_string();
    for (hosts, status) in [("", 400), ("Host: a\r\nHost: b\r\n", 400), ("Host: a\r\n", 202)] {
        let mut connection = daemon.connect();
        let head = format!("POST /events HTTP/1.1\r\n{hosts}Content-Type: application/json\r\n");
        connection.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(connection.answer().status, status, "{hosts:?}");
    }
    assert_eq!(daemon.totals(), [1, 0, 0, 0]);
}
