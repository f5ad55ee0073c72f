//! Data folders that releases have left behind (`tests/fixture`), by a crash: each opens and goes on, for ever.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::{json_of, says};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use support::{Answer, Daemon, Place, Shim, event, eventually};

/// What `tests/fixture/make.sh` sends, in order; the first is number 1.
fn ids() -> Vec<String> {
    let named = |prefix: &str, count: usize| (1..=count).map(|number| format!("{prefix}-{number}")).collect::<Vec<_>>();
    let alone = |id: &str| vec![id.to_owned()];
    [alone("single"), alone("traced"), named("batch", 20), alone("kept"), alone("last-in-files"), named("later", 10)]
        .concat()
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture");
    let folders: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let folders: Vec<_> = folders.into_iter().filter(|path| path.is_dir()).collect();
    assert!(!folders.is_empty());
    folders
}

/// A copy, and a wall clock that shows so many seconds after the fixture was left.
fn copy(shim: &Shim, fixture: &Path, seconds_after: u64) -> Place {
    let left_at: u64 = std::fs::read_to_string(fixture.join("left-at")).unwrap().trim().parse().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let clock = shim.file("clock");
    std::fs::write(&clock, (left_at as i64 + seconds_after as i64 - now as i64).to_string()).unwrap();
    let place = Place::with(&[("FAULT_CLOCK", clock.to_str().unwrap()), ("INGESTD_LOG_HOLD_S", "86400")]);
    place.and("LD_PRELOAD", shim.library().to_str().unwrap()).filled_with(&fixture.join("data"))
}

/// The event as it was sent.
fn sent(id: &str) -> String {
    format!(
        r#"{{"eventId":"{id}","eventType":"cart_created","timestamp":"2026-01-01T00:00:00Z","sessionId":"s","storeId":"s","data":{{"cart":"ü"}}}}"#
    )
}

fn send_kept(daemon: &Daemon) -> Answer {
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "fixture")];
    daemon.request("POST", "/events", &headers, (sent("kept") + "\n").as_bytes())
}

#[track_caller]
fn assert_whole(daemon: &Daemon) {
    let verified = json_of(daemon, &["wal", "verify"]);
    assert_eq!((&verified["intact"], &verified["from"]), (&true.into(), &1.into()), "{verified}");
    eventually("the files hold all of it", || daemon.admin(&["flush"]).status.success());
    says(daemon, &["verify", "parquet"]);
    says(daemon, &["audit"]);
}

#[test]
fn within_the_window_everything_is_remembered_and_new_events_are_taken() {
    for fixture in fixtures() {
        let shim = Shim::compiled();
        let place = copy(&shim, &fixture, 600);
        assert_eq!(place.inspect()["next"], ids().len() + 1, "{}", fixture.display());
        let daemon = place.start();
        for (id, seq) in ids().iter().zip(1_u64..) {
            let again = daemon.post("/events", sent(id)).with_status(202);
            assert_eq!((&again["duplicate"], &again["seq"]), (&true.into(), &seq.into()), "{id}: {again}");
            // Its content is the same, too.
            assert_eq!(again["message"], Value::Null, "{id}: {again}");
        }
        let kept = send_kept(&daemon);
        assert_eq!(kept.header("idempotency-replayed"), Some("true"), "{kept:?}");
        assert_eq!((&kept.json()["seq"], &kept.json()["duplicate"]), (&23.into(), &Value::Null));
        let letters = daemon.get("/dead-letters").with_status(200);
        assert_eq!(letters["items"].as_array().map(Vec::len), Some(1), "{letters}");
        assert_eq!(letters["items"][0]["code"], "unknown_event_type", "{letters}");
        let new = daemon.post("/events", event("new").to_string()).with_status(202);
        assert_eq!((&new["duplicate"], &new["seq"]), (&Value::Null, &35.into()), "{new}");
        assert_whole(&daemon);
        let stored = daemon.stop().stored();
        let wanted: Vec<_> = ids().into_iter().chain(["new".to_owned()]).collect();
        assert_eq!(stored.iter().map(|event| &event.id).collect::<Vec<_>>(), wanted.iter().collect::<Vec<_>>());
        assert!(stored[..34].iter().all(|event| event.raw == sent(&event.id)), "other bytes than were sent");
    }
}

#[test]
fn after_the_window_an_id_is_new_and_what_was_stored_is_still_there() {
    for fixture in fixtures() {
        let shim = Shim::compiled();
        let daemon = copy(&shim, &fixture, 2 * 3600).start();
        let again = daemon.post("/events", sent("single")).with_status(202);
        assert_eq!((&again["duplicate"], &again["seq"]), (&Value::Null, &35.into()), "{again}");
        assert_eq!(send_kept(&daemon).header("idempotency-replayed"), Some("true"), "answers are kept for a day");
        assert_whole(&daemon);
        daemon.stop();
    }
}
