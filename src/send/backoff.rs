use hyper::header::{HeaderMap, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// Exponential backoff with jitter: each wait is between half of and all of a step that doubles up to a limit, so
/// that senders that failed together do not come back together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    step: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Backoff { step: first.min(longest), longest }
    }

    /// How long to wait before the next attempt; `random` is in `0.0..=1.0`.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let wait = self.step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.step = self.step.saturating_mul(2).min(self.longest);
        wait
    }
}

/// Reads `Retry-After`: seconds, or a date, of which one in the past is no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_never_exceed_their_step() {
        let second = Duration::from_secs(1);
        let mut all = Backoff::new(second, 5 * second);
        let mut half = all.clone();
        let waits: Vec<_> = (0..5).map(|_| all.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        let waits: Vec<_> = (0..5).map(|_| half.next(0.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 2500, 2500]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
