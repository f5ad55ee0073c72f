//! Whether requests are let in at all: one reason to refuse, set by whoever watches the disk, the log or the stop.

use crate::commit::{Budget, Permit};
use event::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The gate before the log.
#[derive(Debug)]
pub struct Admission {
    budget: Arc<Budget>,
    // One bit per reason, so that reasons come and go independently.
    closed: AtomicU8,
}

/// In the order in which they are told when several hold.
const REASONS: [Refusal; 5] =
    [Refusal::StorageFailed, Refusal::ShuttingDown, Refusal::LogStalled, Refusal::DiskReserve, Refusal::LogBudget];

impl Admission {
    /// An open gate over `budget`.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        Admission { budget, closed: AtomicU8::new(0) }
    }

    /// Changes how many requests and bytes may be under way.
    pub fn resize(&self, requests: usize, bytes: usize) {
        self.budget.resize(requests, bytes);
    }

    /// How many requests and bytes are under way, and may be.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Closes or opens the gate for one reason.
    pub fn set(&self, reason: Refusal, closed: bool) {
        let Some(place) = REASONS.iter().position(|known| *known == reason) else { return };
        if closed {
            self.closed.fetch_or(1 << place, Ordering::Release);
        } else {
            self.closed.fetch_and(!(1 << place), Ordering::Release);
        }
    }

    /// Why nothing is let in, if so.
    #[must_use]
    pub fn closed(&self) -> Option<Refusal> {
        let closed = self.closed.load(Ordering::Acquire);
        REASONS.iter().enumerate().find(|(place, _)| closed & (1 << place) != 0).map(|(_, reason)| *reason)
    }

    /// Bytes for what is done at once beside a request that holds `held` bytes; nobody is asked for none.
    ///
    /// # Errors
    /// There are too few now.
    pub fn lend(&self, bytes: usize, held: usize) -> Result<Option<Permit>, Refusal> {
        if bytes == 0 {
            return Ok(None);
        }
        self.budget.lend(bytes, held).map(Some).ok_or(Refusal::Overloaded)
    }

    /// Lets one request in.
    ///
    /// # Errors
    /// Why not.
    pub fn enter(&self) -> Result<Permit, Refusal> {
        match self.closed() {
            Some(reason) => Err(reason),
            None => self.budget.enter().ok_or(Refusal::Overloaded),
        }
    }
}
