use event::Fingerprint;

/// Bits per id. At 12, one id in 250 that is not in the set passes.
const BITS_PER_ID: u64 = 12;
const WORDS: usize = 8;

/// One cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Block([u64; WORDS]);

/// A blocked Bloom filter: an id sets one bit in each of the eight words of one block, so a test costs one cache miss.
///
/// The block comes from the fingerprint's upper half, the bits from its lower half.
#[derive(Debug)]
pub(crate) struct Bloom {
    blocks: Box<[Block]>,
}

impl Bloom {
    pub(crate) fn sized_for(ids: u64) -> Self {
        let blocks = (ids * BITS_PER_ID).div_ceil(Block::BITS).max(1);
        Bloom { blocks: vec![Block::default(); blocks as usize].into_boxed_slice() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.blocks) as u64
    }

    fn block(&self, fingerprint: Fingerprint) -> usize {
        let upper = fingerprint >> 64;
        ((upper * self.blocks.len() as u128) >> 64) as usize
    }

    pub(crate) fn add(&mut self, fingerprint: Fingerprint) {
        let block = self.block(fingerprint);
        for (word, mask) in self.blocks[block].0.iter_mut().zip(masks(fingerprint)) {
            *word |= mask;
        }
    }

    /// Brings the id's block closer: a plain read whose value is not used.
    pub(crate) fn touch(&self, fingerprint: Fingerprint) -> u64 {
        self.blocks[self.block(fingerprint)].0[0]
    }

    /// Whether the id may be in the set; if not, it certainly is not.
    pub(crate) fn may_hold(&self, fingerprint: Fingerprint) -> bool {
        // Without branches: which word says no first cannot be predicted.
        let words = self.blocks[self.block(fingerprint)].0;
        words.iter().zip(masks(fingerprint)).fold(true, |held, (word, mask)| held & (word & mask != 0))
    }
}

impl Block {
    const BITS: u64 = u64::BITS as u64 * WORDS as u64;
}

/// One bit for each word: six bits of the fingerprint's lower half choose it.
fn masks(fingerprint: Fingerprint) -> [u64; WORDS] {
    let lower = fingerprint as u64;
    std::array::from_fn(|word| 1 << (lower >> (6 * word) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(n: u64) -> Fingerprint {
        let mix = |x: u64| {
            let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u128::from(x ^ (x >> 31))
        };
        mix(n * 2 + 1) << 64 | mix(n * 2 + 2)
    }

    #[test]
    fn what_was_added_may_be_there_and_little_else() {
        let ids = 100_000;
        let mut bloom = Bloom::sized_for(ids);
        (0..ids).for_each(|n| bloom.add(fingerprint(n)));
        assert!((0..ids).all(|n| bloom.may_hold(fingerprint(n))));
        let wrong = (ids..2 * ids).filter(|&n| bloom.may_hold(fingerprint(n))).count();
        assert!(wrong < 600, "{wrong} of {ids} strangers passed");
    }
}
