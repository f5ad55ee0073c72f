//! What a producer hears back: a report for each message, and complaints about everything else.

use crate::connection::Ears;
use crate::decide::{self, Action, Undelivered};
use crate::{Config, Reason, Refused, Slice};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Stands for the watermark where others have their place in the slice.
pub(crate) const WATERMARK: usize = usize::MAX;

/// How an attempt to send ended, other than well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// See [`Action`].
    Do(Action, String),
    /// Time is up, and the outcome unknown.
    Late(String),
    /// Topics refuse these, or others that shared a batch with them.
    Refused(Vec<Refused>),
}

/// Where reports and complaints arrive.
#[derive(Default)]
pub(crate) struct Reports {
    pub(crate) ears: Ears,
    heard: AtomicU64,
    failed: Mutex<Vec<(usize, RDKafkaErrorCode)>>,
}

impl Reports {
    /// Those of a producer with these settings.
    pub(crate) fn of(config: &Config) -> Self {
        Reports { ears: Ears::of(config), ..Reports::default() }
    }

    /// How many messages were reported of, delivered or not.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether there are messages that were not delivered.
    pub(crate) fn has_failed(&self) -> bool {
        !self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The messages that were not delivered, since the last call.
    pub(crate) fn take(&self) -> Vec<(usize, RDKafkaErrorCode)> {
        std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.ears.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ears.hear(&error, reason);
    }
}

impl ProducerContext for Reports {
    /// Place of the message in its slice.
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, place: usize) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        if let Err((error, _)) = report {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push((place, code));
        }
    }
}

/// What the reports of undelivered messages come to. What the cluster says of us comes first: no event is blamed for it.
pub(crate) fn judge(slice: &Slice, failed: &[(usize, RDKafkaErrorCode)]) -> Stop {
    let mut refused: Vec<Refused> = Vec::new();
    // What fell with an invalid record, which is not always told of itself.
    let mut beside: Vec<Refused> = Vec::new();
    let mut gravest: Option<(Action, RDKafkaErrorCode)> = None;
    for &(place, code) in failed {
        let action = match (decide::undelivered(code), slice.get(place)) {
            (Undelivered::Refused(reason), Some(message)) => {
                refused.push(Refused { item: message.item, topic: message.topic, reason });
                continue;
            }
            (Undelivered::Collateral, Some(message)) if code == RDKafkaErrorCode::InvalidDifferentRecord => {
                beside.push(Refused { item: message.item, topic: message.topic, reason: Reason::Invalid });
                continue;
            }
            // The watermark topic does not even take forty bytes.
            (Undelivered::Refused(_), None) => Action::Deny,
            (Undelivered::Collateral, _) => continue,
            (Undelivered::Do(action), _) => action,
        };
        if gravest.is_none_or(|(known, _)| known != Action::Deny) {
            gravest = Some((action, code));
        }
    }
    if let Some((action, code)) = gravest {
        return undelivered(action, code);
    }
    if refused.is_empty() {
        refused = beside;
    }
    refused.sort_by_key(|refused| refused.item);
    refused.dedup_by_key(|refused| refused.item);
    match failed.first() {
        Some((_, code)) if refused.is_empty() => undelivered(Action::Renew, *code),
        _ => Stop::Refused(refused),
    }
}

fn undelivered(action: Action, code: RDKafkaErrorCode) -> Stop {
    Stop::Do(action, format!("message not delivered: {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Item, Position, Topic};
    use event::Seq;
    use rdkafka::error::RDKafkaErrorCode as Code;

    /// Two events, three messages each.
    fn slice() -> Slice {
        let mut slice = Slice::new(Position::START);
        for seq in 1..=2 {
            slice.push(&Event {
                seq: Seq::new(seq),
                incarnation: 1,
                tenant: "default",
                event_id: "e",
                event_type: "t",
                session_id: "s",
                schema_version: 1,
                traceparent: None,
                raw: b"r",
                validated: Some(b"v"),
                enriched: Some(b"e"),
            });
        }
        slice
    }

    fn refused(seq: u64, topic: Topic) -> Refused {
        Refused { item: Item::Event(Seq::new(seq)), topic, reason: Reason::TooLarge }
    }

    #[test]
    fn an_event_is_refused_once_whatever_falls_with_it() {
        let failed = [
            (5, Code::MessageSizeTooLarge),
            (4, Code::MessageSizeTooLarge),
            (0, Code::PurgeQueue),
            (1, Code::MessageSizeTooLarge),
            (WATERMARK, Code::PurgeQueue),
        ];
        let wanted = vec![refused(1, Topic::Validated), refused(2, Topic::Enriched)];
        assert_eq!(judge(&slice(), &failed), Stop::Refused(wanted));
    }

    #[test]
    fn no_event_is_blamed_for_what_the_cluster_says_of_us() {
        let failed = [(0, Code::MessageSizeTooLarge), (1, Code::TopicAuthorizationFailed), (2, Code::ProducerFenced)];
        let stop = judge(&slice(), &failed);
        assert!(matches!(&stop, Stop::Do(Action::Deny, text) if text.contains("authorization")), "{stop:?}");
        let stop = judge(&slice(), &failed[..1]);
        assert_eq!(stop, Stop::Refused(vec![refused(1, Topic::Raw)]));
        let stop = judge(&slice(), &[(0, Code::MessageSizeTooLarge), (2, Code::ProducerFenced)]);
        assert!(matches!(stop, Stop::Do(Action::Renew, _)), "{stop:?}");
        let stop = judge(&slice(), &[(WATERMARK, Code::MessageSizeTooLarge)]);
        assert!(matches!(stop, Stop::Do(Action::Deny, _)), "{stop:?}");
    }

    #[test]
    fn who_fell_with_an_invalid_record_is_a_suspect_only_while_that_one_is_not_known() {
        let invalid = |seq| Refused { reason: Reason::Invalid, ..refused(seq, Topic::Raw) };
        let failed = [(0, Code::InvalidDifferentRecord), (3, Code::InvalidRecord)];
        assert_eq!(judge(&slice(), &failed), Stop::Refused(vec![invalid(2)]));
        assert_eq!(judge(&slice(), &failed[..1]), Stop::Refused(vec![invalid(1)]));
    }

    #[test]
    fn messages_that_only_fell_are_sent_again() {
        let stop = judge(&slice(), &[(0, Code::PurgeQueue), (1, Code::MessageTimedOut)]);
        assert!(matches!(stop, Stop::Do(Action::Renew, _)), "{stop:?}");
    }
}
