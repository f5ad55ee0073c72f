//! Erasing what is on its way to sinks: exactly once for all the rest, whatever of a batch has arrived. With a real
//! ClickHouse and a real Kafka.

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

use clickhouse::{Proxy, Server};
use serde_json::{Value, json};
use shipping::{Topics, admin, assert_tables, assert_topics, ledger, place, post, settle, some, state};
use support::{Daemon, event, eventually};

const VICTIM: &str = "o'victim";

/// 20 events, of which the first, the last and one between them are a person's.
fn mixed(name: &str) -> Vec<String> {
    let of = |number: usize| {
        let mut event = event(&format!("{name}-{number}"));
        event["userId"] = if [0, 7, 19].contains(&number) { VICTIM } else { "other" }.into();
        event.to_string()
    };
    (0..20).map(of).collect()
}

#[track_caller]
fn erase(daemon: &Daemon) -> Value {
    serde_json::from_str(&admin(daemon, &["erase", "--user", VICTIM, "--json"])).unwrap()
}

/// Runs what was printed.
fn run_statements(server: &Server, report: &Value) {
    let sinks = report["sinks"].as_array().unwrap();
    let statements = sinks.iter().find(|sink| sink["sink"] == "clickhouse").unwrap()["statements"].clone();
    for statement in statements.as_array().unwrap() {
        server.sql(statement.as_str().unwrap().trim_end_matches(';'));
    }
}

#[test]
fn a_batch_that_had_arrived_unknown_to_the_daemon_is_not_sent_again() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let daemon = place(Some(&server), None).and("INGESTD_CLICKHOUSE_URLS", &proxy.url()).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    proxy.lose_answers(true);
    post(&daemon, &mixed("second"));
    eventually("they have arrived", || {
        ["events_raw", "events_processed"].map(|table| server.rows(table).0) == [30, 30]
    });
    let report = erase(&daemon);
    assert_eq!(
        (&report["log"]["erased"], &report["sinks"][0]["underWay"]),
        (&3.into(), &json!([[11, 30]])),
        "{report}"
    );
    // Also after a crash.
    let daemon = daemon.kill().start();
    proxy.lose_answers(false);
    eventually("the sink is there again", || ledger(&daemon, "clickhouse") == [27, 0, 3]);
    settle(&daemon);
    assert_tables(&server, 30, 0);
    assert_eq!(erase(&daemon)["sinks"][0]["underWay"], json!([]));
    run_statements(&server, &report);
    assert_tables(&server, 27, 0);
    assert_eq!(server.number("SELECT countIf(user_id = 'other') FROM events_raw"), 17, "nobody else's");
}

#[test]
fn of_a_batch_that_is_in_one_table_the_other_gets_the_rest() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    server.sql("RENAME TABLE events_processed TO events_away");
    post(&daemon, &mixed("second"));
    eventually("it has failed", || state(&daemon, "clickhouse").0 == "failed");
    eventually("one table has them", || server.rows("events_raw").0 == 30);
    let report = erase(&daemon);
    assert_eq!(state(&daemon, "clickhouse").0, "failed", "an erasure mends nothing");
    server.sql("RENAME TABLE events_away TO events_processed");
    admin(&daemon, &["resume", "clickhouse"]);
    settle(&daemon);
    assert_eq!(ledger(&daemon, "clickhouse"), [27, 0, 3]);
    assert_eq!((server.rows("events_raw"), server.rows("events_processed")), ((30, 30), (27, 27)));
    run_statements(&server, &report);
    assert_tables(&server, 27, 0);
}

#[test]
fn nothing_that_is_erased_reaches_a_sink_that_was_paused_and_its_dead_letters_come_empty() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    for sink in ["clickhouse", "kafka"] {
        admin(&daemon, &["pause", sink]);
    }
    let mut bad: Value = serde_json::from_str(&mixed("bad")[0]).unwrap();
    bad["eventType"] = "cart_eaten".into();
    assert_eq!(post(&daemon, &[bad.to_string(), "{}".to_owned()]), 0);
    post(&daemon, &mixed("second"));
    // All of a request, at the end: no event comes after them that would take a sink along.
    post(&daemon, &[mixed("third")[0].clone()]);
    let report = erase(&daemon);
    assert_eq!((&report["log"]["erased"], &report["deadLetters"]["erased"]), (&4.into(), &1.into()), "{report}");
    let letters = daemon.get("/dead-letters").with_status(200)["items"].clone();
    assert_eq!((&letters[0]["eventId"], &letters[0]["detail"]), (&Value::Null, &"erased".into()), "{letters}");
    let daemon = daemon.kill().start();
    for sink in ["clickhouse", "kafka"] {
        admin(&daemon, &["resume", sink]);
    }
    settle(&daemon);
    for sink in ["clickhouse", "kafka"] {
        eventually("it is past them", || ledger(&daemon, sink) == [27, 0, 4]);
    }
    eventually("the dead letters are there", || server.rows("events_errors").0 == 2);
    assert_tables(&server, 27, 2);
    eventually("the dead letters are there", || topics.records("dlq").len() == 2);
    assert_topics(&topics, 27, 2);
    let errors =
        "SELECT countIf(raw = ''), countIf(raw = '{}'), countIf(position(raw, 'victim') > 0) FROM events_errors";
    assert_eq!(server.sql(errors).trim(), "1\t1\t0");
    for sink in ["clickhouse", "kafka"] {
        let verified = daemon.admin(&["verify", sink]);
        assert!(verified.status.success(), "{verified:?}");
    }
    // Whoever has it begin again finds the counts as they were.
    admin(&daemon, &["sinks", "reconcile", "clickhouse", "--from", "11"]);
    settle(&daemon);
    assert_eq!(ledger(&daemon, "clickhouse"), [27, 0, 4]);
    assert_tables(&server, 27, 2);
}

#[test]
fn a_dead_letter_that_had_arrived_unknown_to_the_daemon_is_told_of_and_comes_once() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let daemon = place(Some(&server), None).and("INGESTD_CLICKHOUSE_URLS", &proxy.url()).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    proxy.lose_answers(true);
    let mut bad: Value = serde_json::from_str(&mixed("bad")[0]).unwrap();
    bad["eventType"] = "cart_eaten".into();
    assert_eq!(post(&daemon, &[bad.to_string()]), 0);
    eventually("it has arrived", || server.rows("events_errors").0 == 1);
    let report = erase(&daemon);
    let sink = &report["sinks"][0];
    assert_eq!(
        (&report["deadLetters"]["erased"], &sink["underWay"], &sink["lettersUnderWay"]),
        (&1.into(), &json!([]), &json!([[1, 1]])),
        "{report}"
    );
    let daemon = daemon.kill().start();
    proxy.lose_answers(false);
    settle(&daemon);
    eventually("the sink is past it", || erase(&daemon)["sinks"][0]["lettersUnderWay"] == json!([]));
    assert_tables(&server, 10, 1);
    run_statements(&server, &report);
    assert_tables(&server, 10, 0);
}
