use crate::append::reserve;
use crate::reader::{Doc, Malformed, SHORT_BYTES, parsing_bytes};
use crate::validate::Supplied;
use crate::{BatchOptions, Parser, span};
use event::{Batch, RejectCode, Rejection, UnixMicros};
use simd_json::{Node, StaticNode};
use std::ops::Range;

/// An event of a batch that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its place among the request's events, from 0.
    pub index: u32,
    /// What is wrong with it.
    pub rejection: Rejection,
    /// Its bytes in the body, to be kept as a dead letter.
    pub raw: Range<usize>,
}

/// What a readable batch held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    /// Events, good and bad.
    pub total: u32,
    /// Whether the request wants all of them or none.
    pub fail_on_error: bool,
}

/// Why a batch fails whole; nothing of it was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The body is not JSON.
    #[error("body {detail}{}", at(*.offset))]
    InvalidJson {
        /// What is wrong, to follow "body".
        detail: &'static str,
        /// About where, in bytes, if that is known.
        offset: Option<usize>,
    },
    /// The body is nested so deep that its events cannot be told apart.
    #[error("body {detail}")]
    TooDeep {
        /// What is wrong, to follow "body".
        detail: &'static str,
    },
    /// JSON, but neither an array of events nor an object that has one.
    #[error("{}{detail}", subject(.pointer))]
    NotABatch {
        /// The kind of problem.
        code: RejectCode,
        /// RFC 6901 pointer into the body.
        pointer: &'static str,
        /// What is wrong there.
        detail: &'static str,
    },
    /// More events than allowed, or than the request allows itself.
    #[error("Batch size {events} exceeds limit {limit}")]
    TooMany {
        /// Events in the body.
        events: usize,
        /// How many it may have.
        limit: usize,
    },
    /// An option of a wrong type.
    #[error("{pointer} {detail}")]
    InvalidOption {
        /// RFC 6901 pointer into the body.
        pointer: &'static str,
        /// What is wrong there.
        detail: &'static str,
    },
}

fn at(offset: Option<usize>) -> String {
    offset.map(|offset| format!(", near byte {offset}")).unwrap_or_default()
}

fn subject(pointer: &str) -> String {
    if pointer.is_empty() { "body ".to_owned() } else { format!("{pointer} ") }
}

impl BatchError {
    /// The reason for programs; `None` for [`BatchError::TooMany`], which says nothing about any event.
    #[must_use]
    pub fn code(&self) -> Option<RejectCode> {
        match self {
            BatchError::InvalidJson { .. } => Some(RejectCode::InvalidJson),
            BatchError::TooDeep { .. } => Some(RejectCode::TooDeep),
            BatchError::NotABatch { code, .. } => Some(*code),
            BatchError::TooMany { .. } => None,
            BatchError::InvalidOption { .. } => Some(RejectCode::WrongType),
        }
    }

    /// RFC 6901 pointer into the body to what is wrong; empty for the body itself.
    #[must_use]
    pub fn pointer(&self) -> &'static str {
        match self {
            BatchError::NotABatch { pointer, .. } | BatchError::InvalidOption { pointer, .. } => pointer,
            _ => "",
        }
    }
}

impl From<Malformed> for BatchError {
    fn from(malformed: Malformed) -> Self {
        let Malformed { detail, offset, too_deep } = malformed;
        if too_deep { BatchError::TooDeep { detail } } else { BatchError::InvalidJson { detail, offset } }
    }
}

/// Where a batch's events are.
struct Events {
    node: usize,
    span: Range<usize>,
    options: BatchOptions,
}

impl Parser {
    /// Reads a batch: `{"events": […], "options": {…}}` or a bare array of events. Appends the good events to `out` and
    /// the bad ones to `failures`, both in order; a `maxSize` in the body and one in `query` both hold, a `failOnError`
    /// in the body goes before one in `query`.
    ///
    /// # Errors
    /// [`BatchError`] when the batch fails whole; `out` and `failures` are then as before.
    pub fn batch(
        &mut self,
        body: &[u8],
        query: BatchOptions,
        now: UnixMicros,
        out: &mut Batch,
        failures: &mut Vec<Failure>,
    ) -> Result<BatchSummary, BatchError> {
        let Parser { reader, validator, spans } = self;
        let result = reader.read(body, |doc| {
            let events = find_events(doc, query)?;
            let limit = limit(validator.limits.batch_events_max, events.options);
            if let Node::Array { len, .. } = doc.nodes[events.node]
                && len > limit
            {
                return Err(BatchError::TooMany { events: len, limit });
            }
            let bytes = events.span.len();
            doc.element_spans(events.node, events.span, spans);
            reserve(out, spans.len(), bytes);
            let mut node = events.node + 1;
            for (index, span) in spans.iter().enumerate() {
                if let Err(rejection) = validator.event(doc, node, span.clone(), &Supplied::default(), now, out) {
                    failures.push(Failure { index: index as u32, rejection, raw: span.clone() });
                }
                node += doc.width(node);
            }
            let fail_on_error = events.options.fail_on_error.unwrap_or(false);
            Ok(BatchSummary { total: spans.len() as u32, fail_on_error })
        });
        self.trim();
        result?
    }

    /// Reads a batch of one event per line; blank lines do not count. A line that is not JSON fails alone.
    ///
    /// # Errors
    /// [`BatchError::TooMany`]; `out` and `failures` are then as before.
    pub fn ndjson(
        &mut self,
        body: &[u8],
        query: BatchOptions,
        now: UnixMicros,
        out: &mut Batch,
        failures: &mut Vec<Failure>,
    ) -> Result<BatchSummary, BatchError> {
        let limit = limit(self.validator.limits.batch_events_max, query);
        let events = lines(body).count();
        if events > limit {
            return Err(BatchError::TooMany { events, limit });
        }
        reserve(out, events, body.len());
        for (index, line) in lines(body).enumerate() {
            if let Err(rejection) = self.one(&body[line.clone()], now, out) {
                failures.push(Failure { index: index as u32, rejection, raw: line });
            }
        }
        self.trim();
        Ok(BatchSummary { total: events as u32, fail_on_error: query.fail_on_error.unwrap_or(false) })
    }
}

fn limit(configured: usize, options: BatchOptions) -> usize {
    options.max_size.map_or(configured, |wanted| configured.min(usize::try_from(wanted).unwrap_or(usize::MAX)))
}

/// The lines that are not blank, without white space around them.
fn lines(body: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        while rest < body.len() {
            let start = rest;
            let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |len| start + len);
            rest = end + 1;
            let line = span::trimmed(&body[start..end]);
            if !line.is_empty() {
                return Some(start + line.start..start + line.end);
            }
        }
        None
    })
}

/// As [`crate::parsing_bytes`], for a text of which each line is read by itself.
#[must_use]
pub fn parsing_bytes_of_lines(text: &[u8]) -> usize {
    if text.len() <= SHORT_BYTES {
        return 0;
    }
    lines(text).map(|line| parsing_bytes(&text[line])).max().unwrap_or_default()
}

fn find_events(doc: &Doc<'_, '_>, query: BatchOptions) -> Result<Events, BatchError> {
    let root = doc.root();
    match doc.nodes[0] {
        Node::Array { .. } => Ok(Events { node: 0, span: root, options: query }),
        Node::Object { .. } => wrapped_events(doc, root, query),
        _ => Err(not_a_batch(RejectCode::WrongType, "", "must be an object with events, or an array of events")),
    }
}

fn wrapped_events(doc: &Doc<'_, '_>, root: Range<usize>, query: BatchOptions) -> Result<Events, BatchError> {
    let mut events = None;
    let mut options = None;
    for field in doc.fields(0) {
        match field.key {
            "events" if events.is_some() => {
                return Err(not_a_batch(RejectCode::DuplicateKey, "/events", "stands more than once"));
            }
            "events" => events = Some(field),
            "options" if options.is_some() => {
                return Err(not_a_batch(RejectCode::DuplicateKey, "/options", "stands more than once"));
            }
            "options" => options = Some(field.value),
            _ => {}
        }
    }
    let Some(events) = events else {
        return Err(not_a_batch(RejectCode::MissingField, "/events", "is required"));
    };
    let Node::Array { .. } = doc.nodes[events.value] else {
        return Err(not_a_batch(RejectCode::WrongType, "/events", "must be an array of events"));
    };
    let options = options.map_or(Ok(query), |node| read_options(doc, node, query))?;
    Ok(Events { node: events.value, span: doc.field_span(&events, root.end), options })
}

fn not_a_batch(code: RejectCode, pointer: &'static str, detail: &'static str) -> BatchError {
    BatchError::NotABatch { code, pointer, detail }
}

/// What `options` and the query ask for together.
fn read_options(doc: &Doc<'_, '_>, node: usize, query: BatchOptions) -> Result<BatchOptions, BatchError> {
    const MAX_SIZE: &str = "/options/maxSize";
    const FAIL_ON_ERROR: &str = "/options/failOnError";
    let wrong = |pointer, detail| Err(BatchError::InvalidOption { pointer, detail });
    match doc.nodes[node] {
        Node::Object { .. } => {}
        Node::Static(StaticNode::Null) => return Ok(query),
        _ => return wrong("/options", "must be an object"),
    }
    let mut own = BatchOptions::default();
    for field in doc.fields(node) {
        match (field.key, doc.nodes[field.value]) {
            ("maxSize" | "failOnError", Node::Static(StaticNode::Null)) => {}
            ("maxSize", _) if own.max_size.is_some() => return wrong(MAX_SIZE, "stands more than once"),
            ("failOnError", _) if own.fail_on_error.is_some() => return wrong(FAIL_ON_ERROR, "stands more than once"),
            ("maxSize", Node::Static(StaticNode::U64(size @ 1..))) => own.max_size = Some(size),
            ("maxSize", _) => return wrong(MAX_SIZE, "must be an integer from 1"),
            ("failOnError", Node::Static(StaticNode::Bool(all))) => own.fail_on_error = Some(all),
            ("failOnError", _) => return wrong(FAIL_ON_ERROR, "must be true or false"),
            _ => {}
        }
    }
    Ok(BatchOptions {
        max_size: own.max_size.into_iter().chain(query.max_size).min(),
        fail_on_error: own.fail_on_error.or(query.fail_on_error),
    })
}
