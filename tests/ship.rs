//! To a real ClickHouse and a real Kafka: every accepted event exactly once in both, whatever is killed.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/clickhouse/mod.rs"]
mod clickhouse;
#[cfg(test)]
#[path = "support/kafka/mod.rs"]
mod kafka;
#[cfg(test)]
mod support;

use clickhouse::Server;
use event::UnixMicros;
use kafka::{Broker, Record};
use record::{BlockWriter, IdListWriter, SegmentMeta, put_record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Daemon, Place, event, eventually, real_lines};

const ACCEPTED: u64 = 10_828;
const TOPICS: [&str; 3] = ["raw", "validated", "enriched"];

/// A broker with topics of one's own.
struct Topics {
    broker: Arc<Broker>,
    prefix: String,
}

impl Topics {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Topics { broker: Broker::shared(), prefix: format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    fn records(&self, topic: &str) -> Vec<Record> {
        self.broker.committed(&[&format!("{}-{topic}", self.prefix)])
    }
}

/// A folder whose daemon ships to these; no Parquet files.
fn place(server: Option<&Server>, topics: Option<&Topics>) -> Place {
    let mut place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false")]);
    if let Some(server) = server {
        place = place.and("INGESTD_CLICKHOUSE_ENABLED", "true").and("INGESTD_CLICKHOUSE_URLS", &server.url());
        place = place.and("INGESTD_CLICKHOUSE_BATCH_AGE_MS", "100");
    }
    if let Some(topics) = topics {
        place = place.and("INGESTD_KAFKA_ENABLED", "true").and("INGESTD_KAFKA_TOPIC_PREFIX", &topics.prefix);
        place = place.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &topics.broker.address());
    }
    place
}

/// Posts lines in batches of 100; returns how many were accepted as new.
fn post(daemon: &Daemon, lines: &[String]) -> u64 {
    let mut connection = daemon.connect();
    let batches = lines.chunks(100).map(|batch| {
        let body = format!("[{}]", batch.join(","));
        connection.send(support::request("POST", "/events/batch", &[], body.as_bytes()));
        let answer = connection.answer().with_status(202);
        answer["successful"].as_u64().unwrap() - answer["duplicates"].as_u64().unwrap()
    });
    batches.sum()
}

/// Waits until every sink has everything, and sees that the counts balance.
#[track_caller]
fn settle(daemon: &Daemon) -> Value {
    let flushed = daemon.admin(&["flush"]);
    assert!(flushed.status.success(), "flush: {flushed:?} {}", daemon.log());
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
    serde_json::from_slice(&audit.stdout).unwrap()
}

#[track_caller]
fn assert_tables(server: &Server, events: u64, dead: u64) {
    for (table, rows) in [("events_raw", events), ("events_processed", events), ("events_errors", dead)] {
        assert_eq!(server.rows(table), (rows, rows), "{table}");
    }
}

#[track_caller]
fn assert_topics(topics: &Topics, events: u64, dead: usize) {
    for topic in TOPICS {
        let seqs: Vec<u64> = topics.records(topic).iter().map(Record::seq).collect();
        assert_eq!(seqs.len() as u64, events, "{topic}");
        assert_eq!(seqs.iter().collect::<BTreeSet<_>>().len() as u64, events, "{topic}: some twice");
    }
    assert_eq!(topics.records("dlq").len(), dead);
}

#[test]
fn the_real_events_are_in_every_table_and_topic_once_and_in_order() {
    let (server, topics) = (Server::start(), Topics::new());
    let lines = real_lines();
    let daemon = place(Some(&server), Some(&topics)).start();
    assert_eq!(post(&daemon, &lines), ACCEPTED);
    let audit = settle(&daemon);
    for sink in audit["sinks"].as_array().unwrap() {
        let ledger = &sink["ledger"];
        assert_eq!([&ledger["delivered"], &ledger["pending"], &ledger["dead"]], [ACCEPTED, 0, 0], "{sink}");
    }
    assert_tables(&server, ACCEPTED, 0);
    for table in ["events_raw", "events_processed"] {
        server.sql(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    assert_tables(&server, ACCEPTED, 0);
    assert_topics(&topics, ACCEPTED, 0);
    let sent: BTreeSet<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let mut newest: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for record in topics.records("raw") {
        let value = record.value.as_deref().unwrap();
        assert!(sent.contains(value), "other bytes than were sent");
        let parsed: Value = serde_json::from_slice(value).unwrap();
        assert_eq!(record.key.as_deref(), parsed["sessionId"].as_str().map(str::as_bytes));
        assert_eq!(record.partition, record.javas_partition, "Java's producers would put it elsewhere");
        assert_eq!(record.header("event_id"), parsed["eventId"].as_str().unwrap());
        assert_eq!(record.header("event_type"), parsed["eventType"].as_str().unwrap());
        assert_eq!(record.header("tenant"), "default");
        let seq = record.seq();
        let before = newest.insert(record.key.unwrap(), seq);
        assert!(before.is_none_or(|before| before < seq), "a session's events are out of order");
    }
    // Bad ones are where dead letters go, and nowhere else.
    let bad: Vec<String> = (0..100).map(|number| json!({"eventId": format!("bad-{number}")}).to_string()).collect();
    assert_eq!(post(&daemon, &bad), 0);
    eventually("the dead letters are there", || server.rows("events_errors").0 == 100);
    eventually("the dead letters are there", || topics.records("dlq").len() == 100);
    assert_tables(&server, ACCEPTED, 100);
    assert_topics(&topics, ACCEPTED, 100);
    let letter = &topics.records("dlq")[0];
    assert_eq!(letter.header("code"), "missing_field");
    daemon.stop();
}

#[test]
fn kills_of_the_daemon_lose_and_double_nothing() {
    let (server, topics) = (Server::start(), Topics::new());
    let lines = real_lines();
    let mut accepted = 0;
    let mut daemon = place(Some(&server), Some(&topics)).start();
    for part in lines.chunks(lines.len() / 8) {
        accepted += post(&daemon, part);
        daemon = daemon.kill().start();
    }
    assert_eq!(accepted, ACCEPTED);
    settle(&daemon);
    assert_tables(&server, ACCEPTED, 0);
    assert_topics(&topics, ACCEPTED, 0);
}

#[test]
fn a_clickhouse_that_is_away_holds_up_nobody_and_gets_everything_when_it_is_back() {
    let (mut server, topics) = (Server::start(), Topics::new());
    let lines = real_lines();
    let (first, second) = lines.split_at(lines.len() / 2);
    let daemon = place(Some(&server), Some(&topics)).start();
    let mut accepted = post(&daemon, first);
    settle(&daemon);
    server.kill();
    accepted += post(&daemon, second);
    assert_eq!(accepted, ACCEPTED);
    let flushed = daemon.admin(&["flush", "kafka"]);
    assert!(flushed.status.success(), "{flushed:?}");
    assert_topics(&topics, ACCEPTED, 0);
    eventually("the sink says what is wrong", || {
        let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
        let sink = sinks.as_array().unwrap().iter().find(|sink| sink["sink"] == "clickhouse").unwrap().clone();
        ["retrying", "circuit_open"].contains(&sink["state"].as_str().unwrap()) && sink["lastError"].is_object()
    });
    assert_eq!(daemon.get("/health").json()["services"]["clickhouse"]["status"], "degraded");
    server.start_again();
    settle(&daemon);
    assert_tables(&server, ACCEPTED, 0);
}

#[test]
fn a_row_that_clickhouse_refuses_is_a_dead_letter_and_all_others_arrive() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &[event("first").to_string()]);
    settle(&daemon);
    server.sql("ALTER TABLE events_raw ADD CONSTRAINT no_poison CHECK event_id != 'poison'");
    let mut events: Vec<String> = (0..50).map(|number| event(&format!("e-{number}")).to_string()).collect();
    events.insert(20, event("poison").to_string());
    assert_eq!(post(&daemon, &events), 51);
    let audit = settle(&daemon);
    let of = |name: &str| {
        audit["sinks"].as_array().unwrap().iter().find(|sink| sink["sink"] == name).unwrap()["ledger"].clone()
    };
    assert_eq!([&of("clickhouse")["delivered"], &of("clickhouse")["dead"]], [51, 1]);
    assert_eq!([&of("kafka")["delivered"], &of("kafka")["dead"]], [52, 0]);
    eventually("the dead letter is in the table", || server.rows("events_errors").0 == 1);
    eventually("the dead letter is in the topic", || topics.records("dlq").len() == 1);
    assert_eq!(
        server.sql("SELECT sink, code, event_id, seq FROM events_errors"),
        "clickhouse\tclickhouse_469\tpoison\t22"
    );
    assert_eq!(server.rows("events_raw"), (51, 51));
    let daemon = daemon.kill().start();
    settle(&daemon);
    assert_eq!((server.rows("events_raw").0, server.rows("events_errors").0), (51, 1));
}

#[test]
fn an_answer_can_wait_for_sinks() {
    let server = Server::start();
    let daemon = place(Some(&server), None).start();
    let answer = daemon.post("/events?ack=clickhouse", event("e-1").to_string()).with_status(202);
    assert_eq!(answer["delivery"], "delivered");
    assert_eq!(server.rows("events_raw"), (1, 1), "it is there when the answer is");
    let again = daemon.post("/events?ack=all", event("e-1").to_string()).with_status(202);
    assert_eq!((&again["duplicate"], &again["delivery"]), (&true.into(), &"delivered".into()));
    daemon.post("/events?ack=kafka", event("e-2").to_string()).problem(400);
    assert_eq!(daemon.totals(), [1, 1, 0, 0], "nothing was stored");
    server.sql("ALTER TABLE events_raw ADD CONSTRAINT no_poison CHECK event_id != 'poison'");
    let poison = daemon.post("/events?ack=clickhouse", event("poison").to_string()).with_status(202);
    assert_eq!(poison["delivery"], "dead");
    let daemon = daemon.stop().and("INGESTD_SERVER_ACK_TIMEOUT_S", "1").start();
    assert!(daemon.admin(&["pause", "clickhouse"]).status.success());
    let late = daemon.post("/events?ack=clickhouse", event("e-3").to_string()).with_status(202);
    assert_eq!(late["delivery"], "pending");
}

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

/// What `admin verify` says of a sink, and whether it found everything right.
fn verify(daemon: &Daemon, sink: &str) -> (bool, Value) {
    let output = daemon.admin(&["verify", sink, "--json"]);
    let said = serde_json::from_slice(&output.stdout);
    (output.status.success(), said.unwrap_or_else(|_| panic!("{output:?}")))
}

#[test]
fn verify_names_what_is_missing_and_what_is_there_twice() {
    let (server, topics) = (Server::start(), Topics::new());
    let place = place(Some(&server), Some(&topics)).and("INGESTD_PARQUET_ENABLED", "true");
    let daemon = place.start();
    post(&daemon, &real_lines());
    // A restart on the way: other rows carry another start.
    let daemon = daemon.kill().start();
    post(&daemon, &(0..50).map(|number| event(&format!("e-{number}")).to_string()).collect::<Vec<_>>());
    settle(&daemon);
    for sink in ["parquet", "clickhouse", "kafka"] {
        let (equal, said) = verify(&daemon, sink);
        assert!(equal && said["equal"] == true, "{said}");
        assert_eq!(said["pieces"][0]["events"], ACCEPTED + 50, "{said}");
    }
    server.sql("ALTER TABLE events_raw DELETE WHERE seq IN (5, 6, 10850) SETTINGS mutations_sync = 2");
    server.sql("INSERT INTO events_raw SELECT * FROM events_raw WHERE seq = 7 SETTINGS insert_deduplicate = 0");
    let (equal, said) = verify(&daemon, "clickhouse");
    assert!(!equal && said["equal"] == false, "{said}");
    let place = &said["pieces"][0]["places"][0];
    assert_eq!(place["missing"], json!({"events": 3, "ranges": [[5, 6], [10850, 10850]]}), "{said}");
    assert_eq!(place["doubled"], json!({"events": 1, "ranges": [[7, 7]]}), "{said}");
    assert_eq!(said["pieces"][0]["places"][1]["missing"]["events"], 0, "the other table is whole: {said}");
    let part = daemon.admin(&["verify", "clickhouse", "--from", "8", "--to", "100"]);
    assert!(part.status.success(), "{part:?}");
    let beyond = daemon.admin(&["verify", "clickhouse", "--to", "20000"]);
    assert!(!beyond.status.success() && String::from_utf8_lossy(&beyond.stderr).contains("10878"), "{beyond:?}");
    let unknown = daemon.admin(&["verify", "postgres"]);
    assert!(
        !unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("there are: "),
        "{unknown:?}"
    );
}

/// State and reason of a sink.
fn state(daemon: &Daemon, name: &str) -> (String, String) {
    let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
    let sink = sinks.as_array().unwrap().iter().find(|sink| sink["sink"] == name).unwrap().clone();
    (sink["state"].as_str().unwrap().to_owned(), sink["reason"].as_str().unwrap_or_default().to_owned())
}

fn some(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| event(&format!("{name}-{number}")).to_string()).collect()
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
    for (sink, word) in [("clickhouse", "the log is a copy"), ("kafka", "history")] {
        eventually("it has failed", || state(&daemon, sink).0 == "failed");
        let reason = state(&daemon, sink).1;
        assert!(reason.contains(word), "{sink}: {reason}");
    }
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

fn some_ids(name: &str) -> impl Iterator<Item = String> {
    (0..20).map(move |number| format!("{name}-{number}"))
}

#[test]
fn a_clock_that_is_set_back_an_hour_costs_nothing() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("before", 20));
    let place = daemon.stop();
    // As if these had been committed by a clock that was an hour ahead.
    let ahead = UnixMicros::now().plus(std::time::Duration::from_secs(3600));
    let mut writer = wal::open(&place.data(), &wal::Options::default()).unwrap().writer;
    let (mut block, mut ids, mut records) = (BlockWriter::default(), IdListWriter::default(), Vec::new());
    block.begin();
    ids.begin();
    put_record(&mut records, 0, None, None, event("ahead-0").to_string().as_bytes());
    ids.push(1, 0);
    let meta = SegmentMeta { tenant: "default", source: 0, received_at: ahead, traceparent: None };
    block.whole(&meta, &records, 1);
    let first = writer.next();
    let (block, ids) = (block.finish(first, ahead), ids.finish(first, ahead));
    writer.commit(&wal::Group { events: Some((1, block, ids)), writes: &[] }).unwrap();
    writer.close().unwrap();
    let daemon = place.start();
    assert_eq!(post(&daemon, &some("after", 20)), 20);
    assert_eq!(post(&daemon, &some("after", 20)), 0, "duplicates are still known");
    settle(&daemon);
    assert_tables(&server, 41, 0);
    assert_topics(&topics, 41, 0);
    let backwards = "SELECT countIf(committed_at < before) FROM (SELECT committed_at, lagInFrame(committed_at, 1, \
                     committed_at) OVER (ORDER BY seq) AS before FROM events_raw)";
    assert_eq!(server.number(backwards), 0, "commit time never runs backwards");
    for sink in ["clickhouse", "kafka"] {
        assert!(verify(&daemon, sink).0, "{sink}");
    }
}

#[test]
fn at_the_logs_budget_a_backlog_expires_in_the_open_or_events_are_refused() {
    // Nobody listens there.
    let away = |policy: &str| {
        let place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false"), ("INGESTD_CLICKHOUSE_ENABLED", "true")]);
        let place = place.and("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9").and("INGESTD_LOG_HOLD_S", "0");
        place.and("INGESTD_CLICKHOUSE_BACKLOG", policy).and("INGESTD_LOG_BUDGET_BYTES", "268435456").start()
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
    let daemon = away("refuse");
    let mut connection = daemon.connect();
    let refused = (0..2500).find_map(|number| {
        connection.send(support::request("POST", "/events", &[], large(number).as_bytes()));
        let answer = connection.answer();
        (answer.status != 202).then(|| answer.problem(503))
    });
    assert_eq!(refused.expect("the budget is never reached")["reason"], "log_budget");
    drop(daemon);

    let daemon = away("expire");
    let expired = || {
        let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
        sinks[0]["ledger"]["expired"].as_u64().unwrap()
    };
    let (mut accepted, mut number) = (0, 0);
    eventually("events are taken again after older ones were given up", || {
        number += 1;
        // While room is made some are refused, and their connections closed.
        let is_taken = daemon.post("/events", large(number)).status == 202;
        accepted += u64::from(is_taken);
        is_taken && expired() > 0
    });
    let audit = daemon.admin(&["audit", "--json"]);
    assert!(audit.status.success(), "{audit:?}");
    let ledger = serde_json::from_slice::<Value>(&audit.stdout).unwrap()["sinks"][0]["ledger"].clone();
    let count = |key: &str| ledger[key].as_u64().unwrap();
    assert_eq!(count("delivered") + count("pending") + count("dead") + count("expired"), accepted, "{ledger}");
}

#[test]
fn what_is_skipped_is_counted_and_never_sent() {
    let (server, topics) = (Server::start(), Topics::new());
    let both = ["clickhouse", "kafka"];
    let ledger = |daemon: &Daemon, name: &str| {
        let sinks = daemon.get("/pipeline/status").json()["sinks"].clone();
        let sink = sinks.as_array().unwrap().iter().find(|sink| sink["sink"] == name).unwrap().clone();
        ["delivered", "pending", "expired"].map(|key| sink["ledger"][key].as_u64().unwrap())
    };
    // Nobody listens there: these sinks have never been anywhere.
    let nowhere = place(Some(&server), Some(&topics)).and("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9");
    let daemon = nowhere.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9").start();
    post(&daemon, &some("first", 30));
    for sink in both {
        assert!(!daemon.admin(&["skip", sink, "--until", "32"]).status.success(), "there is no such event");
        assert!(daemon.admin(&["skip", sink, "--until", "21"]).status.success());
        eventually("it is given up", || ledger(&daemon, sink) == [0, 10, 20]);
    }
    let place = daemon.kill().and("INGESTD_CLICKHOUSE_URLS", &server.url());
    let daemon = place.and("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &topics.broker.address()).start();
    settle(&daemon);
    assert_tables(&server, 10, 0);
    assert_topics(&topics, 10, 0);
    // And again, between what was sent and what will be.
    for sink in both {
        assert!(daemon.admin(&["pause", sink]).status.success());
        eventually("it is paused", || state(&daemon, sink).0 == "paused");
    }
    post(&daemon, &some("second", 30));
    for sink in both {
        assert!(daemon.admin(&["skip", sink, "--until", "51"]).status.success());
    }
    for sink in both {
        eventually("it is given up", || ledger(&daemon, sink) == [10, 10, 40]);
        assert!(daemon.admin(&["resume", sink]).status.success());
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

#[test]
fn a_backlog_of_many_full_batches_arrives() {
    let server = Server::start();
    let place = place(Some(&server), None).and("INGESTD_CLICKHOUSE_BATCH_ROWS_MAX", "1000");
    let daemon = place.start();
    assert!(daemon.admin(&["pause", "clickhouse"]).status.success());
    eventually("it is paused", || state(&daemon, "clickhouse").0 == "paused");
    assert_eq!(post(&daemon, &real_lines()), ACCEPTED);
    assert!(daemon.admin(&["resume", "clickhouse"]).status.success());
    settle(&daemon);
    assert_tables(&server, ACCEPTED, 0);
    let batches = daemon.get("/pipeline/status").json()["sinks"][0]["batches"].as_u64().unwrap();
    assert!(batches > 5, "they were not full: {batches}");
}
