//! Real events, in every way they can come, over kills: each is there once, and every answer told the truth.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use support::{Daemon, Place, Shim, Socket, TEXT, event, events, eventually, masked, real_lines};

const ACCEPTED: u64 = 10_828;
const DUPLICATES: u64 = 196;

/// What the answers said: accepted, duplicate, rejected.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
}

impl Tally {
    fn one(&mut self, answer: &Value) {
        match answer["status"].as_str().or(answer["type"].as_str()) {
            Some("accepted" | "received") if answer["duplicate"] == true => self.duplicate += 1,
            Some("accepted" | "received") => self.accepted += 1,
            Some("rejected" | "event_error") => self.rejected += 1,
            _ => panic!("{answer}"),
        }
    }

    fn batch(&mut self, answer: &Value) {
        let [total, successful, failed, duplicates] =
            ["totalEvents", "successful", "failed", "duplicates"].map(|name| answer[name].as_u64().unwrap());
        assert_eq!(successful + failed, total, "{answer}");
        self.accepted += successful - duplicates;
        self.duplicate += duplicates;
        self.rejected += failed;
    }

    fn plus(&mut self, other: Tally) {
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
    }
}

/// A way in.
type Way = fn(&Daemon, &[String]) -> Tally;

/// Runs `client` on as many threads, each with its share of the lines.
fn spread(lines: &[String], clients: usize, client: impl Fn(&[&String]) -> Tally + Sync) -> Tally {
    let sum = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for first in 0..clients {
            let (sum, client) = (&sum, &client);
            scope.spawn(move || {
                let share: Vec<&String> = lines.iter().skip(first).step_by(clients).collect();
                sum.lock().unwrap().plus(client(&share));
            });
        }
    });
    sum.into_inner().unwrap()
}

fn one_by_one_over_64_connections(daemon: &Daemon, lines: &[String]) -> Tally {
    spread(lines, 64, |share| {
        let mut tally = Tally::default();
        let mut connection = daemon.connect();
        for line in share {
            tally.one(&connection.post("/events", &[], line.as_bytes()).with_status(202));
        }
        tally
    })
}

fn in_batches_of_100(daemon: &Daemon, lines: &[String]) -> Tally {
    let batches: Vec<String> = lines.chunks(100).map(|chunk| format!("{{\"events\":[{}]}}", chunk.join(","))).collect();
    spread(&batches, 4, |share| {
        let mut tally = Tally::default();
        let mut connection = daemon.connect();
        for batch in share {
            tally.batch(&connection.post("/events/batch", &[], batch.as_bytes()).with_status(202));
        }
        tally
    })
}

fn as_lines(daemon: &Daemon, lines: &[String]) -> Tally {
    let bodies: Vec<String> = lines.chunks(1000).map(|chunk| chunk.join("\n") + "\n").collect();
    spread(&bodies, 2, |share| {
        let mut tally = Tally::default();
        let mut connection = daemon.connect();
        for body in share {
            let kind = [("Content-Type", "application/x-ndjson")];
            tally.batch(&connection.post("/events/batch", &kind, body.as_bytes()).with_status(202));
        }
        tally
    })
}

fn over_8_websockets(daemon: &Daemon, lines: &[String]) -> Tally {
    spread(lines, 8, |share| {
        let mut tally = Tally::default();
        let mut socket = Socket::open(daemon);
        for some in share.chunks(32) {
            let message =
                |line: &&String| masked(TEXT, format!("{{\"type\":\"cart_event\",\"payload\":{line}}}").as_bytes());
            socket.send_raw(&some.iter().flat_map(message).collect::<Vec<u8>>());
            some.iter().for_each(|_| tally.one(&socket.json()));
        }
        tally
    })
}

/// By the command that people use; it reads a file, so the lines become one.
fn by_ingestd_send(daemon: &Daemon, lines: &[String]) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let summary = daemon.send(&file);
    assert_eq!(summary["linesRead"], lines.len());
    assert_eq!(summary["unsent"], 0);
    let [accepted, duplicate, rejected] =
        ["accepted", "duplicates", "rejected"].map(|name| summary[name].as_u64().unwrap());
    Tally { accepted, duplicate, rejected }
}

/// Every id once, every position once, no hole, and the bytes as they were sent.
#[track_caller]
fn assert_log(place: &Place, lines: &[String]) {
    let stored = place.stored();
    assert_eq!(stored.len() as u64, ACCEPTED);
    assert!(stored.iter().zip(1..).all(|(event, seq)| event.seq == seq), "a hole in the sequence");
    assert_eq!(stored.iter().map(|event| &event.id).collect::<HashSet<_>>().len() as u64, ACCEPTED);
    let sent: HashSet<&str> = lines.iter().map(String::as_str).collect();
    assert!(stored.iter().all(|event| sent.contains(event.raw.as_str())), "other bytes than were sent");
}

#[track_caller]
fn assert_whole(way: Way) {
    let lines = real_lines();
    let all = lines.len() as u64;
    let daemon = Daemon::start();
    assert_eq!(way(&daemon, &lines), Tally { accepted: ACCEPTED, duplicate: DUPLICATES, rejected: 0 });
    assert_eq!(daemon.totals(), [ACCEPTED, DUPLICATES, 0, 0]);
    assert_eq!(way(&daemon, &lines), Tally { accepted: 0, duplicate: all, rejected: 0 });
    assert_eq!(daemon.totals(), [ACCEPTED, DUPLICATES + all, 0, 0]);
    let place = daemon.stop();
    assert_log(&place, &lines);
    assert_files(&place, &lines);
}

#[track_caller]
fn assert_whole_over_a_kill(way: Way) {
    let lines = real_lines();
    let all = lines.len() as u64;
    let (first, second) = lines.split_at(lines.len() / 2);
    let daemon = Daemon::start();
    let mut tally = way(&daemon, first);
    let daemon = daemon.kill().start();
    assert!(daemon.log().contains("log recovered after an unclean stop"), "{}", daemon.log());
    tally.plus(way(&daemon, second));
    assert_eq!(tally, Tally { accepted: ACCEPTED, duplicate: DUPLICATES, rejected: 0 });
    let daemon = daemon.kill().start();
    assert_eq!(way(&daemon, &lines), Tally { accepted: 0, duplicate: all, rejected: 0 });
    let place = daemon.kill();
    assert_log(&place, &lines);
    // A drain brings what is left into files.
    assert_files(&place.start().stop(), &lines);
}

/// What analysts see of the files, with DuckDB and with pandas, is what was sent.
#[track_caller]
fn assert_files(place: &Place, lines: &[String]) {
    let total = bought(lines);
    let (whole, cents) = (total / 100, total % 100);
    let expected = format!("events={ACCEPTED},distinct={ACCEPTED},first=1,last={ACCEPTED},total={whole}.{cents:02}");
    let root = env!("CARGO_MANIFEST_DIR");
    let python = Command::new(format!("{root}/scripts/python.sh")).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let python = PathBuf::from(String::from_utf8(python.stdout).unwrap().trim()).join("bin/python");
    let mut readers = Command::new(python);
    readers.arg(format!("{root}/tests/parquet_readers.py")).arg(place.events()).args(["--expect", &expected]);
    let read = readers.output().unwrap();
    let said = String::from_utf8_lossy(&read.stdout) + String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}");
}

/// The sum of `data.total` over purchases, each id once, in hundredths.
fn bought(lines: &[String]) -> u64 {
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let purchases = events.filter(|event| event["eventType"] == "purchase_completed");
    let by_id: HashMap<String, u64> = purchases
        .map(|event| {
            let hundredths = (event["data"]["total"].as_f64().unwrap() * 100.0).round() as u64;
            (event["eventId"].as_str().unwrap().to_owned(), hundredths)
        })
        .collect();
    by_id.values().sum()
}

#[test]
fn real_events_one_by_one_are_each_stored_once() {
    assert_whole(one_by_one_over_64_connections);
}

#[test]
fn real_events_in_batches_are_each_stored_once() {
    assert_whole(in_batches_of_100);
}

#[test]
fn real_events_as_lines_are_each_stored_once() {
    assert_whole(as_lines);
}

#[test]
fn real_events_over_websockets_are_each_stored_once() {
    assert_whole(over_8_websockets);
}

#[test]
fn real_events_one_by_one_are_each_stored_once_over_a_kill() {
    assert_whole_over_a_kill(one_by_one_over_64_connections);
}

#[test]
fn real_events_in_batches_are_each_stored_once_over_a_kill() {
    assert_whole_over_a_kill(in_batches_of_100);
}

#[test]
fn real_events_as_lines_are_each_stored_once_over_a_kill() {
    assert_whole_over_a_kill(as_lines);
}

#[test]
fn real_events_over_websockets_are_each_stored_once_over_a_kill() {
    assert_whole_over_a_kill(over_8_websockets);
}

#[test]
fn real_events_by_ingestd_send_are_each_stored_once() {
    assert_whole(by_ingestd_send);
}

#[test]
fn real_events_by_ingestd_send_are_each_stored_once_over_a_kill() {
    assert_whole_over_a_kill(by_ingestd_send);
}

#[test]
fn a_sink_that_is_switched_off_for_a_while_misses_nothing() {
    let lines = real_lines();
    let (first, second) = lines.split_at(lines.len() / 2);
    // What every sink has is dropped at once.
    let place = Place::with(&[("INGESTD_LOG_HOLD_S", "0"), ("INGESTD_PARQUET_ENABLED", "true")]);
    let daemon = place.start();
    in_batches_of_100(&daemon, first);
    let place = daemon.stop().and("INGESTD_PARQUET_ENABLED", "false");
    let delivered = place.inspect()["next"].as_u64().unwrap();
    let daemon = place.start();
    in_batches_of_100(&daemon, second);
    assert!(daemon.log().contains("this sink is switched off"), "{}", daemon.log());
    eventually("the log is trimmed up to what the sink has", || daemon.start_of_log() == delivered);
    let place = daemon.stop();
    assert_eq!(place.inspect()["start"], delivered);
    assert_files(&place.and("INGESTD_PARQUET_ENABLED", "true").start().stop(), &lines);
}

#[test]
fn a_sink_that_is_forgotten_holds_the_log_no_longer() {
    let place = Place::with(&[("INGESTD_LOG_HOLD_S", "0"), ("INGESTD_PARQUET_ENABLED", "true")]);
    let daemon = place.start();
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    let place = daemon.stop().and("INGESTD_PARQUET_ENABLED", "false");
    let daemon = place.start();
    daemon.post("/events", event("e-2").to_string()).with_status(202);
    daemon.post("/events", event("e-3").to_string()).with_status(202);
    let place = daemon.stop();
    let said = place.wal(&["forget-sink", "parket"]);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("it knows: parquet"), "{said:?}");
    let said = place.wal(&["forget-sink", "parquet"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("had not got the last 2 events"), "{said:?}");
    let daemon = place.start();
    eventually("the log is trimmed behind the sink's place", || daemon.start_of_log() == 3);
    assert!(!daemon.log().lines().last().unwrap_or_default().contains("switched off"));
}

#[test]
fn a_kill_in_the_middle_of_the_load_loses_nothing_that_was_acknowledged() {
    let mut place = Place::with(&[]);
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    for round in 0..5 {
        let daemon = place.start();
        let told = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (daemon, told) = (&daemon, &told);
                scope.spawn(move || {
                    let mut connection = daemon.connect();
                    for number in 0.. {
                        let id = format!("{round}-{client}-{number}");
                        let body = event(&id).to_string();
                        // From the kill on there is no answer.
                        let sent = connection.try_send(support::request("POST", "/events", &[], body.as_bytes()));
                        let Ok(answer) = sent.and_then(|()| connection.try_answer(false)) else { return };
                        let seq = answer.with_status(202)["seq"].as_u64().unwrap();
                        told.lock().unwrap().push((id, seq));
                    }
                });
            }
            support::eventually("there is load", || told.lock().unwrap().len() > 500);
            daemon.signal(rustix::process::Signal::KILL);
        });
        acknowledged.extend(told.into_inner().unwrap());
        place = daemon.kill();
        let stored: HashMap<String, u64> = place.stored().into_iter().map(|event| (event.id, event.seq)).collect();
        for (id, seq) in &acknowledged {
            assert_eq!(stored.get(id), Some(seq), "{id}");
        }
    }
}

#[test]
fn an_all_or_nothing_batch_is_never_torn_by_a_kill() {
    let mut place = Place::with(&[]);
    for round in 0..8 {
        let daemon = place.start();
        std::thread::scope(|scope| {
            for client in 0..4 {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut connection = daemon.connect();
                    for number in 0.. {
                        let body = Value::from(events(&format!("{round}-{client}-{number}"), 100)).to_string();
                        let request = support::request("POST", "/events/batch?failOnError=true", &[], body.as_bytes());
                        if connection.try_send(request).and_then(|()| connection.try_answer(false)).is_err() {
                            return;
                        }
                    }
                });
            }
            support::eventually("there is load", || {
                daemon.get("/events/stats").json()["totals"]["accepted"].as_u64().unwrap() > 2000
            });
            daemon.signal(rustix::process::Signal::KILL);
        });
        place = daemon.kill();
        let mut batches: HashMap<String, usize> = HashMap::new();
        for stored in place.stored() {
            *batches.entry(stored.id.rsplit_once('-').unwrap().0.to_owned()).or_default() += 1;
        }
        assert!(batches.values().all(|events| *events == 100), "{batches:?}");
    }
}

#[test]
fn a_mark_that_cannot_be_written_ends_an_idle_daemon_which_says_why() {
    let shim = Shim::compiled();
    let place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false")]);
    let place = place.and_all(shim.strikes("pwrite,fdatasync", "*/data/mark"));
    let mut daemon = place.start();
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    shim.arm();
    daemon.post("/events", event("e-2").to_string()).with_status(202);
    let status = daemon.exit();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    let named = log
        .lines()
        .any(|line| line.contains("ERROR") && line.contains("high-water mark") && line.contains("os error 5"));
    assert!(named, "{log}");
}

#[test]
fn a_torn_tail_is_cut_off_and_said() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    let place = daemon.kill();
    // What a write that was cut off leaves at the end, before anybody was told of it.
    let files = std::fs::read_dir(place.data().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes.extend_from_slice(&[0xa5; 64]);
    std::fs::write(&newest, bytes).unwrap();
    let daemon = place.start();
    let log = daemon.log();
    let is_said = |line: &str| line.contains("WARN") && line.contains("torn tail") && line.contains("end=1");
    assert!(log.lines().any(is_said), "{log}");
    assert_eq!(daemon.post("/events", event("e-1").to_string()).with_status(202)["duplicate"], true);
    assert_eq!(daemon.post("/events", event("e-2").to_string()).with_status(202)["seq"], 2);
    assert_eq!(daemon.stop().stored().len(), 2);
}

#[test]
fn a_repair_says_which_file_beside_the_log_it_has_made_anew() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    let place = daemon.stop();
    let format = place.data().join("format");
    for (damage, kept) in [(None, None), (Some("junk"), Some(place.data().join("quarantine/format-1")))] {
        std::fs::remove_file(&format).unwrap();
        if let Some(damage) = damage {
            std::fs::write(&format, damage).unwrap();
        }
        let repaired = place.wal(&["repair"]);
        assert!(repaired.status.success(), "{repaired:?}");
        let said = String::from_utf8(repaired.stdout).unwrap();
        let lines: Vec<_> = said.lines().skip(1).collect();
        assert!(lines[0].starts_with("DAMAGED format: the file is "), "{said}");
        let mut wanted = vec!["NOT intact".to_owned(), format!("{} is made anew", format.display())];
        wanted.extend(kept.map(|kept| format!("it is kept as it was in {}", kept.display())));
        wanted.push("the log itself is intact and left alone".to_owned());
        assert_eq!(lines[1..], wanted, "{said}");
    }
    let said = String::from_utf8(place.wal(&["repair"]).stdout).unwrap();
    assert!(said.ends_with("intact\nnothing to repair\n"), "{said}");
    assert_eq!(place.start().stop().stored().len(), 1);
}
