//! Every metric: name, kind, unit, labels. Counters are summed per batch, not per event.

mod handshake;

pub use handshake::HandshakeFailure;

use crate::access::Failure;
use event::{Refusal, RejectCode};
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A step of an event's way whose duration is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// From the request's last byte to a prepared batch.
    Parse,
    /// From the ring's entrance to the receipt.
    Queue,
    /// Dropping duplicates and building the block.
    Encode,
    /// The commit itself, fdatasync included.
    Commit,
    /// From the request's head to its answer.
    Request,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 5] = [Stage::Parse, Stage::Queue, Stage::Encode, Stage::Commit, Stage::Request];

    /// Label and JSON key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Queue => "queue",
            Stage::Encode => "encode",
            Stage::Commit => "commit",
            Stage::Request => "request",
        }
    }
}

/// One thread's histograms, microseconds; its lock is contended only while figures are read.
#[derive(Debug)]
pub struct Recorder(Mutex<[Histogram<u64>; Stage::ALL.len()]>);

impl Recorder {
    fn new() -> Self {
        #[expect(clippy::expect_used, reason = "constant bounds")]
        let make = |_| Histogram::new_with_bounds(1, 60_000_000, 2).expect("valid bounds");
        Recorder(Mutex::new(std::array::from_fn(make)))
    }

    /// Records one duration.
    pub fn record(&self, stage: Stage, took: Duration) {
        let micros = (took.as_micros() as u64).max(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[stage as usize].saturating_record(micros);
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $metric:literal),+ $(,)?) => {
        /// All counters and gauges of the process.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
            /// Events per built-in type, the last for registered ones.
            pub by_type: [AtomicU64; 7],
            /// Rejected events per code.
            pub rejected: [AtomicU64; RejectCode::ALL.len()],
            /// Refused events per reason.
            pub refused: [AtomicU64; Refusal::ALL.len()],
            /// Credentials that were turned away, per reason.
            pub auth_failures: [AtomicU64; Failure::ALL.len()],
            /// TLS handshakes that failed, per reason.
            pub handshakes_failed: [AtomicU64; HandshakeFailure::ALL.len()],
            /// When the certificate that is presented ends, UNIX seconds; 0 without TLS.
            pub certificate_ends: AtomicI64,
            /// HTTP requests refused before their events were counted, per reason.
            pub requests_refused_by: [AtomicU64; Refusal::ALL.len()],
            /// Open HTTP connections.
            pub connections: AtomicI64,
            /// Open WebSockets.
            pub websockets: AtomicI64,
            recorders: Mutex<Vec<Arc<Recorder>>>,
        }

        impl Metrics {
            fn put_counters(&self, out: &mut String) {
                $(put(out, $metric, "counter", concat!($($doc),+), self.$name.load(Relaxed));)+
            }
        }
    };
}

counters! {
    /// Events split off a body, whatever became of them.
    received: "ingestd_events_received_total",
    /// Events stored.
    accepted: "ingestd_events_accepted_total",
    /// Events whose id was known.
    duplicate: "ingestd_events_duplicate_total",
    /// Duplicates whose content was not the first one's.
    duplicate_differs: "ingestd_events_duplicate_differs_total",
    /// HTTP requests answered.
    requests: "ingestd_http_requests_total",
    /// HTTP requests answered with 4xx.
    requests_4xx: "ingestd_http_requests_4xx_total",
    /// HTTP requests answered with 5xx.
    requests_5xx: "ingestd_http_requests_5xx_total",
    /// HTTP requests refused before their events were counted.
    requests_refused: "ingestd_http_requests_refused_total",
    /// Connections turned away because there were too many.
    connections_refused: "ingestd_connections_refused_total",
    /// TLS handshakes completed.
    handshakes: "ingestd_tls_handshakes_total",
    /// Connections that speak HTTP/2.
    http2_connections: "ingestd_http2_connections_total",
    /// Connections turned away because their address had too many.
    connections_refused_address: "ingestd_connections_refused_per_address_total",
    /// Connections closed for what they began with instead of a PROXY protocol header.
    proxy_headers_refused: "ingestd_proxy_headers_refused_total",
    /// Requests and handshakes of browsers refused for the page that they came from.
    origins_refused: "ingestd_origins_refused_total",
    /// WebSocket rounds held up because a limit was used up.
    ws_slowed: "ingestd_websocket_slowed_total",
    /// WebSockets opened.
    websockets_total: "ingestd_websockets_total",
    /// WebSocket messages received.
    ws_received: "ingestd_websocket_messages_received_total",
    /// WebSocket messages sent.
    ws_sent: "ingestd_websocket_messages_sent_total",
    /// Commits of the log.
    commits: "ingestd_commits_total",
    /// Bytes of blocks committed.
    commit_bytes: "ingestd_commit_bytes_total",
    /// Requests in commits.
    commit_requests: "ingestd_commit_requests_total",
}

impl Metrics {
    /// Histograms for one more thread.
    #[must_use]
    pub fn recorder(&self) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::new());
        self.recorders.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&recorder));
        recorder
    }

    /// Counts one commit.
    pub fn group(&self, _events: u32, bytes: usize, requests: usize) {
        self.commits.fetch_add(1, Relaxed);
        self.commit_bytes.fetch_add(bytes as u64, Relaxed);
        self.commit_requests.fetch_add(requests as u64, Relaxed);
    }

    /// Counts rejected events.
    pub fn reject(&self, code: RejectCode, events: u64) {
        if let Some(place) = RejectCode::ALL.iter().position(|known| *known == code) {
            self.rejected[place].fetch_add(events, Relaxed);
        }
    }

    /// Counts refused events.
    pub fn refuse(&self, reason: Refusal, events: u64) {
        if let Some(place) = Refusal::ALL.iter().position(|known| *known == reason) {
            self.refused[place].fetch_add(events, Relaxed);
        }
    }

    /// Counts somebody who was not let in.
    pub fn turn_away(&self, failure: Failure) {
        self.auth_failures[failure as usize].fetch_add(1, Relaxed);
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self, reason: HandshakeFailure) {
        self.handshakes_failed[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts a request refused before its events were counted.
    pub fn refuse_request(&self, reason: Refusal) {
        self.requests_refused.fetch_add(1, Relaxed);
        if let Some(place) = Refusal::ALL.iter().position(|known| *known == reason) {
            self.requests_refused_by[place].fetch_add(1, Relaxed);
        }
    }

    /// All rejected events.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// All refused events.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// One stage's histogram over all threads since the start, microseconds.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<Histogram<u64>> {
        let recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sum: Option<Histogram<u64>> = None;
        for recorder in recorders {
            let one = recorder.0.lock().unwrap_or_else(PoisonError::into_inner)[stage as usize].clone();
            match &mut sum {
                Some(sum) => sum.add(&one).ok()?,
                None => sum = Some(one),
            }
        }
        sum
    }

    /// The Prometheus text exposition, format 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(8192);
        self.put_counters(&mut out);
        put(&mut out, "ingestd_http_connections", "gauge", "Open HTTP connections.", self.connections.load(Relaxed));
        put(&mut out, "ingestd_websockets", "gauge", "Open WebSockets.", self.websockets.load(Relaxed));
        head(&mut out, "ingestd_events_rejected_total", "counter", "Events that can never be accepted, by code.");
        for (code, count) in RejectCode::ALL.iter().zip(&self.rejected) {
            line(&mut out, "ingestd_events_rejected_total", &format!("code=\"{code}\""), count.load(Relaxed));
        }
        head(&mut out, "ingestd_events_refused_total", "counter", "Events not taken now, by reason.");
        for (reason, count) in Refusal::ALL.iter().zip(&self.refused) {
            line(&mut out, "ingestd_events_refused_total", &format!("reason=\"{reason}\""), count.load(Relaxed));
        }
        head(&mut out, "ingestd_auth_failures_total", "counter", "Requests and WebSockets turned away, by reason.");
        for (failure, count) in Failure::ALL.iter().zip(&self.auth_failures) {
            line(
                &mut out,
                "ingestd_auth_failures_total",
                &format!("reason=\"{}\"", failure.as_str()),
                count.load(Relaxed),
            );
        }
        let name = "ingestd_http_requests_refused_by_reason_total";
        head(&mut out, name, "counter", "HTTP requests refused before their events were counted, by reason.");
        for (reason, count) in Refusal::ALL.iter().zip(&self.requests_refused_by) {
            line(&mut out, name, &format!("reason=\"{reason}\""), count.load(Relaxed));
        }
        head(&mut out, "ingestd_events_by_type_total", "counter", "Events stored, by type.");
        for (number, count) in self.by_type.iter().enumerate() {
            let name = prepare::EVENT_TYPES.get(number).copied().unwrap_or("other");
            line(&mut out, "ingestd_events_by_type_total", &format!("type=\"{name}\""), count.load(Relaxed));
        }
        self.put_tls(&mut out);
        self.put_stages(&mut out);
        out
    }

    fn put_tls(&self, out: &mut String) {
        let name = "ingestd_tls_handshake_failures_total";
        head(out, name, "counter", "TLS handshakes that failed, by reason.");
        for (reason, count) in HandshakeFailure::ALL.iter().zip(&self.handshakes_failed) {
            line(out, name, &format!("reason=\"{}\"", reason.as_str()), count.load(Relaxed));
        }
        let ends = self.certificate_ends.load(Relaxed);
        if ends != 0 {
            let help = "When the certificate that is presented ends.";
            put(out, "ingestd_tls_certificate_expiry_timestamp_seconds", "gauge", help, ends);
        }
    }

    fn put_stages(&self, out: &mut String) {
        let name = "ingestd_stage_duration_seconds";
        head(out, name, "summary", "Duration of each stage since the start.");
        for stage in Stage::ALL {
            let Some(histogram) = self.stage(stage) else { continue };
            for quantile in ["0.5", "0.99", "0.999"] {
                let value = histogram.value_at_quantile(quantile.parse().unwrap_or(0.5)) as f64 / 1e6;
                line(out, name, &format!("stage=\"{}\",quantile=\"{quantile}\"", stage.as_str()), value);
            }
            let label = format!("stage=\"{}\"", stage.as_str());
            line(out, &format!("{name}_sum"), &label, histogram.mean() * histogram.len() as f64 / 1e6);
            line(out, &format!("{name}_count"), &label, histogram.len());
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    write!(out, "# HELP {name} {}\n# TYPE {name} {kind}\n", help.trim()).ok();
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    writeln!(out, "{name}{{{labels}}} {value}").ok();
}

fn put(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    writeln!(out, "{name} {value}").ok();
}
