/// Sizes and counters, for metrics and for tests that bound the work of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Ids held in memory.
    pub ids_in_memory: u64,
    /// Ids held in spill files.
    pub ids_on_disk: u64,
    /// Bytes of memory allocated for ids, index, filters and commit times.
    pub bytes_in_memory: u64,
    /// Of these, the index.
    pub index_bytes: u64,
    /// Of these, the filters of spill files.
    pub filter_bytes: u64,
    /// Spill files.
    pub spans: u64,
    /// Spill files written since the start.
    pub spills: u64,
    /// Times the writer had to wait for the spill thread because memory was used up.
    pub spill_waits: u64,
    /// Reads of spill files because a filter said "maybe".
    pub disk_reads: u64,
    /// Of these, reads that found the id, still inside its window.
    pub disk_hits: u64,
    /// Shards of the index rebuilt since the start: grown, shrunk or cleared of ids that left.
    pub rebuilds: u64,
    /// Most slots gone through by the rebuilds of one group.
    pub rebuilt_slots_most: u64,
    /// Most slots of any shard.
    pub shard_slots_most: u64,
    /// Most chunks of ids freed by one group (or by [`crate::Dedup::settle`], which frees all).
    pub released_chunks_most: u64,
}
