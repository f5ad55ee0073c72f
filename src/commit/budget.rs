//! Bounds everything between socket and log, in requests and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests and bytes may be on their way to the log at once.
#[derive(Debug)]
pub struct Budget {
    slots: AtomicUsize,
    bytes: AtomicUsize,
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many requests and bytes.
    #[must_use]
    pub fn new(slots: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Budget { slots: AtomicUsize::new(slots), bytes: AtomicUsize::new(bytes) })
    }

    /// Takes one slot; `None` when all are in use.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        take(&self.slots, 1).then(|| Permit { budget: Arc::clone(self), bytes: 0 })
    }
}

impl Permit {
    /// Takes bytes as they arrive; false when too many are in use.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = take(&self.budget.bytes, bytes);
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
        self.budget.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        self.budget.slots.fetch_add(1, Ordering::Relaxed);
    }
}

fn take(from: &AtomicUsize, amount: usize) -> bool {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).is_ok()
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
}
