//! Dead letters in an operator's hands: found, mended, replayed, purged; each replay stored once, whatever is killed.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::{Talk, outcomes, recorded};
use hyper::http::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use support::{Answer, ApiKey, Connection, Daemon, Place, Shim, event, eventually, post_as, request, shape};

/// Posts something that is rejected; the id of its dead letter.
#[track_caller]
fn reject(daemon: &Daemon, body: impl AsRef<[u8]>) -> String {
    let body = daemon.post("/events", body).with_status(400);
    body["deadLetterId"].as_str().unwrap().to_owned()
}

/// An event whose type nobody knows.
fn bad(id: &str) -> String {
    let mut event = event(id);
    event["eventType"] = "cart_eaten".into();
    event.to_string()
}

#[track_caller]
fn put(daemon: &Daemon, id: &str, body: &str) -> Answer {
    daemon.request("PUT", &format!("/dead-letters/{id}"), &[], body.as_bytes())
}

#[track_caller]
fn replay(daemon: &Daemon, id: &str) -> Value {
    daemon.post(&format!("/dead-letters/{id}/replay"), "").with_status(200)
}

#[track_caller]
fn show(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/dead-letters/{id}")).with_status(200)
}

#[track_caller]
fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn list(daemon: &Daemon, query: &str) -> Value {
    daemon.get(&format!("/dead-letters{query}")).with_status(200)
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `ingestd admin dead-letters` with these arguments and this input.
fn admin(daemon: &Daemon, arguments: &[&str], input: &str) -> Output {
    let mut command = daemon.place().command(&[&["admin", "dead-letters"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_letter_tells_all_that_is_known_of_it_and_its_bytes_only_where_they_are_asked_for() {
    let daemon = Daemon::start();
    let id = reject(&daemon, bad("e-1"));
    let page = list(&daemon, "");
    assert_eq!(shape(&page), ["items", "nextCursor"]);
    let names = [
        "bytes",
        "code",
        "committedAt",
        "detail",
        "eventId",
        "id",
        "pointer",
        "receivedAt",
        "replay",
        "seq",
        "sink",
        "source",
        "state",
        "tenant",
    ];
    let item = &page["items"][0];
    assert_eq!(shape(item), names);
    assert_eq!((&item["id"], &item["state"]), (&id.as_str().into(), &"open".into()));
    assert_eq!((&item["code"], &item["pointer"]), (&"unknown_event_type".into(), &"/eventType".into()));
    assert_eq!((&item["eventId"], &item["tenant"], &item["sink"]), (&"e-1".into(), &"default".into(), &Value::Null));
    assert!(!page.to_string().contains("cart_eaten"), "no payload in lists");
    assert_eq!(show(&daemon, &id)["raw"], bad("e-1"));
    assert_eq!(daemon.get(&format!("/v1/dead-letters/{id}")).with_status(200)["raw"], bad("e-1"));
    let binary = reject(&daemon, b"\xff\xfe");
    let shown = show(&daemon, &binary);
    assert_eq!((&shown["rawBase64"], &shown["raw"]), (&"//4=".into(), &Value::Null));
    let daemon = daemon.stop().start();
    assert_eq!(ids(&list(&daemon, "")), [id, binary]);
    assert!(!daemon.log().contains("cart_eaten"), "no payload in logs");
}

#[test]
fn lists_go_page_by_page_and_by_what_is_asked_for() {
    let daemon = Daemon::start();
    let all: Vec<String> = (0..25)
        .map(|n| if n % 5 == 0 { reject(&daemon, "{}") } else { reject(&daemon, bad(&format!("e-{n}"))) })
        .collect();
    let (mut found, mut query) = (Vec::new(), "?limit=7".to_owned());
    loop {
        let page = list(&daemon, &query);
        assert!(ids(&page).len() <= 7);
        found.extend(ids(&page));
        let Some(next) = page["nextCursor"].as_str() else { break };
        query = format!("?limit=7&cursor={next}");
    }
    assert_eq!(found, all);
    assert_eq!(ids(&list(&daemon, "?code=missing_field")).len(), 5);
    assert_eq!(ids(&list(&daemon, "?code=unknown_event_type&sink=none")).len(), 20);
    assert_eq!(ids(&list(&daemon, "?sink=clickhouse")).len(), 0);
    assert_eq!(ids(&list(&daemon, "?tenant=other")).len(), 0);
    let tenth = show(&daemon, &all[10]);
    let since = tenth["receivedAt"].as_str().unwrap();
    let later = ids(&list(&daemon, &format!("?since={since}")));
    assert_eq!(later, all[10..]);
    for wrong in ["?limit=0", "?limit=1001", "?cursor=x", "?since=monday", "?colour=red", "?state=gone"] {
        let problem = daemon.get(&format!("/dead-letters{wrong}")).problem(400);
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
    daemon.get("/dead-letters/999").problem(404);
    daemon.get("/dead-letters/nonsense").problem(404);
    for wrong in ["/dead-letters/dead-letters", "/dead-letters/", "/dead-letters//"] {
        daemon.get(&format!("{wrong}/{}", all[0])).problem(404);
    }
    daemon.request("PATCH", "/dead-letters", &[], b"").problem(405);
    daemon.request("PATCH", &format!("/dead-letters/{}", all[0]), &[], b"").problem(405);
    daemon.get(&format!("/dead-letters/{}/replay", all[0])).problem(405);
}

#[test]
fn a_mended_letter_goes_in_like_any_event_and_keeps_what_it_was() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e-0").to_string()).with_status(202);
    let id = reject(&daemon, bad("e-1"));
    let again = replay(&daemon, &id);
    assert_eq!((&again["status"], &again["code"]), (&"rejected".into(), &"unknown_event_type".into()));
    let shown = show(&daemon, &id);
    assert_eq!((&shown["state"], &shown["replay"]["status"]), (&"open".into(), &"rejected".into()));
    let mended = event("e-1").to_string();
    let edited = put(&daemon, &id, &mended).with_status(200);
    assert_eq!(
        (&edited["state"], &edited["edited"], &edited["raw"]),
        (&"edited".into(), &mended.as_str().into(), &Value::Null)
    );
    let daemon = daemon.kill().start();
    let done = replay(&daemon, &id);
    assert_eq!((&done["status"], &done["seq"], &done["id"]), (&"accepted".into(), &2.into(), &id.as_str().into()));
    let shown = show(&daemon, &id);
    assert_eq!(
        (&shown["state"], &shown["raw"], &shown["edited"]),
        (&"replayed".into(), &bad("e-1").into(), &mended.as_str().into())
    );
    // Once is enough.
    let repeated = replay(&daemon, &id);
    assert_eq!(
        (&repeated["status"], &repeated["seq"], &repeated["repeated"]),
        (&"accepted".into(), &2.into(), &true.into())
    );
    put(&daemon, &id, &mended).problem(409);
    let ask = event("e-1").to_string();
    assert_eq!(daemon.post("/events", ask).with_status(202)["duplicate"], true, "its id counts as any");
    assert_eq!(ids(&list(&daemon, "?state=replayed")), [id]);
    // A rejected replay leaves no second letter.
    assert_eq!(ids(&list(&daemon, "")).len(), 1);
    let stored = daemon.stop().stored();
    assert_eq!(stored.len(), 2);
    assert_eq!((stored[1].seq, &stored[1].raw), (2, &mended));
}

#[test]
fn a_replay_of_what_was_accepted_meanwhile_is_a_duplicate() {
    let daemon = Daemon::start();
    let id = reject(&daemon, bad("e-1"));
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    let mut other = event("e-1");
    other["data"]["cartId"] = "another".into();
    put(&daemon, &id, &other.to_string()).with_status(200);
    let done = replay(&daemon, &id);
    assert_eq!((&done["status"], &done["seq"]), (&"duplicate".into(), &1.into()));
    assert!(done["message"].as_str().unwrap().contains("other content"), "{done}");
    let [accepted, duplicate, rejected, refused] = daemon.totals();
    assert_eq!([accepted, duplicate, rejected, refused], [1, 1, 1, 0]);
    assert_eq!(daemon.metric("ingestd_events_received_total"), 3.0, "every event has one outcome");
    assert_eq!(daemon.stop().stored().len(), 1);
}

#[test]
fn many_are_replayed_and_purged_by_a_filter_that_must_be_named() {
    let daemon = Daemon::start();
    let mendable: Vec<String> = (0..30).map(|n| reject(&daemon, bad(&format!("e-{n}")))).collect();
    let hopeless = reject(&daemon, "{}");
    for (n, id) in mendable.iter().enumerate() {
        put(&daemon, id, &event(&format!("e-{n}")).to_string()).with_status(200);
    }
    for path in ["replay", "purge"] {
        let problem = daemon.post(&format!("/dead-letters/{path}"), "{}").problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("all"), "{problem}");
        daemon.post(&format!("/dead-letters/{path}"), "{\"colour\":1}").problem(400);
        daemon.post(&format!("/dead-letters/{path}"), "[").problem(400);
    }
    let first =
        daemon.post("/dead-letters/replay", json!({"state": "edited", "limit": 10}).to_string()).with_status(200);
    assert_eq!((&first["accepted"], &first["results"].as_array().unwrap().len()), (&10.into(), &10));
    let rest = json!({"all": true, "cursor": first["nextCursor"]}).to_string();
    let rest = daemon.post("/dead-letters/replay", rest).with_status(200);
    let counts = ["accepted", "duplicate", "rejected", "skipped"].map(|name| rest[name].as_u64().unwrap());
    assert_eq!(counts, [20, 0, 1, 0], "{rest}");
    assert_eq!(rest["nextCursor"], Value::Null);
    let again = daemon.post("/dead-letters/replay", "{\"all\":true}").with_status(200);
    assert_eq!((&again["skipped"], &again["accepted"], &again["rejected"]), (&30.into(), &0.into(), &1.into()));
    let purged = daemon.post("/dead-letters/purge", "{\"state\":\"replayed\"}").with_status(200);
    assert_eq!((&purged["purged"], &purged["kept"]), (&30.into(), &json!([])));
    assert_eq!(ids(&list(&daemon, "")), std::slice::from_ref(&hopeless));
    let removed = daemon.request("DELETE", &format!("/dead-letters/{hopeless}"), &[], b"");
    assert_eq!(removed.status, 204);
    daemon.request("DELETE", &format!("/dead-letters/{hopeless}"), &[], b"").problem(404);
    let daemon = daemon.kill().start();
    assert_eq!(ids(&list(&daemon, "")), Vec::<String>::new());
    assert!(reject(&daemon, "{}").parse::<u64>().unwrap() > hopeless.parse().unwrap(), "an id was given twice");
    assert_eq!(daemon.stop().stored().len(), 30);
}

#[test]
fn a_kill_at_any_moment_of_a_replay_stores_its_event_once() {
    // Ids are forgotten at once: only what is written with the event protects it.
    let mut daemon = Place::with(&[("INGESTD_DEDUP_WINDOW_S", "1")]).start();
    let mut expected = BTreeSet::new();
    for round in 0..12 {
        let name = format!("e-{round}");
        let id = reject(&daemon, bad(&name));
        put(&daemon, &id, &event(&name).to_string()).with_status(200);
        let mut connection = daemon.connect();
        connection.send(request("POST", &format!("/dead-letters/{id}/replay"), &[], b""));
        if round % 2 == 0 {
            // Committed for sure, and not answered as far as the operator knows.
            eventually("it is stored", || daemon.get("/events/stats").json()["totals"]["accepted"] == 1);
        }
        daemon = daemon.kill().start();
        if round < 2 {
            let later = event(&format!("later-{round}")).to_string();
            daemon.post("/events", &later).with_status(202);
            let is_forgotten = || daemon.post("/events", &later).with_status(202)["duplicate"] != true;
            eventually("ids that are older than this one are forgotten", is_forgotten);
        }
        let done = replay(&daemon, &id);
        assert_eq!(done["status"], "accepted", "{done}");
        assert_eq!(show(&daemon, &id)["replay"]["seq"], done["seq"]);
        if round % 2 == 0 {
            assert_eq!(done["repeated"], true, "{done}");
        }
        expected.insert(name);
        // The count is this start's.
        daemon = daemon.kill().start();
    }
    let stored = daemon.stop().stored().into_iter().map(|event| event.id).filter(|id| id.starts_with("e-"));
    let stored: Vec<String> = stored.collect();
    assert_eq!(stored.len(), expected.len(), "some twice");
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn of_replays_at_the_same_moment_one_stores_the_event() {
    let daemon = Daemon::start();
    let id = reject(&daemon, bad("e-1"));
    put(&daemon, &id, &event("e-1").to_string()).with_status(200);
    let seqs: Vec<Value> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..16).map(|_| scope.spawn(|| replay(&daemon, &id))).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert!(seqs.iter().all(|done| done["status"] == "accepted" && done["seq"] == 1), "{seqs:?}");
    assert_eq!(seqs.iter().filter(|done| done["repeated"] == true).count(), 15);
    assert_eq!(daemon.totals()[..2], [1, 0]);
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_reason() {
    let daemon = Place::with(&[("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", "1500")]).start();
    let id = reject(&daemon, bad("e-1"));
    put(&daemon, &id, "").problem(400);
    put(&daemon, &id, &"x".repeat(300 << 10)).problem(413);
    put(&daemon, &id, &"x".repeat(2 << 20)).problem(413);
    put(&daemon, "12345", "{}").problem(404);
    let packed = [("Content-Encoding", "gzip")];
    daemon.request("PUT", &format!("/dead-letters/{id}"), &packed, b"x").problem(415);
    put(&daemon, &id, &"x".repeat(1000)).with_status(200);
    put(&daemon, &id, &"y".repeat(2000)).problem(507);
    assert_eq!(show(&daemon, &id)["edited"], "x".repeat(1000));
    // An edit takes the place of the one before, and is counted as long as it is there, also over a restart.
    put(&daemon, &id, &"z".repeat(900)).with_status(200);
    let daemon = daemon.stop().start();
    assert_eq!(daemon.post("/events", bad("e-2")).with_status(400)["deadLetterId"], Value::Null, "no room");
    // Before a sink has told its place nobody knows what it still has to get.
    eventually("it may go", || daemon.request("DELETE", &format!("/dead-letters/{id}"), &[], b"").status == 204);
    reject(&daemon, bad("e-2"));
}

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

#[test]
fn what_was_done_before_the_daemon_could_not_go_on_is_told() {
    let place = Place::with(&[]);
    std::fs::create_dir_all(place.data()).unwrap();
    let page = json!({"ok": true, "result": {"purged": 3, "kept": [], "nextCursor": "4"}});
    let broken_off = json!({"ok": true, "result": {"purged": 2, "kept": [], "failed": "damage", "nextCursor": "6"}});
    let refused = json!({"ok": false, "code": "refused", "error": "damage"});
    for (last, told) in [(broken_off, "the rest failed: damage, 5 purged"), (refused, "3 purged")] {
        let socket = place.data().join("admin.sock");
        std::fs::remove_file(&socket).ok();
        // A daemon of a few words.
        let (listener, answers) = (UnixListener::bind(socket).unwrap(), [page.clone(), last]);
        let daemon = std::thread::spawn(move || {
            for answer in answers {
                let mut asker = BufReader::new(listener.accept().unwrap().0);
                asker.read_line(&mut String::new()).unwrap();
                writeln!(asker.get_mut(), "{answer}").unwrap();
            }
        });
        let output = place.command(&["admin", "dead-letters", "purge", "--all"]).output().unwrap();
        daemon.join().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), told);
    }
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

#[test]
fn the_command_does_the_same_over_the_admin_socket() {
    let daemon = Daemon::start();
    let [first, second, third] = ["e-1", "e-2", "e-3"].map(|id| reject(&daemon, bad(id)));
    let listed = printed(&admin(&daemon, &["list"], ""));
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.contains("unknown_event_type") && listed.contains("e-2"), "{listed}");
    let two: Value = serde_json::from_str(&printed(&admin(&daemon, &["list", "--limit", "2", "--json"], ""))).unwrap();
    assert_eq!(ids(&two), [first.clone(), second.clone()]);
    assert_eq!(two["nextCursor"], third.as_str());
    let shown: Value = serde_json::from_str(&printed(&admin(&daemon, &["show", &first, "--json"], ""))).unwrap();
    assert_eq!(shown["raw"], bad("e-1"));
    let mended = event("e-1").to_string();
    printed(&admin(&daemon, &["edit", &first, "-"], &format!("{mended}\n")));
    let replayed = printed(&admin(&daemon, &["replay", &first], ""));
    assert_eq!(replayed, format!("{first}: accepted, event 1\n"));
    let hopeless = admin(&daemon, &["replay", &second], "");
    assert_eq!(hopeless.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&hopeless.stdout).contains("rejected again, unknown_event_type /eventType"),
        "{hopeless:?}"
    );
    assert!(!admin(&daemon, &["replay"], "").status.success(), "everything is not meant by accident");
    let all = admin(&daemon, &["replay", "--all", "--json"], "");
    assert_eq!(all.status.code(), Some(1), "two are rejected again");
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!((&all["rejected"], &all["skipped"]), (&2.into(), &1.into()), "{all}");
    let gone = printed(&admin(&daemon, &["purge", &third], ""));
    assert_eq!(gone, format!("{third}: purged\n"));
    let purged = printed(&admin(&daemon, &["purge", "--code", "unknown_event_type"], ""));
    assert!(purged.contains("2 purged"), "{purged}");
    assert_eq!(printed(&admin(&daemon, &["list"], "")).lines().count(), 1);
    let missing = admin(&daemon, &["show", &first], "");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no dead letter"), "{missing:?}");
    // A large one fits a line of the socket.
    let id = reject(&daemon, bad("e-4"));
    let mut large = event("e-4");
    large["data"]["text"] = "\u{1}\"".repeat(20_000).into();
    printed(&admin(&daemon, &["edit", &id, "-"], &large.to_string()));
    assert_eq!(printed(&admin(&daemon, &["replay", &id], "")), format!("{id}: accepted, event 2\n"));
    assert!(!daemon.log().contains("cart_eaten"), "no payload in logs");
}
