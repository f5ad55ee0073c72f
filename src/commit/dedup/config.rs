use crate::Error;
use std::path::PathBuf;
use std::time::Duration;

/// What the filter is built from.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long an id is remembered, counted from the commit time of its first acceptance.
    pub window: Duration,
    /// Memory the filter may use, from 64 KiB to 64 GiB; over it the oldest ids move to `spill_dir`. While they are
    /// written, up to 50 MB more are in use.
    pub budget_bytes: u64,
    /// Directory for ids that left memory; made when missing, old spill files in it are removed.
    pub spill_dir: PathBuf,
}

/// Sizes derived from a checked [`Config`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) window_micros: i64,
    /// Groups committed within this time of each other expire together.
    pub(crate) granularity_micros: i64,
    /// log2 of the ids in a chunk.
    pub(crate) chunk_bits: u32,
    /// log2 of the number of shards of the index.
    pub(crate) shard_bits: u32,
    /// Most ids in one spill file.
    pub(crate) span_ids: u64,
    /// Most time one spill file covers, so that its ids expire at about the same time.
    pub(crate) span_micros: i64,
    /// Ring and index above this, less the filters: the oldest ids go to disk.
    pub(crate) seal_bytes: u64,
    /// Ring and index above this: the writer waits for the spill thread.
    pub(crate) wait_bytes: u64,
    /// What filters cannot take from the ring and the index, however many ids are on disk.
    pub(crate) floor_bytes: u64,
}

/// A budget below this would hold a few hundred ids.
const LEAST_BUDGET: u64 = 64 << 10;
/// 2^31 ids in memory: what 32-bit positions can tell apart, with room to spare.
const MOST_BUDGET: u64 = 64 << 30;
/// Marks that a window is divided into: 10 ms for an hour; 16 bytes each.
pub(crate) const MARKS_PER_WINDOW: i64 = 360_000;
/// Rough bytes per id, for sizing only; the budget itself counts real allocations.
const BYTES_PER_ID: u64 = 32;
/// Ids per shard at a full budget: what one growth moves, so it bounds the stall.
const SHARD_IDS: u64 = 32 << 10;
const SPANS_PER_WINDOW: i64 = 12;
const SPAN_IDS_MAX: u64 = 16 << 20;

impl Config {
    /// Checks the values and derives the sizes; touches nothing outside.
    pub(crate) fn check(&self) -> Result<Layout, Error> {
        let day = Duration::from_secs(24 * 3600);
        if self.window < Duration::from_millis(1) || self.window > day * 366 {
            return Err(Error::Window(self.window));
        }
        if self.budget_bytes < LEAST_BUDGET || self.budget_bytes > MOST_BUDGET {
            return Err(Error::Budget { given: self.budget_bytes, least: LEAST_BUDGET, most: MOST_BUDGET });
        }
        let window_micros = self.window.as_micros() as i64;
        let ids = self.budget_bytes / BYTES_PER_ID;
        // 64 chunks or more, so that sealing whole chunks cuts the budget finely enough.
        let chunk_bits = (ids / 64).ilog2().clamp(5, 16);
        Ok(Layout {
            window_micros,
            granularity_micros: (window_micros / MARKS_PER_WINDOW).max(1),
            chunk_bits,
            shard_bits: (ids / SHARD_IDS).max(2).ilog2().min(12),
            span_ids: (ids / 4).min(SPAN_IDS_MAX) >> chunk_bits << chunk_bits,
            span_micros: window_micros / SPANS_PER_WINDOW,
            seal_bytes: self.budget_bytes / 8 * 7,
            wait_bytes: self.budget_bytes,
            floor_bytes: self.budget_bytes / 4,
        })
    }
}
