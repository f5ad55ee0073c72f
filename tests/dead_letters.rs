//! Dead letters in an operator's hands: found, mended, replayed, purged; each replay stored once, whatever is killed.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/letters.rs"]
mod letters;
#[cfg(test)]
mod support;

use letters::{admin, bad, ids, list, printed, put, reject, show};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use support::{Daemon, Place, event, eventually, request, shape};

#[track_caller]
fn replay(daemon: &Daemon, id: &str) -> Value {
    daemon.post(&format!("/dead-letters/{id}/replay"), "").with_status(200)
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
