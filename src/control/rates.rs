//! Rates over the last second, ten seconds and minute, from one sample a second.

use crate::metrics::Metrics;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const KEEP: usize = 61;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    processed: u64,
    requests: u64,
    errors: u64,
}

/// The samples of the last minute.
#[derive(Debug, Default)]
pub struct Rates(Mutex<VecDeque<Sample>>);

impl Rates {
    /// Takes a sample; to be called once a second.
    pub fn sample(&self, metrics: &Metrics) {
        let sample = Sample {
            at: Instant::now(),
            processed: metrics.accepted.load(Relaxed) + metrics.duplicate.load(Relaxed),
            requests: metrics.requests.load(Relaxed),
            errors: metrics.requests_5xx.load(Relaxed),
        };
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEEP {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Events accepted or recognised as duplicates per second, over the last `seconds`.
    #[must_use]
    pub fn events_per_second(&self, seconds: usize) -> f64 {
        self.over(seconds, |sample| sample.processed)
    }

    /// Share of requests of the last minute that were answered with 5xx.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        let requests = self.over(KEEP, |sample| sample.requests);
        if requests > 0.0 { self.over(KEEP, |sample| sample.errors) / requests } else { 0.0 }
    }

    fn over(&self, seconds: usize, figure: impl Fn(&Sample) -> u64) -> f64 {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = samples.back() else { return 0.0 };
        let first = samples.iter().rev().nth(seconds).or(samples.front()).unwrap_or(last);
        let elapsed = (last.at - first.at).as_secs_f64();
        if elapsed > 0.0 { (figure(last) - figure(first)) as f64 / elapsed } else { 0.0 }
    }
}
