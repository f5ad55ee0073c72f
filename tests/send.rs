//! `ingestd send` to a daemon that does not take everything at once.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use support::{Daemon, PROGRAM, Place, Shim, events, eventually, ndjson};

struct Sending {
    dir: tempfile::TempDir,
    child: Child,
}

impl Sending {
    fn start(daemon: &Daemon, count: usize, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.ndjson");
        std::fs::write(&file, ndjson(&events("e", count))).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["send", "--json", "--url", &format!("http://{}", daemon.address)]).args(arguments).arg(file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Sending { dir, child }
    }

    /// Waits for its end; exit code, summary and what it said meanwhile.
    fn end(self) -> (Option<i32>, Value, String) {
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        drop(self.dir);
        (output.status.code(), summary, said)
    }
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no {name}: {summary}"))
}

#[test]
fn a_log_that_hangs_for_a_while_is_waited_for_and_takes_everything_once() {
    let shim = Shim::compiled();
    let env = [("INGESTD_SERVER_REQUEST_TIMEOUT_S", "1"), ("FAULT_HANG", "1")];
    let daemon = Place::with(&env).and_all(shim.strikes("fdatasync", "*/data/log/*.log")).start();
    shim.arm();
    let sending = Sending::start(&daemon, 2000, &[]);
    eventually("it is refused", || daemon.metric("ingestd_http_requests_refused_total") > 0.0);
    shim.disarm();
    let (code, summary, said) = sending.end();
    assert_eq!(code, Some(0), "{summary} {said}");
    // What a request had left behind that was answered 503 `unknown` is found again as a duplicate.
    assert_eq!(number(&summary, "accepted") + number(&summary, "duplicates"), 2000, "{summary}");
    assert!(number(&summary, "retries") > 0, "{summary}");
    assert!(said.contains("503") && said.contains("attempt"), "it says what it waits for: {said}");
    assert_eq!(daemon.stop().stored().len(), 2000);
}

#[test]
fn a_daemon_with_one_place_takes_everything_from_many_senders() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "1")]);
    let (code, summary, said) = Sending::start(&daemon, 500, &["--concurrency", "16", "--batch", "10"]).end();
    assert_eq!((code, number(&summary, "accepted")), (Some(0), 500), "{summary} {said}");
    assert_eq!(daemon.stop().stored().len(), 500);
}

#[test]
fn a_daemon_that_never_takes_anything_is_given_up_after_the_time_allowed() {
    let daemon = Daemon::with(&[("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000")]);
    eventually("the reserve is noticed", || daemon.get("/health/ready").status == 503);
    let begun = std::time::Instant::now();
    let (code, summary, said) = Sending::start(&daemon, 50, &["--retry-for", "2s"]).end();
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2));
    assert_eq!((code, number(&summary, "unsent")), (Some(3), 50), "{summary}");
    assert!(said.contains("gave up after") && said.contains("disk space"), "{said}");
}

#[test]
fn a_run_that_is_cut_off_is_simply_run_again() {
    const LINES: u64 = 20_000;
    let shim = Shim::compiled();
    let env = [("INGESTD_SERVER_REQUEST_TIMEOUT_S", "600"), ("FAULT_HANG", "1")];
    let daemon = Place::with(&env).and_all(shim.strikes("fdatasync", "*/data/log/*.log")).start();
    shim.arm();
    let sending = Sending::start(&daemon, LINES as usize, &["--batch", "10", "--concurrency", "2"]);
    eventually("it has begun", || daemon.metric("ingestd_events_received_total") >= 10.0);
    let pid = Pid::from_child(&sending.child);
    kill_process(pid, Signal::INT).unwrap();
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    let is_taken =
        |line: &str| line.strip_prefix("ShdPnd:").is_some_and(|signals| signals.trim().bytes().all(|b| b == b'0'));
    eventually("it has the signal", || std::fs::read_to_string(&status).unwrap().lines().any(is_taken));
    shim.disarm();
    let (code, first, said) = sending.end();
    assert_eq!((code, &first["interrupted"]), (Some(130), &true.into()), "{first} {said}");
    let stored = number(&first, "accepted");
    assert!((1..LINES).contains(&stored), "what was in flight is finished, and no more is begun: {first}");
    let (code, second, said) = Sending::start(&daemon, LINES as usize, &[]).end();
    assert_eq!(code, Some(0), "{second} {said}");
    assert_eq!((number(&second, "accepted"), number(&second, "duplicates")), (LINES - stored, stored), "{second}");
    assert_eq!(daemon.stop().stored().len() as u64, LINES);
}
