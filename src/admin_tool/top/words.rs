//! Figures as short texts.

use serde_json::Value;

/// 1234567 as 1,234,567; `-` where there is none.
pub(super) fn count(value: &Value) -> String {
    let Some(number) = value.as_u64() else { return "-".into() };
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate per second.
pub(super) fn rate(value: &Value) -> String {
    match value.as_f64() {
        Some(rate) if rate >= 100.0 => count(&(rate.round() as u64).into()),
        Some(rate) => format!("{rate:.1}"),
        None => "-".into(),
    }
}

/// Bytes, in the unit that makes a short number.
pub(super) fn bytes(value: &Value) -> String {
    let Some(number) = value.as_u64() else { return "-".into() };
    let (mut number, mut unit) = (number as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if number < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    if unit == "B" { format!("{number} B") } else { format!("{number:.1} {unit}") }
}

/// Seconds as days, hours, minutes and seconds.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days}d ") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// How full something is, per cent.
pub(super) fn share(used: u64, max: u64) -> f64 {
    if max == 0 { 0.0 } else { used as f64 * 100.0 / max as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_exact_enough() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(|number: u64| count(&number.into())),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1023, 1536, 5 << 40].map(|number: u64| bytes(&number.into())),
            ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
        );
        assert_eq!([59, 3661, 90_061].map(duration), ["00:00:59", "01:01:01", "1d 01:01:01"]);
        assert_eq!([rate(&0.25.into()), rate(&10_000.4.into()), count(&Value::Null)], ["0.2", "10,000", "-"]);
    }
}
