//! Traces, as a collector gets them: a receiver that decodes with the protocol's own messages.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::{Daemon, Place, event, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The other side; killed when dropped.
struct Collector {
    child: Child,
    port: u16,
    lines: Receiver<Value>,
}

impl Collector {
    fn start() -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let made =
            Command::new(format!("{root}/scripts/python.sh")).arg("tests/otlp-requirements.txt").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let python = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()).join("bin/python");
        let mut command = Command::new(python);
        command.arg(format!("{root}/tests/support/otlp_receiver.py")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (told, hears) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| drop(told.send(serde_json::from_str(&line).unwrap())));
        });
        Collector { child, port, lines: hears }
    }

    fn place(&self, ratio: &str) -> Place {
        Place::with(&[
            ("INGESTD_TRACES_ENDPOINT", &format!("http://127.0.0.1:{}", self.port)),
            ("INGESTD_TRACES_SAMPLE_RATIO", ratio),
            ("INGESTD_PARQUET_ROLL_S", "1"),
        ])
    }

    /// The next span.
    #[track_caller]
    fn span(&self) -> Value {
        let span = self.lines.recv_timeout(Duration::from_secs(60)).expect("a span arrives");
        assert!(span["error"].is_null(), "{span}");
        span
    }

    /// Spans up to one of that name.
    #[track_caller]
    fn spans_until(&self, name: &str) -> Vec<Value> {
        let mut out = Vec::new();
        while out.last().is_none_or(|span: &Value| span["name"] != name) {
            out.push(self.span());
        }
        out
    }

    /// What has arrived and was not asked for.
    fn rest(&self) -> Vec<Value> {
        self.lines.try_iter().collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn find<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

fn post(daemon: &Daemon, path: &str, id: &str, traceparent: &str) {
    let headers = [("Content-Type", "application/json"), ("traceparent", traceparent)];
    daemon.request("POST", path, &headers, event(id).to_string().as_bytes()).with_status(202);
}

#[test]
fn a_request_is_a_child_of_its_clients_span_and_a_batch_is_linked_with_it() {
    let collector = Collector::start();
    let daemon = collector.place("0.0").start();
    // The short way, and the general one.
    for (id, path) in [("a", "/events"), ("b", "/events?a=b")] {
        post(&daemon, path, id, &format!("00-{TRACE}-{PARENT}-01"));
        let spans = collector.spans_until("ship");
        let (request, commit, ship) = (find(&spans, "POST /events"), find(&spans, "commit"), find(&spans, "ship"));
        assert_eq!((&request["trace"], &request["parent"]), (&TRACE.into(), &PARENT.into()));
        assert_eq!((request["kind"].as_u64(), request["status"].as_u64()), (Some(2), Some(0)));
        assert_eq!(request["attributes"]["http.response.status_code"], 202);
        assert_eq!((&commit["trace"], &commit["parent"]), (&TRACE.into(), &request["span"]));
        assert_eq!((&ship["links"][0][0], &ship["links"][0][1]), (&TRACE.into(), &request["span"]));
        assert_ne!(ship["trace"], TRACE);
        assert_eq!(ship["attributes"]["ingestd.sink"], "parquet");
        let of = |span: &Value, name: &str| span[name].as_u64().unwrap();
        for span in &spans {
            assert!(of(span, "start") <= of(span, "end"), "{span}");
            assert_eq!(span["resource"]["service.name"], "ingestd");
        }
        assert!(of(request, "start") <= of(commit, "start") && of(commit, "end") <= of(request, "end"), "{spans:?}");
    }
    let ids: BTreeSet<_> = collector.rest().iter().map(|span| span["span"].to_string()).collect();
    assert!(ids.is_empty(), "{ids:?}");
    assert_eq!(daemon.metric("ingestd_trace_spans_dropped_total"), 0.0);
}

#[test]
fn a_client_that_does_not_sample_is_left_alone_and_who_says_nothing_is_sampled_by_chance() {
    let collector = Collector::start();
    let daemon = collector.place("1.0").start();
    post(&daemon, "/events", "quiet", &format!("00-{TRACE}-{PARENT}-00"));
    daemon.post("/events", event("loud").to_string()).with_status(202);
    let spans = collector.spans_until("ship");
    assert!(spans.iter().all(|span| span["trace"] != TRACE), "{spans:?}");
    let request = find(&spans, "POST /events");
    assert_eq!(request["parent"], "");
    // A stop sends what is still there.
    daemon.post("/events", "{}").with_status(400);
    daemon.stop();
    let last = collector.spans_until("POST /events");
    assert_eq!(last.last().unwrap()["attributes"]["http.response.status_code"], 400);
}

#[test]
fn nothing_is_traced_without_a_collector_and_the_clients_trace_travels_on() {
    let daemon = Daemon::start();
    post(&daemon, "/events", "a", &format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(daemon.metric("ingestd_trace_spans_exported_total"), 0.0);
    assert_eq!(daemon.metric("ingestd_trace_spans_dropped_total"), 0.0);
}

#[test]
fn a_collector_that_is_away_costs_nothing_but_spans() {
    let daemon =
        Daemon::with(&[("INGESTD_TRACES_ENDPOINT", "http://127.0.0.1:1"), ("INGESTD_TRACES_SAMPLE_RATIO", "1.0")]);
    for number in 0..200 {
        daemon.post("/events", event(&format!("e{number}")).to_string()).with_status(202);
    }
    eventually("they are counted as dropped", || daemon.metric("ingestd_trace_spans_dropped_total") >= 400.0);
    assert_eq!(daemon.metric("ingestd_trace_spans_exported_total"), 0.0);
    assert_eq!(daemon.totals(), [200, 0, 0, 0]);
    daemon.stop();
}
