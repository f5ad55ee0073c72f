//! What the n-th event of a run is: fresh, a repeat of an earlier one, or bad. A pure function of seed and n.

use crate::ids::mix;

/// One event to send; the number is the counter its id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// An event with an id of its own.
    Fresh(u64),
    /// The same event as an earlier one, id and content.
    Repeat(u64),
    /// An event that can never be accepted.
    Bad(u64),
}

impl Planned {
    /// The counter its id and content come from.
    #[inline]
    pub fn counter(self) -> u64 {
        match self {
            Planned::Fresh(counter) | Planned::Repeat(counter) | Planned::Bad(counter) => counter,
        }
    }
}

/// Decides what each event is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    seed: u64,
    first: u64,
    repeats: u32,
    bad: u32,
    window: u64,
    all_repeats: bool,
}

impl Plan {
    /// `first` is the run's lowest counter; `repeats` and `bad` are fractions; repeats go back at most `window`.
    pub fn new(seed: u64, first: u64, repeats: f64, bad: f64, window: u64, all_repeats: bool) -> Self {
        let threshold = |fraction: f64| (fraction.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        Self { seed, first, repeats: threshold(repeats), bad: threshold(bad), window: window.max(1), all_repeats }
    }

    /// What the event with number `n` (at least `first`) is.
    #[inline]
    pub fn of(&self, n: u64) -> Planned {
        if self.all_repeats {
            return Planned::Repeat(self.first + (n - self.first) % self.window);
        }
        if self.repeats == 0 && self.bad == 0 {
            return Planned::Fresh(n);
        }
        self.rolled(n)
    }

    fn rolled(&self, n: u64) -> Planned {
        let roll = mix(self.seed ^ n.wrapping_mul(0xA076_1D64_78BD_642F));
        if ((roll >> 32) as u32) < self.bad {
            return Planned::Bad(n);
        }
        if !self.is_repeat(roll) {
            return Planned::Fresh(n);
        }
        let reach = self.window.min(n - self.first);
        if reach == 0 {
            return Planned::Fresh(n);
        }
        let mut earlier = n - 1 - mix(roll) % reach;
        // Only what is fresh itself can be repeated; the run's first event is the last resort.
        loop {
            let roll = mix(self.seed ^ earlier.wrapping_mul(0xA076_1D64_78BD_642F));
            if ((roll >> 32) as u32) >= self.bad && (!self.is_repeat(roll) || earlier == self.first) {
                return Planned::Repeat(earlier);
            }
            if earlier == self.first {
                return Planned::Fresh(n);
            }
            earlier -= 1;
        }
    }

    fn is_repeat(&self, roll: u64) -> bool {
        (roll as u32) < self.repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn fractions_are_kept_and_repeats_were_sent_before() {
        let plan = Plan::new(3, 100, 0.2, 0.1, 1000, false);
        let (mut sent, mut repeats, mut bad) = (HashSet::new(), 0, 0);
        for n in 100..50_100 {
            match plan.of(n) {
                Planned::Fresh(counter) => assert!(sent.insert(counter)),
                Planned::Repeat(counter) => {
                    assert!(sent.contains(&counter), "{n} repeats {counter}, which was never sent");
                    repeats += 1;
                }
                Planned::Bad(counter) => {
                    assert_eq!(counter, n);
                    bad += 1;
                }
            }
        }
        assert!((8_000..10_000).contains(&repeats), "{repeats}");
        assert!((4_500..5_500).contains(&bad), "{bad}");
    }

    #[test]
    fn all_repeats_cycles_over_the_window() {
        let plan = Plan::new(3, 10, 0.0, 0.0, 4, true);
        let counters: Vec<u64> = (10..19).map(|n| plan.of(n).counter()).collect();
        assert_eq!(counters, [10, 11, 12, 13, 10, 11, 12, 13, 10]);
    }
}
