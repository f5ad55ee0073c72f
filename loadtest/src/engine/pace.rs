//! When the requests of an open loop are due.

use crate::ids::mix;
use crate::process::thread_run_delay;
use std::time::Duration;

/// How the last look at the schedule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Everything due was sent; the next request is due then.
    CaughtUp(u64),
    /// More was due, but every connection waited for the server.
    NoneFree,
    /// More was due, but the sockets had to be looked at.
    Interrupted,
}

/// How much of the lateness is the generator's own doing.
///
/// A generator that comes late to its schedule by some time delays whatever it sends, until it has caught up, by at
/// most that time: the first requests because they go out late, later ones because they queue behind those.
#[derive(Debug)]
pub(super) struct Absence {
    last: Look,
    looked_ns: u64,
    run_delay: Duration,
    debt_ns: u64,
}

impl Absence {
    /// A look is worth asking the scheduler about after this long.
    const LONG_NS: u64 = 1_000_000;

    pub(super) fn new() -> Self {
        Self { last: Look::CaughtUp(u64::MAX), looked_ns: 0, run_delay: thread_run_delay(), debt_ns: 0 }
    }

    /// The generator looks at its schedule again.
    #[inline]
    pub(super) fn come_back(&mut self, now_ns: u64) {
        match self.last {
            Look::CaughtUp(due_ns) => self.debt_ns = now_ns.saturating_sub(due_ns),
            // When a connection became free is not known, but whether this thread was kept from running is.
            Look::NoneFree | Look::Interrupted if now_ns - self.looked_ns > Self::LONG_NS => {
                let run_delay = thread_run_delay();
                self.debt_ns += run_delay.saturating_sub(self.run_delay).as_nanos() as u64;
                self.run_delay = run_delay;
            }
            Look::NoneFree | Look::Interrupted => {}
        }
    }

    /// The look is over.
    #[inline]
    pub(super) fn go_away(&mut self, now_ns: u64, last: Look) {
        let was_behind = !matches!(self.last, Look::CaughtUp(_));
        if !was_behind && !matches!(last, Look::CaughtUp(_)) {
            self.run_delay = thread_run_delay();
        }
        self.last = last;
        self.looked_ns = now_ns;
    }

    /// The generator's part in a request that goes out now.
    #[inline]
    pub(super) fn own_lag_ns(&self, now_ns: u64, due_ns: u64, free_since_ns: u64) -> u64 {
        let direct = now_ns.saturating_sub(due_ns.max(free_since_ns));
        direct.max(self.debt_ns.min(now_ns - due_ns))
    }
}

/// A schedule that does not care how the server is doing.
#[derive(Debug)]
pub(super) struct Pace {
    interval_ns: f64,
    poisson: bool,
    seed: u64,
    start_ns: u64,
    /// Offset of the next request from the start.
    offset_ns: f64,
    count: u64,
}

impl Pace {
    pub(super) fn new(rate: f64, poisson: bool, seed: u64) -> Self {
        Self { interval_ns: 1e9 / rate, poisson, seed, start_ns: u64::MAX / 2, offset_ns: 0.0, count: 0 }
    }

    /// The first request is due now.
    pub(super) fn start(&mut self, now_ns: u64) {
        self.start_ns = now_ns;
    }

    /// When the next request is due.
    #[inline]
    pub(super) fn due_ns(&self) -> u64 {
        self.start_ns + self.offset_ns as u64
    }

    /// Goes on to the request after it.
    #[inline]
    pub(super) fn step(&mut self) {
        self.count += 1;
        if self.poisson {
            // Uniform in (0, 1]: 53 random bits.
            let uniform = ((mix(self.seed ^ self.count) >> 11) + 1) as f64 / (1u64 << 53) as f64;
            self.offset_ns -= uniform.ln() * self.interval_ns;
        } else {
            // From the count, not the sum, so that rounding does not add up.
            self.offset_ns = self.count as f64 * self.interval_ns;
        }
    }

    /// About how many requests are due from the next one on until then.
    pub(super) fn due_until(&self, end_ns: u64) -> u64 {
        let left = end_ns.saturating_sub(self.due_ns());
        (left as f64 / self.interval_ns).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_after_an_absence_is_the_generators_until_it_has_caught_up() {
        let mut absence = Absence::new();
        absence.go_away(1_000, Look::CaughtUp(2_000));
        absence.come_back(500_000);
        // Free all along: all of it; free only now, because of requests that the absence held up: all the same.
        assert_eq!(absence.own_lag_ns(500_000, 2_000, 0), 498_000);
        assert_eq!(absence.own_lag_ns(600_000, 300_000, 600_000), 300_000);
        absence.go_away(600_000, Look::NoneFree);
        absence.come_back(900_000);
        assert!(absence.own_lag_ns(900_000, 310_000, 900_000) >= 498_000);
        absence.go_away(900_000, Look::CaughtUp(1_000_000));
        absence.come_back(1_000_100);
        assert_eq!(absence.own_lag_ns(1_000_300, 1_000_000, 1_000_200), 100);
    }

    #[test]
    fn both_kinds_of_arrivals_keep_the_rate() {
        for poisson in [false, true] {
            let mut pace = Pace::new(10_000.0, poisson, 1);
            pace.start(5);
            (0..100_000).for_each(|_| pace.step());
            let seconds = (pace.due_ns() - 5) as f64 / 1e9;
            assert!((9.8..10.2).contains(&seconds), "{seconds}");
        }
    }
}
