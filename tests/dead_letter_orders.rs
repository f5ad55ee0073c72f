//! Orders about dead letters: who may give them, about whose, when it is their turn, and what of them is on record.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
#[path = "support/letters.rs"]
mod letters;
#[cfg(test)]
mod support;

use asked::{Talk, outcomes, recorded};
use hyper::http::Request;
use letters::{admin, bad, ids, list, printed, put, reject, show};
use serde_json::{Value, json};
use std::io::Write;
use support::{Answer, ApiKey, Connection, Daemon, Place, Shim, event, eventually, post_as, request};

/// A daemon with one acceptor, under a shim that makes reads of its tables hang, and letters that are read from there.
fn with_letters_on_disk(shim: &Shim) -> (Daemon, [String; 4]) {
    let place = Place::with(&[("INGESTD_SERVER_ACCEPTORS", "1")]).and_all(shim.strikes("pread", "*/data/log/*.sst"));
    let struck = shim.file("struck");
    let daemon = place.and("FAULT_HANG", "1").and("FAULT_LOG", struck.to_str().unwrap()).start();
    let letters = ["e-1", "e-2", "e-3", "e-4"].map(|id| reject(&daemon, bad(id)));
    // Each fills a block of its own, in a table from the checkpoint on; the letters share one, which is read already.
    letters.iter().for_each(|id| drop(put(&daemon, id, &"x".repeat(100 << 10)).with_status(200)));
    daemon.checkpoint();
    show(&daemon, &letters[3]);
    (daemon, letters)
}

/// How often the shim has struck.
fn strikes(shim: &Shim) -> usize {
    std::fs::read_to_string(shim.file("struck")).map_or(0, |lines| lines.lines().count())
}

#[test]
fn a_disk_that_hangs_under_a_letter_holds_up_no_connection() {
    let shim = Shim::compiled();
    let (daemon, letters) = with_letters_on_disk(&shim);
    for (method, path) in [
        ("PUT", format!("/dead-letters/{}", letters[0])),
        ("POST", format!("/dead-letters/{}/replay", letters[1])),
        ("DELETE", format!("/dead-letters/{}", letters[2])),
    ] {
        let before = strikes(&shim);
        shim.arm();
        let mut waiting = daemon.connect();
        waiting.send(request(method, &path, &[], b"{}"));
        eventually("the disk hangs", || strikes(&shim) > before);
        assert_eq!(daemon.get("/health/live").status, 200, "{method}");
        assert!(!waiting.is_answered(), "{method}");
        shim.disarm();
        assert!(waiting.answer().status < 500, "{method}");
    }
}

#[test]
fn letters_that_are_read_hold_up_no_body_that_is_unpacked() {
    let shim = Shim::compiled();
    let (daemon, letters) = with_letters_on_disk(&shim);
    // Packed it is large enough to be unpacked aside.
    let mut state = 1_u32;
    let letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    let mut large = event("large");
    large["data"]["text"] = std::iter::repeat_with(letter).take(150_000).collect::<String>().into();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(large.to_string().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() > 64 << 10, "{}", packed.len());
    shim.arm();
    let before = strikes(&shim);
    let mut readers: Vec<_> = letters[..3].iter().map(|id| (id, daemon.connect())).collect();
    for (id, reader) in &mut readers {
        reader.send(request("GET", &format!("/dead-letters/{id}"), &[], b""));
    }
    eventually("letters are read", || strikes(&shim) > before);
    daemon.request("POST", "/events", &[("Content-Encoding", "gzip")], &packed).with_status(202);
    assert!(readers.iter().all(|(_, reader)| !reader.is_answered()));
    shim.disarm();
    for (id, mut reader) in readers {
        assert_eq!(reader.answer().with_status(200)["id"], id.as_str());
    }
}

/// Has somebody order the edit of a letter over HTTP/2, where the daemon sees its client go, and leave once it is begun.
fn edit_and_leave(daemon: &Daemon, id: &str, edit: &str) {
    let begun = recorded(daemon, "dead_letter_edit").len();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(daemon.address).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut requests = requests.ready().await.unwrap();
        let head = Request::put(format!("http://localhost/dead-letters/{id}")).body(()).unwrap();
        let (answer, mut body) = requests.send_request(head, false).unwrap();
        body.send_data(edit.to_owned().into(), true).unwrap();
        (requests, answer)
    });
    eventually("it is begun", || recorded(daemon, "dead_letter_edit").len() > begun);
    drop((runtime, asked));
}

#[test]
fn an_order_outlives_its_asker_and_the_acceptor_that_took_it() {
    let shim = Shim::compiled();
    let daemon = with_a_log_that_hangs(&shim, &[("INGESTD_SERVER_ACCEPTORS", "1")]);
    let letters = ["e-1", "e-2"].map(|id| reject(&daemon, bad(id)));
    shim.arm();
    edit_and_leave(&daemon, &letters[0], "{\"first\":1}");
    assert_eq!(outcomes(&recorded(&daemon, "dead_letter_edit")), ["begun"]);
    shim.disarm();
    eventually("it is done", || outcomes(&recorded(&daemon, "dead_letter_edit")) == ["begun", "done"]);
    assert_eq!(show(&daemon, &letters[0])["edited"], "{\"first\":1}");
    shim.arm();
    edit_and_leave(&daemon, &letters[1], "{\"second\":2}");
    daemon.term();
    let threads = format!("/proc/{}/task", daemon.pid());
    eventually("its acceptor has ended", || {
        let threads = std::fs::read_dir(&threads).unwrap().filter_map(|thread| Some(thread.ok()?.path().join("comm")));
        threads.filter_map(|name| std::fs::read_to_string(name).ok()).all(|name| !name.starts_with("accept"))
    });
    shim.disarm();
    let daemon = daemon.drained().start();
    let entries = recorded(&daemon, "dead_letter_edit");
    assert_eq!(outcomes(&entries), ["begun", "done", "begun", "done"]);
    assert_eq!(entries[3]["of"], entries[2]["seq"]);
    assert_eq!(show(&daemon, &letters[1])["edited"], "{\"second\":2}");
}

/// A daemon under a shim that makes its log hang.
fn with_a_log_that_hangs(shim: &Shim, env: &[(&str, &str)]) -> Daemon {
    let place = Place::with(env).and_all(shim.strikes("fdatasync", "*/data/log/*.log"));
    place.and("FAULT_HANG", "1").start()
}

/// Sends an order and does not wait for its answer.
fn sent(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Connection {
    let mut connection = daemon.connect();
    connection.send(request(method, path, headers, body.as_bytes()));
    connection
}

#[test]
fn an_order_whose_turn_does_not_come_is_refused_and_nothing_is_done() {
    let shim = Shim::compiled();
    let daemon = with_a_log_that_hangs(&shim, &[("INGESTD_SERVER_REQUEST_TIMEOUT_S", "1")]);
    let letters = ["e-1", "e-2", "e-3"].map(|id| reject(&daemon, bad(id)));
    let [first, second, third] = letters.each_ref().map(|id| format!("/dead-letters/{id}"));
    shim.arm();
    let mut has_it = sent(&daemon, "PUT", &first, &[], "{\"first\":1}");
    eventually("it is its turn", || outcomes(&recorded(&daemon, "dead_letter_edit")) == ["begun"]);
    let waiting = [
        ("PUT", second.as_str(), "{}"),
        ("DELETE", third.as_str(), ""),
        ("POST", "/dead-letters/purge", "{\"all\":true}"),
    ]
    .map(|(method, path, body)| sent(&daemon, method, path, &[], body));
    for mut connection in waiting {
        let answer = connection.answer();
        let problem = answer.problem(503);
        assert!(problem["detail"].as_str().unwrap().contains("nothing was done"), "{problem}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    let late = admin(&daemon, &["purge", &letters[2]], "");
    assert!(String::from_utf8_lossy(&late.stderr).contains("nothing was done"), "{late:?}");
    assert!(!has_it.is_answered(), "whose turn it is may take longer");
    shim.disarm();
    assert_eq!(has_it.answer().with_status(200)["edited"], "{\"first\":1}");
    assert_eq!(ids(&list(&daemon, "?state=open")), letters[1..]);
}

#[test]
fn an_order_whose_key_is_revoked_before_its_turn_is_not_carried_out() {
    let shim = Shim::compiled();
    let groups = ["INGESTD_AUTH_INTAKE", "INGESTD_AUTH_READ", "INGESTD_AUTH_MANAGE"];
    let daemon = with_a_log_that_hangs(&shim, &groups.map(|group| (group, "key")));
    let [one, two] = ["one", "one"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,read,manage"));
    let letters = ["e-1", "e-2"].map(|id| reject_as(&daemon, &one, id));
    let edit = |key: &ApiKey, id: &str| {
        sent(&daemon, "PUT", &format!("/dead-letters/{id}"), &[("X-API-Key", &key.text)], "{\"edit\":1}")
    };
    shim.arm();
    let mut first = edit(&one, &letters[0]);
    eventually("it is its turn", || !recorded(&daemon, "dead_letter_edit").is_empty());
    let mut second = edit(&two, &letters[1]);
    let mut talk = Talk::with(&daemon);
    eventually("the other one waits", || {
        talk.say(r#"{"command": "figures"}"#)["result"]["intake"]["requests"]["used"] == 2
    });
    two.revoke(&daemon);
    shim.disarm();
    first.answer().with_status(200);
    assert_eq!(second.answer().problem(401)["code"], "invalid_token");
    let open = ask_as(&daemon, &one, "GET", "?state=open", "").with_status(200);
    assert_eq!(ids(&open), [letters[1].as_str()]);
}

#[test]
fn pages_and_proxies_are_kept_out() {
    let daemon = Daemon::start();
    let id = reject(&daemon, bad("e-1"));
    for (header, value) in [
        ("Origin", "http://example.org"),
        ("Sec-Fetch-Site", "same-origin"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Forwarded-Proto", "http"),
        ("Forwarded", "for=192.0.2.1"),
        ("X-Real-IP", "192.0.2.1"),
        ("Via", "1.1 balancer"),
        // A page whose site's name was pointed here.
        ("Host", "shop.example:3001"),
        ("Host", "localhost.shop.example"),
    ] {
        for (method, path) in [("GET", "/dead-letters".to_owned()), ("POST", format!("/dead-letters/{id}/replay"))] {
            let problem = daemon.request(method, &path, &[(header, value)], b"").problem(403);
            assert!(problem["detail"].as_str().unwrap().contains("`ingestd admin dead-letters`"), "{problem}");
        }
    }
    // Proxies that are as they came.
    for head in ["GET /dead-letters HTTP/1.0\r\nHost: 127.0.0.1", "GET /dead-letters HTTP/1.0"] {
        let mut connection = daemon.connect();
        connection.send(format!("{head}\r\n\r\n"));
        connection.answer().problem(403);
    }
    let mut connection = daemon.connect();
    connection.send("GET http://shop.example/dead-letters HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.answer().problem(403);
    assert_eq!(show(&daemon, &id)["state"], "open");
    for host in ["127.0.0.1:3001", "[::1]:3001", "LOCALHOST"] {
        daemon.request("GET", "/dead-letters", &[("Host", host), ("Sec-Fetch-Site", "none")], b"").with_status(200);
    }
}

#[test]
fn a_trusted_proxy_on_this_machine_is_kept_out_whatever_it_says() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_TRUSTED_PROXIES", "127.0.0.1")]);
    daemon.get("/dead-letters").problem(403);
    // Whoever can be asked who he is needs not be here.
    let daemon = Daemon::with(&[("INGESTD_AUTH_READ", "key"), ("INGESTD_SERVER_TRUSTED_PROXIES", "127.0.0.1")]);
    let key = ApiKey::add(&daemon, "default", "read").bearer();
    let headers = [("Authorization", key.as_str()), ("X-Forwarded-For", "192.0.2.1"), ("Host", "shop.example")];
    daemon.request("GET", "/dead-letters", &headers, b"").with_status(200);
}

/// A daemon that asks everybody who he is.
fn guarded() -> Daemon {
    let groups = ["INGESTD_AUTH_INTAKE", "INGESTD_AUTH_READ", "INGESTD_AUTH_MANAGE"];
    Daemon::with(&groups.map(|group| (group, "key")))
}

#[track_caller]
fn reject_as(daemon: &Daemon, key: &ApiKey, id: &str) -> String {
    let headers = [("X-API-Key", key.text.as_str())];
    let body = daemon.request("POST", "/events", &headers, bad(id).as_bytes()).with_status(400);
    body["deadLetterId"].as_str().unwrap().to_owned()
}

fn ask_as(daemon: &Daemon, key: &ApiKey, method: &str, path: &str, body: impl ToString) -> Answer {
    let headers = [("X-API-Key", key.text.as_str())];
    daemon.request(method, &format!("/dead-letters{path}"), &headers, body.to_string().as_bytes())
}

#[test]
fn a_tenant_has_no_letters_but_its_own() {
    let daemon = guarded();
    let [one, two] = ["one", "two"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,read,manage"));
    let (own, foreign) = (reject_as(&daemon, &one, "e-1"), reject_as(&daemon, &two, "e-1"));
    let list = |query: &str| ids(&ask_as(&daemon, &one, "GET", query, "").with_status(200));
    for query in ["", "?tenant=one", "?code=unknown_event_type", "?state=open"] {
        assert_eq!(list(query), std::slice::from_ref(&own), "{query}");
    }
    assert_eq!(list("?tenant=two"), Vec::<String>::new());
    assert_eq!(ask_as(&daemon, &one, "GET", &format!("/{own}"), "").with_status(200)["raw"], bad("e-1"));
    // Another tenant's is as one that never was.
    for (method, what) in [("GET", ""), ("PUT", ""), ("POST", "/replay"), ("DELETE", "")] {
        let told = |id: &str| {
            let problem = ask_as(&daemon, &one, method, &format!("/{id}{what}"), "{}").problem(404);
            problem["detail"].as_str().unwrap().replace(id, "ID")
        };
        assert_eq!(told(&foreign), told("999"), "{method} {what}");
    }
    for (filter, touched) in [(json!({"all": true}), 1), (json!({"state": "open"}), 1), (json!({"tenant": "two"}), 0)] {
        let replayed = ask_as(&daemon, &one, "POST", "/replay", &filter).with_status(200);
        let results = replayed["results"].as_array().unwrap();
        assert!(results.len() == touched && results.iter().all(|result| result["id"] == *own), "{filter}: {replayed}");
    }
    let purge = |filter: Value| ask_as(&daemon, &one, "POST", "/purge", filter).with_status(200);
    // Before a sink has told its place nobody knows what it still has to get.
    eventually("its own is purged", || purge(json!({"all": true}))["purged"] == 1);
    for filter in [json!({"all": true}), json!({"tenant": "two"})] {
        let purged = purge(filter);
        assert_eq!((&purged["purged"], &purged["kept"]), (&0.into(), &json!([])));
    }
    let shown = ask_as(&daemon, &two, "GET", &format!("/{foreign}"), "").with_status(200);
    assert_eq!((&shown["state"], &shown["replay"], &shown["edited"]), (&"open".into(), &Value::Null, &Value::Null));
    assert_eq!(ids(&ask_as(&daemon, &two, "GET", "", "").with_status(200)), std::slice::from_ref(&foreign));
    // The operator's reach is everything.
    let all = printed(&admin(&daemon, &["list", "--tenant", "two", "--json"], ""));
    assert_eq!(ids(&serde_json::from_str(&all).unwrap()), [foreign]);
}

#[test]
fn a_tenants_list_goes_on_at_its_own_letters_and_tells_nothing_of_others() {
    let daemon = guarded();
    let [one, two] = ["one", "two"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,read,manage"));
    let first = reject_as(&daemon, &one, "e-1");
    reject_as(&daemon, &two, "f-1");
    let second = reject_as(&daemon, &one, "e-2");
    let page = |cursor: &Value| {
        let query = cursor.as_str().map(|cursor| format!("?limit=1&cursor={cursor}"));
        ask_as(&daemon, &one, "GET", &query.unwrap_or("?limit=1".into()), "").with_status(200)
    };
    let beginning = page(&Value::Null);
    assert_eq!((ids(&beginning), &beginning["nextCursor"]), (vec![first], &json!(second)));
    // More of others than one call looks through.
    let mut large: Value = serde_json::from_str(&bad("large")).unwrap();
    large["data"]["text"] = "x".repeat(250_000).into();
    let mut connection = daemon.connect();
    for _ in 0..140 {
        let answer = connection.post("/events", &[("X-API-Key", &two.text)], large.to_string().as_bytes());
        assert!(answer.with_status(400)["deadLetterId"].is_string());
    }
    let rest = page(&json!(second));
    let cursor = rest["nextCursor"].as_str().unwrap();
    assert_eq!((ids(&rest), cursor.parse::<u64>().is_ok()), (vec![second], false), "{cursor}");
    let end = page(&rest["nextCursor"]);
    assert_eq!((ids(&end), &end["nextCursor"]), (vec![], &Value::Null), "others' letters lie behind");
    ask_as(&daemon, &two, "GET", &format!("?cursor={cursor}"), "").problem(400);
    for (action, changed) in [("purge", "purged"), ("replay", "accepted")] {
        let filter = json!({"all": true, "cursor": cursor});
        let done = ask_as(&daemon, &one, "POST", &format!("/{action}"), filter).with_status(200);
        assert_eq!((&done[changed], &done["nextCursor"]), (&0.into(), &Value::Null));
    }
}

#[test]
fn an_edit_moves_no_letter_into_another_tenant() {
    let daemon = guarded();
    let [one, two] = ["one", "two"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,read,manage"));
    let id = reject_as(&daemon, &one, "e-1");
    let mut mended = event("e-1");
    for name in ["tenant", "tenantId", "organizationId"] {
        (mended[name], mended["data"][name]) = ("two".into(), "two".into());
    }
    let edited = ask_as(&daemon, &one, "PUT", &format!("/{id}"), &mended).with_status(200);
    assert_eq!(edited["tenant"], "one");
    ask_as(&daemon, &two, "GET", &format!("/{id}"), "").problem(404);
    let done = ask_as(&daemon, &one, "POST", &format!("/{id}/replay"), "").with_status(200);
    assert_eq!(done["status"], "accepted", "{done}");
    for (key, duplicate) in [(&one, json!(true)), (&two, Value::Null)] {
        assert_eq!(post_as(&daemon, &key.bearer(), &mended).with_status(202)["duplicate"], duplicate);
    }
}

#[test]
fn what_is_changed_is_on_record_with_the_key_of_whoever_changed_it() {
    let daemon = guarded();
    let [one, two] = ["one", "one"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,manage"));
    let id = reject_as(&daemon, &one, "e-1");
    ask_as(&daemon, &one, "PUT", &format!("/{id}"), event("e-1")).with_status(200);
    ask_as(&daemon, &two, "POST", "/replay", json!({"all": true})).with_status(200);
    for (action, key) in [("dead_letter_edit", &one), ("dead_letters_replay", &two)] {
        let entries = recorded(&daemon, action);
        assert_eq!(outcomes(&entries), ["begun", "done"]);
        let details = &entries[0]["details"];
        let who = [&details["key"], &details["tenant"], &details["address"]];
        assert_eq!(who, [&json!(key.id), &json!("one"), &json!("127.0.0.1")]);
        assert!(!entries[0].to_string().contains(&key.text), "a credential is on record");
    }
}

#[test]
fn orders_that_change_nothing_wash_nothing_out_of_the_audit_log() {
    let groups = ["INGESTD_AUTH_INTAKE", "INGESTD_AUTH_READ", "INGESTD_AUTH_MANAGE"].map(|group| (group, "key"));
    let small = [("INGESTD_AUDIT_FILE_BYTES_MAX", "65536"), ("INGESTD_AUDIT_FILES_MAX", "2")];
    let daemon = Daemon::with(&[groups.as_slice(), &small].concat());
    let [one, two] = ["one", "two"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,read,manage"));
    let id = reject_as(&daemon, &one, "e-1");
    ask_as(&daemon, &one, "PUT", &format!("/{id}"), "{}").with_status(200);
    // One entry of each is more than the log keeps.
    const ORDERS: u64 = 600;
    let mut connection = daemon.connect();
    for number in 0..ORDERS {
        let (method, path, body) = match number % 3 {
            0 => ("DELETE", "/dead-letters/999", ""),
            1 => ("POST", "/dead-letters/999/replay", ""),
            _ => ("POST", "/dead-letters/purge", "{\"code\":\"nothing\"}"),
        };
        connection.send(request(method, path, &[("X-API-Key", &two.text)], body.as_bytes()));
        assert!(matches!(connection.answer().status, 404 | 200));
    }
    let actions = ["dead_letter_purge", "dead_letter_replay", "dead_letters_purge"];
    let entries = |daemon: &Daemon| actions.iter().flat_map(|action| recorded(daemon, action)).collect::<Vec<_>>();
    let alone = entries(&daemon);
    assert!((10..30).contains(&alone.len()), "{}", alone.len());
    for entry in &alone {
        assert_eq!((&entry["of"], &entry["details"]["key"]), (&Value::Null, &json!(two.id)));
        assert!(entry["outcome"] == "failed" || entry["details"]["purged"] == 0, "{entry}");
    }
    // What does change something is told as ever, by whomever, and each time.
    let own = reject_as(&daemon, &two, "e-2");
    ask_as(&daemon, &two, "PUT", &format!("/{own}"), "{}").with_status(200);
    ask_as(&daemon, &two, "PUT", &format!("/{own}"), "{}").with_status(200);
    let daemon = daemon.stop().start();
    let edits = recorded(&daemon, "dead_letter_edit");
    assert_eq!(outcomes(&edits), ["begun", "done"].repeat(3));
    let verdict = asked::json_of(&daemon, &["audit-log", "--verify"]);
    assert_eq!((&verdict["first"], &verdict["droppedUntil"]), (&1.into(), &Value::Null), "{verdict}");
    // The others are counted.
    let told = entries(&daemon);
    let summed: Vec<_> = told.iter().filter(|entry| entry["details"]["more"].is_u64()).collect();
    let more: u64 = summed.iter().map(|entry| entry["details"]["more"].as_u64().unwrap()).sum();
    assert_eq!((summed.len(), more + alone.len() as u64), (3, ORDERS));
    for entry in summed {
        assert_eq!((&entry["details"]["key"], &entry["target"]), (&json!(two.id), &Value::Null));
        assert!(entry["details"]["since"].as_str() < entry["details"]["until"].as_str(), "{entry}");
    }
}

#[test]
fn where_nobody_is_asked_who_he_is_this_machine_sees_all_tenants() {
    let daemon = Daemon::with(&[("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_AUTH_MANAGE", "key")]);
    let keys = ["one", "two"].map(|tenant| ApiKey::add(&daemon, tenant, "intake,manage"));
    let letters = keys.each_ref().map(|key| reject_as(&daemon, key, "e-1"));
    assert_eq!(ids(&list(&daemon, "")), letters);
    assert_eq!(ids(&list(&daemon, "?tenant=two")), &letters[1..]);
    assert_eq!(show(&daemon, &letters[1])["tenant"], "two");
    // Changing is asked about here, and looking is not.
    ask_as(&daemon, &keys[0], "POST", &format!("/{}/replay", letters[1]), "").problem(404);
    assert_eq!(show(&daemon, &letters[1])["replay"], Value::Null);
}
