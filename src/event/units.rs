use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment as microseconds since 1970-01-01T00:00:00Z, negative before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMicros(i64);

impl UnixMicros {
    /// Wraps a count of microseconds.
    #[must_use]
    pub const fn new(micros: i64) -> Self {
        UnixMicros(micros)
    }

    /// The count of microseconds.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The wall clock's present time.
    #[must_use]
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => UnixMicros(since.as_micros() as i64),
            Err(before) => UnixMicros(-(before.duration().as_micros() as i64)),
        }
    }

    /// The moment `by` later, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        UnixMicros(self.0.saturating_add(micros(by)))
    }

    /// The moment `by` earlier, saturating.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        UnixMicros(self.0.saturating_sub(micros(by)))
    }

    /// The time from `earlier` to `self`, zero when `self` is not later.
    #[must_use]
    pub fn since(self, earlier: UnixMicros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Appends the moment as RFC 3339 in UTC with six decimals: `2026-11-23T01:02:03.000456Z`.
    ///
    /// Years outside 0..=9999 are clamped. The day arithmetic is `civil_from_days` of H. Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms".
    pub fn put_rfc3339(self, out: &mut Vec<u8>) {
        let micros = self.0.clamp(-62_167_219_200_000_000, 253_402_300_799_999_999);
        let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        for (value, digits, after) in [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (second / 3600, 2, b':'),
            (second / 60 % 60, 2, b':'),
            (second % 60, 2, b'.'),
            (fraction, 6, b'Z'),
        ] {
            put_digits(out, value, digits);
            out.push(after);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl std::fmt::Display for UnixMicros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.put_rfc3339(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

fn put_digits(out: &mut Vec<u8>, mut value: i64, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_the_ends() {
        assert_eq!(UnixMicros::new(5).plus(Duration::MAX), UnixMicros::new(i64::MAX));
        assert_eq!(UnixMicros::new(-5).minus(Duration::MAX), UnixMicros::new(i64::MIN));
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_291_191_960_000_001, "2010-12-01T08:26:00.000001Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(UnixMicros::new(micros).to_string(), text);
        }
    }
}
