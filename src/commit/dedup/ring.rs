use event::Fingerprint;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of one id in memory.
pub(crate) const ID_BYTES: usize = size_of::<Id>();
const _: () = assert!(ID_BYTES == 20);

/// One identity. Fingerprint and content hash lie together so that deciding a duplicate costs one cache miss; words of
/// 32 bits keep it at 20 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id {
    words: [u32; 4],
    content: u32,
}

impl Id {
    pub(crate) fn new(fingerprint: Fingerprint, content: u32) -> Self {
        let words =
            [fingerprint as u32, (fingerprint >> 32) as u32, (fingerprint >> 64) as u32, (fingerprint >> 96) as u32];
        Id { words, content }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let [a, b, c, d] = self.words.map(Fingerprint::from);
        a | b << 32 | c << 64 | d << 96
    }

    pub(crate) fn content(&self) -> u32 {
        self.content
    }
}

/// A full chunk, shared with the spill thread while that writes it out.
pub(crate) type Chunk = Arc<Vec<Id>>;

/// The ids in memory, by sequence number: an array in chunks that grows at the end and is released at the front.
#[derive(Debug)]
pub(crate) struct Ring {
    chunk_bits: u32,
    first: u64,
    full: VecDeque<Chunk>,
    tail: Vec<Id>,
    /// Chunks to be used again: in a steady state no page is asked for.
    spare: Vec<Vec<Id>>,
}

/// Most spare chunks.
const SPARE: usize = 2;

impl Ring {
    pub(crate) fn new(first: u64, chunk_bits: u32) -> Self {
        Ring { chunk_bits, first, full: VecDeque::new(), tail: Vec::new(), spare: Vec::new() }
    }

    /// Sequence number of the first id held.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Sequence number after the last id held.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.len()
    }

    pub(crate) fn len(&self) -> u64 {
        ((self.full.len() as u64) << self.chunk_bits) + self.tail.len() as u64
    }

    /// Sequence number after the last full chunk.
    pub(crate) fn full_end(&self) -> u64 {
        self.first + ((self.full.len() as u64) << self.chunk_bits)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let whole = ((self.full.len() + self.spare.len()) as u64) << self.chunk_bits;
        (whole + self.tail.capacity() as u64) * ID_BYTES as u64
    }

    /// The id whose sequence number ends in these 32 bits, if it is held.
    #[inline]
    pub(crate) fn get(&self, seq_low: u32) -> Option<&Id> {
        let at = seq_low.wrapping_sub(self.first as u32);
        let chunk = (at >> self.chunk_bits) as usize;
        let within = (at & ((1 << self.chunk_bits) - 1)) as usize;
        match self.full.get(chunk) {
            Some(chunk) => chunk.get(within),
            None if chunk == self.full.len() => self.tail.get(within),
            None => None,
        }
    }

    /// Brings an id closer: a plain read of both its ends, which may lie on two cache lines.
    #[inline]
    pub(crate) fn touch(&self, seq_low: u32) -> u32 {
        self.get(seq_low).map_or(0, |id| id.words[0] ^ id.content)
    }

    /// The whole sequence number of a held id.
    #[inline]
    pub(crate) fn seq(&self, seq_low: u32) -> u64 {
        self.first + u64::from(seq_low.wrapping_sub(self.first as u32))
    }

    #[inline]
    pub(crate) fn push(&mut self, id: Id) {
        if self.tail.len() == self.tail.capacity() {
            self.turn();
        }
        self.tail.push(id);
    }

    #[cold]
    fn turn(&mut self) {
        let chunk_ids = 1 << self.chunk_bits;
        let fresh = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(chunk_ids));
        let tail = std::mem::replace(&mut self.tail, fresh);
        if !tail.is_empty() {
            debug_assert_eq!(tail.len(), chunk_ids);
            self.full.push_back(Arc::new(tail));
        }
    }

    /// The full chunks from `first` up to, not including, `end`, both on chunk borders.
    pub(crate) fn chunks(&self, first: u64, end: u64) -> Vec<Chunk> {
        let skip = ((first - self.first) >> self.chunk_bits) as usize;
        let take = ((end - first) >> self.chunk_bits) as usize;
        self.full.iter().skip(skip).take(take).cloned().collect()
    }

    /// Everything, the chunk that is not full as a copy.
    pub(crate) fn all_chunks(&self) -> Vec<Chunk> {
        self.full.iter().cloned().chain(std::iter::once(Arc::new(self.tail.clone()))).collect()
    }

    /// Frees chunks whose ids all lie below `seq`, at most `most` of them, and says how many.
    pub(crate) fn release(&mut self, seq: u64, most: u64) -> u64 {
        let chunk_ids = 1 << self.chunk_bits;
        let mut released = 0;
        while released < most
            && self.first + chunk_ids <= seq
            && let Some(chunk) = self.full.pop_front()
        {
            self.first += chunk_ids;
            released += 1;
            if self.spare.len() < SPARE
                && let Ok(mut chunk) = Arc::try_unwrap(chunk)
            {
                chunk.clear();
                self.spare.push(chunk);
            }
        }
        if self.full.is_empty() && self.end() <= seq {
            self.first = self.end();
            self.tail.clear();
        }
        released
    }

    /// All ids in order, in slices.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[Id]> {
        self.full.iter().map(|chunk| chunk.as_slice()).chain(std::iter::once(self.tail.as_slice()))
    }
}
