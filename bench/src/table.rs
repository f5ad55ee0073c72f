//! Medians, and numbers as they are quoted.

/// The middle value (the mean of the middle two, for an even number); `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => sorted.get(middle).copied(),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The run in the middle by one of its figures, so that all quoted figures are of one run.
pub fn median_run<T>(mut runs: Vec<T>, figure: impl Fn(&T) -> f64) -> Option<T> {
    runs.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let middle = runs.len().checked_sub(1)? / 2;
    Some(runs.swap_remove(middle))
}

/// A number with three significant digits and, above a thousand, `k` or `M`.
pub fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        large if large >= 999_500.0 => (value / 1e6, "M"),
        large if large >= 999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    match scaled.abs() {
        large if large >= 99.95 => format!("{scaled:.0}{suffix}"),
        large if large >= 9.995 => format!("{scaled:.1}{suffix}"),
        _ => format!("{scaled:.2}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median_run(vec![(5.0, 'a'), (1.0, 'b'), (3.0, 'c')], |run| run.0), Some((3.0, 'c')));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_234_567.0), "1.23M");
        assert_eq!(short(75_123.0), "75.1k");
        assert_eq!(short(0.5), "0.50");
    }
}
