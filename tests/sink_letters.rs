//! Dead letters that sinks are part of: what a sink refused does not go in again, and nothing is purged before the sinks
//! have it. With a real ClickHouse.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/clickhouse/mod.rs"]
mod clickhouse;
#[cfg(test)]
#[path = "support/kafka/mod.rs"]
mod kafka;
#[cfg(test)]
#[path = "support/shipping.rs"]
mod shipping;
#[cfg(test)]
mod support;

use clickhouse::Server;
use serde_json::Value;
use shipping::{admin, assert_tables, place, post, settle, some};
use support::{Daemon, event, eventually};

fn listed(daemon: &Daemon, query: &str) -> Vec<Value> {
    let page = daemon.get(&format!("/dead-letters{query}")).with_status(200);
    page["items"].as_array().unwrap().clone()
}

#[test]
fn what_a_sink_refused_is_in_the_log_and_never_goes_in_again() {
    let server = Server::start();
    // Its id is forgotten after a second: the window does not protect the other sinks.
    let daemon = place(Some(&server), None).and("INGESTD_PARQUET_ENABLED", "true").and("INGESTD_DEDUP_WINDOW_S", "1");
    let daemon = daemon.start();
    post(&daemon, &[event("first").to_string()]);
    settle(&daemon);
    server.sql("ALTER TABLE events_raw ADD CONSTRAINT no_poison CHECK event_id != 'poison'");
    let poison = event("poison").to_string();
    post(&daemon, &[event("second").to_string(), poison.clone()]);
    settle(&daemon);
    let letters = listed(&daemon, "?sink=clickhouse");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let (id, letter) = (letters[0]["id"].as_str().unwrap(), &letters[0]);
    assert_eq!((&letter["seq"], &letter["eventId"], &letter["state"]), (&3.into(), &"poison".into(), &"open".into()));
    assert_eq!(daemon.get(&format!("/dead-letters/{id}")).with_status(200)["raw"], poison);
    let accepted = daemon.totals()[0];
    // Another event is accepted and answered as new: the window has passed over the letter's id.
    eventually("its id is forgotten", || daemon.post("/events", event("first").to_string()).json()["seq"] != 1);
    let accepted_now = daemon.totals()[0];
    assert_eq!(accepted_now, accepted + 1);
    let problem = daemon.post(&format!("/dead-letters/{id}/replay"), "").problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("in the log as 3"), "{problem}");
    daemon.request("PUT", &format!("/dead-letters/{id}"), &[], poison.as_bytes()).problem(409);
    let all = daemon.post("/dead-letters/replay", "{\"sink\":\"clickhouse\"}").with_status(200);
    assert_eq!((&all["skipped"], &all["accepted"]), (&1.into(), &0.into()), "{all}");
    let said = daemon.admin(&["dead-letters", "replay", id]);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("clickhouse could not take it"));
    settle(&daemon);
    assert_eq!(daemon.totals()[0], accepted_now, "nothing went in");
    let place = daemon.stop();
    assert_eq!(place.stored().iter().filter(|stored| stored.id == "poison").count(), 1);
}

#[test]
fn nothing_is_purged_that_a_sink_still_has_to_get() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 5));
    settle(&daemon);
    admin(&daemon, &["sinks", "pause", "clickhouse"]);
    assert_eq!(post(&daemon, &["{}".to_owned(), "{}".to_owned()]), 0);
    let letters = listed(&daemon, "");
    let id = letters[0]["id"].as_str().unwrap();
    let problem = daemon.request("DELETE", &format!("/dead-letters/{id}"), &[], b"").problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("has not got"), "{problem}");
    let purged = daemon.post("/dead-letters/purge", "{\"all\":true}").with_status(200);
    assert_eq!((&purged["purged"], purged["kept"].as_array().unwrap().len()), (&0.into(), 2), "{purged}");
    // An edit beside a letter changes nothing of what the sink gets.
    daemon.request("PUT", &format!("/dead-letters/{id}"), &[], event("mended").to_string().as_bytes()).with_status(200);
    assert_eq!(daemon.post(&format!("/dead-letters/{id}/replay"), "").with_status(200)["status"], "accepted");
    admin(&daemon, &["sinks", "resume", "clickhouse"]);
    settle(&daemon);
    eventually("the dead letters are there", || server.rows("events_errors").0 == 2);
    eventually("they may go", || daemon.request("DELETE", &format!("/dead-letters/{id}"), &[], b"").status == 204);
    let purged = daemon.post("/dead-letters/purge", "{\"all\":true}").with_status(200);
    assert_eq!((&purged["purged"], purged["kept"].as_array().unwrap().len()), (&1.into(), 0), "{purged}");
    assert_tables(&server, 6, 2);
    assert_eq!(server.number("SELECT countIf(raw = '{}') FROM events_errors"), 2, "as they were received");
}
