use crate::{Seq, UnixMicros};

/// What an answer promises about stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// fdatasync returned before the answer: survives a crash of the process, the system and the power.
    #[default]
    Fsync,
    /// Written to the log, synced at an interval: survives a crash of the process; a power cut loses the last interval.
    Interval,
    /// Written to the log, synced when the operating system likes: survives a crash of the process only.
    Os,
}

impl Durability {
    /// The name in the configuration and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Interval => "interval",
            Durability::Os => "os",
        }
    }
}

/// What became of one event that reached the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New: stored at this position.
    Accepted(Seq),
    /// Its id was accepted before.
    Duplicate {
        /// The position of the event that was accepted first.
        first: Seq,
        /// The content is not the first one's.
        differs: bool,
    },
}

impl Verdict {
    /// The position under which the event is in the log.
    #[must_use]
    pub const fn seq(self) -> Seq {
        match self {
            Verdict::Accepted(seq) | Verdict::Duplicate { first: seq, .. } => seq,
        }
    }
}

/// The answer of the log to one [`crate::Batch`]: given only once everything in it is on stable storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// When the group was committed; never runs backwards.
    pub committed_at: UnixMicros,
    /// One element per entry of the batch, in order.
    pub verdicts: Vec<Verdict>,
    /// Dead letters written with the batch: one id per reject that was kept, in order of the rejects.
    pub dead_letters: Vec<Option<u64>>,
}
