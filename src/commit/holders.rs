//! Whose idempotency keys are kept, each tenant's in their order, and who has to give one up when there are too many: whoever
//! has most, or a tenant that sends very many would have those of all others forgotten.

use super::idempotency::IdempotencyLimits;
use event::UnixMicros;
use std::collections::{BTreeSet, HashMap, VecDeque};
use xxhash_rust::xxh3::xxh3_128;

/// A tenant, by a hash of its name: two that share one share what they may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Holder(pub(super) u32);

impl Holder {
    /// Of keys beside which no tenant was stored.
    pub(super) const UNKNOWN: Holder = Holder(0);

    pub(super) fn of(tenant: &str) -> Self {
        Holder((xxh3_128(tenant.as_bytes()) as u32).max(1))
    }
}

/// An answer on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// The commit time that it bears.
    pub(super) at: UnixMicros,
    /// The steady time then: ages are counted from this.
    pub(super) since: UnixMicros,
    pub(super) digest: u128,
    pub(super) bytes: u64,
    pub(super) holder: Holder,
}

impl Kept {
    /// Under what it is stored.
    pub(super) fn key(&self) -> (UnixMicros, u128) {
        (self.at, self.digest)
    }
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Holders {
    queues: HashMap<Holder, Queue>,
    /// Every holder with the time of its oldest, with how many it has, and with their bytes.
    by_age: BTreeSet<(UnixMicros, Holder)>,
    by_keys: BTreeSet<(usize, Holder)>,
    by_bytes: BTreeSet<(u64, Holder)>,
    keys: usize,
    bytes: u64,
}

/// Those of one holder, the oldest first.
#[derive(Debug, Default)]
struct Queue {
    keys: VecDeque<Kept>,
    bytes: u64,
}

impl Holders {
    /// Keeps one more.
    pub(super) fn push(&mut self, kept: Kept) {
        self.keys += 1;
        self.bytes += kept.bytes;
        self.change(kept.holder, |queue| {
            queue.bytes += kept.bytes;
            queue.keys.push_back(kept);
        });
    }

    /// One that has to go, if any has: it is too old, or they are too many or too large together.
    pub(super) fn pop(&mut self, limits: &IdempotencyLimits, now: UnixMicros) -> Option<Kept> {
        let holder = self.next_to_lose(limits, now)?;
        let kept = self.change(holder, |queue| {
            let kept = queue.keys.pop_front()?;
            queue.bytes -= kept.bytes;
            Some(kept)
        })?;
        self.keys -= 1;
        self.bytes -= kept.bytes;
        Some(kept)
    }

    fn next_to_lose(&self, limits: &IdempotencyLimits, now: UnixMicros) -> Option<Holder> {
        match self.by_age.first() {
            Some((since, holder)) if now.since(*since) >= limits.age_max => Some(*holder),
            _ if self.keys > limits.keys_max => self.by_keys.last().map(|(_, holder)| *holder),
            _ if self.bytes > limits.bytes_max => self.by_bytes.last().map(|(_, holder)| *holder),
            _ => None,
        }
    }

    /// Changes what one holder has, and its place among the others.
    fn change<T>(&mut self, holder: Holder, how: impl FnOnce(&mut Queue) -> T) -> T {
        let queue = self.queues.entry(holder).or_default();
        let before = queue.rank();
        let done = how(queue);
        let after = queue.rank();
        if after.is_none() {
            self.queues.remove(&holder);
        }
        replace(&mut self.by_age, before.map(|rank| (rank.since, holder)), after.map(|rank| (rank.since, holder)));
        replace(&mut self.by_keys, before.map(|rank| (rank.keys, holder)), after.map(|rank| (rank.keys, holder)));
        replace(&mut self.by_bytes, before.map(|rank| (rank.bytes, holder)), after.map(|rank| (rank.bytes, holder)));
        done
    }
}

/// What decides a holder's place among the others.
#[derive(Debug, Clone, Copy)]
struct Rank {
    /// The time of its oldest.
    since: UnixMicros,
    keys: usize,
    bytes: u64,
}

impl Queue {
    /// `None` where it has nothing.
    fn rank(&self) -> Option<Rank> {
        let oldest = self.keys.front()?;
        Some(Rank { since: oldest.since, keys: self.keys.len(), bytes: self.bytes })
    }
}

fn replace<T: Ord>(places: &mut BTreeSet<T>, before: Option<T>, after: Option<T>) {
    if before == after {
        return;
    }
    if let Some(place) = before {
        places.remove(&place);
    }
    places.extend(after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn kept(holder: &str, number: i64, bytes: u64) -> Kept {
        let at = UnixMicros::new(number);
        Kept { at, since: at, digest: number as u128, bytes, holder: Holder::of(holder) }
    }

    fn limits(keys_max: usize, bytes_max: u64) -> IdempotencyLimits {
        IdempotencyLimits { keys_max, bytes_max, age_max: Duration::from_secs(1) }
    }

    fn popped(holders: &mut Holders, limits: &IdempotencyLimits, now: i64) -> Vec<i64> {
        std::iter::from_fn(|| holders.pop(limits, UnixMicros::new(now))).map(|kept| kept.at.get()).collect()
    }

    #[test]
    fn the_oldest_of_whoever_has_most_goes() {
        let mut holders = Holders::default();
        let all = [("a", 1), ("b", 2), ("b", 3), ("a", 4), ("b", 5), ("b", 6), ("c", 7)];
        all.into_iter().for_each(|(holder, number)| holders.push(kept(holder, number, 1)));
        assert!(popped(&mut holders, &limits(7, 7), 10).is_empty());
        assert_eq!(popped(&mut holders, &limits(5, 7), 10), [2, 3]);
        // From here on two have as many.
        assert_eq!(popped(&mut holders, &limits(4, 7), 10).len(), 1);
        assert_eq!(popped(&mut holders, &limits(3, 7), 10).len(), 1);
        let mut left = popped(&mut holders, &limits(0, 0), 10);
        left.sort_unstable();
        assert_eq!(left, [4, 6, 7], "the newest of each");
    }

    #[test]
    fn large_answers_are_those_of_whoever_has_them() {
        let mut holders = Holders::default();
        let all = [("a", 1, 10), ("b", 2, 500), ("a", 3, 10), ("a", 4, 10), ("b", 5, 600)];
        all.into_iter().for_each(|(holder, number, bytes)| holders.push(kept(holder, number, bytes)));
        assert_eq!(popped(&mut holders, &limits(100, 1000), 10), [2]);
        assert_eq!(popped(&mut holders, &limits(4, 20), 10), [5, 1]);
    }

    #[test]
    fn what_is_too_old_goes_first_whosever_it_is_and_nothing_is_left_behind() {
        let mut holders = Holders::default();
        let all = [("a", 1), ("b", 2), ("b", 3), ("b", 2_000_000)];
        all.into_iter().for_each(|(holder, number)| holders.push(kept(holder, number, 1)));
        assert_eq!(popped(&mut holders, &limits(3, 100), 1_000_002), [1, 2]);
        assert_eq!(popped(&mut holders, &limits(100, 100), 3_000_000), [3, 2_000_000]);
        let Holders { queues, by_age, by_keys, by_bytes, keys, bytes } = holders;
        assert!(queues.is_empty() && by_age.is_empty() && by_keys.is_empty() && by_bytes.is_empty());
        assert_eq!((keys, bytes), (0, 0));
    }
}
