//! The log: how its lines look, where they go, and that they name failed requests without what those carried.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::io::Read;
use std::process::Command;
use support::{Daemon, Place, event, eventually, request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const RESERVE: (&str, &str) = ("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000");

/// Posts an event with ids of its own to a daemon that refuses it.
fn refused(daemon: &Daemon, path: &str, id: &str) {
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [("Content-Type", "application/json"), ("X-Request-Id", id), ("traceparent", &traceparent)];
    let answer = daemon.request("POST", path, &headers, event("secret-event").to_string().as_bytes());
    assert_eq!(answer.problem(503)["reason"], "disk_reserve");
    assert_eq!(answer.header("x-request-id"), Some(id));
}

fn refusing(format: &str, level: &str) -> Daemon {
    let daemon = Daemon::with(&[RESERVE, ("INGESTD_LOG_FORMAT", format), ("INGESTD_LOG_LEVEL", level)]);
    eventually("the reserve is noticed", || daemon.get("/health/ready").status == 503);
    daemon
}

#[test]
fn a_failed_request_is_told_by_its_ids_as_one_object_a_line() {
    let daemon = refusing("json", "debug");
    refused(&daemon, "/events", "request-1");
    refused(&daemon, "/events/batch", "request-2");
    let log = daemon.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for id in ["request-1", "request-2"] {
        let line = lines.iter().find(|line| line["fields"]["request_id"] == id).unwrap_or_else(|| panic!("{log}"));
        assert_eq!((&line["level"], &line["fields"]["status"]), (&"WARN".into(), &503.into()));
        assert_eq!(line["fields"]["trace_id"], TRACE);
    }
    assert!(!log.contains("secret-event"));
}

#[test]
fn what_a_client_did_wrong_is_told_at_level_debug_only() {
    let wrong = [("Content-Type", "application/json"), ("X-Request-Id", "wrong-1")];
    for (level, told) in [("info", false), ("debug", true)] {
        let daemon = Daemon::with(&[("INGESTD_LOG_LEVEL", level)]);
        daemon.request("POST", "/events", &wrong, br#"{"eventId":"secret-event"}"#).with_status(400);
        let log = daemon.log();
        assert_eq!(log.contains("wrong-1"), told, "{log}");
        assert!(!log.contains("secret-event"), "{log}");
    }
}

#[test]
fn a_flood_of_failures_does_not_flood_the_log() {
    let daemon = refusing("text", "info");
    // As many acceptors as there are, each with ten lines a second.
    let acceptors = std::thread::available_parallelism().map_or(1, usize::from);
    let started = std::time::Instant::now();
    for number in 0..40 * acceptors {
        refused(&daemon, "/events", &format!("flood-{number}"));
    }
    let seconds = started.elapsed().as_secs() as usize + 1;
    let told = daemon.log().lines().filter(|line| line.contains("flood-")).count();
    // Seconds that have begun, for each acceptor its own.
    assert!(told >= 1 && told <= 10 * acceptors * (seconds + 1), "{told} in {seconds} s");
}

#[test]
fn a_log_that_nobody_takes_holds_nothing_up_and_says_what_was_lost() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let daemon = Place::with(&[("INGESTD_LOG_LEVEL", "ingestd=debug")]).start_saying_to(writer);
    let mut connection = daemon.connect();
    let mut asked = 0;
    // Each of them is told.
    eventually("lines are lost", || {
        for _ in 0..500 {
            connection.send(request("GET", "/nowhere", &[("X-Request-Id", &format!("lost-{asked}-"))], b""));
            connection.answer().problem(404);
            asked += 1;
        }
        daemon.metric_over(&mut connection, "ingestd_log_lines_lost_total") > 0.0
    });
    assert_eq!(daemon.get("/health/live").status, 200);
    let lost = daemon.metric_over(&mut connection, "ingestd_log_lines_lost_total");
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        said
    });
    daemon.stop();
    let said = reading.join().unwrap();
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text} in {said}"));
    let places: Vec<_> = (0..asked).filter_map(|number| said.find(&format!("lost-{number}-"))).collect();
    assert!(places.is_sorted(), "out of order: {said}");
    assert_eq!(places.len() + lost as usize, asked);
    assert!(place(&format!("lost={lost}")) < place("everything acknowledged is in the log"));
}

#[test]
fn lines_are_text_unless_standard_error_is_the_journal() {
    let daemon = Daemon::start();
    assert!(daemon.log().contains(" INFO log opened"), "{}", daemon.log());
    // What a child of a service has whose standard error was sent elsewhere.
    let daemon = Daemon::with(&[("JOURNAL_STREAM", "8:4711")]);
    assert!(daemon.log().contains(" INFO log opened"), "{}", daemon.log());
}

/// The journal itself, in a mount namespace of its own, with a daemon under it; `$1` is the program.
const UNDER_JOURNAL: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald >/run/journald.log 2>&1 &
journal=$!
trap 'kill $journal' EXIT
for _ in $(seq 300); do [ -S /run/systemd/journal/stdout ] && [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
INGESTD_LOG_FORMAT=journald "$1" serve --listen "$2" --data-dir /run/data && exit 9
# As under systemd: standard error is connected to the journal, and the variable says to what.
systemd-cat sh -c 'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$0" serve --listen "$1" --data-dir /run/data' \
  "$1" "$2" && exit 9
journalctl --sync
journalctl -o json SYSLOG_IDENTIFIER=ingestd CODE=start_bind
"#;

#[test]
fn the_real_journal_has_lines_with_their_fields() {
    let daemon = Daemon::start();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c", UNDER_JOURNAL, "journal", support::PROGRAM]);
    // A start that fails says one line and ends.
    let output = command.arg(daemon.address.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let is_entry = |line: &&str| line.starts_with('{');
    let lines: Vec<Value> = said.lines().filter(is_entry).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "one as configured, one found out: {said}");
    for line in lines {
        assert_eq!((&line["PRIORITY"], &line["_TRANSPORT"]), (&"3".into(), &"journal".into()), "{line}");
        assert!(line["MESSAGE"].as_str().unwrap().starts_with("cannot listen on 127.0.0.1:"), "{line}");
    }
}

#[test]
fn nothing_and_a_number_are_no_level() {
    for (variable, level) in [("LOG_LEVEL", ""), ("INGESTD_LOG_LEVEL", ""), ("LOG_LEVEL", "3"), ("LOG_LEVEL", "info,,")]
    {
        let mut command = Command::new(support::PROGRAM);
        let output = command.env_clear().env(variable, level).args(["check", "--config-only"]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(64), "{variable}={level}: {said}");
        assert!(said.contains(variable) && said.contains("is none of off, error, warn"), "{variable}={level}: {said}");
    }
    let daemon = Daemon::start();
    for level in ["", "3"] {
        assert_eq!(daemon.admin(&["log-level", level]).status.code(), Some(64), "{level}");
    }
    let told = daemon.admin(&["log-level"]);
    assert_eq!(String::from_utf8_lossy(&told.stdout), "info, as configured\n");
}

#[test]
fn a_format_that_does_not_exist_is_a_mistake() {
    let mut command = Command::new(support::PROGRAM);
    command.env_clear().env("INGESTD_LOG_FORMAT", "jason").args(["check", "--config-only"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("`json`") && said.contains("log_format"), "{said}");
}
