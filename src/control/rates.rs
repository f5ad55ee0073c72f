//! Rates over the last second, ten seconds and minute, from about one sample a second.

use crate::metrics::Metrics;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest time that rates are told for.
const LONGEST: Duration = Duration::from_secs(60);
/// Samples kept at most: they may come more often than once a second.
const KEEP: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    processed: u64,
    requests: u64,
    errors: u64,
}

/// The samples of the last minute. From the start on: before a minute has passed, rates are over what has.
#[derive(Debug)]
pub struct Rates(Mutex<VecDeque<Sample>>);

impl Default for Rates {
    fn default() -> Self {
        let start = Sample { at: Instant::now(), processed: 0, requests: 0, errors: 0 };
        Rates(Mutex::new(VecDeque::from([start])))
    }
}

impl Rates {
    /// Takes a sample; to be called about once a second.
    pub fn sample(&self, metrics: &Metrics) {
        self.note(Sample {
            at: Instant::now(),
            processed: metrics.accepted.load(Relaxed) + metrics.duplicate.load(Relaxed),
            requests: metrics.requests.load(Relaxed),
            errors: metrics.requests_5xx.load(Relaxed),
        });
    }

    fn note(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        // One that is old enough to begin the longest time with is kept.
        let is_old = |kept: &Sample| sample.at.saturating_duration_since(kept.at) >= LONGEST;
        while samples.len() > KEEP || samples.get(1).is_some_and(is_old) {
            samples.pop_front();
        }
    }

    /// Events accepted or recognised as duplicates per second, over the last `seconds`, at most 60.
    #[must_use]
    pub fn events_per_second(&self, seconds: u64) -> f64 {
        self.over(Duration::from_secs(seconds), |sample| sample.processed)
    }

    /// Share of requests of the last minute that were answered with 5xx.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        let requests = self.over(LONGEST, |sample| sample.requests);
        if requests > 0.0 { self.over(LONGEST, |sample| sample.errors) / requests } else { 0.0 }
    }

    /// The mean up to the newest sample, since the newest that is `time` older or else the oldest.
    fn over(&self, time: Duration, figure: impl Fn(&Sample) -> u64) -> f64 {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = samples.back() else { return 0.0 };
        let is_before = |sample: &&Sample| last.at.saturating_duration_since(sample.at) >= time;
        let first = samples.iter().rev().find(is_before).or(samples.front()).unwrap_or(last);
        let elapsed = last.at.saturating_duration_since(first.at).as_secs_f64();
        if elapsed > 0.0 { figure(last).saturating_sub(figure(first)) as f64 / elapsed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample each `every`, with so many events in between each time.
    fn sampled(every: Duration, counts: impl IntoIterator<Item = u64>) -> Rates {
        let at = Instant::now();
        let sample = |at, processed| Sample { at, processed, requests: processed, errors: processed / 2 };
        let rates = Rates(Mutex::new(VecDeque::from([sample(at, 0)])));
        let mut total = 0;
        for (number, count) in (1..).zip(counts) {
            total += count;
            rates.note(sample(at + every * number, total));
        }
        rates
    }

    #[track_caller]
    fn assert_rates(rates: &Rates, expected: [f64; 3]) {
        for (seconds, expected) in [1, 10, 60].into_iter().zip(expected) {
            let rate = rates.events_per_second(seconds);
            assert!((rate - expected).abs() < 0.01, "s{seconds}: {rate} and not {expected}");
        }
    }

    #[test]
    fn each_rate_is_the_mean_over_its_time() {
        let second = Duration::from_secs(1);
        // Two minutes at 60 events a second, then ten seconds at 6, then one at 600.
        let counts = [60; 120].into_iter().chain([6; 10]).chain([600]);
        assert_rates(
            &sampled(second, counts),
            [600.0, (9.0 * 6.0 + 600.0) / 10.0, (49.0 * 60.0 + 60.0 + 600.0) / 60.0],
        );
    }

    #[test]
    fn samples_that_come_late_or_often_do_not_stretch_the_time() {
        assert_rates(&sampled(Duration::from_millis(100), [1; 3000]), [10.0; 3]);
        assert_rates(&sampled(Duration::from_millis(1700), [17; 100]), [10.0; 3]);
        let rates = sampled(Duration::from_millis(1), [1; 5000]);
        assert!(rates.0.lock().unwrap().len() <= KEEP);
    }

    #[test]
    fn before_a_minute_has_passed_rates_are_over_what_has() {
        assert_rates(&sampled(Duration::from_secs(1), [30, 60]), [60.0, 45.0, 45.0]);
        assert_rates(&Rates::default(), [0.0; 3]);
        assert!((sampled(Duration::from_secs(1), [10, 10]).error_rate() - 0.5).abs() < 0.01);
    }
}
