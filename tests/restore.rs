//! Checkpoints that are restored where a ClickHouse and a Kafka have been shipped to: nothing there is doubled, nothing
//! that the copy has is missing, and what it has not is said.

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
use shipping::{
    TOPICS, Topics, admin, assert_tables, assert_topics, ledger, place, post, settle, some, some_ids, state,
};
use std::collections::BTreeSet;
use support::{Daemon, eventually};

const BOTH: [&str; 2] = ["clickhouse", "kafka"];

/// Sees that exactly these events are in both tables and all topics, each once.
#[track_caller]
fn assert_events(server: &Server, topics: &Topics, names: &[&str]) {
    let ids: BTreeSet<String> = names.iter().flat_map(|name| some_ids(name)).collect();
    for table in ["events_raw", "events_processed"] {
        let found = server.sql(&format!("SELECT event_id FROM {table}"));
        let rows = found.lines().count();
        let found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
        assert_eq!(found, ids, "{table}");
        assert_eq!(rows, ids.len(), "{table}: some twice");
    }
    for topic in TOPICS {
        let records = topics.records(topic);
        let found: BTreeSet<String> = records.iter().map(|record| record.header("event_id").to_owned()).collect();
        assert_eq!(found, ids, "{topic}");
        assert_eq!(records.len(), ids.len(), "{topic}: some twice");
    }
}

/// A daemon whose sinks have got the first events, and are paused.
fn paused_behind_the_first(server: &Server, topics: &Topics) -> Daemon {
    let daemon = place(Some(server), Some(topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    for sink in BOTH {
        admin(&daemon, &["sinks", "pause", sink]);
    }
    daemon
}

#[test]
fn what_the_sinks_got_since_the_copy_is_not_sent_again() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = paused_behind_the_first(&server, &topics);
    post(&daemon, &some("second", 20));
    let copy = daemon.checkpoint();
    for sink in BOTH {
        admin(&daemon, &["sinks", "resume", sink]);
    }
    settle(&daemon);
    assert_events(&server, &topics, &["first", "second"]);
    daemon.stop();
    let copy = copy.start_with("--replace");
    post(&copy, &some("third", 20));
    for sink in BOTH {
        admin(&copy, &["sinks", "resume", sink]);
    }
    settle(&copy);
    assert_events(&server, &topics, &["first", "second", "third"]);
    for sink in BOTH {
        assert_eq!(ledger(&copy, sink), [60, 0, 0], "{sink}");
    }
}

#[test]
fn what_the_sinks_hold_beyond_the_copy_is_said_and_stays_there() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let copy = daemon.checkpoint();
    post(&daemon, &some("second", 20));
    settle(&daemon);
    daemon.stop();
    let copy = copy.start_with("--replace");
    post(&copy, &some("third", 20));
    for sink in BOTH {
        eventually("it has failed", || state(&copy, sink).0 == "failed");
        let reason = state(&copy, sink).1;
        assert!(reason.starts_with("diverged: ") && reason.contains("reconcile"), "{sink}: {reason}");
    }
    assert_events(&server, &topics, &["first", "second"]);
    // The copy's first event of its own is the 21st.
    for sink in BOTH {
        admin(&copy, &["sinks", "reconcile", sink, "--from", "21"]);
    }
    settle(&copy);
    assert_events(&server, &topics, &["first", "second", "third"]);
    // The choice, and the word about the sinks, outlive a kill.
    let copy = copy.kill().start();
    post(&copy, &some("fourth", 20));
    settle(&copy);
    assert_events(&server, &topics, &["first", "second", "third", "fourth"]);
}

#[test]
fn a_new_node_beside_the_original_sends_only_what_it_accepts_itself() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = paused_behind_the_first(&server, &topics);
    // On its way, and a dead letter, which are the original's to deliver.
    post(&daemon, &some("second", 20));
    post(&daemon, &["{}".to_owned()]);
    let copy = daemon.checkpoint().start_with("--as-new-node");
    post(&copy, &some("other", 20));
    post(&copy, &["{}".to_owned()]);
    settle(&copy);
    assert_events(&server, &topics, &["first", "other"]);
    for sink in BOTH {
        assert_eq!(ledger(&copy, sink), [20, 0, 0], "{sink}");
        admin(&daemon, &["sinks", "resume", sink]);
    }
    post(&daemon, &some("one", 20));
    settle(&daemon);
    assert_events(&server, &topics, &["first", "second", "other", "one"]);
    eventually("both dead letters are there", || {
        server.rows("events_errors").0 == 2 && topics.records("dlq").len() == 2
    });
    let nodes = server.number("SELECT uniqExact(node) FROM events_raw");
    assert_eq!(nodes, 2);
    // Both go on, over restarts, and neither fails the other.
    let (daemon, copy) = (daemon.kill().start(), copy.kill().start());
    post(&daemon, &some("two", 20));
    post(&copy, &some("another", 20));
    settle(&daemon);
    settle(&copy);
    assert_events(&server, &topics, &["first", "second", "other", "one", "two", "another"]);
}

#[test]
fn a_copy_made_while_a_batch_is_on_its_way_settles_it_like_a_crash() {
    let server = Server::start();
    let proxy = clickhouse::Proxy::to(&server);
    let daemon = place(Some(&server), None).and("INGESTD_CLICKHOUSE_URLS", &proxy.url()).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    proxy.lose_answers(true);
    post(&daemon, &some("second", 20));
    eventually("they have arrived", || {
        ["events_raw", "events_processed"].map(|table| server.rows(table).0) == [40, 40]
    });
    eventually("nobody says so", || ["retrying", "circuit_open"].contains(&&*state(&daemon, "clickhouse").0));
    let copy = daemon.checkpoint();
    daemon.kill();
    proxy.lose_answers(false);
    let copy = copy.start_with("--replace");
    settle(&copy);
    post(&copy, &some("third", 20));
    settle(&copy);
    assert_tables(&server, 60, 0);
    assert_eq!(ledger(&copy, "clickhouse"), [60, 0, 0]);
}

#[test]
fn a_restored_kafka_sink_alone_needs_no_word_where_its_topics_hold_no_more() {
    let topics = Topics::new();
    let daemon = place(None, Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    let copy = daemon.checkpoint();
    daemon.kill();
    let copy = copy.start_with("--replace");
    post(&copy, &some("second", 20));
    settle(&copy);
    assert_topics(&topics, 40, 0);
}
