//! To a real ClickHouse and a real Kafka: every accepted event exactly once in both, whatever is killed.

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
use event::UnixMicros;
use record::{BlockWriter, IdListWriter, SegmentMeta, put_record};
use serde_json::{Value, json};
use shipping::{
    ACCEPTED, TOPICS, Topics, admin, assert_tables, assert_topics, ledger, place, post, settle, some, state, verify,
};
use std::collections::{BTreeMap, BTreeSet};
use support::{Daemon, event, eventually, real_lines, request};

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
    let incarnation = format!("{:016x}", server.number("SELECT any(incarnation) FROM events_raw"));
    for topic in TOPICS {
        let mut newest: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for record in topics.records(topic) {
            let value = record.value.as_deref().unwrap();
            assert!(topic != "raw" || sent.contains(value), "other bytes than were sent");
            let parsed: Value = serde_json::from_slice(value).unwrap();
            assert_eq!(record.key.as_deref(), parsed["sessionId"].as_str().map(str::as_bytes));
            assert_eq!(record.partition, record.javas_partition, "Java's producers would put it elsewhere");
            assert_eq!(record.header("event_id"), parsed["eventId"].as_str().unwrap());
            assert_eq!(record.header("event_type"), parsed["eventType"].as_str().unwrap());
            let rest = ["tenant", "incarnation", "schema_version"].map(|name| record.header(name));
            assert_eq!(rest, ["default", &incarnation, "0"]);
            let seq = record.seq();
            let before = newest.insert(record.key.unwrap(), seq);
            assert!(before.is_none_or(|before| before < seq), "{topic}: a session's events are out of order");
        }
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
fn tables_and_topics_have_the_bytes_as_received_and_the_processed_form() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).start();
    // Not as anybody would write it again: the order, the space, the escapes.
    let raw = r#"{"storeId":"<i>s","sessionId":"ses\u0007sion", "data":{"n":1.50,"note":"<b>\u0000x"},"extra":1,"#
        .to_owned()
        + r#""eventType":"cart_created","timestamp":"2026-01-01T02:00:00+02:00","metadata":{"k<":"\u0008v"},"eventId":"e"}"#;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = daemon.request("POST", "/events", &[("traceparent", traceparent)], raw.as_bytes());
    answer.with_status(202);
    settle(&daemon);
    let processed = [
        r#"{"eventId":"e","eventType":"cart_created","timestamp":"2026-01-01T00:00:00.000000Z","#,
        r#""sessionId":"session","#,
        r#""storeId":"&lt;i&gt;s","data":{"n":1.50,"note":"&lt;b&gt;x"},"metadata":{"k&lt;":"v"}}"#,
    ]
    .concat();
    for (topic, value) in TOPICS.into_iter().zip([&raw, &processed, &processed]) {
        eventually("readers see it", || topics.records(topic).len() == 1);
        let record = &topics.records(topic)[0];
        assert_eq!(String::from_utf8_lossy(record.value.as_deref().unwrap()), *value, "{topic}");
        assert_eq!(record.key.as_deref(), Some(&b"ses\x07sion"[..]), "{topic}");
        assert_eq!(record.header("traceparent"), traceparent, "{topic}");
    }
    let row = |columns: &str, table: &str| server.sql(&format!("SELECT {columns} FROM {table} FORMAT TSVRaw"));
    assert_eq!(row("raw", "events_raw"), raw);
    assert_eq!(row("store_id", "events_raw"), "<i>s");
    assert_eq!(
        row("event_id, session_id, store_id, data, metadata, enriched, schema_version", "events_processed"),
        "e\tsession\t&lt;i&gt;s\t{\"n\":1.50,\"note\":\"&lt;b&gt;x\"}\t{\"k&lt;\":\"v\"}\t{}\t0"
    );
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
    let first_accepted = accepted;
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
    let figure = |name: &str, sink: &str| daemon.metric(&format!("ingestd_sink_{name}{{sink=\"{sink}\"}}"));
    assert!([1.0, 2.0].contains(&figure("state", "clickhouse")), "retrying, or its circuit is open");
    assert_eq!(figure("lag_events", "clickhouse"), (accepted - first_accepted) as f64);
    eventually("its lag is known", || figure("lag_seconds", "clickhouse") > 0.0);
    assert!(figure("failures_total", "clickhouse") >= 1.0);
    assert_eq!(["state", "lag_events"].map(|name| figure(name, "kafka")), [0.0; 2]);
    server.start_again();
    settle(&daemon);
    assert_tables(&server, ACCEPTED, 0);
    for sink in ["clickhouse", "kafka"] {
        assert_eq!(["state", "lag_events", "lag_seconds"].map(|name| figure(name, sink)), [0.0; 3], "{sink}");
        assert_eq!(figure("delivered_total", sink), ACCEPTED as f64, "{sink}");
        assert!(figure("batch_rows", sink) >= 1.0, "{sink}");
    }
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
        server.sql("SELECT sink, code, pointer, event_id, event_type, store_id, seq FROM events_errors"),
        "clickhouse\tclickhouse_469\tRaw.event_id\tpoison\tcart_created\tstore-1\t22"
    );
    let letter = &topics.records("dlq")[0];
    assert_eq!(letter.key.as_deref(), Some(&b"session-1"[..]));
    assert_eq!(["event_id", "event_type"].map(|name| letter.header(name)), ["poison", "cart_created"]);
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
    admin(&daemon, &["pause", "clickhouse"]);
    let late = daemon.post("/events?ack=clickhouse", event("e-3").to_string()).with_status(202);
    assert_eq!(late["delivery"], "pending");
    assert!(daemon.admin(&["skip", "clickhouse", "--until", "4"]).status.success());
    let again = |daemon: &Daemon, id: &str| {
        let answer = daemon.post("/events?ack=clickhouse", event(id).to_string()).with_status(202);
        (answer["duplicate"].clone(), answer["delivery"].as_str().unwrap().to_owned())
    };
    let is = |delivery: &str| (Value::Bool(true), delivery.to_owned());
    assert_eq!(again(&daemon, "e-3"), is("expired"));
    // Also in a later start.
    let daemon = daemon.kill().start();
    assert_eq!(again(&daemon, "e-3"), is("expired"));
    assert_eq!(again(&daemon, "poison"), is("dead"));
    assert_eq!(again(&daemon, "e-1"), is("delivered"));
}

#[test]
fn an_answer_can_wait_for_several_sinks_and_for_a_batch_and_only_so_many_wait() {
    let (server, topics) = (Server::start(), Topics::new());
    let daemon = place(Some(&server), Some(&topics)).and("INGESTD_LIMITS_ACK_WAITERS_MAX", "1").start();
    let answer = daemon.post("/events?ack=kafka", event("e-1").to_string()).with_status(202);
    assert_eq!(answer["delivery"], "delivered");
    // A commit may return before readers can see it.
    eventually("readers see it", || topics.records("enriched").len() == 1);
    let batch = format!("[{}]", some("batch", 20).join(","));
    let answer = daemon.post("/events/batch?ack=all", batch).with_status(202);
    assert_eq!((&answer["successful"], &answer["delivery"]), (&20.into(), &"delivered".into()));
    assert_tables(&server, 21, 0);
    eventually("readers see them", || TOPICS.iter().all(|topic| topics.records(topic).len() == 21));
    admin(&daemon, &["pause", "clickhouse"]);
    let mut waits = daemon.connect();
    waits.send(request("POST", "/events?ack=all", &[], event("e-2").to_string().as_bytes()));
    eventually("it is stored and waits", || daemon.totals()[0] == 22);
    let refused = daemon.post("/events?ack=kafka", event("e-3").to_string());
    assert_eq!(refused.problem(503)["reason"], "overloaded");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(daemon.totals()[0], 22, "nothing was stored");
    admin(&daemon, &["resume", "clickhouse"]);
    assert_eq!(waits.answer().with_status(202)["delivery"], "delivered");
    assert_tables(&server, 22, 0);
    let answer = daemon.post("/events?ack=all", event("e-3").to_string()).with_status(202);
    assert_eq!((&answer["duplicate"], &answer["delivery"]), (&Value::Null, &"delivered".into()));
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
fn a_backlog_of_many_full_batches_arrives() {
    for (limit, most) in [("ROWS", "1000"), ("BYTES", "500000")] {
        let server = Server::start();
        let place = place(Some(&server), None).and(&format!("INGESTD_CLICKHOUSE_BATCH_{limit}_MAX"), most);
        let daemon = place.start();
        assert!(daemon.admin(&["pause", "clickhouse"]).status.success());
        eventually("it is paused", || state(&daemon, "clickhouse").0 == "paused");
        assert_eq!(post(&daemon, &real_lines()), ACCEPTED);
        assert!(daemon.admin(&["resume", "clickhouse"]).status.success());
        settle(&daemon);
        assert_tables(&server, ACCEPTED, 0);
        let batches = daemon.get("/pipeline/status").json()["sinks"][0]["batches"].as_u64().unwrap();
        assert!(batches > 5, "they were not full by {limit}: {batches}");
    }
}

#[test]
fn of_several_servers_new_batches_go_to_one_that_is_there() {
    let (mut first, second) = (Server::start(), Server::start());
    let place = place(Some(&first), None);
    let daemon = place.and("INGESTD_CLICKHOUSE_URLS", &format!("{},{}", first.url(), second.url())).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    assert_tables(&first, 20, 0);
    first.kill();
    post(&daemon, &some("second", 20));
    settle(&daemon);
    assert_tables(&second, 20, 0);
    first.start_again();
    // Both are looked into, whichever the rows of a batch would go to now.
    let place = daemon.stop();
    assert!(place.wal(&["forget-sink", "clickhouse"]).status.success());
    let daemon = place.start();
    post(&daemon, &some("third", 5));
    settle(&daemon);
    assert_eq!(ledger(&daemon, "clickhouse"), [45, 0, 0]);
    assert_tables(&first, 25, 0);
    assert_tables(&second, 20, 0);
}

#[test]
fn what_the_log_does_not_know_to_be_sent_is_looked_for_first() {
    let server = Server::start();
    let mut daemon = place(Some(&server), None).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    post(&daemon, &some("second", 20));
    let bad: Vec<String> = (0..5).map(|number| json!({"eventId": format!("bad-{number}")}).to_string()).collect();
    assert_eq!(post(&daemon, &bad), 0);
    settle(&daemon);
    eventually("the dead letters are there", || server.rows("events_errors").0 == 5);
    // First all is there, then some of it is missing.
    for missing in ["0", "seq % 3 = 0"] {
        let place = daemon.stop();
        server.sql(&format!("ALTER TABLE events_processed DELETE WHERE {missing} SETTINGS mutations_sync = 2"));
        let forgotten = place.wal(&["forget-sink", "clickhouse"]);
        assert!(forgotten.status.success(), "{forgotten:?}");
        daemon = place.start();
        settle(&daemon);
        assert_tables(&server, 40, 5);
        assert_eq!(ledger(&daemon, "clickhouse"), [40, 0, 0]);
    }
    post(&daemon, &some("third", 20));
    settle(&daemon);
    assert_tables(&server, 60, 5);
    assert!(verify(&daemon, "clickhouse").0);
}

#[test]
fn what_a_start_writes_first_is_a_dead_letter_and_arrives_too() {
    let (server, topics) = (Server::start(), Topics::new());
    let mut daemon = place(Some(&server), Some(&topics)).start();
    post(&daemon, &some("first", 20));
    settle(&daemon);
    for letters in 1..=3 {
        daemon = daemon.kill().start();
        // Nothing else is written in this start.
        assert_eq!(post(&daemon, &[json!({"eventId": format!("bad-{letters}")}).to_string()]), 0);
        eventually("the letter is in the table", || server.rows("events_errors") == (letters, letters));
        eventually("the letter is in the topic", || topics.records("dlq").len() as u64 == letters);
    }
    let starts = server.number("SELECT uniqExact(incarnation) FROM events_errors");
    assert_eq!(starts, 3, "each is of the start that wrote it");
    let daemon = daemon.kill().start();
    post(&daemon, &some("last", 1));
    settle(&daemon);
    assert_tables(&server, 21, 3);
    assert_topics(&topics, 21, 3);
}
