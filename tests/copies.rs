//! Logs that are copies, or older than what the sinks hold: neither doubled nor lost, and a line that names the cure.

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
use shipping::{TOPICS, Topics, admin, assert_tables, assert_topics, place, post, settle, some, some_ids, state};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{Daemon, eventually};

const BOTH: [&str; 2] = ["clickhouse", "kafka"];

/// Waits until both sinks have failed for that reason, and sees that it names what can be done.
#[track_caller]
fn assert_diverged(daemon: &Daemon) {
    for sink in BOTH {
        eventually("it has failed", || state(daemon, sink).0 == "failed");
        let reason = state(daemon, sink).1;
        assert!(reason.starts_with("diverged: "), "{sink}: {reason}");
        assert!(reason.contains(&format!("admin sinks reconcile {sink} --from")), "{sink}: {reason}");
    }
}

/// Sees that exactly these events are in both tables and all topics, each once; positions tell them apart only together
/// with the start that committed them.
#[track_caller]
fn assert_events(server: &Server, topics: &Topics, ids: &BTreeSet<String>) {
    for table in ["events_raw", "events_processed"] {
        let found = server.sql(&format!("SELECT event_id FROM {table}"));
        let found: Vec<&str> = found.lines().collect();
        assert_eq!(found.len(), ids.len(), "{table}: {found:?}");
        assert!(found.iter().all(|id| ids.contains(*id)), "{table}: {found:?}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{table}: some twice");
    }
    for topic in TOPICS {
        let records = topics.records(topic);
        let found: BTreeSet<&str> = records.iter().map(|record| record.header("event_id")).collect();
        assert_eq!(records.len(), ids.len(), "{topic}: {found:?}");
        assert!(found.len() == ids.len() && found.iter().all(|id| ids.contains(*id)), "{topic}: {found:?}");
    }
}

fn ids(names: &[&str]) -> BTreeSet<String> {
    names.iter().flat_map(|name| some_ids(name)).collect()
}

#[test]
fn a_restored_old_folder_sends_nothing_and_says_why() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let place = daemon.stop();
    let backup = place.copied();
    let daemon = place.start();
    post(&daemon, &some("second", 20));
    settle(&daemon);
    daemon.stop();
    let daemon = backup.start();
    assert_eq!(post(&daemon, &some("third", 20)), 20, "intake goes on");
    assert_diverged(&daemon);
    assert_tables(&server, 40, 0);
    assert_topics(&topics, 40, 0);
    // The way out that the reasons name.
    let place = daemon.stop();
    for sink in ["clickhouse", "kafka"] {
        let forgotten = place.wal(&["forget-sink", sink]);
        assert!(forgotten.status.success(), "{forgotten:?}");
    }
    let own = Topics { broker: Arc::clone(&topics.broker), prefix: format!("{}-own", topics.prefix) };
    let place = place.and("INGESTD_CLICKHOUSE_TABLE_PREFIX", "own_").and("INGESTD_KAFKA_TOPIC_PREFIX", &own.prefix);
    let daemon = place.start();
    settle(&daemon);
    assert_eq!(server.rows("own_events_raw"), (40, 40), "all that this log has");
    assert_topics(&own, 40, 0);
    assert_tables(&server, 40, 0);
}

#[test]
fn of_two_daemons_with_one_node_id_one_goes_on_and_nothing_is_doubled() {
    let topics = Topics::new();
    let daemon = place(None, Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let place = daemon.stop();
    let copy = place.copied();
    let (one, other) = (place.start(), copy.start());
    let both = [&one, &other];
    // Each has events that the other has not.
    for (daemon, name) in both.iter().zip(["one", "other"]) {
        assert_eq!(post(daemon, &some(name, 20)), 20);
    }
    let failed = || both.iter().filter(|daemon| state(daemon, "kafka").0 == "failed").count();
    eventually("one of them gives in", || failed() == 1);
    let winner = both.iter().position(|daemon| state(daemon, "kafka").0 != "failed").unwrap();
    settle(both[winner]);
    assert_eq!(failed(), 1, "{:?}", both.map(|daemon| state(daemon, "kafka")));
    for topic in TOPICS {
        let ids: Vec<String> =
            topics.records(topic).iter().map(|record| record.header("event_id").to_owned()).collect();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{topic}: some twice");
        let name = ["one", "other"][winner];
        assert!(some_ids("first").chain(some_ids(name)).all(|id| distinct.contains(&id)), "{topic}: {ids:?}");
    }
}

#[test]
fn who_was_fenced_goes_on_when_the_other_one_is_stopped_and_the_operator_says_so() {
    let topics = Topics::new();
    let daemon = place(None, Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let place = daemon.stop();
    let copy = place.copied();
    let one = place.start();
    settle(&one);
    // Takes the id, and sends nothing of its own.
    let other = copy.start();
    settle(&other);
    post(&one, &some("second", 20));
    eventually("it gives in", || state(&one, "kafka").0 == "failed");
    let reason = state(&one, "kafka").1;
    assert!(reason.starts_with("fenced: ") && reason.contains("admin sinks resume kafka"), "{reason}");
    assert_topics(&topics, 20, 0);
    other.stop();
    admin(&one, &["sinks", "resume", "kafka"]);
    settle(&one);
    assert_topics(&topics, 40, 0);
}

#[test]
fn two_copies_at_once_double_nothing_in_clickhouse_and_the_older_one_stops_at_its_next_start() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let place = daemon.stop();
    let copy = place.copied();
    let both = [place.start(), copy.start()];
    // Each has looked into the tables before the other one sends anything.
    for daemon in &both {
        eventually("it runs", || state(daemon, "clickhouse").0 == "running");
    }
    for (daemon, name) in both.iter().zip(["one", "other"]) {
        post(daemon, &some(name, 20));
        settle(daemon);
    }
    for table in ["events_raw", "events_processed"] {
        let wanted = ids(&["first", "one", "other"]);
        assert_eq!(server.number(&format!("SELECT count() FROM {table}")), wanted.len() as u64, "{table}");
        let found = server.sql(&format!("SELECT DISTINCT event_id FROM {table}"));
        assert_eq!(found.lines().map(str::to_owned).collect::<BTreeSet<_>>(), wanted, "{table}");
    }
    // What is newer than its own is what a start looks at.
    let [older, newer] = both.map(|daemon| daemon.stop().start());
    eventually("it has failed", || state(&older, "clickhouse").0 == "failed");
    let reason = state(&older, "clickhouse").1;
    assert!(reason.starts_with("diverged: "), "{reason}");
    eventually("it runs", || state(&newer, "clickhouse").0 == "running");
}

#[test]
fn a_restored_old_folder_goes_on_where_the_operator_says() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let place = daemon.stop();
    let backup = place.copied();
    let daemon = place.start();
    post(&daemon, &some("second", 20));
    settle(&daemon);
    daemon.stop();
    let daemon = backup.start();
    post(&daemon, &some("third", 20));
    assert_diverged(&daemon);
    let beyond = daemon.admin(&["sinks", "reconcile", "clickhouse", "--from", "42"]);
    assert!(!beyond.status.success() && String::from_utf8_lossy(&beyond.stderr).contains("41"), "{beyond:?}");
    assert_diverged(&daemon);
    for sink in BOTH {
        admin(&daemon, &["sinks", "reconcile", sink, "--from", "21"]);
    }
    settle(&daemon);
    assert_events(&server, &topics, &ids(&["first", "second", "third"]));
    // It is said once.
    let daemon = daemon.kill().start();
    post(&daemon, &some("fourth", 20));
    settle(&daemon);
    assert_events(&server, &topics, &ids(&["first", "second", "third", "fourth"]));
}

#[test]
fn a_clone_beside_the_original_disturbs_nobody() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let place = daemon.stop();
    let copy = place.copied();
    let original = place.start();
    post(&original, &some("one", 20));
    settle(&original);
    let clone = copy.start();
    post(&clone, &some("other", 20));
    assert_diverged(&clone);
    post(&original, &some("two", 20));
    settle(&original);
    assert_events(&server, &topics, &ids(&["first", "one", "two"]));
    // The original is retired, and the clone takes its place.
    original.stop();
    for sink in BOTH {
        admin(&clone, &["sinks", "reconcile", sink, "--from", "21"]);
    }
    settle(&clone);
    assert_events(&server, &topics, &ids(&["first", "one", "two", "other"]));
}
