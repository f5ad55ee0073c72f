//! How long each stage takes now, not since the start: the difference to histograms that were kept a while ago.

use crate::metrics::{Metrics, Stage};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is told is at least so old at its beginning, as soon as somebody has asked for so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Time between kept histograms: with them some 120 KB each are held, a few at a time, and none before somebody asks.
const SPACING: Duration = Duration::from_secs(2);

/// Every stage's histogram, in the order of [`Stage::ALL`].
type Stages = Vec<Option<Histogram<u64>>>;

/// Histograms of the last seconds.
#[derive(Debug, Default)]
pub(super) struct RecentLatency(Mutex<VecDeque<(Instant, Stages)>>);

impl RecentLatency {
    /// Milliseconds of each stage over the last `seconds`: since the start where nobody has asked lately.
    pub(super) fn read(&self, metrics: &Metrics, started: Instant) -> Value {
        let (now, stages) = (Instant::now(), Stage::ALL.map(|stage| metrics.stage(stage)).to_vec());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |(at, _): &(Instant, Stages)| now.duration_since(*at) >= WINDOW;
        while kept.get(1).is_some_and(is_old) {
            kept.pop_front();
        }
        // Where nobody has asked for long, what is kept says nothing of now.
        if kept.front().is_some_and(|(at, _)| now.duration_since(*at) >= 2 * WINDOW) {
            kept.clear();
        }
        let (since, before) = match kept.front() {
            Some((at, stages)) => (*at, Some(stages)),
            None => (started, None),
        };
        let told = tell(&stages, before);
        if kept.back().is_none_or(|(at, _)| now.duration_since(*at) >= SPACING) {
            kept.push_back((now, stages));
        }
        json!({"seconds": now.duration_since(since).as_secs_f64(), "stages": told})
    }
}

fn tell(stages: &Stages, before: Option<&Stages>) -> Map<String, Value> {
    let mut out = Map::new();
    for (place, stage) in Stage::ALL.iter().enumerate() {
        let Some(mut histogram) = stages[place].clone() else { continue };
        if let Some(before) = before.and_then(|before| before[place].as_ref()) {
            // What was there before is part of what is there now.
            histogram.subtract(before).ok();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let told = json!({
            "count": histogram.len(),
            "p50": at(0.5),
            "p99": at(0.99),
            "p999": at(0.999),
            "max": histogram.max() as f64 / 1e3,
        });
        out.insert(stage.as_str().to_owned(), told);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_before_the_window_does_not_count() {
        let metrics = Metrics::default();
        let recorder = metrics.recorder();
        let recent = RecentLatency::default();
        let started = Instant::now();
        recorder.record(Stage::Commit, Duration::from_millis(100));
        let first = recent.read(&metrics, started);
        assert_eq!(first["stages"]["commit"]["count"], 1);
        recorder.record(Stage::Commit, Duration::from_millis(2));
        recorder.record(Stage::Commit, Duration::from_millis(2));
        let commit = recent.read(&metrics, started)["stages"]["commit"].clone();
        assert_eq!(commit["count"], 2);
        assert!((1.9..2.2).contains(&commit["p99"].as_f64().unwrap()), "{commit}");
        assert!(recent.0.lock().unwrap().len() == 1, "not one for each question");
    }
}
