//! What to do next: from what a watermark says, and from how a call failed. Pure, so that every row can be tested.

use crate::{Failure, History, Position, Reason, Watermark};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a session knows when it reads the watermark.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// It has just begun. `confirmed` is the stored cursor, `None` for a sink that is new, which goes on after `begin` if
    /// the topics do not have more; `passed` is what the topics must have, if that is not all up to the cursor: what
    /// follows was given up, or sent at least once, which the cursor alone tells.
    Log { history: History<'a>, confirmed: Option<Position>, passed: Option<Position>, begin: Position },
    /// It has written its own watermark, which says `confirmed`, or up to `sent` if a transaction of unknown outcome
    /// went through.
    Own { run: u64, confirmed: Position, sent: Position },
}

/// Where to go on, given the watermark that was found.
///
/// | known | watermark | then |
/// |---|---|---|
/// | own | ours | go on after it: we timed out, or the outcome was unknown |
/// | own | another run's | [`Failure::Fenced`] |
/// | own | ours, and ahead of all that we sent: we are a copy of a running machine | [`Failure::Diverged`] |
/// | log | none, sink new or cursor zero | begin |
/// | log | in our history, sink new: it was forgotten | go on after it, or where the log begins |
/// | log | none, or older than the cursor, and the topics need not have what is between | go on after the cursor |
/// | any | none otherwise, or older than the cursor | [`Failure::WatermarkLost`] |
/// | log | not in our history | [`Failure::Diverged`] |
/// | log | in our history, at the cursor or ahead of it | go on after it |
pub(crate) fn resume(known: &Known<'_>, found: Option<Watermark>) -> Result<Option<Watermark>, Failure> {
    let (reached, needed) = match *known {
        Known::Log { confirmed: None, begin, .. } => (begin, Position::START),
        Known::Log { confirmed: Some(confirmed), passed, .. } => (confirmed, passed.unwrap_or(confirmed)),
        Known::Own { confirmed, .. } => (confirmed, confirmed),
    };
    let lost = Failure::WatermarkLost { found, confirmed: reached };
    let Some(mark) = found else {
        let begins = matches!(known, Known::Log { .. }) && needed == Position::START;
        return if begins { Ok(None) } else { Err(lost) };
    };
    match known {
        Known::Own { run, .. } if mark.run != *run => return Err(Failure::Fenced { run: mark.run }),
        Known::Own { sent, .. } if !sent.covers(&mark.position) => return Err(Failure::Diverged { found: mark }),
        Known::Log { history, .. } if !history.contains(mark.incarnation, mark.position) => {
            return Err(Failure::Diverged { found: mark });
        }
        _ => {}
    }
    if !mark.position.covers(&needed) {
        return Err(lost);
    }
    let position = mark.position.max(reached);
    match known {
        Known::Log { history, .. } if position != mark.position => {
            Ok(Some(Watermark { position, incarnation: history.incarnation_at(position.seq), ..mark }))
        }
        _ => Ok(Some(mark)),
    }
}

/// Whether somebody else has written the watermark since `first` was found, the run that the first look named, if any: not
/// `ours`, which we may have written ourselves by a claim whose outcome was unknown.
pub(crate) fn is_contested(first: &mut Option<Option<u64>>, run: Option<u64>, ours: u64) -> bool {
    run != Some(ours) && *first.get_or_insert(run) != run
}

/// How a call to the cluster failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: Code,
    pub(crate) fatal: bool,
    pub(crate) retriable: bool,
    pub(crate) text: String,
}

impl From<KafkaError> for Trouble {
    fn from(error: KafkaError) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let text = error.to_string();
        match error {
            KafkaError::Transaction(error) => {
                Trouble { code, fatal: error.is_fatal(), retriable: error.is_retriable(), text }
            }
            _ => Trouble { code, fatal: code == Code::Fatal, retriable: false, text },
        }
    }
}

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the same call again.
    Repeat,
    /// The transaction failed, or its outcome is unknown, or the producer is of no more use: a new one, which has
    /// aborted what is open, and the watermark again.
    Renew,
    /// Say so: nothing that we could do changes it.
    Deny,
}

/// What to do about a call that failed.
pub(crate) fn action(trouble: &Trouble) -> Action {
    if is_denial(trouble.code) {
        Action::Deny
    } else if trouble.retriable && !trouble.fatal && !is_fence(trouble.code) {
        Action::Repeat
    } else {
        Action::Renew
    }
}

/// What to do about a message that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// The topic will never take it: or, if it went out with others in one batch, one of those.
    Refused(Reason),
    /// Nothing is said of the message itself: it comes again with the slice.
    Collateral,
    /// As for a call.
    Do(Action),
}

/// What to do about a message that was not delivered.
pub(crate) fn undelivered(code: Code) -> Undelivered {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Undelivered::Refused(Reason::TooLarge)
        }
        Code::InvalidRecord => Undelivered::Refused(Reason::Invalid),
        code if is_denial(code) => Undelivered::Do(Action::Deny),
        code if is_fence(code) || code == Code::Fatal => Undelivered::Do(Action::Renew),
        _ => Undelivered::Collateral,
    }
}

/// Whether somebody has taken our place, or the cluster believes that we are gone.
pub(crate) fn is_fence(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::TransactionCoordinatorFenced
    )
}

/// Whether the cluster, or librdkafka, says no to what we are or how we are set up.
pub(crate) fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::InvalidTimestamp
            | Code::InvalidTransactionTimeout
            | Code::InvalidRequiredAcks
            | Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Seq;

    const STARTS: [(u64, Seq); 2] = [(7, Seq::new(1)), (9, Seq::new(101))];

    fn at(seq: u64) -> Position {
        Position { seq: Seq::new(seq), dead_seq: 0 }
    }

    fn mark(run: u64, incarnation: u64, seq: u64) -> Watermark {
        Watermark { run, incarnation, position: at(seq) }
    }

    /// A log that ends with event 150, of a sink whose cursor is at `confirmed`.
    fn log(confirmed: Option<u64>) -> Known<'static> {
        let history = History { starts: &STARTS, end: at(150) };
        Known::Log { history, confirmed: confirmed.map(at), passed: None, begin: at(0) }
    }

    /// The same, after everything up to the cursor was given up that the topics did not have at `passed`.
    fn gave_up(passed: u64, confirmed: u64) -> Known<'static> {
        let history = History { starts: &STARTS, end: at(150) };
        Known::Log { history, confirmed: Some(at(confirmed)), passed: Some(at(passed)), begin: at(0) }
    }

    /// A session that had `confirmed`, and has sent up to 140 since.
    fn own(confirmed: u64) -> Known<'static> {
        Known::Own { run: 9, confirmed: at(confirmed), sent: at(140) }
    }

    #[test]
    fn our_own_watermark_is_gone_on_from() {
        for found in [mark(9, 9, 120), mark(9, 9, 140)] {
            assert_eq!(resume(&own(120), Some(found)), Ok(Some(found)));
        }
    }

    #[test]
    fn our_own_watermark_ahead_of_what_we_sent_is_not_ours() {
        let found = mark(9, 9, 141);
        assert_eq!(resume(&own(120), Some(found)), Err(Failure::Diverged { found }));
    }

    #[test]
    fn another_runs_watermark_fences_us() {
        for found in [mark(8, 9, 120), mark(8, 4, 500)] {
            assert_eq!(resume(&own(120), Some(found)), Err(Failure::Fenced { run: 8 }));
        }
    }

    #[test]
    fn a_start_goes_on_from_what_an_earlier_run_left() {
        // At the cursor; ahead of it, as after a crash between commit and cursor, or with a restored old cursor.
        for found in [mark(7, 7, 100), mark(9, 9, 101), mark(1, 9, 150)] {
            assert_eq!(resume(&log(Some(100)), Some(found)), Ok(Some(found)));
        }
        // A new sink whose first session got as far as its watermark, not as far as its cursor.
        assert_eq!(resume(&log(None), Some(mark(9, 9, 120))), Ok(Some(mark(9, 9, 120))));
    }

    #[test]
    fn a_watermark_that_the_log_does_not_know_is_never_passed_over() {
        for found in [mark(9, 9, 151), mark(9, 8, 120), mark(9, 7, 120), mark(9, 0, 120)] {
            assert_eq!(resume(&log(Some(100)), Some(found)), Err(Failure::Diverged { found }));
        }
        let found = Watermark { position: Position { seq: Seq::new(120), dead_seq: 1 }, ..mark(9, 9, 0) };
        assert_eq!(resume(&log(Some(100)), Some(found)), Err(Failure::Diverged { found }));
    }

    #[test]
    fn a_lost_watermark_is_never_guessed() {
        let lost = |found, confirmed| Err(Failure::WatermarkLost { found, confirmed: at(confirmed) });
        assert_eq!(resume(&log(Some(100)), None), lost(None, 100));
        assert_eq!(resume(&own(100), None), lost(None, 100));
        assert_eq!(resume(&own(0), None), lost(None, 0));
        let older = Some(mark(9, 7, 99));
        assert_eq!(resume(&log(Some(100)), older), lost(older, 100));
        assert_eq!(resume(&own(100), older), lost(older, 100));
    }

    #[test]
    fn what_was_given_up_is_passed_over() {
        assert_eq!(resume(&gave_up(50, 120), Some(mark(7, 7, 50))), Ok(Some(mark(7, 9, 120))));
        // A transaction of unknown outcome went through meanwhile.
        assert_eq!(resume(&gave_up(50, 120), Some(mark(7, 7, 60))), Ok(Some(mark(7, 9, 120))));
        assert_eq!(resume(&gave_up(50, 120), Some(mark(7, 9, 130))), Ok(Some(mark(7, 9, 130))));
        assert_eq!(resume(&gave_up(0, 120), None), Ok(None));
        let older = Some(mark(7, 7, 49));
        assert_eq!(resume(&gave_up(50, 120), older), Err(Failure::WatermarkLost { found: older, confirmed: at(120) }));
        assert!(resume(&gave_up(50, 120), None).is_err());
    }

    #[test]
    fn a_sink_that_was_forgotten_goes_on_where_the_topics_end_or_where_the_log_begins() {
        let history = History { starts: &STARTS, end: at(150) };
        let forgotten = |begin| Known::Log { history, confirmed: None, passed: None, begin: at(begin) };
        assert_eq!(resume(&forgotten(60), Some(mark(7, 9, 120))), Ok(Some(mark(7, 9, 120))));
        assert_eq!(resume(&forgotten(110), Some(mark(7, 7, 60))), Ok(Some(mark(7, 9, 110))));
        assert_eq!(resume(&forgotten(110), None), Ok(None));
    }

    #[test]
    fn a_claim_of_unknown_outcome_fences_nobody_and_another_run_does() {
        for before in [None, Some(1)] {
            let mut first = None;
            assert!(!is_contested(&mut first, before, 2), "as it was found");
            assert!(!is_contested(&mut first, before, 2), "and nobody has come in between");
            assert!(!is_contested(&mut first, Some(2), 2), "our own claim went through after all");
            assert!(!is_contested(&mut first, Some(2), 2));
            assert!(is_contested(&mut first, Some(3), 2), "somebody else begins");
        }
        let mut first = None;
        assert!(!is_contested(&mut first, Some(2), 2), "ours from the beginning, where something was given up");
        assert!(!is_contested(&mut first, Some(1), 2), "the first other one is no contest");
        assert!(is_contested(&mut first, None, 2));
    }

    #[test]
    fn the_first_start_begins() {
        assert_eq!(resume(&log(None), None), Ok(None));
        assert_eq!(resume(&log(Some(0)), None), Ok(None));
    }

    fn trouble(code: Code, fatal: bool, retriable: bool) -> Trouble {
        Trouble { code, fatal, retriable, text: String::new() }
    }

    #[test]
    fn every_kind_of_failure_has_its_answer() {
        for (expected, trouble) in [
            (Action::Repeat, trouble(Code::OperationTimedOut, false, true)),
            (Action::Repeat, trouble(Code::CoordinatorNotAvailable, false, true)),
            (Action::Renew, trouble(Code::MessageTimedOut, false, false)),
            (Action::Renew, trouble(Code::Fatal, true, false)),
            (Action::Renew, trouble(Code::Fenced, true, true)),
            (Action::Renew, trouble(Code::InvalidProducerEpoch, false, true)),
            // Neither this nor that: the outcome is unknown.
            (Action::Renew, trouble(Code::State, false, false)),
            (Action::Deny, trouble(Code::TransactionalIdAuthorizationFailed, true, false)),
            (Action::Deny, trouble(Code::TopicAuthorizationFailed, false, true)),
        ] {
            assert_eq!(action(&trouble), expected, "{trouble:?}");
        }
    }

    #[test]
    fn only_what_a_topic_says_of_a_message_is_a_refusal() {
        for (code, expected) in [
            (Code::MessageSizeTooLarge, Undelivered::Refused(Reason::TooLarge)),
            (Code::InvalidRecord, Undelivered::Refused(Reason::Invalid)),
            (Code::PurgeQueue, Undelivered::Collateral),
            (Code::TopicAuthorizationFailed, Undelivered::Do(Action::Deny)),
            (Code::UnknownTopicOrPartition, Undelivered::Do(Action::Deny)),
            (Code::InvalidTimestamp, Undelivered::Do(Action::Deny)),
            (Code::ProducerFenced, Undelivered::Do(Action::Renew)),
            (Code::MessageTimedOut, Undelivered::Collateral),
            (Code::NotEnoughReplicas, Undelivered::Collateral),
            (Code::InvalidMessage, Undelivered::Collateral),
        ] {
            assert_eq!(undelivered(code), expected, "{code:?}");
        }
    }
}
