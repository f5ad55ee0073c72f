use event::UnixMicros;

/// Longest `timestamp` that is looked at, in bytes: leaves room for some 100 digits of a second.
pub const TIMESTAMP_BYTES_MAX: usize = 128;

const SHORTEST: usize = "1970-01-01T00:00:00Z".len();
const DAY_SECONDS: i64 = 86_400;

/// A text that is not an RFC 3339 date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 date and time, such as 2024-05-01T12:00:00Z")]
pub struct TimestampError;

/// Reads an RFC 3339 date and time, to the microsecond (further digits are cut off).
///
/// Years 0000 to 9999, which is why no calendar crate does it: jiff's `Timestamp` ends a day before the year 9999 does.
/// A leap second counts as the last microsecond of its minute, and is taken only where one can be: at 23:59:60 UTC on
/// the last day of a month.
///
/// # Errors
/// [`TimestampError`] when the text is anything else, or longer than [`TIMESTAMP_BYTES_MAX`].
pub fn parse_timestamp(text: &str) -> Result<UnixMicros, TimestampError> {
    parse(text.as_bytes()).map(UnixMicros::new).ok_or(TimestampError)
}

fn parse(text: &[u8]) -> Option<i64> {
    if text.len() < SHORTEST || text.len() > TIMESTAMP_BYTES_MAX {
        return None;
    }
    let shape = [text[4], text[7], text[13], text[16]] == *b"--::" && matches!(text[10], b'T' | b't');
    if !shape {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let (hour, minute, second) = (two(text, 11)?, two(text, 14)?, two(text, 17)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, rest) = fraction(&text[19..])?;
    let seconds = days_since_1970(year, month, day) * DAY_SECONDS + hour * 3_600 + minute * 60 - offset(rest)?;
    if second == 60 {
        let minute_after = seconds + 60;
        let (next_day, into_day) = (minute_after.div_euclid(DAY_SECONDS), minute_after.rem_euclid(DAY_SECONDS));
        return (into_day == 0 && starts_month(next_day)).then_some(minute_after * 1_000_000 - 1);
    }
    Some((seconds + second) * 1_000_000 + micros)
}

/// The number that the two digits at `at` make.
#[inline]
fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Microseconds of an optional `.digits`, and what follows it.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else {
        return Some((0, text));
    };
    let mut micros = 0;
    let mut len = 0;
    while let Some(digit) = digits.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        if len < 6 {
            micros = micros * 10 + i64::from(digit);
        }
        len += 1;
    }
    for _ in len..6 {
        micros *= 10;
    }
    (len > 0).then(|| (micros, &digits[len..]))
}

/// Seconds east of UTC.
#[inline]
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(text, 1)?, two(text, 4)?);
            let east = hours * 3_600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -east } else { east })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Counting years from March puts the leap day last, so that months before it have fixed lengths.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Whether the day is the first of a month (Hinnant's `civil_from_days`, as far as the day).
fn starts_month(day: i64) -> bool {
    let day = (day + 719_468).rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year == (153 * month + 2) / 5
}
