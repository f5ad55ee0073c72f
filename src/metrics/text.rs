//! Lines of Prometheus' text format, version 0.0.4.

use super::recorder::Buckets;
use std::fmt::{Display, Write as _};

/// Appends what a metric is.
pub fn put_head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail, here and below.
    write!(out, "# HELP {name} {}\n# TYPE {name} {kind}\n", help.trim()).ok();
}

/// Appends one series; `labels` as they stand between the braces.
pub fn put_series(out: &mut String, name: &str, labels: &str, value: impl Display) {
    writeln!(out, "{name}{{{labels}}} {value}").ok();
}

/// Appends a metric without labels.
pub fn put_metric(out: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    put_head(out, name, kind, help);
    writeln!(out, "{name} {value}").ok();
}

/// Appends one histogram of seconds; `bounds` in microseconds.
pub(super) fn put_histogram(out: &mut String, name: &str, label: &str, bounds: &[u64], buckets: &Buckets) {
    let mut count = 0;
    for (bound, more) in bounds.iter().zip(buckets.counts) {
        count += more;
        let bound = *bound as f64 / 1e6;
        writeln!(out, "{name}_bucket{{{label},le=\"{bound}\"}} {count}").ok();
    }
    count += buckets.counts.get(bounds.len()).copied().unwrap_or(0);
    writeln!(out, "{name}_bucket{{{label},le=\"+Inf\"}} {count}").ok();
    writeln!(out, "{name}_sum{{{label}}} {}", buckets.sum_micros as f64 / 1e6).ok();
    writeln!(out, "{name}_count{{{label}}} {count}").ok();
}
