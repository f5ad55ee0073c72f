use event::UnixMicros;
use std::fmt;
use std::str::FromStr;

const DAY_MICROS: i64 = 86_400 * 1_000_000;

/// A calendar day in UTC, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDate(i32);

impl UtcDate {
    /// The day of a moment; years outside 0..=9999 become the first or last day of those.
    #[must_use]
    pub fn of(moment: UnixMicros) -> Self {
        UtcDate(moment.get().div_euclid(DAY_MICROS).clamp(-719_528, 2_932_896) as i32)
    }

    /// Wraps a count of days since 1970-01-01.
    #[must_use]
    pub const fn from_days(days: i32) -> Self {
        UtcDate(days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i32 {
        self.0
    }

    /// The moment the day begins.
    #[must_use]
    pub const fn midnight(self) -> UnixMicros {
        UnixMicros::new((self.0 as i64).saturating_mul(DAY_MICROS))
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        UtcDate(self.0.saturating_add(1))
    }
}

impl fmt::Display for UtcDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.midnight().to_string();
        f.write_str(moment.get(..10).unwrap_or(&moment))
    }
}

/// A text that is not a date such as `2024-05-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a date such as 2024-05-01")]
pub struct DateError;

impl FromStr for UtcDate {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u16>().ok().map(i32::from);
        let parts = (number(0..4), number(5..7), number(8..10));
        let (Some(year), Some(month), Some(day)) = parts else { return Err(DateError) };
        // Whatever is no date comes out as another one than it went in.
        let date = UtcDate(days_since_1970(year, month, day));
        if date.to_string() == text { Ok(date) } else { Err(DateError) }
    }
}

/// `days_from_civil` of H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_since_1970(year: i32, month: i32, day: i32) -> i32 {
    // Counting years from March puts the leap day last, so that months before it have fixed lengths.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}
