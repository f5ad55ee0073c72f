//! Exact deduplication over a time window, within a byte budget.
//!
//! An event's identity is its keyed 128-bit [`event::Fingerprint`]. The filter maps it to the sequence number of the
//! event that was accepted first and to that one's content hash, for one window (an hour by default) counted from the
//! commit time of the first acceptance. It belongs to the one writer thread, and each call does a bounded amount of
//! work: no single step of growing or forgetting touches more than one shard of the index or a few chunks of ids.
//!
//! # Structure
//!
//! Sequence numbers are dense, so the ids in memory are an array, and everything else follows from that:
//!
//! ```text
//!            oldest                                                                      newest
//!  on disk   span │ span │ span     ring of chunks: 65,536 ids × 20 bytes, by sequence number
//!            sorted by fingerprint,  ├────────┼────────┼────────┼────────┼─────┤
//!            Bloom filter and         ▲ released at the front   ▲               ▲ pushed at the end
//!            fences in memory                                   │ found here
//!                                    index: 1024 shards of buckets of 8 × (tag 32, sequence number 32)
//!                                    fingerprint = shard 10 bits │ tag 32 bits │ the rest
//!            marks: sequence number → commit time, one for each 1/360,000 of the window (10 ms of an hour)
//! ```
//!
//! - **Ring** (`ring`). Fingerprint and content hash by sequence number. Full chunks are immutable and shared with the
//!   spill thread; chunks at the front are given back whole.
//! - **Index** (`index`). A tag match leads to the ring, where the whole fingerprint is compared: no answer rests on
//!   the tag. A bucket is one cache line; probing is linear by bucket. *Nothing is ever deleted.* A slot whose sequence
//!   number has left the ring matches nothing, one whose id has expired is where that id goes again, and a shard that
//!   fills up is rebuilt without them, in the size that fits. Tags lie in the shard in their own order, so a rebuild
//!   reads and writes front to back (60,000 slots in about half a millisecond); it never looks at a fingerprint. The
//!   sizes of the shards are spread evenly over one growth step, so that they do not fill up together, and a group
//!   rebuilds one shard unless a second one cannot wait. Shards are made of 32 KiB segments that one gives up and the
//!   next takes: memory does not fragment, and in a steady state no page is asked from the system.
//! - **Marks** (`marks`). An id expires with the newest group of its mark, so it lives for the window and less than one
//!   granule more; an expired id reads as new at once, whenever its memory is given back.
//! - **Spill** (`spill`). Over 7/8 of the budget the oldest chunks (a quarter of the budget's ids, 1/12 of the window
//!   or 16 million ids, whichever is least) go to a thread that writes them sorted by fingerprint, with a blocked Bloom
//!   filter of 12 bits per id and the record at which each range of some 64 ids starts. When that is done the chunks
//!   are released. An id that memory does not know is put to the filters; one stranger in 250 passes each, and what passes
//!   costs one read of some 1.5 KB at a known place. Files are derived data: never synced, removed when all their ids
//!   have expired and at the next start. Filters count towards the budget but never take more than 3/4 of it: past
//!   that, some 500 million ids on disk at 1 GiB, memory grows rather than forget. Only when memory is used up before
//!   the thread is done, [`Dedup::begin_group`] waits for it ([`Stats::spill_waits`]).
//! - **Start**. [`Dedup::load`] appends to the ring, [`Dedup::finish_load`] indexes it on two threads.
//!
//! The cost of an id is its cache misses, so [`Dedup::check`] takes 32 entries through each step together (buckets,
//! second buckets, ids, filters): plain reads in short loops, which the processor overlaps. [`Dedup::touch`] does the
//! first step for requests too small to have 32.
//!
//! # Odds of a false duplicate
//!
//! A new id is taken for another one only when all 128 bits agree. With n ids in the window that is n / 2^128 for each
//! new id: at n = 36 million 1.1 × 10^-31, and for all 36 million new ids of an hour n² / 2^128 = 3.8 × 10^-24. The key
//! is random for each node, so nobody can look for two ids that agree. Two events that agree in the content hash
//! (2^-32) are not told to differ; nothing else rests on it.
//!
//! # Figures
//!
//! `cargo run --release -p dedup --example speed`, 36 million ids, groups of 4096 entries, on 2 virtual cores of an
//! EPYC (Zen 5) that others used too (load 8 to 14; runs differ by 15 %); ns of one core per entry:
//!
//! | | ns | worst group |
//! |---|---|---|
//! | new, from 0 to 36M ids | 140 | 1.4 to 3 ms; 0.6 ms without a rebuild |
//! | new, as many leaving the window | 139 | 1.2 ms |
//! | duplicates of any age | 110 | 0.7 ms |
//! | half new, half duplicates | 140 | 1.1 ms |
//! | new, one entry per call | 510 | |
//! | the same, after [`Dedup::touch`] for 64 requests at a time | 200 | |
//! | new, 256 MiB budget, 31M of 36M ids on disk in 15 spans | 520 | |
//! | the same, duplicates of any age (in the page cache) | 2000 | |
//!
//! A plain `HashMap` of the standard library with the fingerprint for a hash, which forgets nothing, in the same minute
//! (elapsed, making the fingerprints included): 175 ns for a new id while it grows and 108 ns after, 128 ns for a
//! duplicate, 62 bytes per id, and a stall of 2 s at its last growth.
//!
//! Bytes per id, resident: 32.7 when full for the first time (ring 20, index 12.4, marks 0.2), 34.7 when as many leave
//! as come; on disk 24 in the file and 1.6 in memory. While a span is written the thread takes some 50 MB more. Load:
//! 10 million ids in 0.5 s, of which 0.1 s in [`Dedup::load`].

mod check;
mod config;
mod dedup;
mod error;
mod index;
mod marks;
mod ring;
mod spill;
mod stats;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use dedup::Dedup;
pub use error::Error;
pub use stats::Stats;
