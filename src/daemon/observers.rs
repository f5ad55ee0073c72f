//! Who is told of what goes on, where the configuration names somebody: a collector of traces, a webhook.

use super::boot::StartError;
use crate::control::Pipeline;
use crate::control::alerts::{Alerts, Limits};
use crate::control::config::Config;
use crate::metrics::Metrics;
use crate::net::post_address;
use crate::traces::{self, Tracer};
use std::sync::Arc;
use std::time::Duration;

/// What traces are made with, and what sends them where there are any.
pub(super) fn tracing_to(
    config: &Config,
    node: u128,
    metrics: &Arc<Metrics>,
) -> Result<(Tracer, Option<traces::Exporter>), StartError> {
    let section = &config.traces;
    if section.endpoint.is_empty() {
        return Ok((Tracer::default(), None));
    }
    let endpoint = traces::endpoint(&section.endpoint).map_err(|cause| StartError::Sink { sink: "traces", cause })?;
    let (tracer, exporter) = traces::tracer(endpoint, section.sample_ratio, node, metrics);
    Ok((tracer, Some(exporter)))
}

/// What tells of alerts, where somebody wants to hear of them.
pub(super) fn alerting(
    config: &Config,
    node: u128,
    metrics: &Arc<Metrics>,
    pipeline: &Pipeline,
) -> Result<Option<Alerts>, StartError> {
    let section = &config.alerts;
    if section.webhook_url.is_empty() {
        return Ok(None);
    }
    let webhook = post_address(&section.webhook_url).map_err(|cause| StartError::Sink { sink: "alerts", cause })?;
    let limits = Limits {
        dead_letters_per_minute: section.dead_letters_per_minute,
        sink_lag: Duration::from_secs(section.sink_lag_s),
        fsync_p99: Duration::from_millis(section.fsync_p99_ms),
    };
    let judged = (limits, Duration::from_secs(section.hold_s));
    Ok(Some(Alerts::new(webhook, judged, node, Arc::clone(metrics), pipeline.clone())))
}
