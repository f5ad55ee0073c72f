//! The `Date` header (RFC 9110, 6.6.1), written anew once a second.

use event::UnixMicros;
use httpdate::HttpDate;
use std::cell::RefCell;
use std::time::{Duration, SystemTime};

/// The newest date as text.
#[derive(Default)]
pub(super) struct Date(RefCell<(u64, String)>);

impl Date {
    /// Appends the date of `now`; 1970 at the earliest.
    pub(super) fn put(&self, now: UnixMicros, out: &mut Vec<u8>) {
        let second = u64::try_from(now.get()).unwrap_or(0) / 1_000_000;
        let (known, text) = &mut *self.0.borrow_mut();
        if *known != second || text.is_empty() {
            *known = second;
            *text = HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).to_string();
        }
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_the_clock() {
        let date = Date::default();
        let at = |micros| {
            let mut out = Vec::new();
            date.put(UnixMicros::new(micros), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(1_764_115_199_999_999), "Tue, 25 Nov 2025 23:59:59 GMT");
        assert_eq!(at(1_764_115_200_000_000), "Wed, 26 Nov 2025 00:00:00 GMT");
    }
}
