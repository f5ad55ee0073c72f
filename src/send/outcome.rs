use crate::batch::{Batch, Place};
use serde_json::Value;

/// Why an event was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// For programs.
    pub(crate) code: String,
    /// RFC 6901 pointer into the event, where the answer has one.
    pub(crate) pointer: Option<String>,
    /// For a person.
    pub(crate) message: String,
}

/// Longest text that is kept of an answer: a summary is not the place for more.
const TEXT_BYTES_MAX: usize = 1024;

impl Reason {
    pub(crate) fn new(code: &str, pointer: Option<&str>, message: &str) -> Self {
        Reason { code: clip(code), pointer: pointer.map(clip), message: clip(message) }
    }

    /// Reads `code`, `pointer` and `message` of an object; what is not there is left open.
    pub(crate) fn read(object: &Value, otherwise: &str) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let message = text("message").or_else(|| text("detail")).or_else(|| text("title")).unwrap_or_default();
        let pointer = text("pointer");
        // A message for those who see nothing else begins with the pointer.
        let bare = pointer.and_then(|pointer| message.strip_prefix(pointer)?.strip_prefix(": "));
        Reason::new(text("code").unwrap_or(otherwise), pointer, bare.unwrap_or(message))
    }
}

/// `text`, or as much of it as is kept.
pub(crate) fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// Rejected events of which only this is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// The event, or the first of the batch it was in.
    pub(crate) place: Place,
    /// More than 1 only where the answer does not say which events of a batch it means.
    pub(crate) events: u64,
    /// Why.
    pub(crate) reason: Reason,
}

/// Events that were not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// The first of them.
    pub(crate) first: Place,
    /// The last of them; events between may have been answered.
    pub(crate) last: Place,
    /// How many.
    pub(crate) events: u64,
    /// Why.
    pub(crate) reason: String,
}

/// What became of the events of one batch: all of them, each once.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Stored by this run.
    pub(crate) accepted: u64,
    /// Stored before.
    pub(crate) duplicates: u64,
    /// Of the duplicates, those whose request was repeated after one without a clear answer.
    pub(crate) duplicates_after_retry: u64,
    /// Never to be stored as they are.
    pub(crate) rejected: Vec<Rejected>,
    /// Not answered.
    pub(crate) unanswered: Vec<Unanswered>,
    /// Requests made.
    pub(crate) requests: u64,
    /// Of the requests, repetitions.
    pub(crate) retries: u64,
    /// Why no further batch can succeed, if that is so.
    pub(crate) hopeless: Option<String>,
}

impl Outcome {
    /// Counts all events of `batch` as not answered.
    pub(crate) fn leave(&mut self, batch: &Batch, reason: &str) {
        let (first, last) = (batch.place(0), batch.place(batch.len() - 1));
        self.unanswered.push(Unanswered { first, last, events: batch.len() as u64, reason: clip(reason) });
    }

    /// How many events it speaks of.
    pub(crate) fn events(&self) -> u64 {
        let rejected: u64 = self.rejected.iter().map(|rejected| rejected.events).sum();
        let unanswered: u64 = self.unanswered.iter().map(|unanswered| unanswered.events).sum();
        self.accepted + self.duplicates + rejected + unanswered
    }
}
