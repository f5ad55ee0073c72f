//! What becomes of API keys: revoked, added under load, killed beside, damaged, and asked for anew.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use support::{ApiKey, Daemon, Place, Shim, Socket, event, events, eventually, post_as, request, tokens, upgrade};

/// Only who sends needs a key; WebSockets are pinged often.
const INTAKE: [(&str, &str); 2] = [("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_SERVER_PING_INTERVAL_S", "1")];

#[test]
fn a_revoked_key_ends_its_websockets_the_busy_and_the_idle() {
    let daemon = Daemon::with(&INTAKE);
    let (gone, stays) = (ApiKey::add(&daemon, "shop", "intake"), ApiKey::add(&daemon, "shop", "intake"));
    let open = |key: &ApiKey| Socket::over(upgrade(&daemon, &[("X-API-Key", &key.text)]).1);
    let (mut busy, mut idle, mut other) = (open(&gone), open(&gone), open(&stays));
    busy.cart(&event("before"));
    busy.message("event_ack");
    gone.revoke(&daemon);
    busy.cart(&event("after"));
    assert_eq!(busy.close_code(), Some(1008));
    // With the next ping.
    assert_eq!(idle.close_code(), Some(1008));
    other.cart(&event("other"));
    other.message("event_ack");
    assert_eq!(daemon.totals(), [2, 0, 0, 0]);
    let answer = post_as(&daemon, &gone.bearer(), &event("late"));
    assert_eq!(answer.problem(401)["code"], "invalid_token");
}

#[test]
fn a_key_that_is_revoked_while_a_body_is_on_its_way_stores_nothing() {
    let daemon = Daemon::with(&[("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_AUTH_MANAGE", "key")]);
    let batch = format!("[{}]", event("e"));
    for (method, path, body) in [
        ("POST", "/events", event("e").to_string()),
        ("POST", "/events/batch", batch),
        ("PUT", "/dead-letters/7", event("e").to_string()),
    ] {
        let key = ApiKey::add(&daemon, "shop", "intake,manage");
        let (bearer, length) = (key.bearer(), body.len().to_string());
        let headers = [("Authorization", &*bearer), ("Content-Length", &length), ("Expect", "100-continue")];
        let mut connection = daemon.connect();
        connection.send(request(method, path, &headers, b""));
        // It was let in: its body is asked for.
        assert_eq!(connection.answer().status, 100);
        key.revoke(&daemon);
        connection.send(body);
        assert_eq!(connection.answer().problem(401)["code"], "invalid_token", "{path}");
    }
    assert_eq!(daemon.totals(), [0, 0, 0, 0]);
}

#[test]
fn a_key_that_is_revoked_while_its_websocket_is_slowed_stores_nothing_more() {
    let limited = [("INGESTD_RATE_LIMITS_KEY_EVENTS_PER_S", "1"), ("INGESTD_RATE_LIMITS_BURST_S", "4")];
    let daemon = Daemon::with(&[&INTAKE[..], &limited].concat());
    let key = ApiKey::add(&daemon, "shop", "intake");
    let mut socket = Socket::over(upgrade(&daemon, &[("X-API-Key", &key.text)]).1);
    socket.cart(&serde_json::Value::from(events("first", 4)));
    for _ in 0..4 {
        socket.message("event_ack");
    }
    socket.cart(&serde_json::Value::from(events("second", 4)));
    eventually("it waits", || daemon.metric("ingestd_websocket_slowed_total") >= 1.0);
    key.revoke(&daemon);
    for _ in 0..4 {
        assert_eq!(socket.message("event_error")["code"], "rate_limited");
    }
    assert_eq!(socket.close_code(), Some(1008));
    assert_eq!(daemon.totals(), [4, 0, 0, 4]);
}

#[test]
fn what_was_answered_about_a_key_survives_a_kill() {
    let mut place = Place::with(&INTAKE);
    let mut kept = Vec::<ApiKey>::new();
    let mut revoked = Vec::<ApiKey>::new();
    for round in 0..8 {
        let daemon = place.start();
        for key in &kept {
            post_as(&daemon, &key.bearer(), &event(&format!("{round}-{}", key.id))).with_status(202);
        }
        for key in &revoked {
            post_as(&daemon, &key.bearer(), &event("never")).problem(401);
        }
        if round % 2 == 0 {
            kept.extend([ApiKey::add(&daemon, "shop", "intake"), ApiKey::add(&daemon, "shop", "intake")]);
        } else {
            let key = kept.remove(0);
            key.revoke(&daemon);
            revoked.push(key);
        }
        place = daemon.kill();
    }
    let listed = tokens(&place.start(), &["list"]);
    let states = listed.as_array().unwrap().iter().filter(|key| key["state"] == "revoked").count();
    assert_eq!((listed.as_array().unwrap().len(), states), (8, 4), "{listed}");
}

/// A place whose file of keys hangs as long as the shim is armed.
fn hanging(shim: &Shim) -> Place {
    Place::with(&INTAKE).and_all(shim.strikes("fsync", "*/keys.new")).and("FAULT_HANG", "1")
}

#[test]
fn keys_are_refused_while_another_change_of_keys_hangs_in_the_disk() {
    let shim = Shim::compiled();
    let daemon = hanging(&shim).start();
    let [first, second] = [(), ()].map(|()| ApiKey::add(&daemon, "shop", "intake"));
    let begin = |arguments: &[&str]| {
        let mut command = daemon.place().command(&[&["admin", "tokens"], arguments].concat());
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    shim.arm();
    let mut asked = vec![begin(&["add", "--tenant", "shop", "--scope", "intake"])];
    for key in [&first, &second] {
        asked.push(begin(&["revoke", &key.id]));
        eventually("it is refused", || post_as(&daemon, &key.bearer(), &event("e")).status == 401);
    }
    shim.disarm();
    for mut command in asked {
        assert!(command.wait().unwrap().success());
    }
    // None of them has undone another, in memory or on disk.
    let assert_kept = |daemon: &Daemon| {
        let states: Vec<_> =
            tokens(daemon, &["list"]).as_array().unwrap().iter().map(|key| key["state"].clone()).collect();
        assert_eq!(states, ["revoked", "revoked", "active"]);
        for key in [&first, &second] {
            post_as(daemon, &key.bearer(), &event("e")).problem(401);
        }
    };
    assert_kept(&daemon);
    assert_kept(&daemon.kill().start());
}

#[test]
fn keys_that_hang_in_the_disk_hold_no_stop_up() {
    let shim = Shim::compiled();
    let mut daemon = hanging(&shim).start();
    let key = ApiKey::add(&daemon, "shop", "intake");
    shim.arm();
    let mut revoke = daemon.place().command(&["admin", "tokens", "revoke", &key.id]);
    let mut revoke = revoke.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it is refused", || post_as(&daemon, &key.bearer(), &event("e")).status == 401);
    daemon.term();
    assert!(daemon.exit().success());
    assert!(!revoke.wait().unwrap().success(), "nobody has confirmed it");
    assert!(daemon.log().contains("the API keys are not written down"), "{}", daemon.log());
}

#[test]
fn a_revocation_that_could_not_be_written_is_written_later() {
    let daemon = Daemon::with(&INTAKE);
    let key = ApiKey::add(&daemon, "shop", "intake");
    // In the way of the temporary file, as a disk that is full.
    let in_the_way = daemon.data().join("keys.new");
    std::fs::create_dir_all(in_the_way.join("folder")).unwrap();
    let refused = daemon.admin(&["tokens", "revoke", &key.id]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("goes on trying"), "{said}");
    eventually("it is said", || daemon.log().contains("revoked API keys are not written down yet"));
    std::fs::remove_dir_all(&in_the_way).unwrap();
    eventually("it is written", || daemon.log().contains("revoked API keys are written down"));
    post_as(&daemon.kill().start(), &key.bearer(), &event("e")).problem(401);
}

#[test]
fn keys_come_and_go_under_load_and_take_effect_at_once() {
    let daemon = Daemon::with(&INTAKE);
    let steady = ApiKey::add(&daemon, "shop", "intake");
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (daemon, steady, stop, answered) = (&daemon, &steady, &stop, &answered);
            scope.spawn(move || {
                let (mut connection, bearer) = (daemon.connect(), steady.bearer());
                for number in 0.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let body = event(&format!("{client}-{number}")).to_string();
                    connection.post("/events", &[("Authorization", &bearer)], body.as_bytes()).with_status(202);
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        // Whatever happens in here, the clients are to end.
        let changing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..20 {
                let before = answered.load(SeqCst);
                let key = ApiKey::add(&daemon, "shop", "intake");
                // On every acceptor: each connection may land on another one.
                for connection in 0..4 {
                    post_as(&daemon, &key.bearer(), &event(&format!("r{round}-{connection}"))).with_status(202);
                }
                key.revoke(&daemon);
                for _ in 0..4 {
                    post_as(&daemon, &key.bearer(), &event("never")).problem(401);
                }
                eventually("the others go on", || answered.load(SeqCst) > before);
            }
        }));
        stop.store(true, SeqCst);
        if let Err(panic) = changing {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(daemon.totals(), [answered.load(SeqCst) as u64 + 80, 0, 0, 0]);
}

#[test]
fn damaged_keys_keep_the_daemon_from_starting_and_none_lets_nobody_in() {
    let daemon = Daemon::with(&INTAKE);
    let key = ApiKey::add(&daemon, "shop", "intake");
    let place = daemon.stop();
    let file = place.data().join("keys.jsonl");
    let good = std::fs::read_to_string(&file).unwrap();
    for bad in ["", &good[..good.len() / 2], &good.replace("\"revoked_us\":null", "\"revoked_us\":1"), "\u{0}"] {
        std::fs::write(&file, bad).unwrap();
        let output = place.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("keys.jsonl") && text.contains("damaged") && text.contains("put back"), "{text}");
        let checked = place.command(&["check"]).output().unwrap();
        assert!(!checked.status.success(), "{checked:?}");
    }
    std::fs::write(&file, &good).unwrap();
    let daemon = place.start();
    post_as(&daemon, &key.bearer(), &event("e")).with_status(202);
    let place = daemon.stop();
    std::fs::remove_file(&file).unwrap();
    post_as(&place.start(), &key.bearer(), &event("e")).problem(401);
}

#[test]
fn what_is_asked_for_changes_with_a_reload_also_for_those_who_are_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let write = |intake: &str| {
        let text = format!("[server]\nping_interval_s = 1\n[auth]\nintake = \"{intake}\"\n");
        std::fs::write(&path, text).unwrap();
    };
    write("none");
    let daemon = Daemon::with(&[("INGESTD_CONFIG", path.to_str().unwrap())]);
    let key = ApiKey::add(&daemon, "shop", "intake");
    let (mut plain, mut nobody) = (daemon.connect(), Socket::open(&daemon));
    plain.post("/events", &[], event("nobody").to_string().as_bytes()).with_status(202);
    write("key");
    assert!(daemon.admin(&["config", "reload"]).status.success());
    plain.post("/events", &[], event("nobody").to_string().as_bytes()).problem(401);
    assert_eq!(nobody.close_code(), Some(1008));
    post_as(&daemon, &key.bearer(), &event("nobody")).with_status(202);
    write("none");
    assert!(daemon.admin(&["config", "reload"]).status.success());
    assert_eq!(daemon.post("/events", event("nobody").to_string()).with_status(202)["duplicate"], true);
    assert_eq!(daemon.totals(), [2, 1, 0, 0], "the key's tenant is another one");
}
