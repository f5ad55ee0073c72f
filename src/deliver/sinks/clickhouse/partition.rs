use event::UnixMicros;
use std::fmt;

/// The month, in UTC, in which a row was committed: what tables are partitioned by, as `toYYYYMM(committed_at)`.
///
/// A batch never spans two, for a server makes a part of each, and only a single part is all or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u32);

/// The expression that tables are partitioned by.
pub(crate) const PARTITION_KEY: &str = "toYYYYMM(committed_at)";

impl Partition {
    /// The month of a moment.
    #[must_use]
    pub fn of(committed_at: UnixMicros) -> Self {
        // "2026-11-23T…": the calendar is in one place only.
        let mut text = Vec::with_capacity(32);
        committed_at.put_rfc3339(&mut text);
        let digits = text.iter().take(7).filter(|byte| byte.is_ascii_digit());
        Partition(digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    /// Year and month as one number: 202611.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
