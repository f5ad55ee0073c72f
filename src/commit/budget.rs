//! Bounds everything between socket and log, in requests and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests and bytes may be on their way at once; both limits may change while some are.
#[derive(Debug)]
pub struct Budget {
    slots: Share,
    bytes: Share,
}

/// What is in use of what there is.
#[derive(Debug)]
struct Share {
    used: AtomicUsize,
    max: AtomicUsize,
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    slots: usize,
    bytes: usize,
}

impl Budget {
    /// A budget of so many requests and bytes.
    #[must_use]
    pub fn new(slots: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Budget { slots: Share::new(slots), bytes: Share::new(bytes) })
    }

    /// Changes the limits. What is over a smaller one stays until it is given back.
    pub fn resize(&self, slots: usize, bytes: usize) {
        self.slots.max.store(slots, Ordering::Relaxed);
        self.bytes.max.store(bytes, Ordering::Relaxed);
    }

    /// Requests and bytes: how many are on their way, and how many may be.
    #[must_use]
    pub fn in_use(&self) -> ((usize, usize), (usize, usize)) {
        (self.slots.in_use(), self.bytes.in_use())
    }

    /// Takes one slot; `None` when all are in use.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        self.slots.take(1).then(|| Permit { budget: Arc::clone(self), slots: 1, bytes: 0 })
    }

    /// Takes bytes and no slot, for what is done at once beside something that holds `held` bytes: so many, or all that
    /// there are for it when nothing else is on its way. `None` when too many are in use.
    #[must_use]
    pub fn lend(self: &Arc<Self>, bytes: usize, held: usize) -> Option<Permit> {
        let all = self.bytes.max.load(Ordering::Relaxed).saturating_sub(held);
        let bytes = bytes.min(all);
        self.bytes.take(bytes).then(|| Permit { budget: Arc::clone(self), slots: 0, bytes })
    }
}

impl Permit {
    /// Takes bytes as they arrive; false when too many are in use.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.bytes.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.bytes.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.slots.used.fetch_sub(self.slots, Ordering::Relaxed);
    }
}

impl Share {
    fn new(max: usize) -> Self {
        Share { used: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    fn in_use(&self) -> (usize, usize) {
        (self.used.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed))
    }

    fn take(&self, amount: usize) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let more = |used: usize| used.checked_add(amount).filter(|used| *used <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_gives_everything_back() {
        let budget = Budget::new(1, 10);
        let mut permit = budget.enter().unwrap();
        assert!(permit.grow(8));
        assert!(!permit.grow(3));
        assert!(budget.enter().is_none());
        drop(permit);
        assert!(budget.enter().unwrap().grow(10));
    }

    #[test]
    fn what_is_lent_is_all_there_is_at_most_and_takes_no_slot() {
        let budget = Budget::new(1, 10);
        let mut permit = budget.enter().unwrap();
        assert!(permit.grow(2));
        let lent = budget.lend(100, permit.bytes()).unwrap();
        assert_eq!((lent.bytes(), budget.in_use()), (8, ((1, 1), (10, 10))));
        assert!(budget.lend(1, 2).is_none());
        drop((lent, permit));
        assert_eq!(budget.in_use(), ((0, 1), (0, 10)));
    }

    #[test]
    fn a_budget_that_shrinks_below_what_is_in_use_lets_nothing_in_until_enough_is_given_back() {
        let budget = Budget::new(3, 10);
        let permits = [budget.enter().unwrap(), budget.enter().unwrap()];
        budget.resize(1, 10);
        assert!(budget.enter().is_none());
        drop(permits);
        let permit = budget.enter().unwrap();
        assert!(budget.enter().is_none());
        budget.resize(2, 10);
        assert!(budget.enter().is_some());
        drop(permit);
    }
}
