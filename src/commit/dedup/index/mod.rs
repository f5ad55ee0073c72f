//! Fingerprint → sequence number, in shards of cache-line buckets. See the crate's documentation.

mod bucket;
mod build;
mod live;
mod shard;

pub(crate) use live::Live;
pub(crate) use shard::{Spot, Step};

use crate::index::bucket::{Bucket, Segments};
use crate::index::shard::Shard;
use event::Fingerprint;

/// Entries that are looked up together; shards keep room for this many, so that none is rebuilt under a batch.
pub(crate) const BATCH: usize = 32;
// A batch's entries are the bits of a `u32`.
const _: () = assert!(BATCH <= u32::BITS as usize);

/// The index over the ids in memory.
#[derive(Debug)]
pub(crate) struct Index {
    shard_bits: u32,
    shards: Vec<Shard>,
    /// Bytes of all shards.
    bytes: u64,
    /// The shard that [`Index::rebuild_next`] takes next.
    next: usize,
    free: Segments,
    /// Reused by every rebuild.
    fill: Vec<u8>,
}

impl Index {
    pub(crate) fn new(shard_bits: u32) -> Self {
        let mut index =
            Index { shard_bits, shards: Vec::new(), bytes: 0, next: 0, free: Segments::default(), fill: Vec::new() };
        index.put_in_place(build::sized_for(&vec![0; 1 << shard_bits]));
        index
    }

    fn put_in_place(&mut self, shards: Vec<Shard>) {
        self.bytes = shards.iter().map(Shard::bytes).sum();
        self.shards = shards;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.free.bytes()
    }

    /// What the index of so many ids takes at most.
    pub(crate) fn bytes_for(ids: u64) -> u64 {
        shard::fresh_buckets(ids) * size_of::<Bucket>() as u64
    }

    /// What an empty index takes.
    pub(crate) fn least_bytes(&self) -> u64 {
        Index::bytes_for(0) * self.shards.len() as u64
    }

    /// Slots of the largest shard: the most that one rebuild goes through.
    pub(crate) fn shard_slots_most(&self) -> u64 {
        self.shards.iter().map(Shard::slots).max().unwrap_or(0)
    }

    #[inline]
    fn shard_of(&self, fingerprint: Fingerprint) -> usize {
        (upper(fingerprint) >> (u64::BITS - self.shard_bits)) as usize
    }

    /// The 32 bits after those that chose the shard. The last one is given up, so that no tag is 0.
    #[inline]
    fn tag_of(&self, fingerprint: Fingerprint) -> u32 {
        (upper(fingerprint) >> (u32::BITS - self.shard_bits)) as u32 | 1
    }

    /// Makes room for a whole batch in the fingerprint's shard and says how many slots had to be gone through.
    ///
    /// `gladly` permits a rebuild that could still wait.
    #[inline]
    pub(crate) fn make_room(&mut self, fingerprint: Fingerprint, live: Live, gladly: bool) -> u64 {
        let number = self.shard_of(fingerprint);
        if self.shards[number].has_room(gladly) { 0 } else { self.rebuild(number, live) }
    }

    #[cold]
    fn rebuild(&mut self, number: usize, live: Live) -> u64 {
        let shard = &mut self.shards[number];
        let (slots, bytes) = (shard.slots(), shard.bytes());
        shard.rebuild(live, &mut self.free, &mut self.fill);
        self.bytes = self.bytes - bytes + shard.bytes();
        slots
    }

    /// Rebuilds the shards in turn, one a call.
    pub(crate) fn rebuild_next(&mut self, live: Live) -> u64 {
        self.next = (self.next + 1) % self.shards.len();
        self.rebuild(self.next, live)
    }

    /// Where the fingerprint's probe starts.
    #[inline]
    pub(crate) fn home(&self, fingerprint: Fingerprint) -> Spot {
        let number = self.shard_of(fingerprint);
        self.shards[number].home(number, self.tag_of(fingerprint))
    }

    /// Brings the bucket of a spot closer: a plain read whose value is not used.
    #[inline]
    pub(crate) fn touch(&self, spot: Spot) -> u32 {
        self.shards[spot.shard()].touch(spot)
    }

    /// Moves a probe on by one bucket at most.
    #[inline]
    pub(crate) fn step(&self, spot: &mut Spot) -> Step {
        self.shards[spot.shard()].step(spot)
    }

    /// Moves on to the next candidate and returns its sequence number's low half; `None` at a free slot.
    #[inline]
    pub(crate) fn walk(&self, spot: &mut Spot) -> Option<u32> {
        loop {
            match self.step(spot) {
                Step::Candidate(seq_low) => return Some(seq_low),
                Step::Free => return None,
                Step::Further => {}
            }
        }
    }

    /// Puts an id into the slot where its walk ended: a free one, or that of the same id before it expired.
    #[inline]
    pub(crate) fn set(&mut self, spot: Spot, seq_low: u32) {
        self.shards[spot.shard()].set(spot, seq_low);
    }
}

/// The half of a fingerprint that the index works with.
#[inline]
fn upper(fingerprint: Fingerprint) -> u64 {
    (fingerprint >> 64) as u64
}
