//! Erasing a person's data from a running daemon: what is pending, what was delivered, what is a dead letter; whatever is
//! killed. With Parquet files; with servers to ship to in `erase_shipped.rs`.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use support::{Daemon, Place, event, eventually, ndjson};

const VICTIM: &str = "victim-5fd2a81c7e93";

/// Events of a person, who is in each of them once.
fn of(user: &str, name: &str, count: usize) -> Vec<Value> {
    let mut events = support::events(name, count);
    events.iter_mut().for_each(|event| event["userId"] = user.into());
    events
}

#[track_caller]
fn post(daemon: &Daemon, events: &[Value]) {
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = daemon.request("POST", "/events/batch", &kind, ndjson(events).as_bytes()).with_status(202);
    assert_eq!(answer["successful"], events.len(), "{answer}");
}

/// A dead letter; its id.
#[track_caller]
fn reject(daemon: &Daemon, body: &str) -> String {
    daemon.post("/events", body).with_status(400)["deadLetterId"].as_str().unwrap().to_owned()
}

#[track_caller]
fn admin(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = daemon.admin(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?} {}", daemon.log());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the admin socket answers to a line.
fn say(daemon: &Daemon, line: &str) -> Value {
    let mut stream = UnixStream::connect(daemon.data().join("admin.sock")).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str::<Value>(&answer).unwrap()["result"].clone()
}

#[track_caller]
fn settle(daemon: &Daemon) {
    admin(daemon, &["flush"]);
    assert_balanced(daemon);
}

#[track_caller]
fn assert_balanced(daemon: &Daemon) {
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
}

/// Delivered, pending, expired, lost.
fn ledger(daemon: &Daemon) -> [u64; 4] {
    let sink = daemon.get("/pipeline/status").json()["sinks"][0].clone();
    ["delivered", "pending", "expired", "lost"].map(|key| sink["ledger"][key].as_u64().unwrap())
}

/// Whether a text stands in some file below a folder, of those whose names end so.
fn holds(folder: &Path, end: &str, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => holds(&path, end, text),
        false if !path.to_str().unwrap().ends_with(end) => false,
        // One may go while it is looked at.
        false => std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes())),
    })
}

/// Rows of a person in the files, as the daemon finds them.
#[track_caller]
fn rows_in_files(daemon: &Daemon, user: &str) -> u64 {
    let report = admin(daemon, &["erase", "--user", user, "--dry-run"]);
    let files = report["sinks"][0]["files"].as_array().unwrap().clone();
    files.iter().map(|file| file["events"].as_u64().unwrap()).sum()
}

#[track_caller]
fn assert_sound(place: &Place, events: usize, erased: u64) {
    let verified = place.wal(&["verify", "--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&report["events"], &report["erased"]), (&events.into(), &erased.into()), "{report}");
    assert_eq!(report["end"], events as u64 + erased, "the others keep their places");
    let stored = place.stored();
    assert_eq!(stored.len(), events);
    assert!(stored.iter().all(|event| !event.raw.contains(VICTIM)));
}

#[test]
fn a_person_is_erased_where_events_wait_where_they_were_delivered_and_among_dead_letters() {
    let daemon = Daemon::start();
    post(&daemon, &[of(VICTIM, "early", 3), of("other", "early-other", 3)].concat());
    settle(&daemon);
    admin(&daemon, &["pause", "parquet"]);
    // In the middle of a request, at its beginning and at its end, and all of one.
    for number in 0..20 {
        let name = format!("late-{number}");
        let (mine, others) = (of(VICTIM, &name, 2), of("other", &format!("o-{number}"), 5));
        post(&daemon, &[&others[..2], &mine[..1], &others[2..], &mine[1..]].concat());
    }
    post(&daemon, &of(VICTIM, "alone", 4));
    let mut bad = event("bad");
    (bad["userId"], bad["eventType"]) = (VICTIM.into(), "cart_eaten".into());
    let (mine, cut) = (reject(&daemon, &bad.to_string()), reject(&daemon, &format!("{{\"userId\":\"{VICTIM}\"")));
    let theirs = reject(&daemon, r#"{"userId":"other"}"#);

    let dry = admin(&daemon, &["erase", "--user", VICTIM, "--dry-run"]);
    assert_eq!(
        (&dry["log"]["found"], &dry["log"]["erased"], &dry["upTo"]),
        (&47.into(), &0.into(), &150.into()),
        "{dry}"
    );
    assert_eq!(dry["deadLetters"], json!({"found": 1, "mentions": 1, "erased": 0}));
    daemon.get(&format!("/dead-letters/{mine}")).with_status(200);
    assert_eq!(std::fs::read_to_string(daemon.data().join("format")).unwrap(), "1\n", "nothing was changed");

    let done = admin(&daemon, &["erase", "--user", VICTIM]);
    assert_eq!((&done["log"]["found"], &done["log"]["erased"]), (&47.into(), &47.into()), "{done}");
    assert_eq!(done["deadLetters"], json!({"found": 1, "mentions": 1, "erased": 1}));
    assert_eq!((&done["files"]["rewritten"], done["files"]["first"].is_u64()), (&true.into(), true), "{done}");
    let file = &done["sinks"][0]["files"][0];
    assert_eq!((&file["events"], done["sinks"][0]["files"].as_array().unwrap().len()), (&3.into(), 1));
    assert!(file["statement"].as_str().unwrap().contains("user_id IS DISTINCT FROM"), "{file}");
    // Killed at once: what was answered is so.
    let daemon = daemon.kill().start();
    daemon.get(&format!("/dead-letters/{mine}")).problem(404);
    for letter in [&cut, &theirs] {
        daemon.get(&format!("/dead-letters/{letter}")).with_status(200);
    }
    let again = admin(&daemon, &["erase", "--user", VICTIM, "--also-mentions"]);
    assert_eq!((&again["log"]["found"], &again["deadLetters"]["erased"]), (&0.into(), &1.into()), "{again}");
    assert_eq!(again["files"], json!({"rewritten": true}), "the first run left nothing");
    assert!(!holds(&daemon.data().join("log"), ".sst", VICTIM), "no table has it");

    assert_eq!(ledger(&daemon), [6, 144, 0, 0]);
    admin(&daemon, &["resume", "parquet"]);
    settle(&daemon);
    // The last four are erased: the sink is past them all the same.
    eventually("it is past them", || ledger(&daemon) == [106, 0, 44, 0]);
    assert_balanced(&daemon);
    assert_eq!(rows_in_files(&daemon, VICTIM), 3, "those that were there before");
    assert_eq!(rows_in_files(&daemon, "other"), 103);
    let verified = daemon.admin(&["verify", "parquet"]);
    assert!(verified.status.success(), "{verified:?}");
    // Sent again it is known, though nothing of it is there.
    let repeat = daemon.post("/events", of(VICTIM, "late-3", 1)[0].to_string()).with_status(202);
    assert_eq!(repeat["duplicate"], true, "{repeat}");
    assert_sound(&daemon.stop(), 103, 47);
}

#[test]
fn one_event_is_erased_and_the_audit_log_does_not_name_it() {
    let daemon = Daemon::start();
    post(&daemon, &of("other", "e", 10));
    // A file has it, so that its id stands in what is to be run.
    settle(&daemon);
    let bad = reject(&daemon, r#"{"eventId":"e-4"}"#);
    for wrong in [&["erase"][..], &["erase", "--user", "a", "--event", "b"]] {
        assert_eq!(daemon.admin(wrong).status.code(), Some(64), "{wrong:?}");
    }
    let nobodys = admin(&daemon, &["erase", "--event", "e-4", "--tenant", "shop"]);
    assert_eq!((&nobodys["log"]["found"], &nobodys["deadLetters"]["found"]), (&0.into(), &0.into()));
    let done = admin(&daemon, &["erase", "--event", "e-4", "--tenant", "default"]);
    assert_eq!((&done["log"]["erased"], &done["deadLetters"]["erased"]), (&1.into(), &1.into()), "{done}");
    daemon.get(&format!("/dead-letters/{bad}")).problem(404);
    let Output { stdout, .. } = daemon.admin(&["audit-log", "--action", "erase", "--json"]);
    let kept = String::from_utf8(stdout).unwrap();
    // printf %s e-4 | sha256sum
    let digest = "sha256:cbbf6b3b25a7f6b72b2941466de5de8f93c9b7e6df03be986c27ce6ed8987aff";
    assert!(kept.contains("\"begun\"") && kept.contains("\"done\"") && kept.contains(digest), "{kept}");
    assert!(!kept.contains("e-4") && !daemon.log().contains("e-4"), "{kept}");
    let followed = daemon.admin(&["wal", "tail", "--from", "5", "-n", "1", "--json"]);
    let line: Value = serde_json::from_slice(&followed.stdout).unwrap();
    assert_eq!(line["seq"], 6, "{followed:?}");
    // Whoever follows the log does not ask again and again for what is erased.
    admin(&daemon, &["erase", "--event", "e-9"]);
    assert_eq!(say(&daemon, r#"{"command": "wal_tail", "from": 9}"#)["next"], 11);
    let checked = daemon.admin(&["wal", "verify"]);
    assert!(checked.status.success(), "{checked:?}");
    settle(&daemon);
    assert_sound(&daemon.stop(), 8, 2);
}

#[test]
fn a_copy_of_an_erased_log_is_one_and_no_older_release_opens_it() {
    let daemon = Daemon::start();
    post(&daemon, &[of(VICTIM, "a", 2), of("other", "b", 2)].concat());
    admin(&daemon, &["erase", "--user", VICTIM]);
    let copy = daemon.checkpoint();
    assert_eq!(std::fs::read_to_string(copy.data().join("format")).unwrap(), "2\n");
    assert_sound(&copy, 2, 2);
    let copy = copy.start_with("--replace");
    settle(&copy);
    assert_sound(&copy.stop(), 2, 2);
    // A repair of it makes the id lists anew, for every place.
    let place = daemon.stop();
    std::fs::remove_file(place.data().join("mark")).unwrap();
    let repaired = place.wal(&["repair"]);
    assert!(repaired.status.success(), "{repaired:?}");
    let daemon = place.start();
    settle(&daemon);
    assert_sound(&daemon.stop(), 2, 2);
}

#[test]
fn broken_off_by_a_kill_it_is_done_by_another_run() {
    let daemon = Daemon::start();
    admin(&daemon, &["pause", "parquet"]);
    let mut noise = 0_u64;
    for round in 0..60 {
        let mut batch = [of(VICTIM, &format!("v-{round}"), 50), of("other", &format!("o-{round}"), 50)].concat();
        for event in &mut batch {
            // Not to be packed: the log is looked through in many parts.
            let text: String = (0..60)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    format!("{noise:016x}")
                })
                .collect();
            event["data"]["text"] = text.into();
        }
        post(&daemon, &batch);
    }
    let mut erasing = daemon.place().command(&["admin", "erase", "--user", VICTIM]);
    let mut erasing = erasing.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // The format is raised with the first block.
    eventually("it has begun", || std::fs::read_to_string(daemon.data().join("format")).unwrap() == "2\n");
    let place = daemon.kill();
    erasing.wait().unwrap();
    let verified = place.wal(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    let daemon = place.start();
    let done = admin(&daemon, &["erase", "--user", VICTIM]);
    assert_eq!(done["log"]["found"], done["log"]["erased"], "{done}");
    admin(&daemon, &["resume", "parquet"]);
    settle(&daemon);
    eventually("it is past them", || ledger(&daemon) == [3000, 0, 3000, 0]);
    assert_eq!(rows_in_files(&daemon, VICTIM), 0);
    assert_sound(&daemon.stop(), 3000, 3000);
}

#[test]
fn what_a_run_that_was_broken_off_left_in_files_is_merged_by_the_next() {
    // Nobody listens there, and the sink takes its time to find out: the run waits for it, behind the log.
    let away = [("INGESTD_PARQUET_ENABLED", "false"), ("INGESTD_KAFKA_ENABLED", "true")];
    let place = Place::with(&away).and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9");
    let daemon = place.start();
    post(&daemon, &of(VICTIM, "a", 5));
    post(&daemon, &of("other", "b", 5));
    let daemon = daemon.stop().start();
    let mut erasing = daemon.place().command(&["admin", "erase", "--user", VICTIM]);
    let mut erasing = erasing.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("nothing is left in the log", || {
        let first = daemon.admin(&["wal", "tail", "--from", "1", "-n", "1", "--json"]);
        serde_json::from_slice::<Value>(&first.stdout).is_ok_and(|line| line["seq"] == 6)
    });
    let stage = || say(&daemon, r#"{"command": "erase_progress"}"#);
    eventually("it tells what it waits for", || stage()["stage"] == "sinks");
    let place = daemon.kill().and("INGESTD_KAFKA_ENABLED", "false");
    erasing.wait().unwrap();
    let daemon = place.start();
    let again = admin(&daemon, &["erase", "--user", VICTIM]);
    assert_eq!(again["log"]["found"], 0, "{again}");
    assert_eq!(again["files"], json!({"rewritten": true, "first": 1, "last": 1}), "{again}");
    assert!(!holds(&daemon.data().join("log"), ".sst", VICTIM));
}

#[test]
fn a_file_that_is_open_loses_what_is_erased() {
    // Not finished before somebody asks for it.
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ROLL_S", "3600")]);
    post(&daemon, &[of(VICTIM, "a", 5), of("other", "b", 5)].concat());
    let in_flight = || daemon.get("/pipeline/status").json()["sinks"][0]["inFlight"].as_u64().unwrap();
    eventually("they are in a file that is not finished", || in_flight() == 10);
    let done = admin(&daemon, &["erase", "--user", VICTIM]);
    assert_eq!((&done["log"]["erased"], &done["sinks"][0]["trouble"]), (&5.into(), &Value::Null), "{done}");
    settle(&daemon);
    assert_eq!((rows_in_files(&daemon, VICTIM), rows_in_files(&daemon, "other")), (0, 5));
    assert_eq!(ledger(&daemon), [5, 0, 5, 0]);
    assert!(!holds(&daemon.data(), ".sst", VICTIM) && !holds(&daemon.data().join("events"), "", VICTIM));
    assert_sound(&daemon.stop(), 5, 5);
}

/// Runs what is printed for a file, and moves the new one over it.
fn rewrite(file: &Value) {
    let root = env!("CARGO_MANIFEST_DIR");
    let python = Command::new(format!("{root}/scripts/python.sh")).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    let script = format!("import duckdb\nduckdb.sql({})", file["statement"]);
    let ran = Command::new(format!("{}/bin/python", python.trim())).args(["-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let path = file["path"].as_str().unwrap();
    std::fs::rename(format!("{path}.new"), path).unwrap();
}

#[test]
fn a_file_is_rewritten_with_what_is_printed_and_is_still_known() {
    const NAME: &str = "o'victim";
    let daemon = Daemon::start();
    for (user, name) in [(NAME, "a"), ("other", "b"), (NAME, "c")] {
        post(&daemon, &of(user, name, 3));
    }
    let nobodys = event("nobodys");
    post(&daemon, &[nobodys]);
    settle(&daemon);
    let report = admin(&daemon, &["erase", "--user", NAME]);
    let files = report["sinks"][0]["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[0]["events"]), (1, &6.into()), "{report}");
    rewrite(&files[0]);
    assert_eq!((rows_in_files(&daemon, NAME), rows_in_files(&daemon, "other")), (0, 3));
    let verified = daemon.admin(&["verify", "parquet"]);
    assert!(verified.status.success(), "{verified:?}");
    // Nor is it taken for somebody else's by a log that has forgotten its place.
    let place = daemon.stop();
    assert!(place.wal(&["forget-sink", "parquet"]).status.success());
    let daemon = place.start();
    post(&daemon, &of("other", "d", 2));
    settle(&daemon);
    assert_eq!(rows_in_files(&daemon, "other"), 5);
    let sink = daemon.get("/pipeline/status").json()["sinks"][0].clone();
    assert_eq!((&sink["state"], &sink["cursor"]), (&"running".into(), &13.into()), "{sink}");
}

#[test]
fn what_was_trimmed_and_still_lies_in_a_table_goes_too() {
    let daemon = Daemon::with(&[("INGESTD_LOG_HOLD_S", "0")]);
    for (user, name) in [(VICTIM, "a"), ("other", "b"), ("other", "c")] {
        post(&daemon, &of(user, name, 5));
    }
    settle(&daemon);
    // A start puts them into one table, of which only the first part is let go.
    let daemon = daemon.stop().start();
    admin(&daemon, &["wal", "trim"]);
    assert!(holds(&daemon.data().join("log"), ".sst", VICTIM), "it is looked for where it can be found");
    let done = admin(&daemon, &["erase", "--user", VICTIM]);
    assert_eq!((&done["log"]["found"], &done["files"]["rewritten"]), (&0.into(), &true.into()), "{done}");
    assert!(!holds(&daemon.data().join("log"), ".sst", VICTIM));
    let place = daemon.stop();
    let verified = place.wal(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_sink_that_is_switched_off_is_told_of_too() {
    let daemon = Daemon::start();
    post(&daemon, &[of(VICTIM, "a", 3), of("other", "b", 3)].concat());
    settle(&daemon);
    let place = daemon.stop().and("INGESTD_PARQUET_ENABLED", "false");
    let daemon = place.start();
    let done = admin(&daemon, &["erase", "--user", VICTIM]);
    let sink = &done["sinks"][0];
    assert_eq!((&sink["sink"], &sink["state"], &sink["next"]), (&"parquet".into(), &"off".into(), &7.into()), "{done}");
    let file = &sink["files"][0];
    assert_eq!(file["events"], 3, "{done}");
    assert!(file["statement"].as_str().unwrap().starts_with("COPY"), "{file}");
    // One that this log has never had a place of is not among them.
    assert_eq!(done["sinks"].as_array().unwrap().len(), 1, "{done}");
    let told = String::from_utf8(daemon.admin(&["erase", "--user", VICTIM]).stdout).unwrap();
    assert!(told.contains("parquet: off") && told.contains("switched off") && told.contains("COPY"), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_all_else_is_done() {
    let daemon = Daemon::start();
    for name in ["a", "b"] {
        post(&daemon, &of(VICTIM, name, 3));
        settle(&daemon);
    }
    let report = admin(&daemon, &["erase", "--user", VICTIM, "--dry-run"]);
    let files = report["sinks"][0]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{report}");
    let broken = files[0]["path"].as_str().unwrap();
    std::fs::File::options().write(true).open(broken).unwrap().set_len(9).unwrap();
    let done = admin(&daemon, &["erase", "--user", VICTIM]);
    assert_eq!(done["log"]["erased"], 6, "{done}");
    let files = done["sinks"][0]["files"].as_array().unwrap();
    assert!(files[0]["path"] == broken && files[0]["unread"].is_string(), "{done}");
    assert_eq!((&files[1]["events"], &files[1]["unread"]), (&3.into(), &Value::Null), "{done}");
}

#[test]
fn where_the_disk_has_no_room_beside_the_reserve_nothing_is_begun() {
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ENABLED", "false")]);
    post(&daemon, &of(VICTIM, "a", 3));
    let daemon = daemon.stop().and("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000").start();
    let refused = daemon.admin(&["erase", "--user", VICTIM]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("make room"), "{refused:?}");
    // Nothing to erase, and what was before cannot be taken out of the files either.
    let left = daemon.admin(&["erase", "--event", "nobodys"]);
    let said = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(left.status.code() == Some(1) && said.contains("NOT rewritten"), "{left:?}");
    let place = daemon.stop();
    assert_eq!(std::fs::read_to_string(place.data().join("format")).unwrap(), "1\n");
    assert_eq!(place.stored().len(), 3);
    let daemon = place.and("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000").start();
    assert_eq!(admin(&daemon, &["erase", "--user", VICTIM])["log"]["erased"], 3);
    assert!(!holds(&daemon.data().join("log"), ".sst", VICTIM));
}

#[test]
fn sinks_let_go_also_where_a_damaged_log_breaks_it_off() {
    // Not finished before somebody asks for it.
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ROLL_S", "3600")]);
    post(&daemon, &of(VICTIM, "a", 5));
    let mut noise = 0_u64;
    for round in 0..60 {
        // Not to be packed, so that a table has several pieces: what a start looks at is in memory.
        let text: String = (0..300)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{noise:016x}")
            })
            .collect();
        let mut batch = of("other", &format!("b-{round}"), 10);
        batch.iter_mut().for_each(|event| event["data"]["text"] = text.as_str().into());
        post(&daemon, &batch);
    }
    // A start puts them into a table.
    let daemon = daemon.kill().start();
    let in_flight = || daemon.get("/pipeline/status").json()["sinks"][0]["inFlight"].as_u64().unwrap();
    eventually("they are in a file that is not finished", || in_flight() == 605);
    let tables = std::fs::read_dir(daemon.data().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let bytes = |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
    let table = tables.filter(|path| path.extension().is_some_and(|found| found == "sst")).max_by_key(bytes).unwrap();
    let file = std::fs::File::options().write(true).open(&table).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 8], bytes(&table) / 2).unwrap();
    let broken = daemon.admin(&["erase", "--user", VICTIM]);
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(broken.status.code() == Some(1) && said.contains("wal repair"), "{broken:?}");
    eventually("it has let go", || in_flight() == 0);
    let tail = say(&daemon, r#"{"command": "wal_tail", "from": 1, "limit": 1}"#);
    assert_eq!(tail["events"][0]["seq"], 6, "what lies before is erased: {tail}");
}
