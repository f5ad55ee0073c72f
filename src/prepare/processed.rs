//! A stored event's parts, for sinks.

use crate::reader::{Doc, Reader};
use crate::{parse_timestamp, sanitise};
use event::UnixMicros;
use record::EventView;
use simd_json::{Node, StaticNode};
use std::borrow::Cow;
use std::ops::Range;

/// The parts of one stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `eventId`, unescaped.
    pub event_id: &'a str,
    /// `eventType`, unescaped.
    pub event_type: &'a str,
    /// `timestamp` as a moment.
    pub timestamp: UnixMicros,
    /// `timestamp` as received, unescaped.
    pub timestamp_text: &'a str,
    /// `userId`, unescaped.
    pub user_id: Option<&'a str>,
    /// `sessionId`, unescaped.
    pub session_id: &'a str,
    /// `storeId`, unescaped.
    pub store_id: &'a str,
    /// `data` as JSON text, byte for byte as received.
    pub data: &'a str,
    /// `metadata` as JSON text, byte for byte as received.
    pub metadata: Option<&'a str>,
}

/// The same parts with every text as it is in the processed form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sanitised<'a> {
    raw: Envelope<'a>,
    event_id: Cow<'a, str>,
    event_type: Cow<'a, str>,
    user_id: Option<Cow<'a, str>>,
    session_id: Cow<'a, str>,
    store_id: Cow<'a, str>,
    data: Cow<'a, str>,
    metadata: Option<Cow<'a, str>>,
}

impl Sanitised<'_> {
    /// The parts.
    #[must_use]
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope {
            event_id: &self.event_id,
            event_type: &self.event_type,
            user_id: self.user_id.as_deref(),
            session_id: &self.session_id,
            store_id: &self.store_id,
            data: &self.data,
            metadata: self.metadata.as_deref(),
            // A timestamp that could be read has nothing in it to sanitise.
            ..self.raw
        }
    }
}

/// A stored event that is not what was accepted: damaged, or written by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The bytes are not JSON.
    #[error("stored event {0}")]
    NotJson(&'static str),
    /// The bytes are JSON, but not an object.
    #[error("stored event is not an object")]
    NotAnObject,
    /// A field is missing or has another type.
    #[error("stored event has no usable {0}")]
    Field(&'static str),
}

/// Takes stored events apart, reusing its memory from event to event.
pub struct Extractor {
    reader: Reader,
    lent: Reader,
    lent_text: Vec<u8>,
}

impl Default for Extractor {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields found in the stored bytes.
#[derive(Default)]
struct Parts<'a> {
    event_id: Option<&'a str>,
    event_type: Option<&'a str>,
    timestamp: Option<&'a str>,
    user_id: Option<&'a str>,
    session_id: Option<&'a str>,
    store_id: Option<&'a str>,
    data: Option<Range<usize>>,
    metadata: Option<Range<usize>>,
}

impl Extractor {
    /// An extractor without any memory yet.
    #[must_use]
    pub fn new() -> Self {
        Extractor { reader: Reader::new(), lent: Reader::new(), lent_text: Vec::new() }
    }

    /// The parts of `event`: what an envelope supplied at intake goes before what the bytes say.
    ///
    /// # Errors
    /// [`Unreadable`] when the bytes cannot be an event that was accepted.
    pub fn extract<'a>(&'a mut self, event: &EventView<'a>) -> Result<Envelope<'a>, Unreadable> {
        self.reader.trim();
        let text = std::str::from_utf8(event.raw).map_err(|_| Unreadable::NotJson("is not UTF-8"))?;
        let Extractor { reader, lent, lent_text } = self;
        let parts = reader.read(event.raw, parts).map_err(|malformed| Unreadable::NotJson(malformed.detail))?;
        let parts = parts.ok_or(Unreadable::NotAnObject)?;
        let (lent_id, lent_timestamp) = lent_texts(event, lent, lent_text)?;
        let timestamp_text = lent_timestamp.or(parts.timestamp).ok_or(Unreadable::Field("timestamp"))?;
        let slice = |span: Range<usize>| text.get(span);
        Ok(Envelope {
            event_id: lent_id.or(parts.event_id).ok_or(Unreadable::Field("eventId"))?,
            event_type: parts.event_type.ok_or(Unreadable::Field("eventType"))?,
            timestamp: parse_timestamp(timestamp_text).map_err(|_| Unreadable::Field("timestamp"))?,
            timestamp_text,
            user_id: parts.user_id,
            session_id: parts.session_id.ok_or(Unreadable::Field("sessionId"))?,
            store_id: parts.store_id.ok_or(Unreadable::Field("storeId"))?,
            data: parts.data.and_then(slice).ok_or(Unreadable::Field("data"))?,
            metadata: parts.metadata.and_then(slice),
        })
    }
}

impl<'a> Envelope<'a> {
    /// The parts as they are in the processed form; see [`sanitise`].
    #[must_use]
    pub fn sanitised(&self) -> Sanitised<'a> {
        Sanitised {
            raw: *self,
            event_id: sanitise::text(self.event_id),
            event_type: sanitise::text(self.event_type),
            user_id: self.user_id.map(sanitise::text),
            session_id: sanitise::text(self.session_id),
            store_id: sanitise::text(self.store_id),
            data: sanitise::json(self.data),
            metadata: self.metadata.map(sanitise::json),
        }
    }

    /// Writes the processed form over what is in `out`: a JSON object with the envelope's fields under their names, the
    /// time in UTC, all texts, `data` and `metadata` [sanitised](sanitise).
    pub fn put_processed(&self, out: &mut Vec<u8>) {
        out.clear();
        self.sanitised().envelope().put(out);
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        put_field(out, "eventId", self.event_id);
        put_field(out, "eventType", self.event_type);
        out.extend_from_slice(b"\"timestamp\":\"");
        self.timestamp.put_rfc3339(out);
        out.extend_from_slice(b"\",");
        if let Some(user) = self.user_id {
            put_field(out, "userId", user);
        }
        put_field(out, "sessionId", self.session_id);
        put_field(out, "storeId", self.store_id);
        out.extend_from_slice(b"\"data\":");
        out.extend_from_slice(self.data.as_bytes());
        if let Some(metadata) = self.metadata {
            out.extend_from_slice(b",\"metadata\":");
            out.extend_from_slice(metadata.as_bytes());
        }
        out.push(b'}');
    }
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    // Text always serialises, and memory takes everything.
    serde_json::to_writer(&mut *out, value).ok();
    out.push(b',');
}

/// The fields of the stored bytes; of a key that stands twice, the first. `None` when the bytes are not an object.
fn parts<'a>(doc: &Doc<'_, 'a>) -> Option<Parts<'a>> {
    let Node::Object { .. } = doc.nodes[0] else {
        return None;
    };
    let end = doc.root().end;
    let mut parts = Parts::default();
    for field in doc.fields(0) {
        let string = doc.string(field.value);
        match field.key {
            "eventId" => parts.event_id = parts.event_id.or(string),
            "eventType" => parts.event_type = parts.event_type.or(string),
            "timestamp" => parts.timestamp = parts.timestamp.or(string),
            "userId" => parts.user_id = parts.user_id.or(string),
            "sessionId" => parts.session_id = parts.session_id.or(string),
            "storeId" => parts.store_id = parts.store_id.or(string),
            "data" if parts.data.is_none() => parts.data = Some(doc.field_span(&field, end)),
            "metadata" if parts.metadata.is_none() && !is_null(doc, field.value) => {
                parts.metadata = Some(doc.field_span(&field, end));
            }
            _ => {}
        }
    }
    Some(parts)
}

fn is_null(doc: &Doc<'_, '_>, node: usize) -> bool {
    matches!(doc.nodes[node], Node::Static(StaticNode::Null))
}

/// The id and the timestamp that an envelope supplied, unescaped.
fn lent_texts<'a>(
    event: &EventView<'a>,
    reader: &'a mut Reader,
    text: &'a mut Vec<u8>,
) -> Result<(Option<&'a str>, Option<&'a str>), Unreadable> {
    let is_plain = |json: Option<&[u8]>| json.is_none_or(|json| memchr::memchr(b'\\', json).is_none());
    if is_plain(event.event_id) && is_plain(event.timestamp) {
        let utf8 = |json: Option<&'a [u8]>, field| {
            json.map(std::str::from_utf8).transpose().map_err(|_| Unreadable::Field(field))
        };
        return Ok((utf8(event.event_id, "eventId")?, utf8(event.timestamp, "timestamp")?));
    }
    // What is not supplied becomes null, so that the places are fixed.
    text.clear();
    text.push(b'[');
    put_json(text, event.event_id);
    text.push(b',');
    put_json(text, event.timestamp);
    text.push(b']');
    let read = reader.read(text, |doc| match doc.nodes {
        [Node::Array { len: 2, .. }, _, _] => Some((doc.string(1), doc.string(2))),
        _ => None,
    });
    read.ok().flatten().ok_or(Unreadable::Field("eventId"))
}

fn put_json(text: &mut Vec<u8>, content: Option<&[u8]>) {
    match content {
        Some(content) => {
            text.push(b'"');
            text.extend_from_slice(content);
            text.push(b'"');
        }
        None => text.extend_from_slice(b"null"),
    }
}
