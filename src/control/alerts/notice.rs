//! What of the conditions is told, and when: a condition that holds for long enough, once; and its end, once.

use super::conditions::{Judged, Subject};
use event::UnixMicros;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How it is with one subject.
#[derive(Debug, Clone, Copy)]
struct Known {
    wrong_since: Option<(Instant, UnixMicros)>,
    /// Whether the other side was told that it is wrong.
    is_told: bool,
}

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Notice {
    pub(super) judged: Judged,
    is_firing: bool,
    since: UnixMicros,
}

impl Notice {
    /// As it is posted.
    pub(super) fn body(&self, node: u128) -> Value {
        let Judged { subject, value, limit, .. } = self.judged;
        let mut out = json!({
            "alert": subject.name(),
            "status": if self.is_firing { "firing" } else { "resolved" },
            "value": value,
            "limit": limit,
            "unit": subject.unit(),
            "since": self.since.to_string(),
            "node": format!("{node:032x}"),
            "timestamp": UnixMicros::now().to_string(),
        });
        if let Subject::SinkLag(sink) = subject {
            out["sink"] = sink.into();
        }
        out
    }
}

/// What is known of all subjects.
#[derive(Debug)]
pub(super) struct Notices {
    hold: Duration,
    known: BTreeMap<Subject, Known>,
}

impl Notices {
    /// Tells what has been wrong for at least `hold`.
    pub(super) fn new(hold: Duration) -> Self {
        Notices { hold, known: BTreeMap::new() }
    }

    /// What is to be told now; the same again until it [was told](Self::told).
    pub(super) fn of(&mut self, judged: &[Judged], now: Instant) -> Vec<Notice> {
        judged.iter().filter_map(|judged| self.of_one(*judged, now)).collect()
    }

    fn of_one(&mut self, judged: Judged, now: Instant) -> Option<Notice> {
        let known = self.known.entry(judged.subject).or_insert(Known { wrong_since: None, is_told: false });
        if !judged.is_wrong {
            known.wrong_since = None;
            return known.is_told.then(|| Notice { judged, is_firing: false, since: UnixMicros::now() });
        }
        let (began, since) = *known.wrong_since.get_or_insert_with(|| (now, UnixMicros::now()));
        let is_due = !known.is_told && now.saturating_duration_since(began) >= self.hold;
        is_due.then_some(Notice { judged, is_firing: true, since })
    }

    /// The other side knows.
    pub(super) fn told(&mut self, notice: &Notice) {
        if let Some(known) = self.known.get_mut(&notice.judged.subject) {
            known.is_told = notice.is_firing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject = Subject::SinkLag("kafka");

    fn judged(is_wrong: bool) -> [Judged; 1] {
        [Judged { subject: SUBJECT, value: 1.0, limit: 2.0, is_wrong }]
    }

    #[test]
    fn what_holds_is_told_once_and_its_end_once() {
        let (hold, start) = (Duration::from_secs(60), Instant::now());
        let mut notices = Notices::new(hold);
        assert!(notices.of(&judged(true), start).is_empty());
        // It was but a moment.
        assert!(notices.of(&judged(false), start + hold / 2).is_empty());
        assert!(notices.of(&judged(true), start + hold).is_empty());
        let told = notices.of(&judged(true), start + hold * 2);
        assert_eq!(told[0].body(1)["status"], "firing");
        assert_eq!(told[0].body(1)["sink"], "kafka");
        // The other side was away.
        assert_eq!(notices.of(&judged(true), start + hold * 3).len(), 1);
        notices.told(&told[0]);
        assert!(notices.of(&judged(true), start + hold * 4).is_empty());
        let ended = notices.of(&judged(false), start + hold * 5);
        assert_eq!(ended[0].body(1)["status"], "resolved");
        notices.told(&ended[0]);
        assert!(notices.of(&judged(false), start + hold * 6).is_empty());
    }
}
