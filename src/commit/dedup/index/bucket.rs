/// Slots of a bucket.
pub(crate) const SLOTS: usize = 8;
/// log2 of the buckets in a segment of 32 KiB.
pub(crate) const SEGMENT_BITS: u32 = 9;
pub(crate) const SEGMENT: usize = 1 << SEGMENT_BITS;
/// Segments kept for the next rebuild: more than one rebuild gives up or needs in a steady state.
const KEPT: usize = 64;

/// One cache line of slots, filled from the front. A tag of 0 is a free slot.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct Bucket {
    pub(crate) tags: [u32; SLOTS],
    /// Low 32 bits of the sequence number.
    pub(crate) seqs: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The slots with this tag: a byte each, 1 or 0. In this form it compiles to two comparisons of four tags.
    #[inline]
    pub(crate) fn with_tag(&self, tag: u32) -> u64 {
        u64::from_le_bytes(self.tags.map(|held| u8::from(held == tag)))
    }

    /// How many slots are used.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        self.with_tag(0).trailing_zeros() as usize / 8
    }
}

/// A piece of a shard. All have one size, so that what one shard gives up another takes: memory neither fragments nor
/// goes back and forth between the process and the system.
pub(crate) type Segment = Box<[Bucket]>;

/// Segments that no shard uses.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    free: Vec<Segment>,
}

impl Segments {
    /// An empty segment; only a shard of a single one has it smaller than the others.
    pub(crate) fn take(&mut self, buckets: usize) -> Segment {
        if buckets == SEGMENT
            && let Some(mut segment) = self.free.pop()
        {
            segment.fill(Bucket::default());
            return segment;
        }
        vec![Bucket::default(); buckets].into_boxed_slice()
    }

    pub(crate) fn give(&mut self, segment: Segment) {
        if segment.len() == SEGMENT {
            self.free.push(segment);
        }
    }

    /// Frees what is too much to keep.
    pub(crate) fn trim(&mut self) {
        self.free.truncate(KEPT);
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.free.len() * SEGMENT * size_of::<Bucket>()) as u64
    }
}
