//! How much of a commit is the write to the log's file and its fdatasync: RocksDB itself takes that time, for the rest of
//! a commit is inside the same call.

use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use std::time::Duration;

thread_local! {
    /// Figures of this thread's calls; kept by RocksDB only from here on.
    static FIGURES: PerfContext = {
        // What the wrapper calls so is the level that takes time but for mutexes: RocksDB has put in one below it.
        set_perf_stats(PerfStatsLevel::EnableTimeAndCPUTimeExceptForMutex);
        PerfContext::default()
    };
}

/// Takes the time of what this thread writes from its start on.
pub(crate) struct SyncTimer {
    before_nanos: u64,
}

impl SyncTimer {
    pub(crate) fn start() -> Self {
        SyncTimer { before_nanos: nanos() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(nanos().saturating_sub(self.before_nanos))
    }
}

fn nanos() -> u64 {
    FIGURES.with(|figures| figures.metric(PerfMetric::WriteWalTime))
}
