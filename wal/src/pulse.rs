use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Since when a write or sync is under way, if one is: a disk that hangs fails nothing and answers nothing.
#[derive(Debug)]
pub(crate) struct Pulse {
    base: Instant,
    /// Microseconds after `base`, from 1; 0 while nothing is under way.
    since: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse { base: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// Does something that may not return.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.since.store(self.now(), Ordering::Relaxed);
        let done = work();
        self.since.store(0, Ordering::Relaxed);
        done
    }

    /// How long that has been under way.
    pub(crate) fn waiting_for(&self) -> Option<Duration> {
        match self.since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_micros(self.now().saturating_sub(since))),
        }
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_micros() as u64 + 1
    }
}

/// One for each thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    pub(crate) writer: Pulse,
    pub(crate) keeper: Pulse,
    pub(crate) trimmer: Pulse,
}

impl Pulses {
    /// The longest wait.
    pub(crate) fn waiting_for(&self) -> Option<Duration> {
        [&self.writer, &self.keeper, &self.trimmer].into_iter().filter_map(Pulse::waiting_for).max()
    }
}
