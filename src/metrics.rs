//! Every metric: name, kind, unit, labels. Counters are summed per batch, not per event.

mod handshake;
mod recorder;
mod stage;
mod text;

pub use handshake::HandshakeFailure;
pub use recorder::Recorder;
pub use stage::Stage;
pub use text::{put_head, put_metric, put_series};

use crate::access::Failure;
use event::{Refusal, RejectCode};
use hdrhistogram::Histogram;
use recorder::{Buckets, Recent};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use text::put_histogram;

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
            /// Free space where the data folder is, bytes.
            pub disk_free_bytes: AtomicU64,
            /// Free space below which events are refused, bytes.
            pub disk_reserve_bytes: AtomicU64,
            /// Size of the log above which events are refused, bytes; 0 for none.
            pub log_budget_bytes: AtomicU64,
            recorders: Mutex<Vec<Arc<Recorder>>>,
            recent: Mutex<Recent>,
        }

        impl Metrics {
            fn put_counters(&self, out: &mut String) {
                $(put_metric(out, $metric, "counter", concat!($($doc),+), self.$name.load(Relaxed));)+
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
    /// Spans that the collector has.
    spans_exported: "ingestd_trace_spans_exported_total",
    /// Spans that did not fit the queue, or that the collector did not take.
    spans_dropped: "ingestd_trace_spans_dropped_total",
}

impl Metrics {
    /// A recorder for one more thread.
    #[must_use]
    pub fn recorder(&self) -> Arc<Recorder> {
        self.add_recorder(None)
    }

    /// A recorder for the thread that ships to `sink`.
    #[must_use]
    pub fn sink_recorder(&self, sink: &'static str) -> Arc<Recorder> {
        self.add_recorder(Some(sink))
    }

    fn add_recorder(&self, sink: Option<&'static str>) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::new(sink));
        self.recorders.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&recorder));
        recorder
    }

    fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.recorders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of what is older than a minute; to be called about once a second.
    pub fn turn(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).turn(&self.recorders(), Instant::now());
    }

    /// One stage over all threads in the last 60 to 65 seconds, microseconds.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Histogram<u64> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).stage(stage, &self.recorders())
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

    /// Counts a request refused before it was taken apart: by its events where their number is known, else (0) as a request.
    pub fn refuse_unread(&self, reason: Refusal, events: u64) {
        if events == 0 {
            return self.refuse_request(reason);
        }
        self.received.fetch_add(events, Relaxed);
        self.refuse(reason, events);
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

    /// All outcomes.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        let stored = self.accepted.load(Relaxed) + self.duplicate.load(Relaxed);
        stored + self.rejected_total() + self.refused_total()
    }

    /// The Prometheus text exposition, format 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        self.put_counters(&mut out);
        self.put_gauges(&mut out);
        put_head(&mut out, "ingestd_events_rejected_total", "counter", "Events that can never be accepted, by code.");
        for (code, count) in RejectCode::ALL.iter().zip(&self.rejected) {
            put_series(&mut out, "ingestd_events_rejected_total", &format!("code=\"{code}\""), count.load(Relaxed));
        }
        put_head(&mut out, "ingestd_events_refused_total", "counter", "Events not taken now, by reason.");
        for (reason, count) in Refusal::ALL.iter().zip(&self.refused) {
            put_series(&mut out, "ingestd_events_refused_total", &format!("reason=\"{reason}\""), count.load(Relaxed));
        }
        let name = "ingestd_auth_failures_total";
        put_head(&mut out, name, "counter", "Requests and WebSockets turned away, by reason.");
        for (failure, count) in Failure::ALL.iter().zip(&self.auth_failures) {
            put_series(&mut out, name, &format!("reason=\"{}\"", failure.as_str()), count.load(Relaxed));
        }
        let name = "ingestd_http_requests_refused_by_reason_total";
        put_head(&mut out, name, "counter", "HTTP requests refused before their events were counted, by reason.");
        for (reason, count) in Refusal::ALL.iter().zip(&self.requests_refused_by) {
            put_series(&mut out, name, &format!("reason=\"{reason}\""), count.load(Relaxed));
        }
        put_head(&mut out, "ingestd_events_by_type_total", "counter", "Events stored, by type.");
        for (number, count) in self.by_type.iter().enumerate() {
            let name = prepare::EVENT_TYPES.get(number).copied().unwrap_or("other");
            put_series(&mut out, "ingestd_events_by_type_total", &format!("type=\"{name}\""), count.load(Relaxed));
        }
        self.put_tls(&mut out);
        self.put_stages(&mut out);
        self.put_shipping(&mut out);
        out
    }

    fn put_tls(&self, out: &mut String) {
        let name = "ingestd_tls_handshake_failures_total";
        put_head(out, name, "counter", "TLS handshakes that failed, by reason.");
        for (reason, count) in HandshakeFailure::ALL.iter().zip(&self.handshakes_failed) {
            put_series(out, name, &format!("reason=\"{}\"", reason.as_str()), count.load(Relaxed));
        }
        let ends = self.certificate_ends.load(Relaxed);
        if ends != 0 {
            let help = "When the certificate that is presented ends.";
            put_metric(out, "ingestd_tls_certificate_expiry_timestamp_seconds", "gauge", help, ends);
        }
    }

    fn put_gauges(&self, out: &mut String) {
        let mut gauge = |name, help, value: i64| put_metric(out, name, "gauge", help, value);
        gauge("ingestd_http_connections", "Open HTTP connections.", self.connections.load(Relaxed));
        gauge("ingestd_websockets", "Open WebSockets.", self.websockets.load(Relaxed));
        let mut bytes = |name, help, value: &AtomicU64| put_metric(out, name, "gauge", help, value.load(Relaxed));
        bytes("ingestd_disk_free_bytes", "Free space where the data folder is.", &self.disk_free_bytes);
        bytes("ingestd_disk_reserve_bytes", "Free space below which events are refused.", &self.disk_reserve_bytes);
        let budget = "Size of the log above which events are refused; 0 for none.";
        bytes("ingestd_log_budget_bytes", budget, &self.log_budget_bytes);
    }

    fn put_stages(&self, out: &mut String) {
        let (name, recorders) = ("ingestd_stage_duration_seconds", self.recorders());
        put_head(out, name, "histogram", "Duration of each stage before the answer.");
        for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Ship) {
            let buckets = sum(stage, recorders.iter());
            put_histogram(out, name, &format!("stage=\"{}\"", stage.as_str()), stage.bounds(), &buckets);
        }
    }

    fn put_shipping(&self, out: &mut String) {
        let (name, recorders) = ("ingestd_sink_ship_duration_seconds", self.recorders());
        put_head(out, name, "histogram", "Bringing one batch to a sink, until the sink has it for good.");
        for recorder in &recorders {
            let Some(sink) = recorder.sink else { continue };
            let buckets = recorder.buckets(Stage::Ship);
            put_histogram(out, name, &format!("sink=\"{sink}\""), Stage::Ship.bounds(), &buckets);
        }
    }
}

fn sum<'a>(stage: Stage, recorders: impl Iterator<Item = &'a Arc<Recorder>>) -> Buckets {
    let mut sum = Buckets::default();
    recorders.for_each(|recorder| sum.merge(&recorder.buckets(stage)));
    sum
}
