//! What each address holds of something that all of them share; who holds nothing is not remembered.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts with a lock of their own.
const PARTS: usize = 64;
/// Room that is kept in each part whatever is in it.
const KEPT: usize = 64;

/// Who holds how much.
#[derive(Debug)]
pub struct Shares {
    parts: Box<[Mutex<HashMap<u128, Held>>]>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    count: usize,
    bytes: usize,
}

/// One thing that an address holds, given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    block: u128,
    bytes: usize,
}

impl Shares {
    /// Nobody holds anything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Shares { parts: (0..PARTS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() })
    }

    /// One more for an address, by its [`super::block_of`]; `None` when it holds `max` already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, block: u128, max: usize) -> Option<Share> {
        let mut part = self.part(block);
        let held = part.entry(block).or_default();
        if held.count >= max {
            if held.count == 0 {
                part.remove(&block);
            }
            return None;
        }
        held.count += 1;
        drop(part);
        Some(Share { shares: Arc::clone(self), block, bytes: 0 })
    }

    /// How many addresses hold something.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn part(&self, block: u128) -> MutexGuard<'_, HashMap<u128, Held>> {
        let at = self.hasher.hash_one(block) as usize % PARTS;
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes bytes too; false when the address would then hold more than `max`.
    #[must_use]
    pub fn grow(&mut self, bytes: usize, max: usize) -> bool {
        let mut part = self.shares.part(self.block);
        let Some(held) = part.get_mut(&self.block) else { return false };
        let fits = held.bytes.checked_add(bytes).is_some_and(|all| all <= max);
        if fits {
            held.bytes += bytes;
            self.bytes += bytes;
        }
        fits
    }

    /// Bytes that this one holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut part = self.shares.part(self.block);
        if let Entry::Occupied(mut entry) = part.entry(self.block) {
            let held = entry.get_mut();
            held.count -= 1;
            held.bytes -= self.bytes;
            if held.count == 0 {
                entry.remove();
            }
        }
        // After a flood of addresses the room for them is given back, too.
        if part.capacity() > KEPT && part.len() < part.capacity() / 8 {
            part.shrink_to(KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_bytes() {
        let shares = Shares::new();
        let mut first = shares.enter(1, 2).unwrap();
        let second = shares.enter(1, 2).unwrap();
        assert!(shares.enter(1, 2).is_none());
        let mut other = shares.enter(2, 2).unwrap();
        assert!(first.grow(8, 10) && !first.grow(3, 10) && other.grow(10, 10));
        drop(second);
        assert!(shares.enter(1, 2).is_some());
        drop(first);
        assert!(shares.enter(1, 1).unwrap().grow(10, 10));
        drop(other);
        assert_eq!(shares.addresses(), 0);
    }

    #[test]
    fn nothing_is_kept_of_who_holds_nothing() {
        let shares = Shares::new();
        let flood: Vec<Share> = (0..100_000).filter_map(|block| shares.enter(block, 1)).collect();
        assert_eq!((flood.len(), shares.addresses()), (100_000, 100_000));
        drop(flood);
        assert!(shares.enter(7, 0).is_none());
        assert_eq!(shares.addresses(), 0);
        let room: usize = shares.parts.iter().map(|part| part.lock().unwrap().capacity()).sum();
        assert!(room <= PARTS * KEPT * 4, "{room}");
    }
}
