//! The daemon in numbers, for `ingestd admin top`: everything that a screen shows, in one answer.

use super::config::Reloader;
use super::{Health, Pipeline, Rates};
use crate::commit::Control;
use crate::intake::Shared;
use crate::metrics::Stage;
use event::UnixMicros;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// What the figures are read from.
pub struct FiguresParts {
    /// Counters, budgets, connections.
    pub shared: Arc<Shared>,
    /// Rates.
    pub rates: Arc<Rates>,
    /// Health of the parts.
    pub health: Arc<Health>,
    /// The log and the sinks.
    pub pipeline: Pipeline,
    /// The way to the ring.
    pub control: Control,
    /// The limits in effect.
    pub reloader: Arc<Reloader>,
    /// The data folder.
    pub data: PathBuf,
}

/// Reads the figures.
pub struct Figures {
    parts: FiguresParts,
    started: (Instant, UnixMicros),
}

impl Figures {
    /// Of a daemon that starts now.
    #[must_use]
    pub fn new(parts: FiguresParts) -> Self {
        Figures { parts, started: (Instant::now(), UnixMicros::now()) }
    }

    /// All of them, now. May wait for the disk.
    #[must_use]
    pub fn read(&self) -> Value {
        let FiguresParts { rates, health, pipeline, .. } = &self.parts;
        let mut out = pipeline.status();
        out["version"] = env!("CARGO_PKG_VERSION").into();
        out["pid"] = std::process::id().into();
        out["startedAt"] = self.started.1.to_string().into();
        out["uptimeSeconds"] = self.started.0.elapsed().as_secs().into();
        out["health"] = json!({"status": health.status(), "notReady": health.not_ready()});
        let [s1, s10, s60] = [1, 10, 60].map(|seconds| rates.events_per_second(seconds));
        out["rates"] = json!({"s1": s1, "s10": s10, "s60": s60});
        out["errorRate"] = rates.error_rate().into();
        out["totals"] = self.totals();
        out["latency"] = self.latency();
        out["intake"] = self.intake();
        out["connections"] = self.connections();
        out["disk"] = self.disk();
        out["log"]["budgetBytes"] = self.parts.reloader.config().log.budget_bytes.into();
        out["process"] = json!({"residentBytes": resident_bytes()});
        out
    }

    /// The metrics, in Prometheus' text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = self.parts.shared.metrics.prometheus();
        self.parts.pipeline.put_metrics(&mut text);
        text
    }

    /// Milliseconds of each stage that had anything to do in the last minute.
    fn latency(&self) -> Value {
        let mut stages = Map::new();
        for stage in Stage::ALL {
            let histogram = self.parts.shared.metrics.stage(stage);
            if histogram.is_empty() {
                continue;
            }
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
            let told = json!({
                "count": histogram.len(),
                "p50": at(0.5),
                "p99": at(0.99),
                "p999": at(0.999),
                "max": histogram.max() as f64 / 1e3,
            });
            stages.insert(stage.as_str().to_owned(), told);
        }
        json!({"seconds": self.started.0.elapsed().as_secs_f64().min(60.0), "stages": stages})
    }

    fn totals(&self) -> Value {
        let metrics = &self.parts.shared.metrics;
        json!({
            "received": metrics.received.load(Relaxed),
            "accepted": metrics.accepted.load(Relaxed),
            "duplicate": metrics.duplicate.load(Relaxed),
            "rejected": metrics.rejected_total(),
            "refused": metrics.refused_total(),
            "commits": metrics.commits.load(Relaxed),
        })
    }

    /// What is between socket and log, and how much of it there may be.
    fn intake(&self) -> Value {
        let use_of = |used: usize, max: usize| json!({"used": used, "max": max});
        let admission = &self.parts.shared.admission;
        let ((requests, requests_max), (bytes, bytes_max)) = admission.budget().in_use();
        let (slots, slots_max) = self.parts.control.ring_in_use();
        json!({
            "closed": admission.closed().map(event::Refusal::as_str),
            "requests": use_of(requests, requests_max),
            "bytes": use_of(bytes, bytes_max),
            "ring": use_of(slots, slots_max),
        })
    }

    fn connections(&self) -> Value {
        let (gate, metrics) = (&self.parts.shared.gate, &self.parts.shared.metrics);
        json!({
            "open": gate.open(),
            "max": gate.max(),
            "http": metrics.connections.load(Relaxed),
            "websockets": metrics.websockets.load(Relaxed),
        })
    }

    fn disk(&self) -> Value {
        let stat = rustix::fs::statvfs(&self.parts.data).ok();
        let bytes = |blocks: fn(&rustix::fs::StatVfs) -> u64| stat.as_ref().map(|stat| blocks(stat) * stat.f_frsize);
        json!({
            "freeBytes": bytes(|stat| stat.f_bavail),
            "totalBytes": bytes(|stat| stat.f_blocks),
            "reserveBytes": self.parts.reloader.config().log.disk_reserve_bytes,
        })
    }
}

/// Memory in use, where the system says it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
