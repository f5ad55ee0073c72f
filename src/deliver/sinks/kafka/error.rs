use crate::{Item, Position, Topic, Watermark};

/// Why a call did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The cluster is away, slow or in trouble: call again later, with the same session.
    #[error("{0}")]
    Unavailable(String),
    /// The cluster says no to us, not to an event: authentication, authorization, a missing topic, a setting. Call
    /// again once somebody has mended that, with the same session. Never a reason to dead-letter an event.
    #[error("{0}")]
    Denied(String),
    /// A setting that librdkafka does not take: there is no client, and none will be as long as that is not mended.
    #[error("{0}")]
    Misconfigured(String),
    /// The slice has no border where the topics end: build it again after this position.
    #[error("the topics have everything up to {0}: the slice is from elsewhere")]
    Moved(Position),
    /// A topic will never take these, and perhaps others. Dead-letter them, [remove] them from the slice and send it
    /// again: exactly once, nothing of them was delivered; what comes before the [position] need not come again.
    ///
    /// [position]: crate::Session::position
    /// [remove]: crate::Slice::remove
    #[error("{}", refusals(.0))]
    Refused(Vec<Refused>),
    /// The session is over, and says so to every further call without any contact to the cluster, until an operator
    /// has a new one opened.
    #[error("{0}")]
    Failed(Failure),
}

/// An event or dead letter that a topic will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which one.
    pub item: Item,
    /// The first topic that refuses it.
    pub topic: Topic,
    /// What the topic says.
    pub reason: Reason,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Larger than a message may be.
    TooLarge,
    /// Not what the topic takes.
    Invalid,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another daemon runs under our transactional id.
    #[error(
        "another daemon (run {run:016x}) sends under the same transactional id: stop one of them, or give it an id of \
         its own, then resume the sink"
    )]
    Fenced {
        /// The run that holds the id now.
        run: u64,
    },
    /// The topics hold what our log has not sent: it is a copy, or older than they are.
    #[error(
        "the topics have {}, committed under {:016x}, which is not in this log's history: it is a copy, or older than \
         the topics. Bring back the newer data folder; or give this one topics of its own: stop the daemon, `ingestd \
         wal forget-sink kafka`, another kafka.topic_prefix",
        .found.position, .found.incarnation
    )]
    Diverged {
        /// The watermark that was found.
        found: Watermark,
    },
    /// The watermark is gone, or older than what was confirmed to us.
    #[error("{}", lost(.found.as_ref(), .confirmed))]
    WatermarkLost {
        /// The watermark that was found, if any.
        found: Option<Watermark>,
        /// How far the topics had everything.
        confirmed: Position,
    },
    /// The watermark was written by a newer release, or by something else.
    #[error("the watermark topic holds a record under our transactional id that this release cannot read")]
    WatermarkUnreadable,
}

fn lost(found: Option<&Watermark>, confirmed: &Position) -> String {
    let found = match found {
        None => "no watermark".to_owned(),
        Some(mark) => format!("a watermark at {}", mark.position),
    };
    format!(
        "the watermark topic has {found}, though the topics had everything up to {confirmed}: records were lost, the \
         topic was made anew, or an earlier release has sent at-least-once, without a watermark. Bring it back; or, if \
         the topics have it all, start once with kafka.delivery = \"at-least-once\", which writes it; or begin again in \
         topics of its own: stop the daemon, `ingestd wal forget-sink kafka`, another kafka.topic_prefix"
    )
}

fn refusals(refused: &[Refused]) -> String {
    let one = |refused: &Refused| {
        let reason = match refused.reason {
            Reason::TooLarge => "is too large",
            Reason::Invalid => "is invalid",
        };
        format!("{} {reason} for topic {:?}", refused.item, refused.topic)
    };
    match refused {
        [] => "nothing was refused".to_owned(),
        [only] => one(only),
        [first, rest @ ..] => format!("{}, and {} more were refused", one(first), rest.len()),
    }
}
