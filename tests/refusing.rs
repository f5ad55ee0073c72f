//! Servers that say no to us, whatever the event: it is told with what mends it, no event is lost for it, and all of them
//! arrive once it is mended.

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

use clickhouse::{Server, Setup};
use shipping::{Topics, admin, assert_tables, assert_topics, place, post, settle, sink, some, state};
use std::fs;
use support::{Daemon, eventually};

/// Waits until the sink says that, and sees that all but `delivered` events are still to come.
#[track_caller]
fn assert_told(daemon: &Daemon, name: &str, states: &[&str], says: &str, delivered: u64) {
    let error = || sink(daemon, name)["lastError"]["text"].as_str().unwrap_or_default().to_owned();
    eventually(says, || states.contains(&&*state(daemon, name).0) && error().contains(says));
    let ledger = sink(daemon, name)["ledger"].clone();
    let count = |key: &str| ledger[key].as_u64().unwrap();
    assert_eq!([count("delivered"), count("pending"), count("dead")], [delivered, 10, 0], "{says}: {ledger}");
}

/// That only an operator can mend it.
#[track_caller]
fn assert_failed(daemon: &Daemon, says: &str, delivered: u64) -> String {
    assert_told(daemon, "clickhouse", &["failed"], says, delivered);
    let reason = state(daemon, "clickhouse").1;
    assert!(reason.starts_with("destination_refuses: "), "{reason}");
    reason
}

/// That it is tried again and again.
#[track_caller]
fn assert_retried(daemon: &Daemon, name: &str, says: &str, delivered: u64) {
    assert_told(daemon, name, &["retrying", "circuit_open"], says, delivered);
}

#[test]
fn tables_that_do_not_fit_are_told_with_what_mends_them() {
    let server = Server::start();
    let mut daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    let comment = server.sql("SELECT comment FROM system.tables WHERE name = 'events_errors'");
    let comment = format!("ALTER TABLE events_errors MODIFY COMMENT '{comment}'");
    let mut delivered = 10;
    for (change, says, mend) in [
        (
            "events_raw MODIFY SETTING non_replicated_deduplication_window = 0",
            "has non_replicated_deduplication_window = 0, not 10000",
            None,
        ),
        ("events_processed DROP COLUMN user_id", "has no column user_id", None),
        ("events_raw MODIFY COLUMN session_id FixedString(40)", "is FixedString(40), not String", None),
        // Nobody knows what it is, so nothing is proposed that would touch its rows.
        ("events_errors MODIFY COMMENT 'mine'", "was not made by ingestd", Some(&comment)),
    ] {
        // Tables are looked at when a sink begins.
        let place = daemon.stop();
        server.sql(&format!("ALTER TABLE {change}"));
        daemon = place.start();
        post(&daemon, &some(&format!("after-{delivered}"), 10));
        let reason = assert_failed(&daemon, says, delivered);
        let told = reason.split_once("mend with: ").map(|(_, sql)| sql);
        server.sql(mend.map(String::as_str).or(told).unwrap_or_else(|| panic!("nothing mends it: {reason}")));
        admin(&daemon, &["sinks", "resume", "clickhouse"]);
        settle(&daemon);
        delivered += 10;
        assert_tables(&server, delivered, 0);
    }
}

/// Of the same password, of whom one may only read.
const USERS: &str = "<shipper><password>right-word</password><networks><ip>127.0.0.1</ip></networks>\
    <profile>default</profile><quota>default</quota></shipper>\
    <reader><password>right-word</password><networks><ip>127.0.0.1</ip></networks>\
    <profile>readonly</profile><quota>default</quota></reader>";

#[test]
fn a_wrong_password_and_a_user_who_may_only_read_cost_no_event() {
    let server = Server::with(Setup { users: USERS, ..Setup::default() });
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("password");
    fs::write(&file, "wrong-word\n").unwrap();
    let place = place(Some(&server), None).and("INGESTD_CLICKHOUSE_PASSWORD_FILE", file.to_str().unwrap());
    let daemon = place.and("INGESTD_CLICKHOUSE_USER", "shipper").start();
    post(&daemon, &some("first", 10));
    assert_failed(&daemon, "Authentication failed", 0);
    assert!(!daemon.log().contains("wrong-word"));
    // Secrets are read at the start.
    fs::write(&file, "right-word\n").unwrap();
    let daemon = daemon.stop().start();
    settle(&daemon);
    assert_tables(&server, 10, 0);
    let daemon = daemon.stop().and("INGESTD_CLICKHOUSE_USER", "reader").start();
    post(&daemon, &some("second", 10));
    assert_failed(&daemon, "readonly", 10);
    let daemon = daemon.stop().and("INGESTD_CLICKHOUSE_USER", "shipper").start();
    settle(&daemon);
    assert_tables(&server, 20, 0);
}

#[test]
fn a_full_disk_of_clickhouse_costs_no_event() {
    // More than any disk has.
    let config = "<storage_configuration><disks><default><keep_free_space_bytes>1000000000000000\
                  </keep_free_space_bytes></default></disks></storage_configuration>";
    let mut server = Server::with(Setup { config, ..Setup::default() });
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    assert_retried(&daemon, "clickhouse", "NOT_ENOUGH_SPACE", 0);
    server.kill();
    server.start_again_with(Setup::default());
    // Ends the pause before the next attempt.
    admin(&daemon, &["sinks", "resume", "clickhouse"]);
    settle(&daemon);
    assert_tables(&server, 10, 0);
}

#[test]
fn a_clickhouse_with_too_many_parts_gets_everything_when_it_has_merged_them() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    let limit = |parts: u64| {
        let limits = format!("parts_to_throw_insert = {parts}, parts_to_delay_insert = {parts}");
        server.sql(&format!("ALTER TABLE events_raw MODIFY SETTING {limits}"));
    };
    server.sql("SYSTEM STOP MERGES events_raw");
    limit(2);
    post(&daemon, &some("second", 10));
    settle(&daemon);
    post(&daemon, &some("third", 10));
    assert_retried(&daemon, "clickhouse", "TOO_MANY_PARTS", 20);
    server.sql("SYSTEM START MERGES events_raw");
    limit(3000);
    admin(&daemon, &["sinks", "resume", "clickhouse"]);
    post(&daemon, &some("fourth", 10));
    settle(&daemon);
    assert_tables(&server, 40, 0);
}

#[test]
fn a_kafka_that_makes_no_topics_is_quoted_and_costs_no_event() {
    let topics = Topics::new();
    let place = place(None, Some(&topics)).and("INGESTD_KAFKA_PARTITIONS", "5");
    // On a cluster of one.
    let daemon = place.and("INGESTD_KAFKA_REPLICATION", "3").start();
    post(&daemon, &some("first", 10));
    let name = format!("{}-raw", topics.prefix);
    assert_retried(&daemon, "kafka", &format!("topic {name} cannot be made"), 0);
    let daemon = daemon.stop().and("INGESTD_KAFKA_REPLICATION", "1").start();
    settle(&daemon);
    assert_topics(&topics, 10, 0);
    assert_eq!(topics.broker.partitions(&name), 5);
}

#[test]
fn a_setting_that_cannot_work_is_named_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let options = "\"security.protocol\" = \"ssl\"\n\"ssl.key.pem\" = \"hunter2\"\n";
    fs::write(&config, format!("[kafka]\nenabled = true\n[kafka.options]\n{options}")).unwrap();
    let daemon = place(None, None).and("INGESTD_CONFIG", config.to_str().unwrap()).start();
    post(&daemon, &some("first", 10));
    assert_told(&daemon, "kafka", &["failed"], "ssl.key.pem", 0);
    let reason = state(&daemon, "kafka").1;
    assert!(reason.starts_with("misconfigured: ") && !daemon.log().contains("hunter2"), "{reason}");
}

#[test]
fn what_a_kafka_wants_to_know_of_us_comes_from_the_file_and_the_files_it_names() {
    let topics = Topics::new();
    let folder = tempfile::tempdir().unwrap();
    let [config, password] = ["config.toml", "password"].map(|name| folder.path().join(name));
    let login = "\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
                 \"sasl.username\" = \"boss\"\n";
    fs::write(&password, "wrong-word\n").unwrap();
    let files = format!("[kafka.option_files]\n\"sasl.password\" = \"{}\"\n", password.display());
    fs::write(&config, format!("[kafka.options]\n{login}{files}")).unwrap();
    let place = place(None, Some(&topics)).and("INGESTD_CONFIG", config.to_str().unwrap());
    let daemon = place.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &topics.broker.sasl_address()).start();
    post(&daemon, &some("first", 10));
    assert_retried(&daemon, "kafka", "uthentication", 0);
    assert!(!daemon.log().contains("wrong-word"));
    fs::write(&password, "boss-word\n").unwrap();
    let daemon = daemon.stop().start();
    settle(&daemon);
    assert_topics(&topics, 10, 0);
    // Encrypted, by an authority that nobody else knows.
    let (address, certificate) = topics.broker.encrypted();
    let place = daemon.stop().and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &address);
    fs::write(&config, "[kafka.options]\n\"security.protocol\" = \"ssl\"\n").unwrap();
    let daemon = place.start();
    post(&daemon, &some("second", 10));
    assert_retried(&daemon, "kafka", "certificate verify failed", 10);
    let trusting = format!("\"ssl.ca.location\" = \"{}\"\n", certificate.display());
    fs::write(&config, format!("[kafka.options]\n\"security.protocol\" = \"ssl\"\n{trusting}")).unwrap();
    let daemon = daemon.stop().start();
    settle(&daemon);
    assert_topics(&topics, 20, 0);
}
