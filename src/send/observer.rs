use std::time::Duration;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes read from the inputs, before decompression.
    pub bytes_read: u64,
    /// Events stored by this run.
    pub accepted: u64,
    /// Events stored before.
    pub duplicates: u64,
    /// Events that can never be stored as they are.
    pub rejected: u64,
    /// Events that were not answered.
    pub unsent: u64,
}

/// A request that is going to be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub reason: String,
    /// Which attempt that was, from 1.
    pub attempt: u32,
    /// How long it will be until the next one.
    pub wait: Duration,
}

/// Is told how a run goes on, from the thread that runs it. Must not block for long.
pub trait Observer: Send + Sync {
    /// The inputs were looked at: `bytes` is what they hold in all, where that is known.
    fn begin(&self, bytes: Option<u64>);
    /// Some events were answered.
    fn progress(&self, counts: &Counts);
    /// A request failed and is going to be repeated.
    fn trouble(&self, trouble: &Trouble);
    /// The run is over.
    fn end(&self);
}

/// Looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begin(&self, _: Option<u64>) {}
    fn progress(&self, _: &Counts) {}
    fn trouble(&self, _: &Trouble) {}
    fn end(&self) {}
}
