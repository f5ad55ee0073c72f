//! What is refused uses up nothing of what its sender may send: the events come back, whatever it was that refused them.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Answer, Daemon, Place, Shim, Socket, event, events, eventually, request};

fn batch(prefix: &str, count: usize) -> Vec<u8> {
    Value::Array(events(prefix, count)).to_string().into_bytes()
}

/// What is left of the tenant's day, as an answer tells.
#[track_caller]
fn left_of_day(answer: &Answer) -> &str {
    let field = answer.header("ratelimit").unwrap_or_else(|| panic!("no RateLimit: {answer:?}"));
    let rest = field.strip_prefix("\"tenant-events-per-day\";r=").unwrap_or_else(|| panic!("{field}"));
    rest.split(';').next().unwrap()
}

#[track_caller]
fn assert_day_is_over(answer: &Answer) {
    assert_eq!(answer.problem(429)["reason"], "quota_exceeded");
}

/// A daemon of whose disk more or less is to be kept free.
struct Disk {
    daemon: Daemon,
    folder: tempfile::TempDir,
    limit: &'static str,
}

impl Disk {
    /// More is to be kept than any disk has: every event is refused.
    fn full(limit: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, Disk::text(limit, 1_000_000_000_000_000)).unwrap();
        let daemon = Place::with(&[("INGESTD_CONFIG", file.to_str().unwrap())]).start();
        let disk = Disk { daemon, folder, limit };
        eventually("the reserve is noticed", || disk.daemon.get("/health/ready").status == 503);
        disk
    }

    fn text(limit: &str, reserve_bytes: u64) -> String {
        format!("[log]\ndisk_reserve_bytes = {reserve_bytes}\n[rate_limits]\nburst_s = 5\n{limit}\n")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn make_room(&self) {
        self.daemon.reconfigure(&self.file(), &Disk::text(self.limit, 1));
        eventually("there is room", || self.daemon.get("/health/ready").status == 200);
    }
}

/// Five events at once, each; more come only while the test runs.
const FIVE: [&str; 3] = ["tenant_events_per_day = 5", "tenant_events_per_s = 1", "address_events_per_s = 1"];

#[test]
fn events_that_find_no_room_on_the_disk_cost_nothing_over_http() {
    for limit in FIVE {
        let disk = Disk::full(limit);
        for number in 0..20 {
            let one = event(&format!("e-{number}")).to_string();
            // The general way as well as the short one.
            for headers in [&[][..], &[("X-Detour", "1")]] {
                let answer = disk.daemon.request("POST", "/events", headers, one.as_bytes());
                assert_eq!(answer.problem(503)["reason"], "disk_reserve", "{limit}");
            }
            let answer = disk.daemon.post("/events/batch", format!("[{one}]"));
            assert_eq!(answer.problem(503)["reason"], "disk_reserve", "{limit}");
        }
        disk.make_room();
        assert_eq!(disk.daemon.post("/events/batch", batch("a", 5)).with_status(202)["successful"], 5, "{limit}");
    }
}

#[test]
fn events_that_find_no_room_on_the_disk_cost_nothing_over_a_websocket() {
    for limit in FIVE {
        let disk = Disk::full(limit);
        let mut socket = Socket::open(&disk.daemon);
        for number in 0..20 {
            socket.cart(&event(&format!("e-{number}")));
            assert_eq!(socket.message("event_error")["code"], "disk_reserve", "{limit}");
        }
        disk.make_room();
        socket.cart(&Value::Array(events("a", 5)));
        for _ in 0..5 {
            socket.message("event_ack");
        }
        assert_eq!(disk.daemon.metric("ingestd_websocket_slowed_total"), 0.0, "{limit}");
        assert_eq!(disk.daemon.totals(), [5, 0, 0, 20]);
    }
}

/// Waits where a day ends so soon that a test might see the next one.
fn long_before_midnight() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    eventually("midnight has passed", || now() % 86_400 < 86_400 - 50);
}

fn daemon_with_a_day_of(events: &str) -> Daemon {
    long_before_midnight();
    Daemon::with(&[("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", events)])
}

#[test]
fn a_request_that_is_not_taken_as_it_is_costs_no_event() {
    let daemon = daemon_with_a_day_of("3");
    let one = event("e").to_string();
    let key = [("Idempotency-Key", "k")];
    assert_eq!(left_of_day(&daemon.request("POST", "/events", &key, one.as_bytes())), "2");
    for _ in 0..5 {
        let text = daemon.request("POST", "/events", &[("Content-Type", "text/plain")], b"x");
        let option = daemon.post("/events?ack=nobody", &one);
        let other = daemon.request("POST", "/events", &key, event("other").to_string().as_bytes());
        for (answer, status) in [(&text, 415), (&option, 400), (&other, 422)] {
            answer.problem(status);
            assert_eq!(left_of_day(answer), "2");
        }
        // A repeat is not taken again.
        let repeat = daemon.request("POST", "/events", &key, one.as_bytes());
        repeat.with_status(202);
        assert_eq!(left_of_day(&repeat), "2");
    }
    daemon.post("/events/batch", batch("a", 2)).with_status(202);
    assert_day_is_over(&daemon.post("/events", &one));
}

#[test]
fn what_was_stored_costs_its_events_be_it_new_or_not_good_or_bad() {
    let daemon = daemon_with_a_day_of("4");
    for (body, status, left) in
        [(event("e").to_string(), 202, "3"), (event("e").to_string(), 202, "2"), ("{}".into(), 400, "1")]
    {
        let answer = daemon.post("/events", body);
        assert_eq!((answer.status, left_of_day(&answer)), (status, left));
    }
    daemon.request("POST", "/events", &[("X-Detour", "1")], event("e").to_string().as_bytes()).with_status(202);
    assert_day_is_over(&daemon.post("/events", event("e").to_string()));
}

#[test]
fn a_body_that_breaks_off_costs_no_event() {
    let daemon = daemon_with_a_day_of("1");
    let mut leaving = daemon.connect();
    leaving.send(request("POST", "/events", &[("Content-Length", "100"), ("Expect", "100-continue")], b""));
    assert_eq!(leaving.answer().status, 100);
    // It is paid for as long as it may come.
    assert_day_is_over(&daemon.post("/events", event("e").to_string()));
    drop(leaving);
    eventually("the event is there again", || daemon.post("/events", event("e").to_string()).status == 202);
    assert_day_is_over(&daemon.post("/events", event("other").to_string()));
}

#[test]
fn of_a_batch_that_is_given_up_only_what_is_kept_costs() {
    let daemon = daemon_with_a_day_of("5");
    let mut all = events("a", 4);
    all.push(json!({"eventId": "bad"}));
    let answer = daemon.post("/events/batch?failOnError=true", Value::Array(all).to_string());
    assert_eq!(answer.with_status(400)["failed"], 5);
    // The bad one is a dead letter.
    assert_eq!(left_of_day(&answer), "4");
    daemon.post("/events/batch", batch("b", 4)).with_status(202);
    assert_day_is_over(&daemon.post("/events", event("e").to_string()));
}

#[test]
fn what_may_be_stored_costs_its_events() {
    long_before_midnight();
    let shim = Shim::compiled();
    let place = Place::with(&[
        ("INGESTD_SERVER_REQUEST_TIMEOUT_S", "1"),
        ("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", "8"),
        ("FAULT_HANG", "1"),
    ]);
    let daemon = place.and_all(shim.strikes("fdatasync", "*/data/log/*.log")).start();
    daemon.post("/events", event("before").to_string()).with_status(202);
    let mut socket = Socket::open(&daemon);
    shim.arm();
    let requests = [
        request("POST", "/events", &[], event("express").to_string().as_bytes()),
        request("POST", "/events", &[("X-Detour", "1")], event("general").to_string().as_bytes()),
        request("POST", "/events/batch", &[], &batch("batch", 2)),
    ];
    let waiting = requests.map(|bytes| {
        let mut connection = daemon.connect();
        connection.send(bytes);
        connection
    });
    socket.cart(&Value::Array(events("socket", 2)));
    for mut connection in waiting {
        assert_eq!(connection.answer().problem(503)["reason"], "unknown");
    }
    for _ in 0..2 {
        assert_eq!(socket.message("event_error")["code"], "unknown");
    }
    shim.disarm();
    eventually("the log has taken all of them", || daemon.totals() == [7, 0, 0, 0]);
    eventually("it is ready", || daemon.get("/health/ready").status == 200);
    // Of eight, seven.
    assert_day_is_over(&daemon.post("/events/batch", batch("a", 2)));
    daemon.post("/events", event("last").to_string()).with_status(202);
}
