use crate::append::{Checked, IdJson, append};
use crate::reader::{Doc, HALF_PAIR};
use crate::{EVENT_TYPES, Limits, event_type_number, parse_timestamp};
use event::{Batch, FieldError, FingerprintKey, Namespace, RejectCode, Rejection, UnixMicros};
use simd_json::{Node, StaticNode};
use std::ops::Range;
use std::time::Duration;

/// The envelope's fields; their order is the order in which their problems are reported.
const FIELDS: [&str; 8] = ["eventId", "eventType", "timestamp", "sessionId", "storeId", "userId", "data", "metadata"];
const EVENT_ID: usize = 0;
const EVENT_TYPE: usize = 1;
const TIMESTAMP: usize = 2;
const SESSION_ID: usize = 3;
const STORE_ID: usize = 4;
const USER_ID: usize = 5;
const DATA: usize = 6;
const METADATA: usize = 7;

#[inline]
fn field_number(key: &str) -> Option<usize> {
    match key {
        "eventId" => Some(EVENT_ID),
        "eventType" => Some(EVENT_TYPE),
        "timestamp" => Some(TIMESTAMP),
        "sessionId" => Some(SESSION_ID),
        "storeId" => Some(STORE_ID),
        "userId" => Some(USER_ID),
        "data" => Some(DATA),
        "metadata" => Some(METADATA),
        _ => None,
    }
}

/// A string that a WebSocket envelope supplies to events that lack it.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) value: &'a str,
    /// As it was written: escapes kept, no quotes.
    pub(crate) json: &'a [u8],
}

/// What a WebSocket envelope supplies to events that lack it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Supplied<'a> {
    pub(crate) event_id: Option<Text<'a>>,
    pub(crate) timestamp: Option<Text<'a>>,
}

/// All that is wrong with one event; costs nothing as long as nothing is.
#[derive(Default)]
struct Problems {
    code: Option<RejectCode>,
    errors: Vec<FieldError>,
}

impl Problems {
    /// More are not reported: an event can be wrong in as many places as it has members.
    const REPORTED: usize = 32;

    #[cold]
    fn add(&mut self, code: RejectCode, pointer: impl Into<String>, detail: impl Into<String>) {
        self.code.get_or_insert(code);
        if self.errors.len() < Self::REPORTED {
            self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        }
    }

    #[cold]
    fn field(&mut self, code: RejectCode, field: usize, detail: impl Into<String>) {
        self.add(code, format!("/{}", FIELDS[field]), detail);
    }
}

/// Checks events and appends the good ones to a batch.
pub(crate) struct Validator {
    pub(crate) limits: Limits,
    key: FingerprintKey,
    scratch: Vec<u8>,
    /// Ends of the containers around the present node, for depth.
    open: Vec<usize>,
}

/// The event's parts, found by one walk over its members.
type Slots = [Option<usize>; FIELDS.len()];

impl Validator {
    pub(crate) fn new(limits: Limits, key: FingerprintKey) -> Self {
        Validator { limits, key, scratch: Vec::new(), open: Vec::new() }
    }

    /// Checks the event at `node`, which stands at `span`, and appends it to `out`.
    pub(crate) fn event(
        &mut self,
        doc: &Doc<'_, '_>,
        node: usize,
        span: Range<usize>,
        supplied: &Supplied<'_>,
        now: UnixMicros,
        out: &mut Batch,
    ) -> Result<(), Rejection> {
        let Node::Object { .. } = doc.nodes[node] else {
            let mut problems = Problems::default();
            problems.add(RejectCode::NotAnObject, "", "must be an object");
            return Err(self.rejection(problems, supplied.event_id.map(|id| id.value)));
        };
        let mut problems = Problems::default();
        self.whole(doc, &span, &mut problems);
        let slots = self.members(doc, node, &mut problems);
        let id = self.event_id(doc, &slots, supplied, &mut problems);
        let kind = event_type(doc, &slots, &mut problems);
        let own_timestamp = self.timestamp(doc, &slots, supplied, now, &mut problems);
        self.text(doc, &slots, SESSION_ID, &mut problems);
        self.text(doc, &slots, STORE_ID, &mut problems);
        self.user_id(doc, &slots, &mut problems);
        self.objects(doc, &slots, &mut problems);
        let (Some(id), Some(kind), None) = (id, kind, problems.code) else {
            // Ids that differ in halves of surrogate pairs only would look alike: nobody has sent what is read here.
            let told = id.filter(|id| self.is_id(id) && !doc.has_half(&doc.written(id)));
            return Err(self.rejection(problems, told));
        };
        let own_id = slots[EVENT_ID].and_then(|node| doc.string(node));
        let id_json = match (own_id, supplied.event_id) {
            (None, Some(lent)) => IdJson::Lent(lent.json),
            _ => IdJson::Own(doc.written(id)),
        };
        let timestamp = supplied.timestamp.filter(|_| !own_timestamp).map(|at| at.json);
        let fingerprint = self.key.fingerprint(&out.tenant, Namespace::Events, id.as_bytes(), &mut self.scratch);
        append(out, &Checked { text: doc.text, span, kind, fingerprint, id_json, timestamp });
        Ok(())
    }

    /// What concerns the event as a whole.
    #[inline]
    fn whole(&self, doc: &Doc<'_, '_>, span: &Range<usize>, problems: &mut Problems) {
        if span.len() > self.limits.event_bytes_max {
            let detail = format!("must be at most {} bytes, has {}", self.limits.event_bytes_max, span.len());
            problems.add(RejectCode::EventTooLarge, "", detail);
        }
        if doc.has_half(span) {
            problems.add(RejectCode::InvalidJson, "", HALF_PAIR);
        }
    }

    /// Finds the envelope's fields, and what is wrong with their keys and with fields outside the contract.
    #[inline]
    fn members(&mut self, doc: &Doc<'_, '_>, node: usize, problems: &mut Problems) -> Slots {
        let mut slots = Slots::default();
        let mut reported = [false; FIELDS.len()];
        for field in doc.fields(node) {
            match field_number(field.key) {
                Some(number) if slots[number].is_none() => slots[number] = Some(field.value),
                Some(number) if !std::mem::replace(&mut reported[number], true) => {
                    problems.field(RejectCode::DuplicateKey, number, "stands more than once");
                }
                Some(_) => {}
                None if self.too_deep(doc, field.value) => {
                    problems.add(RejectCode::TooDeep, pointer(field.key), self.depth_detail());
                }
                None => {}
            }
        }
        slots
    }

    #[inline]
    fn event_id<'a>(
        &self,
        doc: &Doc<'_, 'a>,
        slots: &Slots,
        supplied: &Supplied<'a>,
        problems: &mut Problems,
    ) -> Option<&'a str> {
        let own = slots[EVENT_ID].and_then(|node| doc.string(node));
        if own.is_none()
            && is_absent(doc, slots[EVENT_ID])
            && let Some(lent) = supplied.event_id
        {
            self.length(lent.value, EVENT_ID, problems);
            return Some(lent.value);
        }
        if let (Some(own), Some(lent)) = (own, supplied.event_id)
            && own != lent.value
        {
            problems.field(RejectCode::IdMismatch, EVENT_ID, "differs from the message's eventId");
        }
        self.text(doc, slots, EVENT_ID, problems)
    }

    /// Returns whether the event has a timestamp of its own.
    #[inline]
    fn timestamp(
        &self,
        doc: &Doc<'_, '_>,
        slots: &Slots,
        supplied: &Supplied<'_>,
        now: UnixMicros,
        problems: &mut Problems,
    ) -> bool {
        let lent = supplied.timestamp.filter(|_| is_absent(doc, slots[TIMESTAMP]));
        let text = match lent {
            Some(lent) => Some(lent.value),
            None => required(doc, slots, TIMESTAMP, problems),
        };
        match text.map(parse_timestamp) {
            None => {}
            Some(Err(error)) => problems.field(RejectCode::InvalidTimestamp, TIMESTAMP, error.to_string()),
            Some(Ok(at)) if at.get() < 0 => {
                problems.field(RejectCode::TimestampTooOld, TIMESTAMP, "must not lie before 1970");
            }
            Some(Ok(at)) => {
                if let Some(ahead) = self.limits.future_max
                    && at > later(now, ahead)
                {
                    let detail = format!("must not lie more than {} s in the future", ahead.as_secs());
                    problems.field(RejectCode::TimestampInFuture, TIMESTAMP, detail);
                }
            }
        }
        lent.is_none()
    }

    /// A required string of 1 to so many bytes.
    #[inline]
    fn text<'a>(&self, doc: &Doc<'_, 'a>, slots: &Slots, field: usize, problems: &mut Problems) -> Option<&'a str> {
        let text = required(doc, slots, field, problems)?;
        self.length(text, field, problems);
        Some(text)
    }

    #[inline]
    fn length(&self, text: &str, field: usize, problems: &mut Problems) {
        if !self.is_id(text) {
            let most = self.limits.id_bytes();
            problems.field(RejectCode::InvalidLength, field, format!("must be 1 to {most} bytes, has {}", text.len()));
        }
    }

    #[inline]
    fn user_id(&self, doc: &Doc<'_, '_>, slots: &Slots, problems: &mut Problems) {
        if is_absent(doc, slots[USER_ID]) {
            return;
        }
        let most = self.limits.id_bytes();
        match required(doc, slots, USER_ID, problems) {
            Some(text) if text.len() > most => {
                let detail = format!("must be at most {most} bytes, has {}", text.len());
                problems.field(RejectCode::InvalidLength, USER_ID, detail);
            }
            _ => {}
        }
    }

    /// `data` and `metadata`.
    #[inline]
    fn objects(&mut self, doc: &Doc<'_, '_>, slots: &Slots, problems: &mut Problems) {
        for field in [DATA, METADATA] {
            match slots[field].map(|node| (node, &doc.nodes[node])) {
                Some((node, Node::Object { .. })) if self.too_deep(doc, node) => {
                    problems.field(RejectCode::TooDeep, field, self.depth_detail());
                }
                Some((_, Node::Object { .. })) => {}
                None if field == DATA => problems.field(RejectCode::MissingField, field, "is required"),
                None => {}
                Some((_, Node::Static(StaticNode::Null))) if field == METADATA => {}
                Some(_) => problems.field(RejectCode::WrongType, field, "must be an object"),
            }
        }
    }

    /// Whether a text has the length of an id.
    pub(crate) fn is_id(&self, text: &str) -> bool {
        (1..=self.limits.id_bytes()).contains(&text.len())
    }

    #[cold]
    fn rejection(&self, problems: Problems, event_id: Option<&str>) -> Rejection {
        let readable = event_id.filter(|id| self.is_id(id));
        Rejection {
            code: problems.code.unwrap_or(RejectCode::InvalidJson),
            event_id: readable.map(str::to_owned),
            errors: problems.errors,
        }
    }

    fn depth_detail(&self) -> String {
        format!("must be nested at most {} levels", self.limits.depth())
    }

    /// Whether the value at `node` is nested deeper than allowed, being level 1 itself if it is an object or array.
    #[inline]
    fn too_deep(&mut self, doc: &Doc<'_, '_>, node: usize) -> bool {
        let most = self.limits.depth();
        // A level takes a node at least: most events have fewer than would be needed.
        let end = node + doc.width(node);
        if end - node <= most {
            return false;
        }
        self.open.clear();
        for at in node..end {
            if let Node::Object { count, .. } | Node::Array { count, .. } = doc.nodes[at] {
                while self.open.last().is_some_and(|end| *end <= at) {
                    self.open.pop();
                }
                self.open.push(at + count + 1);
                if self.open.len() > most {
                    return true;
                }
            }
        }
        false
    }
}

#[inline]
fn event_type(doc: &Doc<'_, '_>, slots: &Slots, problems: &mut Problems) -> Option<u8> {
    let name = required(doc, slots, EVENT_TYPE, problems)?;
    let number = event_type_number(name);
    if number.is_none() {
        let detail = format!("must be one of {}", EVENT_TYPES.join(", "));
        problems.field(RejectCode::UnknownEventType, EVENT_TYPE, detail);
    }
    number
}

/// A string that must be there.
#[inline]
fn required<'a>(doc: &Doc<'_, 'a>, slots: &Slots, field: usize, problems: &mut Problems) -> Option<&'a str> {
    let text = slots[field].map(|node| doc.string(node));
    match text {
        None => problems.field(RejectCode::MissingField, field, "is required"),
        Some(None) => problems.field(RejectCode::WrongType, field, "must be a string"),
        Some(Some(_)) => {}
    }
    text.flatten()
}

/// The moment `by` after `now`, saturating whatever an operator means by for ever.
#[inline]
fn later(now: UnixMicros, by: Duration) -> UnixMicros {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    UnixMicros::new(now.get().saturating_add(micros))
}

/// Whether a field is not there, or null.
#[inline]
fn is_absent(doc: &Doc<'_, '_>, slot: Option<usize>) -> bool {
    slot.is_none_or(|node| matches!(doc.nodes[node], Node::Static(StaticNode::Null)))
}

/// RFC 6901 pointer to a member; a key too long to be a name is left out.
fn pointer(key: &str) -> String {
    const NAME_BYTES_MAX: usize = 128;
    if key.len() > NAME_BYTES_MAX {
        return String::new();
    }
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}
