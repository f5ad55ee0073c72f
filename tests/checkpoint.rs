//! Copies of a running daemon's log: whole, marked, of use only once somebody has said what for. With Parquet files; with
//! servers to ship to in `restore.rs`.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{ApiKey, Daemon, PROGRAM, Place, event, events, eventually, ndjson, post_as};

/// Exit code of a start that no further start mends.
const MISTAKEN: i32 = 64;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn checkpoint(daemon: &Daemon, target: &Path) -> Output {
    daemon.admin(&["checkpoint", target.to_str().unwrap()])
}

/// Posts that many events in one batch; all are new.
#[track_caller]
fn post(daemon: &Daemon, name: &str, count: usize) {
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = daemon.request("POST", "/events/batch", &kind, ndjson(&events(name, count)).as_bytes());
    let answer = answer.with_status(202);
    assert_eq!((&answer["successful"], &answer["duplicates"]), (&count.into(), &0.into()), "{answer}");
}

/// Waits until all is in files, and sees that the counts balance.
#[track_caller]
fn settle(daemon: &Daemon) {
    let flushed = daemon.admin(&["flush"]);
    assert!(flushed.status.success(), "{flushed:?} {}", daemon.log());
    let audit = daemon.admin(&["audit"]);
    assert!(audit.status.success(), "{audit:?}");
}

fn state(daemon: &Daemon) -> (String, String) {
    let sink = daemon.get("/pipeline/status").json()["sinks"][0].clone();
    (sink["state"].as_str().unwrap().to_owned(), sink["reason"].as_str().unwrap_or_default().to_owned())
}

/// Ranges of the Parquet files in a place, by their names (`FIRST-LAST.parquet`).
fn files(place: &Path) -> Vec<(u64, u64, PathBuf)> {
    let mut found = Vec::new();
    for date in std::fs::read_dir(place).into_iter().flatten() {
        for file in std::fs::read_dir(date.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some((first, last)) = name.strip_suffix(".parquet").and_then(|range| range.split_once('-')) else {
                continue;
            };
            found.push((first.parse().unwrap(), last.parse().unwrap(), path));
        }
    }
    found.sort();
    found
}

fn ranges(place: &Path) -> Vec<(u64, u64)> {
    files(place).into_iter().map(|(first, last, _)| (first, last)).collect()
}

#[track_caller]
fn assert_intact(place: &Place) {
    let verified = place.wal(&["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[track_caller]
fn assert_dense(place: &Place) -> BTreeSet<String> {
    let stored = place.stored();
    assert!(stored.iter().zip(1..).all(|(event, seq)| event.seq == seq), "a hole in the sequence");
    let ids: BTreeSet<String> = stored.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids.len(), stored.len(), "some twice");
    ids
}

#[test]
fn under_load_the_copy_has_every_event_that_was_acknowledged_before_it_began_once() {
    let daemon = Daemon::start();
    let (acknowledged, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (copies, before) = std::thread::scope(|scope| {
        for client in 0..4 {
            let (daemon, acknowledged, done) = (&daemon, &acknowledged, &done);
            scope.spawn(move || {
                let mut connection = daemon.connect();
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let batch = events(&format!("c{client}-{round}"), 50);
                    let kind = [("Content-Type", "application/x-ndjson")];
                    let answer = connection.post("/events/batch", &kind, ndjson(&batch).as_bytes()).with_status(202);
                    assert_eq!(answer["successful"], 50, "{answer}");
                    let ids = batch.iter().map(|event| event["eventId"].as_str().unwrap().to_owned());
                    acknowledged.lock().unwrap().extend(ids);
                }
            });
        }
        let mut copies = Vec::new();
        let mut before = Vec::new();
        for wanted in [2_000, 10_000] {
            eventually("enough is acknowledged", || acknowledged.lock().unwrap().len() >= wanted);
            before = acknowledged.lock().unwrap().clone();
            copies.push((daemon.checkpoint(), before.clone()));
        }
        done.store(true, Ordering::Relaxed);
        (copies, before)
    });
    assert!(acknowledged.lock().unwrap().len() > before.len(), "intake went on meanwhile");
    let original = daemon.stop();
    let all = assert_dense(&original);
    assert_eq!(all, acknowledged.into_inner().unwrap().into_iter().collect());
    for (copy, before) in copies {
        assert_intact(&copy);
        let ids = assert_dense(&copy);
        assert!(before.iter().all(|id| ids.contains(id)), "something acknowledged is not in the copy");
        assert!(ids.is_subset(&all));
        assert!(copy.inspect()["mark"].as_u64().unwrap() >= before.len() as u64, "a loss would be found");
        let part = copy.data().with_extension("part");
        assert!(!part.exists(), "{}", part.display());
    }
}

#[test]
fn a_copy_starts_only_once_somebody_has_said_what_it_is() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    let (copy, other) = (daemon.checkpoint(), daemon.checkpoint());
    for _ in 0..2 {
        let (code, said) = copy.start_in_vain(&[]);
        assert_eq!(code, MISTAKEN, "{said}");
        assert!(said.contains("--as-new-node") && said.contains("--replace"), "{said}");
    }
    assert_eq!(copy.start_in_vain(&["--replace", "--as-new-node"]).0, 2, "one of them");
    // Nor does a tool use it as what it is not.
    let forgotten = copy.wal(&["forget-sink", "parquet"]);
    assert!(!forgotten.status.success() && said(&forgotten).contains("checkpoint"), "{forgotten:?}");
    assert_eq!(copy.inspect()["copy"]["used"], Value::Null);
    for (place, flag, wrong) in [(copy, "--as-new-node", "--replace"), (other, "--replace", "--as-new-node")] {
        // Killed: it is decided for good as soon as it listens.
        let place = place.start_with(flag).kill();
        let (code, said) = place.start_in_vain(&[wrong]);
        assert_eq!(code, MISTAKEN, "{said}");
        assert!(said.contains(flag), "{said}");
        let place = place.start().stop();
        assert_eq!(place.start_in_vain(&[wrong]).0, MISTAKEN);
        assert_eq!(place.inspect()["clean"], true, "a start in vain is no crash");
        let place = place.start_with(flag).stop();
        assert_eq!(place.inspect()["copy"]["used"], flag.trim_start_matches('-'));
        // Of a copy, too, a copy can be made, and is one again.
        let copy = place.start().checkpoint();
        assert_eq!(copy.start_in_vain(&[]).0, MISTAKEN);
    }
    let original = daemon.stop();
    let (code, said) = original.start_in_vain(&["--replace"]);
    assert!(code == MISTAKEN && said.contains("no checkpoint"), "{said}");
    original.start().stop();
}

#[test]
fn a_repaired_copy_is_still_a_copy() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    let copy = daemon.checkpoint();
    std::fs::remove_file(copy.data().join("mark")).unwrap();
    let repaired = copy.wal(&["repair"]);
    assert!(repaired.status.success(), "{repaired:?}");
    assert_eq!(copy.start_in_vain(&[]).0, MISTAKEN);
    assert_eq!(copy.start_with("--replace").stop().stored().len(), 20);
}

#[test]
fn a_copy_as_a_new_node_begins_behind_what_it_holds_and_knows_its_ids() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    let copy = daemon.checkpoint().start_with("--as-new-node");
    post(&daemon, "one", 5);
    let repeat = copy.post("/events", event("first-3").to_string()).with_status(202);
    assert_eq!((&repeat["duplicate"], &repeat["seq"]), (&true.into(), &4.into()));
    post(&copy, "other", 7);
    settle(&copy);
    assert_eq!(ranges(&copy.data().join("events")), [(21, 27)], "the first 20 are the original's to deliver");
    // A sink that is switched on later begins there, too.
    let place = copy.kill().and("INGESTD_PARQUET_ENABLED", "false");
    let forgotten = place.wal(&["forget-sink", "parquet"]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    std::fs::remove_dir_all(place.data().join("events")).unwrap();
    let daemon_again = place.start();
    post(&daemon_again, "third", 3);
    let copy = daemon_again.stop().and("INGESTD_PARQUET_ENABLED", "true").start();
    settle(&copy);
    assert_eq!(ranges(&copy.data().join("events")), [(21, 30)]);
    settle(&daemon);
    assert_eq!(ranges(&daemon.data().join("events")).last().unwrap().1, 25);
}

#[test]
fn who_may_come_in_may_come_into_a_copy() {
    let daemon = Daemon::with(&[("INGESTD_AUTH_INTAKE", "key")]);
    let (shop, gone) = (ApiKey::add(&daemon, "shop", "intake"), ApiKey::add(&daemon, "shop", "intake"));
    gone.revoke(&daemon);
    post_as(&daemon, &shop.bearer(), &event("first")).with_status(202);
    let copy = daemon.checkpoint().start_with("--as-new-node");
    let repeat = post_as(&copy, &shop.bearer(), &event("first")).with_status(202);
    assert_eq!(repeat["duplicate"], true, "{repeat}");
    assert_eq!(post_as(&copy, &gone.bearer(), &event("second")).status, 401);
    let keys = std::fs::metadata(copy.data().join("keys.jsonl")).unwrap();
    assert_eq!(keys.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_copy_in_the_place_of_the_original_takes_its_files_along_and_writes_none_twice() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    settle(&daemon);
    post(&daemon, "second", 20);
    let copy = daemon.checkpoint();
    // The files went ahead, over events that the copy has.
    settle(&daemon);
    let original = daemon.stop();
    assert_eq!(ranges(&original.events()), [(1, 20), (21, 40)]);
    std::fs::rename(original.events(), copy.events()).unwrap();
    let copy = copy.start_with("--replace");
    post(&copy, "third", 20);
    settle(&copy);
    assert_eq!(ranges(&copy.data().join("events")), [(1, 20), (21, 40), (41, 60)]);
    let verified = copy.admin(&["verify", "parquet"]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn files_that_hold_more_than_the_copy_are_neither_overwritten_nor_passed_over() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    settle(&daemon);
    post(&daemon, "second", 10);
    let copy = daemon.checkpoint();
    post(&daemon, "later", 10);
    settle(&daemon);
    let original = daemon.stop();
    assert_eq!(ranges(&original.events()), [(1, 20), (21, 40)]);
    std::fs::rename(original.events(), copy.events()).unwrap();
    let copy = copy.start_with("--replace");
    post(&copy, "third", 5);
    eventually("it has failed", || state(&copy).0 == "failed");
    let reason = state(&copy).1;
    assert!(reason.contains("move the newer files away"), "{reason}");
    // As the operator is told.
    let away = tempfile::tempdir().unwrap();
    let (.., newer) = files(&copy.data().join("events")).pop().unwrap();
    std::fs::rename(&newer, away.path().join(newer.file_name().unwrap())).unwrap();
    let resumed = copy.admin(&["resume", "parquet"]);
    assert!(resumed.status.success(), "{resumed:?}");
    settle(&copy);
    assert_eq!(ranges(&copy.data().join("events")), [(1, 20), (21, 35)]);
}

#[test]
fn what_cannot_be_copied_is_said_and_leaves_nothing_behind() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    let elsewhere = tempfile::tempdir().unwrap();
    let inside = daemon.data().join("backup");
    let (there, nowhere) = (elsewhere.path().join("there"), elsewhere.path().join("no/where"));
    std::fs::create_dir(&there).unwrap();
    for (target, words) in [(&there, "exists already"), (&inside, "outside"), (&nowhere, "No such file")] {
        let refused = checkpoint(&daemon, target);
        assert!(!refused.status.success() && said(&refused).contains(words), "{}: {refused:?}", target.display());
    }
    // Somebody else's folder that happens to have the name.
    let part = elsewhere.path().join("mine.part");
    std::fs::create_dir(&part).unwrap();
    std::fs::write(part.join("diary"), "dear").unwrap();
    let refused = checkpoint(&daemon, &elsewhere.path().join("mine"));
    assert!(!refused.status.success() && said(&refused).contains("mine.part exists"), "{refused:?}");
    assert!(part.join("diary").exists());
    std::fs::remove_dir_all(&part).unwrap();
    let place = daemon.stop().and("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000");
    let daemon = place.start();
    let refused = checkpoint(&daemon, &elsewhere.path().join("full"));
    assert!(!refused.status.success() && said(&refused).contains("make room"), "{refused:?}");
    let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["there"], "nothing but what was there");
    assert!(!inside.exists());
    // And where nobody listens.
    let data = daemon.data();
    let place = daemon.stop();
    let unreachable = place.command(&["admin", "checkpoint", "/tmp/nowhere"]).output().unwrap();
    assert!(!unreachable.status.success() && said(&unreachable).contains("cannot reach the daemon"), "{data:?}");
}

#[test]
fn a_relative_name_is_meant_from_where_the_operator_stands() {
    let daemon = Daemon::start();
    post(&daemon, "first", 20);
    let here = tempfile::tempdir().unwrap();
    let mut command = daemon.place().command(&["admin", "checkpoint", "copy", "--json"]);
    let made = command.current_dir(here.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["end"], 20);
    assert_eq!(Path::new(made["path"].as_str().unwrap()), here.path().join("copy"));
    assert!(here.path().join("copy/log/CURRENT").exists());
}

#[test]
fn a_kill_leaves_a_whole_copy_or_one_without_its_name() {
    let mut daemon = Daemon::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("copy");
    let part = elsewhere.path().join("copy.part");
    let (mut broken, mut whole) = (0, 0);
    for round in 0..40 {
        post(&daemon, &format!("round-{round}"), 200);
        let data = daemon.data();
        let mut asking = Command::new(PROGRAM);
        asking.args(["admin", "checkpoint"]).arg(&target).arg("--data-dir").arg(&data).env_clear();
        asking.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut asking = asking.spawn().unwrap();
        eventually("it has begun", || part.exists() || target.exists());
        let place = daemon.kill();
        asking.wait().unwrap();
        if target.exists() {
            whole += 1;
            let verified = place.command(&["wal", "verify"]).output().unwrap();
            assert!(verified.status.success(), "{verified:?}");
            let copied = Command::new(PROGRAM).args(["wal", "verify", "--data-dir"]).arg(&target).output().unwrap();
            assert!(copied.status.success(), "{copied:?}");
            std::fs::remove_dir_all(&target).unwrap();
        } else {
            broken += 1;
        }
        daemon = place.start();
        if broken >= 3 {
            break;
        }
    }
    assert!(broken > 0, "none of {whole} was met half done");
    // What is left of the last one is in nobody's way.
    let made = checkpoint(&daemon, &target);
    assert!(made.status.success(), "{made:?}");
    assert!(target.exists() && !part.exists());
    assert_dense(&daemon.stop());
}
