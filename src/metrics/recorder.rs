//! Durations, recorded by the thread that measures them: exact counts per bucket since the start, for Prometheus, and
//! percentiles of the last minute, for people.

use super::stage::Stage;
use hdrhistogram::Histogram;
use std::array::from_fn;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest duration that percentiles tell apart, microseconds.
const LONGEST_MICROS: u64 = 60_000_000;
/// How much of the time is forgotten at once.
const SLICE: Duration = Duration::from_secs(5);
/// Whole slices that are kept beside the one that is being filled: a minute.
const SLICES: usize = 12;

/// Percentiles of one slice of time, for each stage.
type Slice = [Histogram<u64>; Stage::ALL.len()];

/// A histogram without values, microseconds, two digits exact.
pub(super) fn empty() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constant bounds")]
    Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("valid bounds")
}

fn empty_slice() -> Box<Slice> {
    Box::new(from_fn(|_| empty()))
}

/// Counts per bucket of one stage since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Buckets {
    /// One per bound of the stage, and behind them one for what is longer.
    pub(super) counts: [u64; Stage::BOUNDS_MAX + 1],
    /// Of all durations, microseconds.
    pub(super) sum_micros: u64,
}

impl Buckets {
    fn add(&mut self, bounds: &[u64], micros: u64) {
        self.counts[bounds.partition_point(|bound| *bound < micros)] += 1;
        self.sum_micros += micros;
    }

    pub(super) fn merge(&mut self, other: &Buckets) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_micros += other.sum_micros;
    }
}

#[derive(Debug)]
struct Recorded {
    buckets: [Buckets; Stage::ALL.len()],
    slice: Box<Slice>,
}

impl Recorded {
    fn add(&mut self, stage: Stage, took: Duration) {
        let micros = took.as_micros() as u64;
        self.buckets[stage as usize].add(stage.bounds(), micros);
        self.slice[stage as usize].saturating_record(micros.max(1));
    }
}

/// One thread's durations; its lock is contended only while figures are read.
#[derive(Debug)]
pub struct Recorder {
    /// The sink that the thread ships to.
    pub(super) sink: Option<&'static str>,
    recorded: Mutex<Recorded>,
}

impl Recorder {
    pub(super) fn new(sink: Option<&'static str>) -> Self {
        Recorder { sink, recorded: Mutex::new(Recorded { buckets: Default::default(), slice: empty_slice() }) }
    }

    /// Records one duration.
    pub fn record(&self, stage: Stage, took: Duration) {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).add(stage, took);
    }

    /// Records the durations of a group.
    pub fn record_all(&self, stage: Stage, durations: impl Iterator<Item = Duration>) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        durations.for_each(|took| recorded.add(stage, took));
    }

    pub(super) fn buckets(&self, stage: Stage) -> Buckets {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).buckets[stage as usize]
    }

    fn add_slice_to(&self, stage: Stage, sum: &mut Histogram<u64>) {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        add(sum, &recorded.slice[stage as usize]);
    }

    fn take_slice(&self) -> Box<Slice> {
        let fresh = empty_slice();
        // Swapped, so that the thread waits for no more than that.
        std::mem::replace(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner).slice, fresh)
    }
}

/// What all threads recorded in the last minute.
#[derive(Debug)]
pub(super) struct Recent {
    slices: VecDeque<Box<Slice>>,
    turned: Instant,
}

impl Default for Recent {
    fn default() -> Self {
        Recent { slices: VecDeque::new(), turned: Instant::now() }
    }
}

impl Recent {
    /// Begins a new slice where it is time to; to be called about once a second.
    pub(super) fn turn(&mut self, recorders: &[Arc<Recorder>], now: Instant) {
        if now.saturating_duration_since(self.turned) < SLICE {
            return;
        }
        self.turned = now;
        let mut merged = empty_slice();
        for recorder in recorders {
            for (sum, one) in merged.iter_mut().zip(&*recorder.take_slice()) {
                add(sum, one);
            }
        }
        self.slices.push_back(merged);
        if self.slices.len() > SLICES {
            self.slices.pop_front();
        }
    }

    /// One stage over all threads, the slice that is being filled included.
    pub(super) fn stage(&self, stage: Stage, recorders: &[Arc<Recorder>]) -> Histogram<u64> {
        let mut sum = empty();
        for slice in &self.slices {
            add(&mut sum, &slice[stage as usize]);
        }
        for recorder in recorders {
            recorder.add_slice_to(stage, &mut sum);
        }
        sum
    }
}

fn add(sum: &mut Histogram<u64>, one: &Histogram<u64>) {
    // All have the same bounds, so each value of one has its place in the other.
    if !one.is_empty() {
        sum.add(one).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: Stage = Stage::Commit;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound_and_the_sum_is_exact() {
        let recorder = Recorder::new(None);
        recorder.record_all(STAGE, [5_000, 5_001, 0, 50, 51, 70_000_000].into_iter().map(Duration::from_micros));
        let buckets = recorder.buckets(STAGE);
        let at = |bound| buckets.counts[STAGE.bounds().iter().position(|known| *known == bound).unwrap()];
        assert_eq!([at(50), at(100), at(5_000), at(7_500)], [2, 1, 1, 1]);
        assert_eq!(buckets.counts[STAGE.bounds().len()], 1, "longer than the last bound");
        assert_eq!(buckets.sum_micros, 5_000 + 5_001 + 50 + 51 + 70_000_000);
        assert_eq!(recorder.buckets(Stage::Parse).sum_micros, 0);
    }

    #[test]
    fn percentiles_are_of_the_last_minute_over_all_threads() {
        let recorders = [Arc::new(Recorder::new(None)), Arc::new(Recorder::new(None))];
        let mut recent = Recent::default();
        let start = recent.turned;
        let (mut seen_early, mut now) = (false, start);
        recorders[0].record(STAGE, millis(40));
        recorders[1].record(STAGE, millis(2));
        assert_eq!(recent.stage(STAGE, &recorders).len(), 2, "what is being filled counts");
        while now < start + SLICE * (SLICES as u32) {
            now += Duration::from_secs(1);
            recent.turn(&recorders, now);
            let max = recent.stage(STAGE, &recorders).max();
            assert!(max >= 40_000, "forgotten after {:?}", now - start);
            seen_early = true;
        }
        assert!(seen_early);
        recorders[1].record(STAGE, millis(3));
        recent.turn(&recorders, now + SLICE);
        let left = recent.stage(STAGE, &recorders);
        assert_eq!(left.len(), 1, "only what is of the last minute");
        assert!((2_900..=3_100).contains(&left.max()));
    }

    #[test]
    fn bounds_ascend() {
        for stage in Stage::ALL {
            assert!(stage.bounds().is_sorted_by(|left, right| left < right), "{}", stage.as_str());
            assert!(stage as usize == Stage::ALL.iter().position(|other| *other == stage).unwrap());
        }
    }
}
