//! Looks at the figures every few seconds and posts what is to be told.

use super::conditions::{Figures, Limits, SinkFigures, judge};
use super::notice::{Notice, Notices};
use crate::control::Pipeline;
use crate::metrics::{Metrics, Stage};
use crate::net::post_json;
use hyper::Uri;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often the figures are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long the other side may take; what it does not take is told again with the next look.
const PATIENCE: Duration = Duration::from_secs(5);
/// Over which time dead letters are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// HTTP, where the address names none.
const PORT: u16 = 80;

/// The daemon's own alerts.
pub struct Alerts {
    webhook: Uri,
    node: u128,
    limits: Limits,
    notices: Notices,
    metrics: Arc<Metrics>,
    pipeline: Pipeline,
    /// Dead letters at each look of the last minute, the oldest first.
    dead_letters: VecDeque<(Instant, u64)>,
}

impl Alerts {
    /// Alerts for `webhook`, of what has been behind its limit for `hold`.
    #[must_use]
    pub fn new(
        webhook: Uri,
        (limits, hold): (Limits, Duration),
        node: u128,
        metrics: Arc<Metrics>,
        pipeline: Pipeline,
    ) -> Self {
        let (notices, dead_letters) = (Notices::new(hold), VecDeque::new());
        Alerts { webhook, node, limits, notices, metrics, pipeline, dead_letters }
    }

    /// Looks until `stop`.
    ///
    /// # Errors
    /// When the runtime cannot be built.
    pub fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot build the alerts' runtime: {error}"))?;
        runtime.block_on(async move {
            tokio::select! {
                // An error means that the sender is gone: the daemon is being torn down.
                _ = stop.wait_for(|stop| *stop) => {}
                () = self.look_on() => {}
            }
        });
        Ok(())
    }

    async fn look_on(&mut self) {
        loop {
            let now = Instant::now();
            let judged = judge(&self.figures(now), &self.limits);
            for notice in self.notices.of(&judged, now) {
                self.tell(&notice).await;
            }
            sleep(LOOK).await;
        }
    }

    async fn tell(&mut self, notice: &Notice) {
        let body = notice.body(self.node);
        tracing::warn!(notice = %body, "alert");
        let posted = timeout(PATIENCE, post_json(&self.webhook, PORT, body.to_string().into_bytes())).await;
        match posted.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))) {
            Ok(()) => self.notices.told(notice),
            Err(error) => tracing::warn!(error, "the webhook does not take alerts; it is tried again"),
        }
    }

    fn figures(&mut self, now: Instant) -> Figures {
        let metrics = &self.metrics;
        let fsync = metrics.stage(Stage::Fsync);
        // Outcomes first: an event is counted as received before it has one.
        let outcomes = metrics.outcomes();
        Figures {
            surplus: outcomes.saturating_sub(metrics.received.load(Relaxed)),
            disk_free_bytes: metrics.disk_free_bytes.load(Relaxed),
            disk_reserve_bytes: metrics.disk_reserve_bytes.load(Relaxed),
            fsync_p99_ms: (!fsync.is_empty()).then(|| fsync.value_at_quantile(0.99) as f64 / 1e3),
            sinks: self.sinks(),
            dead_letters: self.new_dead_letters(now),
        }
    }

    fn sinks(&self) -> Vec<SinkFigures> {
        let snapshots = self.pipeline.sinks().iter().map(|sink| sink.status().snapshot());
        let figures = snapshots.map(|sink| SinkFigures {
            name: sink.sink,
            lag_seconds: self.pipeline.lag_seconds(&sink),
            imbalances: self.pipeline.audit_sink(&sink).len() as u64,
        });
        figures.collect()
    }

    /// How many there are more than a minute ago, or than at the start. Not of the letters, of which only as many are kept
    /// as there is room for.
    fn new_dead_letters(&mut self, now: Instant) -> u64 {
        let refused = self.pipeline.sinks().iter().map(|sink| sink.status().snapshot().refused);
        let count = self.metrics.rejected_total() + refused.sum::<u64>();
        self.dead_letters.push_back((now, count));
        while self.dead_letters.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= MINUTE) {
            self.dead_letters.pop_front();
        }
        self.dead_letters.front().map_or(0, |(_, first)| count.saturating_sub(*first))
    }
}
