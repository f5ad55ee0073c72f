//! Sinks that are steered: paused, resumed, made to give up, at a budget's end; nothing doubled, all of it counted.

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
use shipping::{Topics, admin, assert_tables, assert_topics, ledger, place, post, settle, some, state};
use support::{Daemon, Place, event, eventually};

#[test]
fn a_paused_sink_stays_paused_over_a_restart_and_misses_nothing() {
    let topics = Topics::new();
    let daemon = place(None, Some(&topics)).start();
    post(&daemon, &[event("e-1").to_string()]);
    settle(&daemon);
    assert!(daemon.admin(&["pause", "kafka"]).status.success());
    let is_paused = |daemon: &Daemon| daemon.get("/pipeline/status").json()["sinks"][0]["state"] == "paused";
    eventually("it is paused", || is_paused(&daemon));
    post(&daemon, &[event("e-2").to_string()]);
    let daemon = daemon.kill().start();
    eventually("it is paused", || is_paused(&daemon));
    assert!(!daemon.admin(&["flush"]).status.success(), "a paused sink flushes nothing");
    assert_eq!(topics.records("raw").len(), 1);
    assert!(daemon.admin(&["resume", "kafka"]).status.success());
    settle(&daemon);
    assert_topics(&topics, 2, 0);
}

#[test]
fn at_the_logs_budget_a_backlog_expires_in_the_open_or_events_are_refused() {
    // Nobody listens there.
    let away = |policy: &str| {
        let place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false"), ("INGESTD_CLICKHOUSE_ENABLED", "true")]);
        let place = place.and("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9").and("INGESTD_LOG_HOLD_S", "0");
        place.and("INGESTD_CLICKHOUSE_BACKLOG", policy).and("INGESTD_LOG_BUDGET_BYTES", "268435456")
    };
    let mut noise = 0_u64;
    let mut large = |number: usize| {
        // Not to be packed.
        let text: String = (0..12_500)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{noise:016x}")
            })
            .collect();
        let mut event = event(&format!("large-{number}"));
        event["data"]["text"] = text.into();
        event.to_string()
    };
    let daemon = away("refuse").start();
    let mut connection = daemon.connect();
    let refused = (0..2500).find_map(|number| {
        connection.send(support::request("POST", "/events", &[], large(number).as_bytes()));
        let answer = connection.answer();
        (answer.status != 202).then(|| answer.problem(503))
    });
    assert_eq!(refused.expect("the budget is never reached")["reason"], "log_budget");
    drop(daemon);

    // Beside a sink that gets everything.
    let daemon = away("expire").and("INGESTD_PARQUET_ENABLED", "true").and("INGESTD_PARQUET_ROLL_S", "1").start();
    let expired = || ledger(&daemon, "clickhouse")[2];
    let (mut accepted, mut number) = (0, 0);
    eventually("events are taken again after older ones were given up", || {
        number += 1;
        // While room is made some are refused, and their connections closed.
        let is_taken = daemon.post("/events", large(number)).status == 202;
        accepted += u64::from(is_taken);
        is_taken && expired() > 0
    });
    admin(&daemon, &["flush", "parquet"]);
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
    let account = ledger(&daemon, "clickhouse");
    assert_eq!((account[0], account.iter().sum::<u64>()), (0, accepted), "{account:?}");
    assert_eq!(ledger(&daemon, "parquet"), [accepted, 0, 0]);
    let figure = |sink: &str| daemon.metric(&format!("ingestd_sink_expired_total{{sink=\"{sink}\"}}")) as u64;
    assert!(account[2] > 0 && figure("clickhouse") >= account[2], "{account:?}");
    assert_eq!(figure("parquet"), 0);
}

#[test]
fn what_is_skipped_is_counted_and_never_sent() {
    let (server, topics) = (Server::start(), Topics::new());
    let both = ["clickhouse", "kafka"];
    // Nobody listens there: these sinks have never been anywhere.
    let nowhere = place(Some(&server), Some(&topics)).and("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9");
    let daemon = nowhere.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9").start();
    post(&daemon, &some("first", 30));
    for sink in both {
        assert!(!daemon.admin(&["skip", sink, "--until", "32"]).status.success(), "there is no such event");
        assert!(daemon.admin(&["skip", sink, "--until", "21"]).status.success());
        assert_eq!(ledger(&daemon, sink), [0, 10, 20], "done when it is answered");
    }
    let place = daemon.kill().and("INGESTD_CLICKHOUSE_URLS", &server.url());
    let daemon = place.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &topics.broker.address()).start();
    settle(&daemon);
    assert_tables(&server, 10, 0);
    assert_topics(&topics, 10, 0);
    // And again, between what was sent and what will be.
    for sink in both {
        admin(&daemon, &["sinks", "pause", sink]);
    }
    post(&daemon, &some("second", 30));
    for sink in both {
        assert!(daemon.admin(&["skip", sink, "--until", "51"]).status.success());
    }
    for sink in both {
        assert_eq!(ledger(&daemon, sink), [10, 10, 40]);
        admin(&daemon, &["sinks", "resume", sink]);
    }
    settle(&daemon);
    for sink in both {
        assert_eq!(ledger(&daemon, sink), [20, 0, 40], "{sink}");
    }
    assert_tables(&server, 20, 0);
    assert_topics(&topics, 20, 0);
    let daemon = daemon.kill().start();
    post(&daemon, &some("third", 10));
    settle(&daemon);
    assert_tables(&server, 30, 0);
    assert_topics(&topics, 30, 0);
}

/// A ClickHouse that has 10 events, and then 20 more, of which the daemon does not know whether they have arrived.
fn in_doubt(proxy: &Proxy, server: &Server) -> Daemon {
    let daemon = place(Some(server), None).and("INGESTD_CLICKHOUSE_URLS", &proxy.url()).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    proxy.lose_answers(true);
    post(&daemon, &some("second", 20));
    eventually("they have arrived", || {
        ["events_raw", "events_processed"].map(|table| server.rows(table).0) == [30, 30]
    });
    eventually("nobody says so", || ["retrying", "circuit_open"].contains(&&*state(&daemon, "clickhouse").0));
    daemon
}

#[test]
fn a_batch_in_doubt_is_given_up_as_a_whole_and_counted_when_the_sink_can_be_asked() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let daemon = in_doubt(&proxy, &server);
    let said = admin(&daemon, &["skip", "clickhouse", "--until", "16"]);
    assert!(said.contains("31"), "the batch ends with 30: {said}");
    assert_eq!(ledger(&daemon, "clickhouse"), [10, 0, 20]);
    // What is stored does not depend on who asks.
    let daemon = daemon.kill().start();
    eventually("its place is taken again", || ledger(&daemon, "clickhouse") == [10, 0, 20]);
    proxy.lose_answers(false);
    eventually("they are counted", || ledger(&daemon, "clickhouse") == [30, 0, 0]);
    post(&daemon, &some("third", 5));
    settle(&daemon);
    assert_tables(&server, 35, 0);
}

#[test]
fn a_batch_whose_answer_was_lost_is_there_once() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let daemon = in_doubt(&proxy, &server);
    proxy.lose_answers(false);
    settle(&daemon);
    for table in ["events_raw", "events_processed"] {
        server.sql(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    assert_tables(&server, 30, 0);
    assert_eq!(ledger(&daemon, "clickhouse"), [30, 0, 0]);
}

#[test]
fn a_batch_that_is_in_one_table_only_is_not_delivered() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    server.sql("RENAME TABLE events_processed TO events_away");
    post(&daemon, &some("second", 20));
    eventually("it has failed", || state(&daemon, "clickhouse").0 == "failed");
    eventually("the other table has them", || server.rows("events_raw").0 == 30);
    // One that has failed can be paused, and goes on where it was.
    admin(&daemon, &["sinks", "pause", "clickhouse"]);
    eventually("it is paused", || state(&daemon, "clickhouse").0 == "paused");
    admin(&daemon, &["sinks", "skip", "clickhouse", "--until", "12"]);
    assert_eq!(ledger(&daemon, "clickhouse"), [10, 0, 20]);
    server.sql("RENAME TABLE events_away TO events_processed");
    admin(&daemon, &["sinks", "resume", "clickhouse"]);
    post(&daemon, &some("third", 5));
    settle(&daemon);
    assert_eq!(ledger(&daemon, "clickhouse"), [15, 0, 20]);
    assert_eq!((server.rows("events_raw"), server.rows("events_processed")), ((35, 35), (15, 15)));
    let listed = admin(&daemon, &["sinks", "list"]);
    assert_eq!(listed, admin(&daemon, &["sinks"]), "the same");
}

#[test]
fn orders_are_durable_when_they_are_answered_also_while_nobody_can_be_reached() {
    let server = Server::start();
    let nowhere = place(Some(&server), None).and("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9");
    let daemon = nowhere.start();
    post(&daemon, &some("first", 30));
    eventually("it is away", || state(&daemon, "clickhouse").0 == "circuit_open");
    admin(&daemon, &["sinks", "skip", "clickhouse", "--until", "11"]);
    let daemon = daemon.kill().start();
    eventually("its place is taken again", || ledger(&daemon, "clickhouse") == [0, 20, 10]);
    eventually("it is away", || state(&daemon, "clickhouse").0 != "running");
    admin(&daemon, &["sinks", "pause", "clickhouse"]);
    let daemon = daemon.kill().start();
    eventually("it is paused", || state(&daemon, "clickhouse").0 == "paused");
    // A sink that has never been anywhere has its place in the log.
    let place = daemon.kill();
    let forgotten = place.wal(&["forget-sink", "clickhouse"]);
    assert!(String::from_utf8_lossy(&forgotten.stdout).contains("last 20 events"), "{forgotten:?}");
    // It begins anew, not paused, with what the log has.
    let daemon = place.and("INGESTD_CLICKHOUSE_URLS", &server.url()).start();
    settle(&daemon);
    assert_tables(&server, 30, 0);
}

#[test]
fn a_search_for_refused_rows_that_is_cut_short_doubles_nothing() {
    let server = std::sync::Arc::new(Server::start());
    let proxy = Proxy::to(&server);
    let daemon = place(Some(&server), None).and("INGESTD_CLICKHOUSE_URLS", &proxy.url()).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    for table in ["events_raw", "events_processed"] {
        server.sql(&format!("ALTER TABLE {table} ADD CONSTRAINT no_poison CHECK event_id != 'poison'"));
    }
    let asks = std::sync::Arc::clone(&server);
    // Parts of the batch are in both tables, and then nothing is done any more.
    let has_some = move || ["events_raw", "events_processed"].iter().all(|table| asks.rows(table).0 > 10);
    proxy.is_busy(has_some);
    let mut second = some("second", 200);
    second.insert(150, event("poison").to_string());
    let body = format!("[{}]", second.join(","));
    daemon.post("/events/batch", body).with_status(202);
    eventually("the search ends early", || ["retrying", "circuit_open"].contains(&&*state(&daemon, "clickhouse").0));
    let begun = server.rows("events_raw").0;
    assert!((11..=210).contains(&begun), "a part of it is there: {begun}");
    // What would make another batch of it, were it cut anew.
    post(&daemon, &some("third", 5));
    proxy.is_busy(|| false);
    settle(&daemon);
    eventually("the refused one is a dead letter", || server.rows("events_errors").0 == 1);
    assert_tables(&server, 215, 1);
    assert_eq!(ledger(&daemon, "clickhouse"), [215, 0, 0]);
}

#[test]
fn an_order_does_not_wait_for_a_server_that_hangs() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    server.freeze(true);
    post(&daemon, &some("second", 10));
    eventually("a batch is on its way", || shipping::sink(&daemon, "clickhouse")["inFlight"] == 10);
    let asked = std::time::Instant::now();
    admin(&daemon, &["sinks", "pause", "clickhouse"]);
    // A call would be given up after 60.
    assert!(asked.elapsed() < std::time::Duration::from_secs(40), "{:?}", asked.elapsed());
    server.freeze(false);
    admin(&daemon, &["sinks", "resume", "clickhouse"]);
    settle(&daemon);
    assert_tables(&server, 20, 0);
}

#[test]
fn a_sink_that_has_nothing_to_send_says_that_its_server_is_away() {
    let mut server = Server::start();
    let daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    server.kill();
    eventually("it says so", || state(&daemon, "clickhouse").0 != "running");
    server.start_again();
    eventually("it runs again", || state(&daemon, "clickhouse").0 == "running");
}

#[test]
fn a_kafka_that_dies_while_there_is_nothing_to_send_is_away_until_it_is_back() {
    let topics = Topics::alone();
    let daemon = place(None, Some(&topics)).start();
    post(&daemon, &some("first", 10));
    settle(&daemon);
    let health = || daemon.get("/health").json()["services"]["kafka"].clone();
    eventually("health says how long it takes", || health()["latencyMs"].as_f64().is_some_and(|took| took > 0.0));
    assert_eq!(health()["status"], "up");
    topics.broker.kill();
    eventually("it says so", || state(&daemon, "kafka").0 != "running");
    let since = shipping::sink(&daemon, "kafka")["since"].clone();
    eventually("it tries again", || shipping::sink(&daemon, "kafka")["failures"].as_u64().unwrap() >= 3);
    assert_eq!(shipping::sink(&daemon, "kafka")["since"], since, "it said in between that it runs");
    eventually("health says so", || health()["status"] == "degraded");
    topics.broker.restart();
    eventually("it runs again", || state(&daemon, "kafka").0 == "running");
    post(&daemon, &some("second", 10));
    settle(&daemon);
    assert_topics(&topics, 20, 0);
}
