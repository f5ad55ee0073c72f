use std::fmt;

/// Position of an event in the log: dense, increasing, the first event is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// The position before the first event: nothing is stored there.
    pub const ZERO: Seq = Seq(0);
    /// The position of the first event of a log.
    pub const FIRST: Seq = Seq(1);

    /// Wraps a raw position.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Seq(raw)
    }

    /// The raw position.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `events` later.
    ///
    /// # Panics
    /// When 2^64 is passed, which at 10M events/s takes 58,000 years.
    #[must_use]
    #[expect(clippy::expect_used, reason = "documented panic: cannot happen in the life of a machine")]
    pub const fn plus(self, events: u64) -> Self {
        Seq(self.0.checked_add(events).expect("sequence numbers are used up"))
    }

    /// The position just after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The position just before this one; zero stays zero.
    #[must_use]
    pub const fn prev(self) -> Self {
        Seq(self.0.saturating_sub(1))
    }

    /// How many events lie from `earlier` up to, not including, `self`; zero when `self` is not later.
    #[must_use]
    pub const fn since(self, earlier: Seq) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
