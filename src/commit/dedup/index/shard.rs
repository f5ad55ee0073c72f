use crate::index::BATCH;
use crate::index::bucket::{Bucket, SEGMENT, SEGMENT_BITS, SLOTS, Segment, Segments};
use crate::index::live::Live;

/// Slots after a rebuild are live ids × 5 / 3: a load of 0.60.
const FRESH: (u64, u64) = (5, 3);
/// A shard is rebuilt when 24/32 of its slots are used, if no other was in this group …
const SOFT: (u64, u64) = (24, 32);
/// … and at 28/32 in any case.
const HARD: (u64, u64) = (28, 32);
/// Buckets at the end that are no id's home, for probes that run over the last one that is. Probes that run over these
/// too go on at the front, which costs the rebuild some memory and never happens.
const TAIL: u64 = 16;

/// Where a probe stands: before slot `slot` of `bucket`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spot {
    shard: u32,
    bucket: u32,
    slot: u32,
    tag: u32,
}

impl Spot {
    #[inline]
    pub(crate) fn shard(self) -> usize {
        self.shard as usize
    }

    /// Passes over a candidate that turned out to be another id.
    pub(crate) fn pass_over(&mut self) {
        self.slot += 1;
    }
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A slot with the tag: the low half of its sequence number. The spot stands on it, not behind it.
    Candidate(u32),
    /// The slot where the tag goes: there is no candidate further on.
    Free,
    /// A full bucket: the spot stands before the next one.
    Further,
}

/// A hash table of buckets with linear probing. Nothing is ever removed: ids that are no longer live stay until the
/// shard is full, and a rebuild leaves them out.
#[derive(Debug)]
pub(crate) struct Shard {
    segments: Vec<Segment>,
    buckets: u32,
    used: u32,
    soft: u32,
    hard: u32,
}

/// Buckets of a shard that has just been rebuilt.
pub(crate) fn fresh_buckets(ids: u64) -> u64 {
    ((ids + 2 * BATCH as u64) * FRESH.0 / FRESH.1).div_ceil(SLOTS as u64) + TAIL
}

impl Shard {
    /// An empty shard for so many ids, without its memory yet.
    fn planned(ids: u64) -> Shard {
        let buckets = fresh_buckets(ids);
        let slots = (buckets - TAIL) * SLOTS as u64;
        let part = |(numerator, divisor)| (slots * numerator / divisor) as u32 - BATCH as u32;
        Shard { segments: Vec::new(), buckets: buckets as u32, used: 0, soft: part(SOFT), hard: part(HARD) }
    }

    /// An empty shard for so many ids.
    pub(crate) fn fresh(ids: u64) -> Shard {
        let mut shard = Shard::planned(ids);
        shard.reach(shard.buckets - 1, &mut Segments::default());
        shard
    }

    pub(crate) fn slots(&self) -> u64 {
        u64::from(self.buckets) * SLOTS as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| size_of_val(&**segment) as u64).sum()
    }

    /// Whether a whole batch fits; `gladly` asks for the room to be kept early.
    #[inline]
    pub(crate) fn has_room(&self, gladly: bool) -> bool {
        self.used < if gladly { self.soft } else { self.hard }
    }

    /// Makes sure that there is memory up to this bucket.
    #[inline]
    fn reach(&mut self, bucket: u32, free: &mut Segments) {
        while self.segments.len() <= (bucket >> SEGMENT_BITS) as usize {
            self.segments.push(free.take(SEGMENT.min(self.buckets as usize)));
        }
    }

    #[inline]
    fn bucket(&self, at: u32) -> &Bucket {
        &self.segments[(at >> SEGMENT_BITS) as usize][at as usize % SEGMENT]
    }

    #[inline]
    fn bucket_mut(&mut self, at: u32) -> &mut Bucket {
        &mut self.segments[(at >> SEGMENT_BITS) as usize][at as usize % SEGMENT]
    }

    /// Tags spread over the buckets in their own order, so a rebuild reads and writes front to back.
    #[inline]
    fn home_of(&self, tag: u32) -> u32 {
        ((u64::from(tag) * (u64::from(self.buckets) - TAIL)) >> 32) as u32
    }

    /// Where the probe for a tag starts; `shard` is this shard's number.
    #[inline]
    pub(crate) fn home(&self, shard: usize, tag: u32) -> Spot {
        Spot { shard: shard as u32, bucket: self.home_of(tag), slot: 0, tag }
    }

    #[inline]
    fn after(&self, bucket: u32) -> u32 {
        if bucket + 1 == self.buckets { 0 } else { bucket + 1 }
    }

    #[inline]
    pub(crate) fn touch(&self, spot: Spot) -> u32 {
        self.bucket(spot.bucket).tags[0]
    }

    /// Moves on to the next slot of the bucket that has the tag, or to the slot where the tag goes, or to the next
    /// bucket.
    #[inline]
    pub(crate) fn step(&self, spot: &mut Spot) -> Step {
        let bucket = self.bucket(spot.bucket);
        let same = bucket.with_tag(spot.tag) & u64::MAX.checked_shl(8 * spot.slot).unwrap_or(0);
        if same != 0 {
            spot.slot = same.trailing_zeros() / 8;
            return Step::Candidate(bucket.seqs[spot.slot as usize % SLOTS]);
        }
        let used = bucket.used();
        if used < SLOTS {
            spot.slot = used as u32;
            return Step::Free;
        }
        spot.bucket = self.after(spot.bucket);
        spot.slot = 0;
        Step::Further
    }

    #[inline]
    pub(crate) fn set(&mut self, spot: Spot, seq_low: u32) {
        let slot = spot.slot as usize % SLOTS;
        let bucket = self.bucket_mut(spot.bucket);
        let taken = u32::from(bucket.tags[slot] == 0);
        bucket.tags[slot] = spot.tag;
        bucket.seqs[slot] = seq_low;
        self.used += taken;
    }

    /// Leaves out the ids that are no longer live and takes the size that fits the others. Goes through both tables
    /// front to back, and each segment of the old one serves the new one as soon as it is empty.
    pub(crate) fn rebuild(&mut self, live: Live, free: &mut Segments, fill: &mut Vec<u8>) {
        let held = |bucket: &Bucket| bucket.seqs.map(|seq| u32::from(live.holds(seq))).into_iter().sum::<u32>();
        // Free slots count where 0 is a live sequence number: a handful of slots too many, once in 2^32 events.
        let ids = self.segments.iter().flatten().map(held).sum::<u32>();
        let old = std::mem::replace(self, Shard::planned(u64::from(ids)));
        fill.clear();
        fill.resize(self.buckets as usize, 0);
        for segment in old.segments {
            for bucket in &segment {
                for (&tag, &seq_low) in bucket.tags.iter().zip(&bucket.seqs) {
                    if tag != 0 && live.holds(seq_low) {
                        self.put(tag, seq_low, free, fill);
                    }
                }
            }
            free.give(segment);
        }
        self.reach(self.buckets - 1, free);
        free.trim();
    }

    /// Adds an id that is not there. `fill` says how many slots of each bucket are used: finding out by looking at a
    /// bucket that was just written to would wait for the write.
    #[inline]
    fn put(&mut self, tag: u32, seq_low: u32, free: &mut Segments, fill: &mut [u8]) {
        let mut at = self.home_of(tag);
        while usize::from(fill[at as usize]) == SLOTS {
            at = self.after(at);
        }
        let slot = usize::from(fill[at as usize]) % SLOTS;
        fill[at as usize] += 1;
        self.reach(at, free);
        let bucket = self.bucket_mut(at);
        bucket.tags[slot] = tag;
        bucket.seqs[slot] = seq_low;
        self.used += 1;
    }
}
