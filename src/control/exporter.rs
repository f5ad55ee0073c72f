//! Everything that is asked over HTTP and is not intake: health, readiness, statistics, metrics.

use super::health::Health;
use super::logging::lines_lost;
use super::pipeline::Pipeline;
use super::process::put_process;
use super::rates::Rates;
use crate::intake::{Answer, problem};
use crate::metrics::{Metrics, Stage, put_head, put_metric, put_series};
use crate::net::ConnectionGate;
use event::{Refusal, RejectCode, UnixMicros};
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the exporter reads.
pub struct ExporterParts {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Health of the parts.
    pub health: Arc<Health>,
    /// Rates.
    pub rates: Arc<Rates>,
    /// Open connections.
    pub gate: Arc<ConnectionGate>,
    /// The way to the sinks.
    pub pipeline: Pipeline,
}

/// Answers `GET`s about the daemon itself.
pub struct Exporter(ExporterParts);

/// What is answered with intake even where everything else has an address of its own: whoever sends its events through a
/// balancer has it ask here.
const ALWAYS_WITH_INTAKE: [&str; 3] = ["/", "/health/live", "/health/ready"];

impl Exporter {
    /// An exporter over `parts`.
    #[must_use]
    pub fn new(parts: ExporterParts) -> Self {
        Exporter(parts)
    }

    /// Answers one request.
    #[must_use]
    pub fn answer(&self, method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let known = matches!(
            path,
            "/" | "/health"
                | "/health/live"
                | "/health/ready"
                | "/metrics"
                | "/pipeline/status"
                | "/events/stats"
                | "/v1/events/stats"
        );
        if !known {
            return problem(StatusCode::NOT_FOUND, "there is nothing at this path");
        }
        if method != Method::GET && method != Method::HEAD {
            let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/" => json_answer(StatusCode::OK, &json!({"name": "ingestd", "version": env!("CARGO_PKG_VERSION")})),
            "/health" => self.health(),
            "/health/live" => json_answer(StatusCode::OK, &json!({"status": "live"})),
            "/health/ready" => self.ready(),
            "/metrics" => self.metrics(query, headers),
            "/pipeline/status" => json_answer(StatusCode::OK, &self.0.pipeline.status()),
            _ => json_answer(StatusCode::OK, &self.stats()),
        }
    }

    /// Answers one request at the port of intake, where the rest is answered elsewhere.
    #[must_use]
    pub fn answer_with_intake(&self, method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Answer {
        if ALWAYS_WITH_INTAKE.contains(&path) {
            return self.answer(method, path, query, headers);
        }
        problem(StatusCode::NOT_FOUND, "there is nothing at this path; health and figures are at server.admin_listen")
    }

    fn health(&self) -> Answer {
        let Exporter(parts) = self;
        let status = parts.health.status();
        let code = if status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let body = json!({
            "status": status,
            "services": parts.health.services(),
            "metrics": {
                "eventsPerSecond": parts.rates.events_per_second(10),
                "activeConnections": parts.gate.open(),
                "errorRate": parts.rates.error_rate(),
            },
            "timestamp": UnixMicros::now().to_string(),
        });
        json_answer(code, &body)
    }

    fn ready(&self) -> Answer {
        let reasons = self.0.health.not_ready();
        if reasons.is_empty() {
            return json_answer(StatusCode::OK, &json!({"status": "ready"}));
        }
        json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "reasons": reasons}))
    }

    fn stats(&self) -> Value {
        let Exporter(parts) = self;
        let metrics = &parts.metrics;
        let by_type: Map<_, _> = metrics
            .by_type
            .iter()
            .enumerate()
            .map(|(at, count)| {
                (prepare::EVENT_TYPES.get(at).copied().unwrap_or("other").to_owned(), count.load(Relaxed).into())
            })
            .collect();
        let rejected = by_name(RejectCode::ALL.iter().map(|code| code.as_str()).zip(&metrics.rejected));
        let refused = by_name(Refusal::ALL.iter().map(|reason| reason.as_str()).zip(&metrics.refused));
        let requests = by_name(Refusal::ALL.iter().map(|reason| reason.as_str()).zip(&metrics.requests_refused_by));
        let latency: Map<_, _> =
            Stage::ALL.iter().map(|stage| (stage.as_str().to_owned(), percentiles(&metrics.stage(*stage)))).collect();
        json!({
            "totals": {
                "accepted": metrics.accepted.load(Relaxed),
                "duplicate": metrics.duplicate.load(Relaxed),
                "rejected": metrics.rejected_total(),
                "refused": metrics.refused_total(),
            },
            "byType": by_type,
            "rejectedByCode": rejected,
            "refusedByReason": refused,
            // Batches whose events were not counted: they were refused before they were read.
            "requestsRefusedByReason": requests,
            "rates": {
                "s1": parts.rates.events_per_second(1),
                "s10": parts.rates.events_per_second(10),
                "s60": parts.rates.events_per_second(60),
            },
            "latencyMs": latency,
        })
    }

    fn metrics(&self, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let asked = query.is_some_and(|query| query.split('&').any(|pair| pair == "format=json"));
        if asked || prefers_json(headers) {
            return json_answer(StatusCode::OK, &self.metrics_json());
        }
        let mut answer = Answer::new(Full::new(self.prometheus().into()));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    }

    fn prometheus(&self) -> String {
        let Exporter(parts) = self;
        // Before what was received, for an event is counted there first.
        let outcomes = parts.metrics.outcomes();
        let received = parts.metrics.received.load(Relaxed);
        let mut text = parts.metrics.prometheus();
        let help = "Events with an outcome that were never counted as received: a bug.";
        put_metric(&mut text, "ingestd_intake_ledger_surplus", "gauge", help, outcomes.saturating_sub(received));
        parts.pipeline.put_metrics(&mut text);
        let ready = u8::from(parts.health.not_ready().is_empty());
        put_metric(&mut text, "ingestd_ready", "gauge", "1 while events are taken, else 0.", ready);
        put_head(&mut text, "ingestd_build_info", "gauge", "Always 1; says which release runs.");
        put_series(&mut text, "ingestd_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
        let help = "Lines of the daemon's log that nobody took in time.";
        put_metric(&mut text, "ingestd_log_lines_lost_total", "counter", help, lines_lost());
        put_process(&mut text);
        text
    }

    fn metrics_json(&self) -> Value {
        let Exporter(parts) = self;
        let metrics = &parts.metrics;
        let mean = |stage| metrics.stage(stage).mean() / 1e3;
        let accepted = metrics.accepted.load(Relaxed);
        json!({
            "ingestion": {
                "eventsReceived": metrics.received.load(Relaxed),
                "eventsProcessed": accepted + metrics.duplicate.load(Relaxed),
                "eventsFailed": metrics.rejected_total() + metrics.refused_total(),
                "averageProcessingTime": mean(Stage::Request),
            },
            "websocket": {
                "activeConnections": metrics.websockets.load(Relaxed),
                "totalConnections": metrics.websockets_total.load(Relaxed),
                "messagesReceived": metrics.ws_received.load(Relaxed),
                "messagesSent": metrics.ws_sent.load(Relaxed),
            },
            "storage": {
                "eventsStored": accepted,
                "duplicatesIgnored": metrics.duplicate.load(Relaxed),
                "storageLatency": mean(Stage::Commit),
            },
        })
    }
}

/// Those that have been counted at all.
fn by_name<'a>(counts: impl Iterator<Item = (&'static str, &'a AtomicU64)>) -> Map<String, Value> {
    let counted = counts.map(|(name, count)| (name, count.load(Relaxed))).filter(|(_, count)| *count > 0);
    counted.map(|(name, count)| (name.to_owned(), count.into())).collect()
}

fn percentiles(histogram: &hdrhistogram::Histogram<u64>) -> Value {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    json!({"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": histogram.max() as f64 / 1e3})
}

/// Whether the client would rather have JSON than Prometheus' text (RFC 9110, section 12.5.1).
fn prefers_json(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let weights = lines.flat_map(|line| line.split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        (kind, weight.unwrap_or(0.0))
    });
    let (mut json, mut text) = (0.0_f32, 0.0_f32);
    for (kind, weight) in weights {
        match kind.as_str() {
            "application/json" => json = json.max(weight),
            "text/plain" | "text/*" | "*/*" | "application/openmetrics-text" => text = text.max(weight),
            _ => {}
        }
    }
    // Who names JSON wants it where both are welcome; no Prometheus does.
    json > 0.0 && json >= text
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Answer::new(Full::new(body.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
