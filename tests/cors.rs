//! Pages of which sites may send from a browser.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use support::{Answer, Daemon, Socket, event, request};

const SHOP: &str = "https://shop.example";
const OTHER: &str = "https://other.example";
const CALLS: [&str; 5] = ["/events", "/v1/events", "/events/batch", "/batch", "/events/stream"];

fn listed() -> Daemon {
    Daemon::with(&[("INGESTD_CORS_ALLOWED_ORIGINS", "https://shop.example, http://localhost:8080")])
}

fn preflight(daemon: &Daemon, path: &str, origin: &str) -> Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type, authorization, idempotency-key"),
    ];
    daemon.request("OPTIONS", path, &headers, b"")
}

fn post_from(daemon: &Daemon, origin: &str, id: &str) -> Answer {
    let headers = [("Origin", origin), ("Content-Type", "application/json")];
    daemon.request("POST", "/events", &headers, event(id).to_string().as_bytes())
}

/// The answer to a handshake from a page of this origin.
fn handshake(daemon: &Daemon, origin: Option<&str>) -> Answer {
    let mut headers = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    headers.extend(origin.map(|origin| ("Origin", origin)));
    let mut connection = daemon.connect();
    connection.send(request("GET", "/events/stream", &headers, b""));
    let answer = connection.answer();
    if answer.status == 101 {
        let mut socket = Socket::over(connection);
        socket.cart(&event(origin.unwrap_or("none")));
        socket.message("event_ack");
    }
    answer
}

#[track_caller]
fn assert_silent(answer: &Answer) {
    let told: Vec<_> = answer.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).collect();
    assert!(told.is_empty(), "{answer:?}");
    assert_eq!(answer.header("vary"), Some("Origin"), "{answer:?}");
}

#[test]
fn pages_of_the_list_may_send_and_are_named_back() {
    let daemon = listed();
    for path in CALLS {
        for origin in [SHOP, "http://localhost:8080"] {
            let answer = preflight(&daemon, path, origin);
            assert_eq!(answer.status, 204, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{path}");
            assert_eq!(answer.header("access-control-max-age"), Some("86400"), "{path}");
            assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"), "{path}");
            let allowed = answer.header("access-control-allow-headers").unwrap();
            assert!(["content-type", "authorization", "idempotency-key"].iter().all(|name| allowed.contains(name)));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
    }
    let answer = post_from(&daemon, SHOP, "e");
    answer.with_status(202);
    assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("retry-after"));
    // What is wrong with an event a page may read, too.
    let headers = [("Origin", SHOP)];
    let answer = daemon.request("POST", "/events", &headers, b"{");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (400, Some(SHOP)));
}

#[test]
fn pages_of_other_sites_are_told_no_and_see_nothing() {
    let daemon = listed();
    for path in CALLS {
        for origin in [OTHER, "https://shop.example.evil", "http://shop.example", "null", "https://shop.example:444"] {
            let answer = preflight(&daemon, path, origin);
            assert_eq!(answer.problem(403)["code"], "origin_not_allowed", "{path} {origin}");
            assert_silent(&answer);
        }
    }
    // A browser asks nobody before a plain request: it is taken, and the page does not see what came of it.
    let answer = post_from(&daemon, OTHER, "e");
    answer.with_status(202);
    assert_silent(&answer);
    assert_eq!(daemon.metric("ingestd_origins_refused_total"), 25.0);
}

#[test]
fn answers_that_depend_on_the_page_say_so_to_everybody() {
    let daemon = listed();
    assert_silent(&daemon.post("/events", event("e").to_string()));
    assert_silent(&daemon.get("/events/stats"));
    // What is no intake has nothing to do with pages.
    assert_eq!(daemon.get("/health").header("vary"), None);
    let daemon = Daemon::start();
    assert_eq!(daemon.post("/events", event("e").to_string()).header("vary"), None);
}

#[test]
fn a_websocket_is_opened_only_for_pages_of_the_list() {
    let daemon = listed();
    let refused = handshake(&daemon, Some(OTHER));
    assert_eq!(refused.problem(403)["code"], "origin_not_allowed");
    assert_silent(&refused);
    assert_eq!(handshake(&daemon, Some(SHOP)).status, 101);
    assert_eq!(handshake(&daemon, None).status, 101, "what is no browser names no page");
    assert_eq!(handshake(&Daemon::start(), Some(OTHER)).status, 101);
}

#[test]
fn credentials_are_allowed_where_the_pages_are_named() {
    let daemon = Daemon::with(&[
        ("INGESTD_CORS_ALLOWED_ORIGINS", SHOP),
        ("INGESTD_CORS_ALLOW_CREDENTIALS", "true"),
        ("INGESTD_CORS_MAX_AGE_S", "60"),
    ]);
    let answer = preflight(&daemon, "/events", SHOP);
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-max-age"), Some("60"));
    assert_eq!(post_from(&daemon, SHOP, "e").header("access-control-allow-credentials"), Some("true"));
    assert_silent(&post_from(&daemon, OTHER, "f"));
}
