use frame::{Refused, accept_key, handshake};

/// The request of RFC 6455 §1.3, with one header changed, added (by a new name) or taken away (by `None`).
fn with(name: &str, value: Option<&str>) -> Result<[u8; 28], Refused> {
    let mut headers = vec![
        ("Host", "server.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Version", "13"),
    ];
    headers.retain(|(known, _)| *known != name);
    headers.extend(value.map(|value| (name, value)));
    upgrade("GET", true, &headers)
}

fn upgrade(method: &str, is_http_1_1: bool, headers: &[(&str, &str)]) -> Result<[u8; 28], Refused> {
    handshake(method, is_http_1_1, headers.iter().map(|(name, value)| (*name, value.as_bytes())))
}

const GOOD: [(&str, &str); 5] = [
    ("host", "h"),
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

#[test]
fn the_example_of_the_rfc_is_accepted() {
    assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(with("X-Other", Some("1")), Ok(*b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[test]
fn names_and_tokens_are_taken_in_any_case_and_among_others() {
    assert!(upgrade("GET", true, &GOOD).is_ok());
    assert!(with("Connection", Some("keep-alive, UPGRADE")).is_ok());
    assert!(with("Connection", Some("keep-alive ,\tUpgrade , x")).is_ok());
    assert!(with("Upgrade", Some("h2c, WebSocket")).is_ok());
    assert!(with("Sec-WebSocket-Key", Some("  dGhlIHNhbXBsZSBub25jZQ== ")).is_ok());
}

#[test]
fn a_list_may_stand_on_several_lines() {
    let headers = [&GOOD[..], &[("connection", "keep-alive"), ("upgrade", "h2c")]].concat();
    assert!(upgrade("GET", true, &headers).is_ok());
}

#[test]
fn a_plain_request_is_told_to_upgrade() {
    assert_eq!(with("Upgrade", None), Err(Refused::UpgradeRequired));
    assert_eq!(with("Upgrade", Some("h2c")), Err(Refused::UpgradeRequired));
    assert_eq!(with("Upgrade", Some("websockets")), Err(Refused::UpgradeRequired));
    assert_eq!(upgrade("GET", true, &[]), Err(Refused::UpgradeRequired));
    assert_eq!(Refused::UpgradeRequired.status(), 426);
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    for version in ["8", "7", "0", "14", "13, 8", "", "013"] {
        assert_eq!(with("Sec-WebSocket-Version", Some(version)), Err(Refused::Version), "{version:?}");
    }
    assert_eq!(Refused::Version.status(), 426);
    assert_eq!(frame::VERSION, "13");
}

#[track_caller]
fn malformed(outcome: Result<[u8; 28], Refused>) {
    let refused = outcome.expect_err("it is malformed");
    assert!(matches!(refused, Refused::Malformed(_)), "{refused}");
    assert_eq!(refused.status(), 400);
}

#[test]
fn what_the_rfc_demands_must_be_there() {
    for name in ["Host", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        malformed(with(name, None));
    }
    malformed(with("Connection", Some("keep-alive")));
    malformed(with("Connection", Some("not-upgrade")));
}

#[test]
fn the_key_must_be_sixteen_bytes_in_base64() {
    for key in ["", "x", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "dGhlIHNhbXBsZSBub25j????"] {
        malformed(with("Sec-WebSocket-Key", Some(key)));
    }
    malformed(with("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25j!Q==")));
    malformed(with("Sec-WebSocket-Key", Some("==")));
    malformed(with("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZSBtb3JlIQ==")));
}

#[test]
fn the_key_and_the_version_must_not_be_repeated() {
    for again in [GOOD[3], GOOD[4], ("Sec-WebSocket-Version", "8")] {
        malformed(upgrade("GET", true, &[&GOOD[..], &[again]].concat()));
    }
}

#[test]
fn only_get_over_http_1_1_can_be_upgraded() {
    malformed(upgrade("POST", true, &GOOD));
    malformed(upgrade("get", true, &GOOD));
    malformed(upgrade("GET", false, &GOOD));
}
