//! What an engine counts.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Longest latency told apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// A histogram of nanoseconds with three significant digits.
pub fn histogram() -> Histogram<u64> {
    bounded(3)
}

/// The coarser one for each second of a series.
pub fn second_histogram() -> Histogram<u64> {
    bounded(2)
}

fn bounded(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(64, LATENCY_MAX_NS, digits)
        .unwrap_or_else(|error| unreachable!("constant bounds are valid: {error}"))
}

/// Quantiles that a picture of a distribution is drawn from.
const CURVE: [f64; 16] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999, 1.0];

/// Quantiles with their values in microseconds; those that lie beyond the samples are left out, but for the longest.
pub fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let told_apart = |quantile: &f64| *quantile == 1.0 || (1.0 - quantile) * histogram.len() as f64 >= 1.0;
    let point = |quantile: f64| (quantile, histogram.value_at_quantile(quantile) as f64 / 1e3);
    CURVE.into_iter().filter(told_apart).map(point).collect()
}

/// Things that went wrong, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Errors {
    /// A connection could not be made.
    pub connect: u64,
    /// A WebSocket handshake was refused.
    pub handshake: u64,
    /// A connection ended though nothing asked it to.
    pub closed: u64,
    /// An answer could not be read.
    pub protocol: u64,
    /// Requests whose connection ended, or the run, before an answer: their outcome is unknown.
    pub lost: u64,
    /// Answers other than what the request called for.
    pub unexpected: u64,
}

impl Errors {
    fn add(&mut self, other: &Errors) {
        self.connect += other.connect;
        self.handshake += other.handshake;
        self.closed += other.closed;
        self.protocol += other.protocol;
        self.lost += other.lost;
        self.unexpected += other.unexpected;
    }
}

/// Counts that go up while an engine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Requests (or messages) sent.
    pub requests: u64,
    /// Events in them.
    pub events: u64,
    /// Answers read.
    pub answers: u64,
    /// Events acknowledged as new (as new or duplicate, unless answers are looked into).
    pub accepted: u64,
    /// Events acknowledged as duplicates.
    pub duplicates: u64,
    /// Events that can never be accepted, said the server.
    pub rejected: u64,
    /// Events not taken now: 429 and 503.
    pub refused: u64,
    /// Events answered in any other way.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.events += other.events;
        self.answers += other.answers;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.failed += other.failed;
    }

    /// Events that the server said it has.
    pub fn acknowledged(&self) -> u64 {
        self.accepted + self.duplicates
    }
}

/// All figures of a stretch of a run.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The counts.
    pub counts: Counts,
    /// What went wrong.
    pub errors: Errors,
    /// Answers by HTTP status.
    pub statuses: Box<[u64; 600]>,
    /// From the intended send time (open loop) or the send (closed loop) to the answer, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Open loop: from the intended to the true send time.
    pub lag: Histogram<u64>,
    /// The part of the lag that the generator caused itself.
    pub own_lag: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            errors: Errors::default(),
            statuses: Box::new([0; 600]),
            latency: histogram(),
            lag: histogram(),
            own_lag: histogram(),
        }
    }
}

impl Tally {
    /// Adds another engine's, or another stretch's, figures.
    pub fn add(&mut self, other: &Tally) {
        self.counts.add(&other.counts);
        self.errors.add(&other.errors);
        for (sum, count) in self.statuses.iter_mut().zip(other.statuses.iter()) {
            *sum += count;
        }
        // All histograms have the same bounds, so adding cannot fail.
        let added = [self.latency.add(&other.latency), self.lag.add(&other.lag), self.own_lag.add(&other.own_lag)];
        debug_assert!(added.iter().all(Result::is_ok));
    }
}

/// One second of one engine's run.
#[derive(Clone, Debug)]
pub struct Second {
    /// Which second since the start of the load.
    pub index: u64,
    /// Answers.
    pub answers: u64,
    /// Events acknowledged.
    pub events: u64,
    /// Events rejected, refused or failed, and errors.
    pub errors: u64,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Second {
    /// An empty second.
    pub fn new(index: u64) -> Self {
        Self { index, answers: 0, events: 0, errors: 0, latency: second_histogram() }
    }
}

/// What an engine hands back when it ends.
#[derive(Debug)]
pub struct Outcome {
    /// Before the measured stretch.
    pub warm: Tally,
    /// The measured stretch, and the answers to its requests that came while draining.
    pub main: Tally,
    /// Counts at the end of the measured stretch, before draining.
    pub window: Counts,
    /// Length of the measured stretch.
    pub measured: Duration,
    /// This engine's CPU time in the measured stretch.
    pub cpu: Duration,
    /// How long the engine was runnable but not running in the measured stretch.
    pub run_delay: Duration,
    /// Numbers used of this engine's share (repeats and bad ones included).
    pub numbers: u64,
    /// Open loop: requests that were due but never sent.
    pub unsent: u64,
    /// Connections up at the end of the measured stretch.
    pub up: usize,
    /// Mean bytes of a message.
    pub message_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_the_samples_do() {
        let mut latencies = histogram();
        (1..=1000).for_each(|us| latencies.record(us * 1000).unwrap());
        let curve = curve(&latencies);
        assert!(curve.contains(&(0.999, latencies.value_at_quantile(0.999) as f64 / 1e3)), "{curve:?}");
        assert!(!curve.iter().any(|(quantile, _)| *quantile == 0.9995), "{curve:?}");
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{curve:?}");
    }
}
