//! Event ids that can be computed again: a UUID-shaped text for each (seed, counter).
//!
//! The last 12 hex digits are a bijection of the counter (so ids of one seed never collide below 2^48, and an
//! answer's id leads back to its counter); the other bits mix seed and counter, so that seeds do not collide either.

/// Length of an id's text.
pub const ID_LEN: usize = 36;

const MASK_48: u64 = (1 << 48) - 1;
/// Odd, hence invertible modulo 2^48.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
const SPREAD_INVERSE: u64 = inverse(SPREAD);

/// Inverse modulo 2^64 of an odd number (Newton: each round doubles the correct bits).
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut round = 0;
    while round < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

/// A good 64-bit mixer (the finaliser of splitmix64).
#[inline]
pub fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The ids of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    key: u64,
}

impl Ids {
    /// The ids of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { key: mix(seed.wrapping_add(SPREAD)) }
    }

    /// The id of `counter` as 128 bits; version and variant are those of a random UUID.
    #[inline]
    pub fn bits(&self, counter: u64) -> u128 {
        let tail = counter.wrapping_mul(SPREAD).wrapping_add(self.key) & MASK_48;
        let high = mix(self.key ^ counter.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let middle = mix(high ^ self.key.rotate_left(32));
        let high = (high & !0xF000) | 0x4000;
        let low = 0x8000_0000_0000_0000 | ((middle & 0x3FFF) << 48) | tail;
        (u128::from(high) << 64) | u128::from(low)
    }

    /// Writes the id of `counter` in its text form.
    #[inline]
    pub fn text(&self, counter: u64) -> [u8; ID_LEN] {
        let bytes = self.bits(counter).to_be_bytes();
        let mut text = [b'-'; ID_LEN];
        for (at, byte) in PLACES.iter().zip(bytes) {
            let pair = HEX_PAIRS[usize::from(byte)];
            text[*at] = pair[0];
            text[*at + 1] = pair[1];
        }
        text
    }

    /// The counter whose id this is; `None` when it is not one of this seed's ids.
    #[inline]
    pub fn counter(&self, text: &[u8]) -> Option<u64> {
        let tail = text.get(24..ID_LEN)?;
        let mut value = 0u64;
        for digit in tail {
            value = (value << 4) | u64::from(hex_value(*digit)?);
        }
        let counter = value.wrapping_sub(self.key).wrapping_mul(SPREAD_INVERSE) & MASK_48;
        (self.text(counter) == text[..ID_LEN]).then_some(counter)
    }
}

/// Where each of the 16 bytes' two digits stand in the text.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

const HEX_PAIRS: [[u8; 2]; 256] = hex_pairs();

const fn hex_pairs() -> [[u8; 2]; 256] {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0u8; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
}

#[inline]
fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_lead_back_to_their_counter() {
        let ids = Ids::new(7);
        let mut seen = HashSet::new();
        for counter in (0..100_000).chain(MASK_48 - 1000..=MASK_48) {
            let text = ids.text(counter);
            assert_eq!(ids.counter(&text), Some(counter));
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn an_id_looks_like_a_random_uuid() {
        let text = String::from_utf8(Ids::new(1).text(42).to_vec()).unwrap();
        assert_eq!(text.len(), 36);
        assert_eq!(text.as_bytes()[14], b'4');
        assert!(matches!(text.as_bytes()[19], b'8'..=b'b'));
        assert_eq!(text.matches('-').count(), 4);
    }

    #[test]
    fn another_seed_gives_other_ids() {
        let (one, two) = (Ids::new(1), Ids::new(2));
        assert_ne!(one.text(5), two.text(5));
        assert_eq!(two.counter(&one.text(5)), None);
    }
}
