//! The writer's time. The wall clock names when something was committed; how old something is must not depend on it, for
//! it may be set back, or jump ahead and return: ids would be forgotten, and duplicates stored.

use super::timeline::{Reading, Timeline};
use event::UnixMicros;
use std::time::Duration;
use wal::Write;

/// A step back that is worth a line; what keeps clocks in time makes smaller ones by slowing down.
const BACK_MIN: Duration = Duration::from_millis(100);
/// A step ahead that is.
const AHEAD_MIN: Duration = Duration::from_secs(10);

/// A step of the wall clock that no time has passed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClockStep {
    Back(Duration),
    Ahead(Duration),
}

/// One look at the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// What a group that is committed now bears: the wall clock's time, but never before the last commit.
    pub(super) commit: UnixMicros,
    /// What ages are counted in: steady time, which nobody can set.
    pub(super) age: UnixMicros,
    pub(super) step: Option<ClockStep>,
}

/// What the writer knows of time.
#[derive(Debug)]
pub(super) struct Clock {
    last_commit: UnixMicros,
    timeline: Timeline,
    seen: Reading,
}

impl Clock {
    /// A clock for a log, and a line if it stands wrong already.
    pub(super) fn start(timeline: Timeline) -> Self {
        let clock = Clock::new(timeline, Reading::take());
        if let Some(behind) = clock.behind() {
            tracing::warn!(
                behind_s = behind.as_secs_f64(),
                "the clock stands behind the newest event of the log: commit times stand still until it has caught up"
            );
        }
        clock
    }

    /// The present time, and a line if the wall clock has made a step.
    pub(super) fn now(&mut self) -> Now {
        let now = self.look(Reading::take());
        match now.step {
            Some(ClockStep::Back(by)) => tracing::warn!(
                by_s = by.as_secs_f64(),
                "the clock went back: commit times stand still until it has caught up; ages are not concerned"
            ),
            Some(ClockStep::Ahead(by)) => tracing::warn!(
                by_s = by.as_secs_f64(),
                "the clock jumped ahead: commit times follow it; ages are not concerned"
            ),
            None => {}
        }
        now
    }

    fn new(timeline: Timeline, now: Reading) -> Self {
        Clock { last_commit: timeline.last_commit(), timeline, seen: now }
    }

    /// How far the wall clock stands behind the newest commit.
    fn behind(&self) -> Option<Duration> {
        Some(self.last_commit.since(self.seen.wall)).filter(|behind| *behind >= BACK_MIN)
    }

    fn look(&mut self, now: Reading) -> Now {
        let passed = now.uptime.saturating_sub(self.seen.uptime).max(0) as u64;
        let expected = self.seen.wall.plus(Duration::from_micros(passed));
        self.seen = now;
        let (back, ahead) = (expected.since(now.wall), now.wall.since(expected));
        let step = match () {
            () if back >= BACK_MIN => Some(ClockStep::Back(back)),
            () if ahead >= AHEAD_MIN => Some(ClockStep::Ahead(ahead)),
            () => None,
        };
        Now { commit: now.wall.max(self.last_commit), age: self.timeline.look(now), step }
    }

    /// What is known of earlier commits.
    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Adds what is to be known after a restart to a group that bears `commit`; or, `None`, where nothing is committed.
    pub(super) fn note(&mut self, commit: Option<UnixMicros>, writes: &mut Vec<Write>) {
        match commit {
            Some(commit) => self.timeline.note(commit, self.seen.wall, writes),
            None => self.timeline.note_step(self.seen.wall, writes),
        }
    }

    /// Notes that something was committed and bears this time.
    pub(super) fn committed(&mut self, at: UnixMicros) {
        self.last_commit = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::timeline::tests::{first_start, reading};

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_is_set_back_stops_commit_time_and_not_ages() {
        let wall = UnixMicros::new(0).plus(10 * HOUR);
        let mut clock = Clock::new(first_start(reading(wall, 0)), reading(wall, 0));
        let now = clock.look(reading(wall.plus(SECOND), 1));
        assert_eq!(now, Now { commit: wall.plus(SECOND), age: wall.plus(SECOND), step: None });
        clock.committed(now.commit);
        let now = clock.look(reading(wall.plus(2 * SECOND).minus(HOUR), 2));
        assert_eq!((now.commit, now.age), (wall.plus(SECOND), wall.plus(2 * SECOND)));
        assert_eq!(now.step, Some(ClockStep::Back(HOUR)));
        assert_eq!(clock.behind(), Some(HOUR - SECOND));
        assert_eq!(clock.look(reading(wall.plus(3 * SECOND).minus(HOUR), 3)).step, None, "told once");
    }

    #[test]
    fn a_clock_that_jumps_ahead_takes_commit_time_with_it_and_not_ages() {
        let wall = UnixMicros::new(0).plus(10 * HOUR);
        let mut clock = Clock::new(first_start(reading(wall, 0)), reading(wall, 0));
        let now = clock.look(reading(wall.plus(SECOND + HOUR), 1));
        assert_eq!((now.commit, now.age), (wall.plus(SECOND + HOUR), wall.plus(SECOND)));
        assert_eq!(now.step, Some(ClockStep::Ahead(HOUR)));
        // Nothing was committed meanwhile: the jump leaves no trace.
        assert_eq!(clock.look(reading(wall.plus(2 * SECOND), 2)).commit, wall.plus(2 * SECOND));
        assert_eq!(clock.behind(), None);
    }
}
