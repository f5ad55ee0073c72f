//! The writer's time. The wall clock names when something was committed; how old something is must not depend on it, for
//! it may be set back, or jump ahead and return: ids would be forgotten, and duplicates stored.

use event::UnixMicros;
use std::time::{Duration, Instant};

/// A step back that is worth a line; what keeps clocks in time makes smaller ones by slowing down.
const BACK_MIN: Duration = Duration::from_millis(100);
/// A step ahead that is: a machine that slept makes one, too.
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
    /// What ages are counted in: the wall clock's time at the start, and what has really passed since.
    pub(super) age: UnixMicros,
    pub(super) step: Option<ClockStep>,
}

/// What the writer knows of time.
#[derive(Debug)]
pub(super) struct Clock {
    last_commit: UnixMicros,
    start: (UnixMicros, Instant),
    seen: (UnixMicros, Instant),
}

impl Clock {
    /// A clock for a log whose newest event bears `last_commit`, and a line if it stands wrong already.
    pub(super) fn start(last_commit: UnixMicros) -> Self {
        let clock = Clock::new(last_commit, UnixMicros::now(), Instant::now());
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
        let now = self.look(UnixMicros::now(), Instant::now());
        match now.step {
            Some(ClockStep::Back(by)) => tracing::warn!(
                by_s = by.as_secs_f64(),
                "the clock went back: commit times stand still until it has caught up; ages are not concerned"
            ),
            Some(ClockStep::Ahead(by)) => tracing::warn!(
                by_s = by.as_secs_f64(),
                "the clock jumped ahead, or the machine slept: commit times follow it; ages are not concerned"
            ),
            None => {}
        }
        now
    }

    fn new(last_commit: UnixMicros, wall: UnixMicros, at: Instant) -> Self {
        Clock { last_commit, start: (wall, at), seen: (wall, at) }
    }

    /// How far the wall clock stands behind the newest commit.
    fn behind(&self) -> Option<Duration> {
        Some(self.last_commit.since(self.seen.0)).filter(|behind| *behind >= BACK_MIN)
    }

    fn look(&mut self, wall: UnixMicros, at: Instant) -> Now {
        let expected = self.seen.0.plus(at.saturating_duration_since(self.seen.1));
        self.seen = (wall, at);
        let (back, ahead) = (expected.since(wall), wall.since(expected));
        let step = match () {
            () if back >= BACK_MIN => Some(ClockStep::Back(back)),
            () if ahead >= AHEAD_MIN => Some(ClockStep::Ahead(ahead)),
            () => None,
        };
        let age = self.start.0.plus(at.saturating_duration_since(self.start.1));
        Now { commit: wall.max(self.last_commit), age, step }
    }

    /// Notes that something was committed and bears this time.
    pub(super) fn committed(&mut self, at: UnixMicros) {
        self.last_commit = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_is_set_back_stops_commit_time_and_not_ages() {
        let (wall, at) = (UnixMicros::new(0).plus(10 * HOUR), Instant::now());
        let mut clock = Clock::new(UnixMicros::default(), wall, at);
        let now = clock.look(wall.plus(SECOND), at + SECOND);
        assert_eq!(now, Now { commit: wall.plus(SECOND), age: wall.plus(SECOND), step: None });
        clock.committed(now.commit);
        let now = clock.look(wall.plus(2 * SECOND).minus(HOUR), at + 2 * SECOND);
        assert_eq!((now.commit, now.age), (wall.plus(SECOND), wall.plus(2 * SECOND)));
        assert_eq!(now.step, Some(ClockStep::Back(HOUR)));
        assert_eq!(clock.behind(), Some(HOUR - SECOND));
        assert_eq!(clock.look(wall.plus(3 * SECOND).minus(HOUR), at + 3 * SECOND).step, None, "told once");
    }

    #[test]
    fn a_clock_that_jumps_ahead_takes_commit_time_with_it_and_not_ages() {
        let (wall, at) = (UnixMicros::new(0).plus(10 * HOUR), Instant::now());
        let mut clock = Clock::new(UnixMicros::default(), wall, at);
        let now = clock.look(wall.plus(SECOND + HOUR), at + SECOND);
        assert_eq!((now.commit, now.age), (wall.plus(SECOND + HOUR), wall.plus(SECOND)));
        assert_eq!(now.step, Some(ClockStep::Ahead(HOUR)));
        // Nothing was committed meanwhile: the jump leaves no trace.
        assert_eq!(clock.look(wall.plus(2 * SECOND), at + 2 * SECOND).commit, wall.plus(2 * SECOND));
        assert_eq!(clock.behind(), None);
    }
}
