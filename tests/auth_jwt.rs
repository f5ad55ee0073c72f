//! JWTs, made and forged with PyJWT: the good ones are taken, and none of the others.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::recorded;
use rustix::process::Signal;
use support::{
    Answer, ApiKey, CLOSE, Daemon, Issuer, Place, Socket, TEXT, cart_event, event, eventually, masked, post_as, upgrade,
};

fn daemon(issuer: &Issuer) -> Daemon {
    Place::with(&[]).and_all(issuer.env()).start()
}

#[track_caller]
fn sent(daemon: &Daemon, token: &str, id: &str) -> Answer {
    post_as(daemon, &format!("Bearer {token}"), &event(id))
}

#[test]
fn a_good_token_of_each_algorithm_is_taken() {
    let issuer = Issuer::new();
    let daemon = daemon(&issuer);
    for name in ["rs256", "es256", "eddsa", "hs256", "hs256_jwks", "audiences", "just_expired"] {
        // Verified, and then remembered; both ways through HTTP.
        for round in 0..3 {
            sent(&daemon, issuer.token(name), &format!("{name}-{round}")).with_status(202);
        }
        let headers = [("X-API-Key", issuer.token(name)), ("X-Detour", "1")];
        let body = event(&format!("{name}-detour")).to_string();
        daemon.request("POST", "/events", &headers, body.as_bytes()).with_status(202);
    }
    let offers = format!("ingestd.v1, bearer.{}", issuer.token("es256"));
    let (answer, connection) = upgrade(&daemon, &[("Sec-WebSocket-Protocol", &offers)]);
    assert_eq!(answer.status, 101, "{answer:?}");
    let mut socket = Socket::over(connection);
    socket.cart(&event("rs256-0"));
    assert_eq!(socket.message("event_ack")["duplicate"], true, "the same tenant");
    assert_eq!(
        sent(&daemon, issuer.token("other_tenant"), "rs256-0").with_status(202)["duplicate"],
        serde_json::Value::Null
    );
}

#[test]
fn a_forged_or_misused_token_is_not_taken_whatever_it_says() {
    let issuer = Issuer::new();
    let daemon = daemon(&issuer);
    // What is good is remembered before, so that nothing of it helps the others.
    sent(&daemon, issuer.token("rs256"), "good").with_status(202);
    let bad = issuer.names("bad_");
    assert!(bad.len() >= 38, "{bad:?}");
    for name in &bad {
        for round in 0..2 {
            let answer = sent(&daemon, issuer.token(name), "never");
            assert_eq!(answer.problem(401)["code"], "invalid_token", "{name}, {round}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"ingestd\", error=\"invalid_token\""), "{name}");
            let offers = format!("ingestd.v1, bearer.{}", issuer.token(name));
            assert_eq!(upgrade(&daemon, &[("Sec-WebSocket-Protocol", &offers)]).0.status, 401, "{name}");
        }
    }
    let long = "x".repeat(20_000);
    assert_eq!(daemon.request("POST", "/events", &[("Authorization", &long)], b"{}").status, 431);
    for (reason, least) in [
        ("algorithm", 4.0),
        ("audience", 4.0),
        ("claims", 10.0),
        ("expired", 2.0),
        ("issuer", 6.0),
        ("malformed", 10.0),
        ("not_yet_valid", 2.0),
        ("signature", 8.0),
        ("tenant", 6.0),
        ("unknown_kid", 4.0),
    ] {
        let count = daemon.metric(&format!("ingestd_auth_failures_total{{reason=\"{reason}\"}}"));
        assert!(count >= least, "{reason}: {count}");
    }
    for name in ["no_scope", "read_scope"] {
        assert_eq!(sent(&daemon, issuer.token(name), "never").problem(403)["code"], "insufficient_scope", "{name}");
    }
    let key = ApiKey::add(&daemon, "shop", "intake");
    assert_eq!(post_as(&daemon, &key.bearer(), &event("never")).problem(401)["code"], "invalid_token");
    assert_eq!(daemon.totals(), [1, 0, 0, 0]);
    assert!(!daemon.log().contains(issuer.token("rs256")));
}

#[test]
fn both_kinds_are_taken_where_both_are_and_a_scope_need_not_be_asked_for() {
    let issuer = Issuer::new();
    let daemon = Place::with(&[])
        .and_all(issuer.env())
        .and("INGESTD_AUTH_INTAKE", "any")
        .and("INGESTD_AUTH_READ", "jwt")
        .and("INGESTD_AUTH_SCOPE_CLAIM", "")
        .start();
    let key = ApiKey::add(&daemon, "shop", "intake,read");
    post_as(&daemon, &key.bearer(), &event("key")).with_status(202);
    sent(&daemon, issuer.token("no_scope"), "jwt").with_status(202);
    // One credential at a time, were they both good.
    let both = [("X-API-Key", key.text.as_str()), ("Authorization", &format!("Bearer {}", issuer.token("rs256")))];
    daemon.request("POST", "/events", &both, b"{}").problem(400);
    let look =
        |token: &str| daemon.request("GET", "/events/stats", &[("Authorization", &format!("Bearer {token}"))], b"");
    assert_eq!(look(issuer.token("rs256")).problem(403)["code"], "insufficient_scope", "intake, and no other");
    look(&key.text).problem(401);
}

#[test]
fn a_token_shows_the_dead_letters_of_its_tenant_alone() {
    let issuer = Issuer::new();
    let daemon = Place::with(&[]).and_all(issuer.env()).and("INGESTD_AUTH_READ", "jwt").start();
    let tokens = ["rs256", "other_tenant"].map(|name| format!("Bearer {}", issuer.token(name)));
    let letters = tokens.each_ref().map(|token| {
        let answer = post_as(&daemon, token, &serde_json::json!({"eventId": "e"})).with_status(400);
        answer["deadLetterId"].as_str().unwrap().to_owned()
    });
    for (own, token) in letters.iter().zip(&tokens) {
        let look = |path: &str| daemon.request("GET", path, &[("Authorization", token)], b"");
        let items = look("/dead-letters").with_status(200)["items"].take();
        assert_eq!((items.as_array().unwrap().len(), &items[0]["id"]), (1, &own.as_str().into()), "{items}");
        for id in &letters {
            assert_eq!(look(&format!("/dead-letters/{id}")).status == 200, id == own, "{id}");
        }
    }
}

#[test]
fn a_token_changes_the_dead_letters_of_its_tenant_alone() {
    let issuer = Issuer::new();
    let more = [("INGESTD_AUTH_READ", "jwt"), ("INGESTD_AUTH_MANAGE", "jwt")];
    let daemon = Place::with(&more).and_all(issuer.env()).start();
    let ask = |name: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {}", issuer.token(name));
        daemon.request(method, path, &[("Authorization", &bearer)], body.as_bytes())
    };
    let (shop, other) = ("managing_shop", "managing_other");
    let [own, foreign] = [shop, other].map(|name| {
        let letter = sent(&daemon, issuer.token(name), "").with_status(400);
        format!("/dead-letters/{}", letter["deadLetterId"].as_str().unwrap())
    });
    let mended = event("mended").to_string();
    for (method, path) in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/replay")] {
        ask(shop, method, &format!("{foreign}{path}"), &mended).problem(404);
        // Nor does one that may only look change its own.
        if method != "GET" {
            let answer = ask("rs256", method, &format!("{own}{path}"), &mended);
            assert_eq!(answer.problem(403)["code"], "insufficient_scope", "{method}");
        }
    }
    for (call, counted) in [("replay", "skipped"), ("purge", "purged")] {
        for filter in ["{\"tenant\":\"other\"}", "{\"tenant\":\"other\",\"state\":\"open\"}"] {
            let done = ask(shop, "POST", &format!("/dead-letters/{call}"), filter).with_status(200);
            assert_eq!((&done[counted], &done["nextCursor"]), (&0.into(), &serde_json::Value::Null), "{done}");
        }
    }
    let listed = ask(shop, "GET", "/dead-letters?tenant=other", "").with_status(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 0);
    // What is replayed is its tenant's.
    ask(shop, "PUT", &own, &mended).with_status(200);
    let done = ask(shop, "POST", "/dead-letters/replay", "{\"all\":true}").with_status(200);
    assert_eq!((&done["accepted"], &done["rejected"]), (&1.into(), &0.into()), "{done}");
    let again = |name: &str| sent(&daemon, issuer.token(name), "mended").with_status(202)["duplicate"] == true;
    assert!(again(shop) && !again(other));
    let purged = ask(shop, "POST", "/dead-letters/purge", "{\"all\":true}").with_status(200);
    assert_eq!(purged["purged"], 1);
    let letter = ask(other, "GET", &foreign, "").with_status(200);
    assert_eq!(
        (&letter["state"], &letter["tenant"], &letter["replay"]),
        (&"open".into(), &"other".into(), &serde_json::Value::Null)
    );
}

#[test]
fn what_a_token_changes_is_on_record_with_its_subject() {
    let issuer = Issuer::new();
    let daemon = Place::with(&[]).and_all(issuer.env()).and("INGESTD_AUTH_MANAGE", "jwt").start();
    let token = format!("Bearer {}", issuer.token("managing"));
    let answer = post_as(&daemon, &token, &serde_json::json!({"eventId": "e"})).with_status(400);
    let path = format!("/dead-letters/{}/replay", answer["deadLetterId"].as_str().unwrap());
    // Verified, and then remembered.
    for _ in 0..2 {
        daemon.request("POST", &path, &[("Authorization", &token)], b"").with_status(200);
    }
    let begun = recorded(&daemon, "dead_letter_replay").into_iter().filter(|entry| entry["outcome"] == "begun");
    let who: Vec<_> =
        begun.map(|entry| [&entry["details"]["tenant"], &entry["details"]["subject"]].map(Clone::clone)).collect();
    assert_eq!(who, [["shop", "anna@shop.test"], ["shop", "anna@shop.test"]]);
}

#[test]
fn a_websocket_ends_with_its_token() {
    let issuer = Issuer::new();
    let daemon = Place::with(&[]).and_all(issuer.env()).and("INGESTD_AUTH_LEEWAY_S", "0").start();
    let (mut socket, _token) = expiring(&issuer, &daemon);
    // Nothing is sent: the daemon notices by itself.
    assert_eq!(socket.close_code(), Some(1008));
}

#[test]
fn so_does_one_on_which_events_never_stop_and_none_passes_after() {
    let issuer = Issuer::new();
    let daemon = Place::with(&[]).and_all(issuer.env()).and("INGESTD_AUTH_LEEWAY_S", "0").start();
    let (mut socket, token) = expiring(&issuer, &daemon);
    let mut acked = 0;
    let end = loop {
        // It may have ended.
        socket.try_send_raw(&masked(TEXT, cart_event(&event(&format!("e-{acked}"))).as_bytes())).ok();
        let frame = socket.frame();
        if frame.opcode == CLOSE {
            break frame.payload;
        }
        acked += 1;
    };
    assert_eq!(end.first_chunk(), Some(&1008_u16.to_be_bytes()));
    assert_eq!(daemon.totals(), [acked, 0, 0, 0]);
    // Nor anywhere else, though it was verified before.
    let answer = sent(&daemon, &token, "never").problem(401);
    assert!(answer["detail"].as_str().unwrap().contains("expired"), "{answer}");
}

/// A WebSocket that was opened with a token, which ends soon.
#[track_caller]
fn expiring(issuer: &Issuer, daemon: &Daemon) -> (Socket, String) {
    // As long as it has to be for this machine to open it in time.
    let mut seconds = 2;
    loop {
        let token = issuer.expiring(seconds);
        let (answer, connection) = upgrade(daemon, &[("Authorization", &format!("Bearer {token}"))]);
        match answer.status {
            101 => return (Socket::over(connection), token),
            401 if seconds < 60 => seconds *= 2,
            _ => panic!("{answer:?}"),
        }
    }
}

#[test]
fn keys_are_taken_over_with_a_reload_and_a_bad_file_changes_nothing() {
    let issuer = Issuer::new();
    let daemon = daemon(&issuer);
    let mut socket = Socket::over(upgrade(&daemon, &[("X-API-Key", issuer.token("rs256"))]).1);
    let mut other = Socket::over(upgrade(&daemon, &[("X-API-Key", issuer.token("es256"))]).1);
    sent(&daemon, issuer.token("rs256"), "before").with_status(202);
    sent(&daemon, issuer.token("rotated"), "never").problem(401);

    issuer.replace("jwks.json", "twice.json");
    for what in ["check", "reload"] {
        let refused = daemon.admin(&["config", what]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && text.contains("jwks.json") && text.contains("stands twice"), "{text}");
    }
    sent(&daemon, issuer.token("rs256"), "still").with_status(202);

    issuer.replace("jwks.json", "rotated.json");
    let reloaded = daemon.admin(&["config", "reload"]);
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    sent(&daemon, issuer.token("rotated"), "rotated").with_status(202);
    // It was verified before, by a key that is no longer there.
    sent(&daemon, issuer.token("rs256"), "never").problem(401);
    assert_eq!(socket.close_code(), Some(1008));
    other.cart(&event("other"));
    other.message("event_ack");
}

#[test]
fn keys_that_change_are_noticed_and_a_hangup_reads_them_too() {
    let issuer = Issuer::new();
    let daemon = daemon(&issuer);
    let is_taken = |name: &str| sent(&daemon, issuer.token(name), name).status == 202;
    assert!(is_taken("rs256") && !is_taken("rotated"));
    std::fs::copy(issuer.file("jwks.json"), issuer.file("first.json")).unwrap();
    issuer.replace("jwks.json", "rotated.json");
    eventually("the new keys are noticed", || is_taken("rotated") && !is_taken("rs256"));
    issuer.replace("jwks.json", "twice.json");
    eventually("it says so", || daemon.log().contains("stay in use"));
    assert!(is_taken("rotated") && !is_taken("rs256"));
    issuer.replace("jwks.json", "first.json");
    daemon.signal(Signal::HUP);
    eventually("the first keys are back", || is_taken("rs256") && !is_taken("rotated"));
}

#[test]
fn keys_that_cannot_be_used_keep_the_daemon_from_starting_and_check_says_so() {
    let issuer = Issuer::new();
    std::fs::write(issuer.file("short"), "too short").unwrap();
    for (name, file, wanted) in [
        ("INGESTD_AUTH_JWKS_FILES", "twice.json", "stands twice"),
        ("INGESTD_AUTH_JWKS_FILES", "secret", "no JWKS"),
        ("INGESTD_AUTH_JWKS_FILES", "nowhere", "cannot read"),
        ("INGESTD_AUTH_HS256_SECRET_FILE", "short", "at least 32 bytes"),
    ] {
        let path = issuer.file(file).display().to_string();
        let place = Place::with(&[]).and_all(issuer.env()).and(name, &path);
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"]] {
            let output = place.command(arguments).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(&path) && text.contains(wanted), "{arguments:?}: {text}");
        }
    }
}
