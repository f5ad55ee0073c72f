//! What is wrong, judged from figures. Pure.

use std::time::Duration;

/// Where the conditions begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Events in a minute that were rejected, or refused by a sink for good.
    pub dead_letters_per_minute: u64,
    /// Age of the oldest event that a sink does not have.
    pub sink_lag: Duration,
    /// The 99th percentile of syncs of the last minute.
    pub fsync_p99: Duration,
}

/// One sink's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SinkFigures {
    pub(super) name: &'static str,
    pub(super) lag_seconds: f64,
    pub(super) imbalances: u64,
}

/// What is judged.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Figures {
    /// Events of the last minute that were rejected or refused, whether there was room to keep them or not.
    pub(super) dead_letters: u64,
    pub(super) disk_free_bytes: u64,
    pub(super) disk_reserve_bytes: u64,
    /// `None` where nothing was synced.
    pub(super) fsync_p99_ms: Option<f64>,
    /// Events with an outcome that were never counted as received.
    pub(super) surplus: u64,
    pub(super) sinks: Vec<SinkFigures>,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    DeadLetterRate,
    SinkLag(&'static str),
    DiskReserve,
    FsyncLatency,
    LedgerImbalance,
}

impl Subject {
    /// The alert's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Subject::DeadLetterRate => "dead_letter_rate",
            Subject::SinkLag(_) => "sink_lag",
            Subject::DiskReserve => "disk_reserve",
            Subject::FsyncLatency => "fsync_latency",
            Subject::LedgerImbalance => "ledger_imbalance",
        }
    }

    /// What its numbers count.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Subject::DeadLetterRate => "per_minute",
            Subject::SinkLag(_) => "seconds",
            Subject::DiskReserve => "bytes",
            Subject::FsyncLatency => "milliseconds",
            Subject::LedgerImbalance => "accounts",
        }
    }
}

/// One thing that is looked at, and how it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    pub(super) subject: Subject,
    pub(super) value: f64,
    pub(super) limit: f64,
    pub(super) is_wrong: bool,
}

impl Judged {
    fn above(subject: Subject, value: f64, limit: f64) -> Self {
        Judged { subject, value, limit, is_wrong: value > limit }
    }
}

/// Everything that is looked at.
pub(super) fn judge(figures: &Figures, limits: &Limits) -> Vec<Judged> {
    // Before events are refused, which is at the reserve itself.
    let (free, wanted) = (figures.disk_free_bytes as f64, figures.disk_reserve_bytes as f64 * 2.0);
    let fsync = limits.fsync_p99.as_secs_f64() * 1e3;
    let imbalances = figures.surplus.min(1) + figures.sinks.iter().map(|sink| sink.imbalances).sum::<u64>();
    let dead = limits.dead_letters_per_minute as f64;
    let mut out = vec![
        Judged::above(Subject::DeadLetterRate, figures.dead_letters as f64, dead),
        Judged { subject: Subject::DiskReserve, value: free, limit: wanted, is_wrong: free < wanted },
        Judged::above(Subject::FsyncLatency, figures.fsync_p99_ms.unwrap_or(0.0), fsync),
        Judged::above(Subject::LedgerImbalance, imbalances as f64, 0.0),
    ];
    let lag = limits.sink_lag.as_secs_f64();
    out.extend(figures.sinks.iter().map(|sink| Judged::above(Subject::SinkLag(sink.name), sink.lag_seconds, lag)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { dead_letters_per_minute: 60, sink_lag: Duration::from_secs(300), fsync_p99: Duration::from_millis(5) };

    fn calm() -> Figures {
        let sink = |name| SinkFigures { name, lag_seconds: 300.0, imbalances: 0 };
        Figures {
            dead_letters: 60,
            disk_free_bytes: 200,
            disk_reserve_bytes: 100,
            fsync_p99_ms: Some(5.0),
            surplus: 0,
            sinks: vec![sink("parquet"), sink("kafka")],
        }
    }

    #[track_caller]
    fn assert_wrong(change: impl FnOnce(&mut Figures), subject: Subject, value: f64) {
        let mut figures = calm();
        change(&mut figures);
        let wrong: Vec<_> = judge(&figures, &LIMITS).into_iter().filter(|judged| judged.is_wrong).collect();
        assert_eq!(wrong.iter().map(|judged| (judged.subject, judged.value)).collect::<Vec<_>>(), [(subject, value)]);
    }

    #[test]
    fn each_condition_begins_behind_its_limit_and_is_alone() {
        assert!(judge(&calm(), &LIMITS).iter().all(|judged| !judged.is_wrong));
        assert_wrong(|figures| figures.dead_letters = 61, Subject::DeadLetterRate, 61.0);
        assert_wrong(|figures| figures.disk_free_bytes = 199, Subject::DiskReserve, 199.0);
        assert_wrong(|figures| figures.fsync_p99_ms = Some(5.5), Subject::FsyncLatency, 5.5);
        assert_wrong(|figures| figures.surplus = 40, Subject::LedgerImbalance, 1.0);
        assert_wrong(|figures| figures.sinks[0].imbalances = 2, Subject::LedgerImbalance, 2.0);
        assert_wrong(|figures| figures.sinks[1].lag_seconds = 301.0, Subject::SinkLag("kafka"), 301.0);
    }

    #[test]
    fn where_nothing_was_synced_nothing_was_slow() {
        let figures = Figures { fsync_p99_ms: None, ..calm() };
        assert!(judge(&figures, &LIMITS).iter().all(|judged| !judged.is_wrong));
    }
}
