use event::Seq;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the filter could not be built or can no longer answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The window is shorter or longer than anything sensible.
    #[error("dedup window of {0:?} is not between 1 ms and 366 days")]
    Window(Duration),
    /// The budget does not even hold the smallest structures, or more ids than positions can tell apart.
    #[error("dedup budget of {given} bytes is not between {least} and {most} bytes")]
    Budget {
        /// The configured budget.
        given: u64,
        /// The least budget.
        least: u64,
        /// The largest budget.
        most: u64,
    },
    /// The directory for spilled ids cannot be made, listed, emptied or written.
    #[error("dedup spill directory {}: {source}", path.display())]
    SpillDir {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The spill thread could not be started.
    #[error("cannot start the dedup spill thread: {0}")]
    Thread(io::Error),
    /// Ids could not be moved to disk; they are still in memory, and the next group tries again.
    #[error("cannot write spilled ids to {}: {source}", path.display())]
    Spill {
        /// The file that was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Spilled ids could not be read back: whether an event is new is unknown, so the group must not be committed.
    #[error("cannot read spilled ids from {}: {source}", path.display())]
    Lookup {
        /// The file that was being read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The spill thread is gone: it panicked.
    #[error("the dedup spill thread is gone")]
    ThreadGone,
    /// A stored group does not start where the one before it ended.
    #[error("stored ids start at {found} where {expected} was expected")]
    Gap {
        /// The sequence number that should have come.
        expected: Seq,
        /// The one that came.
        found: Seq,
    },
}
