//! Token buckets of many holders in a table of a fixed size.
//!
//! A bucket is kept as the moment at which it will be full again (GCRA: the generic cell rate algorithm, ITU-T I.371):
//! what lies ahead of now is what is owed. Nothing has to be filled up, a bucket that is full is the same as none, and
//! taking from one is a single compare-and-swap. The table is a cache of sets (8 buckets each, found by a keyed hash): a
//! newcomer takes the place of the one in its set that owes least, so that a flood of newcomers does not free one who
//! owes much. Memory never grows.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Buckets of one set; they fill two lines of a cache.
const WAYS: usize = 8;
/// Ticks of a second: 125 ns each, so that a rate of 100,000 a second is met to about a percent.
const TICKS_PER_S: u64 = 8_000_000;
/// Bits of the word that are the moment, in ticks since the table was made: 17 years. The others are a tag.
const MOMENT_BITS: u32 = 52;
const MOMENT_MAX: u64 = (1 << MOMENT_BITS) - 1;

/// What a bucket fills at, and how much fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Tokens a second, at least 1.
    pub per_s: u64,
    /// What fits, as the seconds in which an empty bucket is full; at least 1.
    pub burst_s: u64,
}

/// What is left in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Whole tokens.
    pub tokens: u64,
    /// Time until it is full again.
    pub full_in: Duration,
}

/// Whose bucket: a hash that nobody outside can aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(u64);

/// The table.
#[derive(Debug)]
pub struct Buckets {
    sets: Box<[Set]>,
    hasher: RandomState,
    made: Instant,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

/// One bucket. `key` is written after `word`, whose tag says whose moment it is: a reader that comes in between finds
/// that the two do not belong together.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    word: AtomicU64,
}

impl Holder {
    fn tag(self) -> u64 {
        self.0 & !MOMENT_MAX
    }

    fn word(self, moment: u64) -> u64 {
        self.tag() | moment.min(MOMENT_MAX)
    }
}

impl Rate {
    /// How many tokens fit.
    #[must_use]
    pub fn burst(self) -> u64 {
        self.per_s.saturating_mul(self.burst_s)
    }

    /// How long so many tokens take to come.
    fn ticks(self, tokens: u64) -> u64 {
        let ticks = (u128::from(tokens) * u128::from(TICKS_PER_S)).div_ceil(u128::from(self.per_s.max(1)));
        u64::try_from(ticks).unwrap_or(MOMENT_MAX).min(MOMENT_MAX)
    }

    fn burst_ticks(self) -> u64 {
        self.burst_s.saturating_mul(TICKS_PER_S)
    }

    fn left(self, owed: u64) -> Left {
        let free = u128::from(self.burst_ticks().saturating_sub(owed));
        let tokens = free * u128::from(self.per_s) / u128::from(TICKS_PER_S);
        Left { tokens: tokens as u64, full_in: duration(owed) }
    }
}

fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / TICKS_PER_S))
}

fn moment(word: u64) -> u64 {
    word & MOMENT_MAX
}

impl Buckets {
    /// A table for at least so many holders; its 16 bytes for each are all that it ever takes.
    #[must_use]
    pub fn new(holders: usize) -> Self {
        let sets = holders.div_ceil(WAYS).max(1);
        Buckets { sets: (0..sets).map(|_| Set::default()).collect(), hasher: RandomState::new(), made: Instant::now() }
    }

    /// Whose bucket.
    #[must_use]
    pub fn holder(&self, of: impl Hash) -> Holder {
        // 0 stands for nobody.
        Holder(self.hasher.hash_one(of).max(1))
    }

    /// Takes tokens out of a bucket. More than fit are given when it is full, and owed for longer.
    ///
    /// # Errors
    /// The time after which there will be enough; nothing was taken.
    pub fn take(&self, holder: Holder, rate: Rate, tokens: u64) -> Result<Left, Duration> {
        self.take_at(self.now(), holder, rate, tokens)
    }

    fn take_at(&self, now: u64, holder: Holder, rate: Rate, tokens: u64) -> Result<Left, Duration> {
        let (price, burst) = (rate.ticks(tokens), rate.burst_ticks());
        let must_fit = price.min(burst);
        loop {
            let slot = self.slot(holder);
            let (slot, word, is_new) = match slot {
                Some((slot, word)) => (slot, word, false),
                None => {
                    let (slot, word) = self.least(holder);
                    (slot, word, true)
                }
            };
            let owed = if is_new { 0 } else { moment(word).saturating_sub(now) };
            if owed.saturating_add(must_fit) > burst {
                return Err(duration(owed.saturating_add(must_fit) - burst));
            }
            let owes = owed.saturating_add(price);
            let next = holder.word(now.saturating_add(owes));
            if slot.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                if is_new {
                    slot.key.store(holder.0, Ordering::Release);
                }
                return Ok(rate.left(owes));
            }
        }
    }

    /// Puts tokens back that were taken for nothing.
    pub fn give_back(&self, holder: Holder, rate: Rate, tokens: u64) {
        let price = rate.ticks(tokens);
        while let Some((slot, word)) = self.slot(holder) {
            let next = holder.word(moment(word).saturating_sub(price));
            if slot.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }

    /// The holder's bucket, if it has one, and what is in its word.
    fn slot(&self, holder: Holder) -> Option<(&Slot, u64)> {
        let found = self.set(holder).0.iter().find_map(|slot| {
            let is_its = slot.key.load(Ordering::Acquire) == holder.0;
            is_its.then(|| (slot, slot.word.load(Ordering::Acquire)))
        });
        // Another one has just taken the place over where the tags differ. Where they do not (one in 4,096, at that very
        // moment) the other one pays.
        found.filter(|(_, word)| word & !MOMENT_MAX == holder.tag())
    }

    /// The place of whoever owes least in the holder's set.
    fn least(&self, holder: Holder) -> (&Slot, u64) {
        let [first, others @ ..] = &self.set(holder).0;
        let mut least = (first, first.word.load(Ordering::Acquire));
        for slot in others {
            let word = slot.word.load(Ordering::Acquire);
            if moment(word) < moment(least.1) {
                least = (slot, word);
            }
        }
        least
    }

    fn set(&self, holder: Holder) -> &Set {
        // The low bits choose the set, the high ones are the tag.
        &self.sets[(holder.0 & MOMENT_MAX) as usize % self.sets.len()]
    }

    fn now(&self) -> u64 {
        let nanos = self.made.elapsed().as_nanos() as u64;
        // A word of 0 is a place that nobody ever had.
        nanos / (1_000_000_000 / TICKS_PER_S) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    const TEN: Rate = Rate { per_s: 10, burst_s: 2 };
    const SECOND: u64 = TICKS_PER_S;

    fn taken(buckets: &Buckets, now: u64, holder: Holder, rate: Rate) -> u64 {
        let mut taken = 0;
        while buckets.take_at(now, holder, rate, 1).is_ok() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(100);
        let holder = buckets.holder("a");
        assert_eq!(taken(&buckets, SECOND, holder, TEN), 20);
        assert_eq!(buckets.take_at(SECOND, holder, TEN, 1), Err(Duration::from_millis(100)));
        assert_eq!(taken(&buckets, 2 * SECOND, holder, TEN), 10);
        // It is full after two seconds and does not fill further.
        assert_eq!(taken(&buckets, 60 * SECOND, holder, TEN), 20);
        assert_eq!(taken(&buckets, 60 * SECOND, buckets.holder("b"), TEN), 20);
    }

    #[test]
    fn what_is_left_is_told() {
        let buckets = Buckets::new(100);
        let holder = buckets.holder("a");
        let left = buckets.take_at(SECOND, holder, TEN, 5).unwrap();
        assert_eq!(left, Left { tokens: 15, full_in: Duration::from_millis(500) });
        buckets.give_back(holder, TEN, 5);
        assert_eq!(buckets.take_at(SECOND, holder, TEN, 1).unwrap().tokens, 19);
    }

    #[test]
    fn more_than_fits_is_given_by_a_full_bucket_and_owed_for_longer() {
        let buckets = Buckets::new(100);
        let holder = buckets.holder("a");
        assert_eq!(buckets.take_at(SECOND, holder, TEN, 100).unwrap().tokens, 0);
        assert_eq!(buckets.take_at(SECOND, holder, TEN, 1), Err(Duration::from_millis(8100)));
        // For another one as large it must be full again.
        assert!(buckets.take_at(10 * SECOND, holder, TEN, 100).is_err());
        assert!(buckets.take_at(11 * SECOND, holder, TEN, 100).is_ok());
    }

    #[test]
    fn a_million_addresses_take_no_memory_and_free_no_offender() {
        let buckets = Buckets::new(4096);
        let before = buckets.sets.len();
        let offender = buckets.holder("offender");
        assert_eq!(taken(&buckets, SECOND, offender, TEN), 20);
        for address in 0_u32..1_000_000 {
            // All at the same moment: nothing is paid off meanwhile.
            assert!(buckets.take_at(SECOND, buckets.holder(address), TEN, 1).is_ok(), "{address}");
            if address % 1000 == 0 {
                assert!(buckets.take_at(SECOND, offender, TEN, 1).is_err(), "free after {address} others");
            }
        }
        assert!(buckets.take_at(SECOND, offender, TEN, 1).is_err());
        assert_eq!((buckets.sets.len(), size_of::<Set>()), (before, 128));
    }

    #[test]
    fn whoever_owes_least_gives_way() {
        // One set: everybody is in it.
        let buckets = Buckets::new(WAYS);
        for holder in 0..WAYS as u64 {
            assert!(buckets.take_at(SECOND, buckets.holder(holder), TEN, 10 + holder).is_ok());
        }
        assert!(buckets.take_at(SECOND, buckets.holder("newcomer"), TEN, 20).is_ok());
        assert!(buckets.slot(buckets.holder(0_u64)).is_none(), "the one who owed least is still there");
        for holder in 1..WAYS as u64 {
            assert!(buckets.slot(buckets.holder(holder)).is_some(), "{holder}");
        }
    }

    #[test]
    fn many_threads_get_no_more_than_one() {
        let buckets = Arc::new(Buckets::new(64));
        let given = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (buckets, given) = (Arc::clone(&buckets), Arc::clone(&given));
                std::thread::spawn(move || {
                    let rate = Rate { per_s: 1000, burst_s: 10 };
                    for _ in 0..5_000 {
                        let took = buckets.take_at(SECOND, buckets.holder("one"), rate, 1).is_ok();
                        given.fetch_add(usize::from(took), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(given.load(Ordering::Relaxed), 10_000);
    }

    #[test]
    fn no_number_is_too_large() {
        let buckets = Buckets::new(1);
        let rate = Rate { per_s: 1, burst_s: u64::MAX };
        assert!(buckets.take_at(SECOND, buckets.holder("a"), rate, u64::MAX).is_ok());
        assert!(buckets.take_at(SECOND, buckets.holder("b"), Rate { per_s: u64::MAX, burst_s: 1 }, 1).is_ok());
    }
}
