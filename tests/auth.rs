//! API keys: who has none stays outside, who has one is told from others, and a key that was revoked is nobody's.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use support::{ApiKey, Daemon, Place, Socket, event, leaks, post_as, tokens, upgrade};

/// Keys are asked for everywhere; WebSockets are pinged often.
const KEYS: [(&str, &str); 4] = [
    ("INGESTD_AUTH_INTAKE", "key"),
    ("INGESTD_AUTH_READ", "key"),
    ("INGESTD_AUTH_MANAGE", "key"),
    ("INGESTD_SERVER_PING_INTERVAL_S", "1"),
];
/// Only who sends needs a key.
const INTAKE: [(&str, &str); 2] = [("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_SERVER_PING_INTERVAL_S", "1")];

#[track_caller]
fn assert_refused(answer: &support::Answer, status: u16, code: &str, challenge: &str) {
    assert_eq!(answer.problem(status)["code"], code, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{answer:?}");
}

#[test]
fn whoever_has_no_key_stays_outside_but_for_what_is_open_to_all() {
    let daemon = Daemon::with(&KEYS);
    let body = event("e").to_string();
    for (method, path) in [
        ("POST", "/events"),
        ("POST", "/v1/events"),
        ("POST", "/events/batch"),
        ("POST", "/batch"),
        ("GET", "/events/stream"),
        ("GET", "/events/stats"),
        ("HEAD", "/v1/events/stats"),
        ("GET", "/metrics"),
        ("GET", "/health"),
        ("GET", "/pipeline/status"),
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("DELETE", "/pipeline/status"),
        ("POST", "/health/live"),
    ] {
        let answer = daemon.request(method, path, &[], body.as_bytes());
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"ingestd\""), "{method} {path}");
    }
    assert_refused(&daemon.post("/events", &body), 401, "missing_credential", "Bearer realm=\"ingestd\"");
    for path in ["/health/live", "/health/ready"] {
        daemon.get(path).with_status(200);
    }
    // A browser asks without credentials whether it may send some.
    let origin = [("Origin", "https://shop.test")];
    assert_eq!(daemon.request("OPTIONS", "/events", &origin, b"").status, 204);
    let refused = daemon.request("POST", "/events", &origin, body.as_bytes());
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
}

#[test]
fn a_key_opens_what_its_scopes_say_from_whichever_header() {
    let daemon = Daemon::with(&KEYS);
    let intake = ApiKey::add(&daemon, "shop", "intake");
    let read = ApiKey::add(&daemon, "shop", "read");
    let both = ApiKey::add(&daemon, "shop", "intake,read,manage");
    let body = event("e").to_string();
    let bearer = both.bearer();
    for headers in [
        &[("Authorization", bearer.as_str())][..],
        &[("authorization", &bearer.replace("Bearer", "bEARER"))],
        &[("X-API-Key", &both.text)],
        &[("x-app-token", &both.text)],
        &[("X-Api-Key", &both.text), ("Authorization", &bearer)],
    ] {
        for more in [&[][..], &[("X-Detour", "1")]] {
            daemon.request("POST", "/events", &[headers, more].concat(), body.as_bytes()).with_status(202);
        }
        daemon.request("GET", "/events/stats", headers, b"").with_status(200);
        daemon.request("DELETE", "/pipeline/status", headers, b"").problem(405);
    }
    let lacks = |scope: &str| format!("Bearer realm=\"ingestd\", error=\"insufficient_scope\", scope=\"{scope}\"");
    let as_read = [("X-API-Key", read.text.as_str())];
    for path in ["/events", "/events/batch"] {
        let answer = daemon.request("POST", path, &as_read, body.as_bytes());
        assert_refused(&answer, 403, "insufficient_scope", &lacks("intake"));
    }
    let answer = post_as(&daemon, &read.bearer(), &event("e"));
    assert_refused(&answer, 403, "insufficient_scope", &lacks("intake"));
    let answer = daemon.request("GET", "/metrics", &[("X-API-Key", &intake.text)], b"");
    assert_refused(&answer, 403, "insufficient_scope", &lacks("read"));
    let answer = daemon.request("POST", "/pipeline/status", &as_read, b"");
    assert_refused(&answer, 403, "insufficient_scope", &lacks("manage"));
}

#[test]
fn what_is_no_good_credential_is_refused_and_counted_by_reason() {
    let daemon = Daemon::with(&INTAKE);
    let (one, other) = (ApiKey::add(&daemon, "shop", "intake"), ApiKey::add(&daemon, "shop", "intake"));
    let last = if one.text.ends_with('0') { "1" } else { "0" };
    let another_secret = format!("{}{last}", &one.text[..one.text.len() - 1]);
    let another_id = one.text.replacen(&one.id, &other.id, 1);
    let invalid = "Bearer realm=\"ingestd\", error=\"invalid_token\"";
    for (authorization, reason) in [
        (&*format!("Bearer {another_secret}"), "unknown_key"),
        (&format!("Bearer {another_id}"), "unknown_key"),
        (&format!("Bearer {}0", one.text), "malformed"),
        (&format!("Bearer {}", one.text.to_uppercase()), "malformed"),
        (&format!("Basic {}", one.text), "malformed"),
        (&format!("Bearer {} x", one.text), "malformed"),
        ("Bearer", "malformed"),
        ("Bearer a.b.c", "not_taken"),
        (&format!("Bearer {}", "x".repeat(5000)), "malformed"),
    ] {
        let count = || daemon.metric(&format!("ingestd_auth_failures_total{{reason=\"{reason}\"}}"));
        let before = count();
        assert_refused(&post_as(&daemon, authorization, &event("e")), 401, "invalid_token", invalid);
        assert_eq!(count() - before, 1.0, "{authorization}");
    }
    let twice = [("X-API-Key", one.text.as_str()), ("Authorization", &other.bearer())];
    let repeated = [("X-API-Key", one.text.as_str()), ("X-API-Key", &one.text)];
    for headers in [&twice, &repeated] {
        let answer = daemon.request("POST", "/events", headers, event("e").to_string().as_bytes());
        assert_refused(&answer, 400, "invalid_request", "Bearer realm=\"ingestd\", error=\"invalid_request\"");
    }
    assert_eq!(daemon.totals(), [0; 4], "nothing of them was looked at");
}

#[test]
fn tenants_do_not_meet() {
    let daemon = Daemon::with(&INTAKE);
    let keys = ["one", "two"].map(|tenant| ApiKey::add(&daemon, tenant, "intake"));
    let mut sockets = keys.each_ref().map(|key| {
        let (answer, connection) = upgrade(&daemon, &[("Authorization", &key.bearer())]);
        assert_eq!(answer.status, 101, "{answer:?}");
        let mut socket = Socket::over(connection);
        socket.text(json!({"type": "subscribe"}).to_string());
        socket.message("subscribed");
        socket
    });
    let idempotent = |key: &ApiKey, id: &str| {
        let headers = [("X-API-Key", key.text.as_str()), ("Idempotency-Key", "k")];
        daemon.request("POST", "/events", &headers, event(id).to_string().as_bytes())
    };
    for (number, key) in keys.iter().enumerate() {
        // The same id, new for each; the second time it is known.
        assert_eq!(post_as(&daemon, &key.bearer(), &event("same")).with_status(202)["duplicate"], Value::Null);
        assert_eq!(post_as(&daemon, &key.bearer(), &event("same")).with_status(202)["duplicate"], true);
        let own = format!("own-{number}");
        let answer = idempotent(key, &own);
        assert_eq!(
            (answer.with_status(202)["eventId"].as_str(), answer.header("idempotency-replayed")),
            (Some(&*own), None)
        );
        assert_eq!(idempotent(key, &own).header("idempotency-replayed"), Some("true"));
    }
    // Each hears of its own alone, in order, and then of the answer to its own heartbeat.
    for (number, socket) in sockets.iter_mut().enumerate() {
        for id in ["same", "same", &format!("own-{number}")] {
            assert_eq!(socket.message("event_confirmation")["eventId"], id);
        }
        socket.cart(&event("same"));
        assert_eq!(socket.message("event_ack")["duplicate"], true);
        assert_eq!(socket.message("event_confirmation")["eventId"], "same");
    }
    assert_eq!(daemon.totals(), [4, 4, 0, 0]);
}

#[test]
fn a_websocket_brings_its_token_as_a_subprotocol_which_is_not_echoed() {
    let daemon = Daemon::with(&INTAKE);
    let key = ApiKey::add(&daemon, "shop", "intake");
    let offers = format!("ingestd.v1, bearer.{}", key.text);
    let (answer, connection) = upgrade(&daemon, &[("Sec-WebSocket-Protocol", &offers)]);
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("ingestd.v1")), "{answer:?}");
    let mut socket = Socket::over(connection);
    socket.cart(&event("e"));
    socket.message("event_ack");
    let alone = format!("bearer.{}", key.text);
    for (offers, status) in [(&*alone, 400), ("ingestd.v1", 401), ("ingestd.v1, bearer.x", 401), ("chat", 401)] {
        assert_eq!(upgrade(&daemon, &[("Sec-WebSocket-Protocol", offers)]).0.status, status, "{offers}");
    }
    let two = format!("{offers}, bearer.x");
    assert_eq!(upgrade(&daemon, &[("Sec-WebSocket-Protocol", &two)]).0.problem(400)["code"], "invalid_request");
    // Where nothing is asked for, too, the protocol is agreed on.
    let open = Daemon::start();
    let answer = upgrade(&open, &[("Sec-WebSocket-Protocol", "ingestd.v1, chat")]).0;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("ingestd.v1")));
    assert_eq!(upgrade(&open, &[("Sec-WebSocket-Protocol", "chat")]).0.header("sec-websocket-protocol"), None);
}

#[test]
fn a_secret_is_shown_once_and_is_nowhere_else() {
    let daemon = Place::with(&INTAKE).and("INGESTD_LOG_LEVEL", "trace").start();
    let key = ApiKey::add(&daemon, "shop", "intake");
    let secret = key.text.rsplit('_').next().unwrap().to_owned();
    post_as(&daemon, &key.bearer(), &event("e")).with_status(202);
    upgrade(&daemon, &[("Sec-WebSocket-Protocol", &format!("ingestd.v1, bearer.{}", key.text))]);
    post_as(&daemon, &format!("Bearer {}0", key.text), &event("e")).problem(401);
    let listed = daemon.admin(&["tokens", "list"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains(&key.id) && text.contains("active") && text.contains("shop"), "{text}");
    assert!(!text.contains(&secret) && !daemon.log().contains(&secret));
    let last_used = || tokens(&daemon, &["list"])[0]["lastUsedAt"].clone();
    assert!(
        last_used().as_str().is_some_and(|time| time.ends_with(":00Z") || time.contains(":00.")),
        "{}",
        last_used()
    );
    let data = daemon.data();
    let place = daemon.stop();
    let mut found = Vec::new();
    leaks(&data, &secret, &mut found);
    assert!(found.is_empty(), "{found:?}");
    // When it was used is written down by a stop.
    let daemon = place.start();
    assert!(tokens(&daemon, &["list"])[0]["lastUsedAt"].is_string());
}

#[test]
fn the_program_says_what_is_wrong_with_a_key_that_is_asked_for() {
    let daemon = Daemon::with(&INTAKE);
    for (arguments, wanted) in [
        (&["add", "--tenant", "Shop 1", "--scope", "intake"][..], "a tenant's name has 1 to 64"),
        (&["add", "--tenant", "shop", "--scope", "intake", "--name", "a\nb"], "no control characters"),
        (&["add", "--tenant", "shop", "--scope", "intake", "--expires", "soon"], "`soon` is no time"),
        (&["add", "--tenant", "shop", "--scope", "intake", "--expires", "2020-01-01T00:00:00Z"], "before it was made"),
        (&["add", "--tenant", "shop", "--scope", "all"], "invalid value 'all'"),
        (&["add", "--tenant", "shop"], "--scope"),
        (&["revoke", "0123456789abcdef"], "there is no key 0123456789abcdef"),
        (&["revoke", "x"], "neither a key nor the id of one"),
    ] {
        let output = daemon.admin(&[&["tokens"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        // That there is no such key is no mistake of the command line's.
        let code = if wanted.starts_with("there is no key") { 1 } else { 64 };
        assert!(output.status.code() == Some(code) && text.contains(wanted), "{arguments:?}: {output:?}");
    }
    assert_eq!(tokens(&daemon, &["list"]), json!([]));
    let added =
        tokens(&daemon, &["add", "--tenant", "shop", "--scope", "read", "--name", "the till", "--expires", "1d"]);
    assert!(added["expiresAt"].is_string() && added["name"] == "the till", "{added}");
}

#[test]
fn send_takes_its_key_from_a_file_or_a_variable() {
    let daemon = Daemon::with(&INTAKE);
    let key = ApiKey::add(&daemon, "shop", "intake");
    let dir = tempfile::tempdir().unwrap();
    let (events, token) = (dir.path().join("events"), dir.path().join("token"));
    std::fs::write(&token, format!("{}\n", key.text)).unwrap();
    let url = format!("http://{}", daemon.address);
    let send = |id: &str, arguments: &[&str], env: &[(&str, &str)]| {
        std::fs::write(&events, event(id).to_string()).unwrap();
        let mut command = std::process::Command::new(support::PROGRAM);
        command.env_clear().envs(env.iter().copied()).args(["send", "--url", &url]).args(arguments).arg(&events);
        command.output().unwrap().status.code()
    };
    assert_eq!(send("file", &["--token-file", token.to_str().unwrap()], &[]), Some(0));
    assert_eq!(send("variable", &[], &[("INGESTD_TOKEN", &key.text)]), Some(0));
    assert_ne!(send("none", &["--retry-for", "1s"], &[]), Some(0));
    assert_eq!(daemon.totals(), [2, 0, 0, 0]);
}
