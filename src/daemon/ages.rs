//! How long ago events were committed, whatever the wall clock has done since: one that jumps ahead must not make the log
//! forget what it is to hold, and one that is set back must not make it hold everything.

use event::{Seq, UnixMicros};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many places of the log are remembered at most, evenly over the time that is asked for.
const NOTES_MAX: u32 = 1000;

/// Which events are old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// All before this one.
    Before(Seq),
    /// Of those before `until`, which were there at the start: those that bear such a time, seen from `now`.
    ByCommitTime { until: Seq, now: UnixMicros },
}

/// Where the log ended, and when that was.
#[derive(Debug)]
pub(super) struct Ages {
    wall_at_start: UnixMicros,
    started: (Instant, Seq),
    notes: VecDeque<(Instant, Seq)>,
}

impl Ages {
    /// For a log that ends before `next` now.
    pub(super) fn new(wall: UnixMicros, at: Instant, next: Seq) -> Self {
        Ages { wall_at_start: wall, started: (at, next), notes: VecDeque::from([(at, next)]) }
    }

    /// Notes that the log ends before `next` at `at`, and says what is older than `age` then. Where that has been raised,
    /// what is not known any more is held for longer.
    pub(super) fn look(&mut self, at: Instant, next: Seq, age: Duration) -> Old {
        let is_due = |(noted, _): &(Instant, Seq)| at.saturating_duration_since(*noted) >= age / NOTES_MAX;
        if self.notes.back().is_none_or(is_due) {
            self.notes.push_back((at, next));
        }
        let running = at.saturating_duration_since(self.started.0);
        if running < age {
            return Old::ByCommitTime { until: self.started.1, now: self.wall_at_start.plus(running) };
        }
        let is_old = |(noted, _): &(Instant, Seq)| at.saturating_duration_since(*noted) >= age;
        while self.notes.get(1).is_some_and(is_old) {
            self.notes.pop_front();
        }
        Old::Before(self.notes.front().filter(|note| is_old(note)).map_or(self.started.1, |(_, seq)| *seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const AGE: Duration = Duration::from_secs(10);

    #[test]
    fn what_was_there_before_is_judged_by_its_time_and_everything_else_by_when_it_was_seen() {
        let (wall, at) = (UnixMicros::new(1_000_000_000), Instant::now());
        let mut ages = Ages::new(wall, at, Seq::new(5));
        let after = |seconds: u32| at + seconds * SECOND;
        let before = Old::ByCommitTime { until: Seq::new(5), now: wall.plus(9 * SECOND) };
        assert_eq!(
            ages.look(after(4), Seq::new(9), AGE),
            Old::ByCommitTime { until: Seq::new(5), now: wall.plus(4 * SECOND) }
        );
        assert_eq!(ages.look(after(9), Seq::new(20), AGE), before);
        assert_eq!(ages.look(after(10), Seq::new(21), AGE), Old::Before(Seq::new(5)));
        assert_eq!(ages.look(after(14), Seq::new(22), AGE), Old::Before(Seq::new(9)));
        assert_eq!(ages.look(after(19), Seq::new(23), AGE), Old::Before(Seq::new(20)));
        assert_eq!(ages.look(after(1000), Seq::new(24), AGE), Old::Before(Seq::new(23)));
        let raised = ages.look(after(1001), Seq::new(25), 990 * SECOND);
        assert_eq!(raised, Old::Before(Seq::new(5)), "what was noted then is not known any more");
    }

    #[test]
    fn without_an_age_everything_is_old_enough_at_once() {
        let at = Instant::now();
        let mut ages = Ages::new(UnixMicros::new(0), at, Seq::new(5));
        assert_eq!(ages.look(at, Seq::new(7), Duration::ZERO), Old::Before(Seq::new(7)));
    }

    #[test]
    fn notes_are_bounded_whatever_the_age() {
        let at = Instant::now();
        let mut ages = Ages::new(UnixMicros::new(0), at, Seq::new(1));
        for step in 0..10_000 {
            ages.look(at + step * SECOND, Seq::new(u64::from(step) + 2), 3600 * SECOND);
        }
        assert!(ages.notes.len() <= NOTES_MAX as usize + 2, "{}", ages.notes.len());
    }
}
