//! How long ago something was committed that is lost for good once it is removed: of what the clocks say, the least.

use super::timeline::{Reading, Timeline};
use event::UnixMicros;
use std::time::Duration;
use wal::{ReadError, Reader};

/// Ages that no step of the wall clock makes greater at once. Too late a removal costs room, too early a one costs events.
pub struct Ages {
    reader: Reader,
    /// As it was before this start had committed anything: behind that, what the wall clock said of the time over a
    /// reboot is not told from time that was counted.
    timeline: Timeline,
    wall: UnixMicros,
}

impl Ages {
    /// Ages by the time of a log, as it is before the first commit of this start.
    #[must_use]
    pub fn new(timeline: Timeline, reader: Reader) -> Self {
        Ages { reader, timeline, wall: UnixMicros::now() }
    }

    /// Takes a look at the clocks, and at what the log knows of them by now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn look(&mut self) -> Result<(), ReadError> {
        self.timeline.refresh(&self.reader)?;
        let now = Reading::take();
        self.timeline.look(now);
        self.wall = now.wall;
        Ok(())
    }

    /// How long ago, at the newest look, something was committed that bears `commit`. Both clocks must have run on: the
    /// steady one is not set, and the wall clock is what a start with a wrong one is mended by.
    #[must_use]
    pub fn of(&self, commit: UnixMicros) -> Duration {
        self.timeline.counted().since(self.timeline.steady(commit)).min(self.wall.since(commit))
    }
}
