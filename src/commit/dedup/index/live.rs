/// A range of sequence numbers, by their low 32 bits: the ids that the index must keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    first: u32,
    len: u32,
}

impl Live {
    pub(crate) fn new(first: u64, end: u64) -> Self {
        Live { first: first as u32, len: (end - first) as u32 }
    }

    pub(crate) fn len(self) -> u64 {
        u64::from(self.len)
    }

    #[inline]
    pub(crate) fn holds(self, seq_low: u32) -> bool {
        seq_low.wrapping_sub(self.first) < self.len
    }
}
