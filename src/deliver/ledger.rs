//! What became of the events that a sink has passed: stored with its cursor, under `ledger/` and the sink's name.
//!
//! At any moment `cursor − base = delivered + dead + expired + lost`, and what lies behind the cursor is pending; so
//! accepted = delivered + pending + dead + expired, where no repair had to record a loss.
//!
//! ```text
//! 0 u8   version = 1        All integers are little-endian. What may never change: the meaning of version 1.
//! 1 u8×7 0
//! 8 u64  base: the first event that the sink was to get
//! 16 u64 delivered   24 u64 dead   32 u64 expired   40 u64 lost
//! ```

use event::Seq;
use wal::{Family, ReadError, Reader, Write};

const VERSION: u8 = 1;
const LEN: usize = 48;

/// A sink's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// First event that the sink was to get.
    pub base: Seq,
    /// Events that it has.
    pub delivered: u64,
    /// Events that it can never take; each is a dead letter.
    pub dead: u64,
    /// Events that were given up by policy or by an operator, or erased before the sink had them.
    pub expired: u64,
    /// Positions that a repair of the log recorded as gone.
    pub lost: u64,
}

impl Ledger {
    /// The account of a sink that begins with `base`.
    #[must_use]
    pub fn new(base: Seq) -> Self {
        Ledger { base, ..Ledger::default() }
    }

    /// The stored account of `sink`, if it has one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(reader: &Reader, sink: &str) -> Result<Option<Ledger>, ReadError> {
        Ok(reader.get(Family::Projection, &key(sink))?.and_then(|value| Ledger::decode(&value)))
    }

    /// The write that stores it.
    #[must_use]
    pub fn store(&self, sink: &str) -> Write {
        let mut out = vec![0; LEN];
        out[0] = VERSION;
        let words = [self.base.get(), self.delivered, self.dead, self.expired, self.lost];
        for (word, place) in words.into_iter().zip(out[8..].chunks_exact_mut(8)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Write::Put(Family::Projection, key(sink), out)
    }

    /// The write that removes it.
    #[must_use]
    pub fn remove(sink: &str) -> Write {
        Write::Delete(Family::Projection, key(sink))
    }

    /// The account once somebody has said that the sink has what lies before `to` and nothing else, whose cursor was at
    /// `cursor`: what is new counts as delivered; what is to come again, of which `given_up` events had expired, counts
    /// as nothing.
    #[must_use]
    pub fn moved(mut self, cursor: Seq, to: Seq, given_up: u64) -> Ledger {
        self.delivered += to.since(cursor);
        let mut back = cursor.since(to);
        let expired = given_up.min(back).min(self.expired);
        self.expired -= expired;
        back -= expired;
        for count in [&mut self.delivered, &mut self.expired, &mut self.dead, &mut self.lost] {
            let taken = back.min(*count);
            *count -= taken;
            back -= taken;
        }
        // Further back than it ever was to begin.
        self.base = Seq::new(self.base.get().saturating_sub(back));
        self
    }

    /// How many events it accounts for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.delivered + self.dead + self.expired + self.lost
    }

    /// Whether it accounts for everything before `cursor`.
    #[must_use]
    pub fn balances(&self, cursor: Seq) -> bool {
        cursor.get() == self.base.get() + self.total()
    }

    fn decode(value: &[u8]) -> Option<Ledger> {
        let [VERSION, _, _, _, _, _, _, _, rest @ ..] = value else { return None };
        let (&[base, delivered, dead, expired, lost], []) = rest.as_chunks::<8>() else { return None };
        let [base, delivered, dead, expired, lost] = [base, delivered, dead, expired, lost].map(u64::from_le_bytes);
        Some(Ledger { base: Seq::new(base), delivered, dead, expired, lost })
    }
}

fn key(sink: &str) -> Vec<u8> {
    [b"ledger/", sink.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_never_changes() {
        let ledger = Ledger { base: Seq::new(1), delivered: 2, dead: 3, expired: 4, lost: 5 };
        let Write::Put(_, key, stored) = ledger.store("s") else { panic!("not stored") };
        assert_eq!(key, b"ledger/s");
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0];
        (1..=5u64).for_each(|word| expected.extend(word.to_le_bytes()));
        assert_eq!(stored, expected);
        assert_eq!(Ledger::decode(&stored), Some(ledger));
        assert_eq!(Ledger::decode(&stored[..40]), None);
    }

    #[test]
    fn it_balances_wherever_the_cursor_is_moved() {
        let ledger = Ledger { base: Seq::new(11), delivered: 7, dead: 2, expired: 1, lost: 3 };
        for to in [1, 5, 11, 12, 20, 24, 100] {
            let moved = ledger.moved(Seq::new(24), Seq::new(to), 0);
            assert!(moved.balances(Seq::new(to)), "{to}: {moved:?}");
            assert_eq!(moved.base.get(), to.min(11));
        }
        assert_eq!(ledger.moved(Seq::new(24), Seq::new(30), 0), Ledger { delivered: 13, ..ledger });
        assert_eq!(ledger.moved(Seq::new(24), Seq::new(16), 0), Ledger { delivered: 0, expired: 0, ..ledger });
        // What had expired there is not taken from what was delivered.
        assert_eq!(ledger.moved(Seq::new(24), Seq::new(23), 1), Ledger { expired: 0, ..ledger });
    }

    #[test]
    fn it_balances_only_if_every_event_is_somewhere() {
        let ledger = Ledger { base: Seq::new(11), delivered: 7, dead: 2, expired: 1, lost: 0 };
        assert!(ledger.balances(Seq::new(21)));
        assert!(!ledger.balances(Seq::new(22)) && !ledger.balances(Seq::new(20)));
    }
}
