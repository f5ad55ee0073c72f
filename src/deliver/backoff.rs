use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Pauses between attempts: doubling up to a cap, each drawn from the upper half of its span, so that many sinks that
/// failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(60))
    }
}

impl Backoff {
    /// Pauses of about `first`, twice that, and so on up to `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Backoff { first, cap, failures: 0 }
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let span = self.first.saturating_mul(1 << doublings).min(self.cap);
        // A hasher's random keys are as good a die as is needed here.
        let die = RandomState::new().build_hasher().finish();
        span / 2 + (span / 2).mul_f64(die as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        for span in [1, 2, 4, 8, 10, 10] {
            let span = Duration::from_secs(span);
            let pause = backoff.next_pause();
            assert!(pause >= span / 2 && pause <= span, "{pause:?} of {span:?}");
        }
        assert_eq!(backoff.failures(), 6);
        for _ in 0..100 {
            assert!(backoff.next_pause() <= Duration::from_secs(10));
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_secs(1));
    }
}
