use crate::reader::{Doc, Field, HALF_PAIR};
use crate::validate::{Supplied, Text, Validator};
use crate::{Failure, Parser};
use event::{Batch, RejectCode, Rejection, UnixMicros};
use simd_json::{Node, StaticNode};
use std::ops::Range;

/// What a WebSocket client wants with one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `cart_event`: the good events were appended to the batch, the bad ones to the failures.
    Events {
        /// Events in the payload, good and bad.
        total: u32,
        /// Whether the payload was an array.
        array: bool,
    },
    /// `heartbeat`.
    Heartbeat,
    /// `subscribe`.
    Subscribe(Subscription),
    /// `unsubscribe`.
    Unsubscribe {
        /// The channel to end; all of them when it is not given.
        channel: Option<Channel>,
    },
}

/// What a client can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Channel {
    /// The outcomes of all of the tenant's events.
    #[default]
    Confirmations,
    /// The tenant's events themselves.
    Live,
}

impl Channel {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Channel::Confirmations => "confirmations",
            Channel::Live => "live",
        }
    }
}

/// What a client wants to listen to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The kind of news.
    pub channel: Channel,
    /// Only events of this store.
    pub store_id: Option<String>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Replay from this position before following live.
    pub from_seq: Option<u64>,
}

/// The members of a message that mean something.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<Field<'a>>,
    payload: Option<Field<'a>>,
    event_id: Option<Field<'a>>,
    timestamp: Option<Field<'a>>,
}

impl Parser {
    /// Reads one WebSocket text message, `{type, payload, timestamp?, eventId?}`. Of a `cart_event` the good events are
    /// appended to `out` and the bad ones to `failures`, whose pointers start at the event; the pointers of an error
    /// start at the message.
    ///
    /// # Errors
    /// [`Rejection`] when the message as a whole cannot be taken; `out` and `failures` are then as before.
    pub fn message(
        &mut self,
        text: &[u8],
        now: UnixMicros,
        out: &mut Batch,
        failures: &mut Vec<Failure>,
    ) -> Result<Message, Rejection> {
        let Parser { reader, validator, spans } = self;
        let read = reader.read(text, |doc| {
            let envelope = envelope(doc)?;
            let kind = envelope.kind.ok_or_else(|| missing("/type"))?;
            match doc.string(kind.value).ok_or_else(|| wrong("/type", "must be a string"))? {
                "heartbeat" => Ok(Message::Heartbeat),
                "subscribe" => subscription(doc, envelope.payload).map(Message::Subscribe),
                "unsubscribe" => unsubscription(doc, envelope.payload),
                "cart_event" => events(validator, doc, &envelope, spans, now, out, failures),
                _ => {
                    let detail = "must be one of cart_event, heartbeat, subscribe, unsubscribe";
                    Err(Rejection::new(RejectCode::UnknownMessageType, "/type", detail))
                }
            }
        });
        self.trim();
        read.unwrap_or_else(|malformed| Err(malformed.into()))
    }
}

/// Reads the payload of a `cart_event`.
fn events(
    validator: &mut Validator,
    doc: &Doc<'_, '_>,
    envelope: &Envelope<'_>,
    spans: &mut Vec<Range<usize>>,
    now: UnixMicros,
    out: &mut Batch,
    failures: &mut Vec<Failure>,
) -> Result<Message, Rejection> {
    let supplied = Supplied {
        event_id: supplied(doc, envelope.event_id, "/eventId")?,
        timestamp: supplied(doc, envelope.timestamp, "/timestamp")?,
    };
    let found = payload(doc, envelope, supplied.event_id.is_some(), validator.limits.batch_events_max, spans);
    let payload = found.map_err(|mut rejection| {
        let id = supplied.event_id.map(|id| id.value).filter(|id| validator.is_id(id));
        rejection.event_id = id.map(str::to_owned);
        rejection
    })?;
    let mut node = payload.node;
    for (index, span) in spans.iter().enumerate() {
        if let Err(rejection) = validator.event(doc, node, span.clone(), &supplied, now, out) {
            failures.push(Failure { index: index as u32, rejection, raw: span.clone() });
        }
        node += doc.width(node);
    }
    Ok(Message::Events { total: spans.len() as u32, array: payload.array })
}

fn missing(pointer: &str) -> Rejection {
    Rejection::new(RejectCode::MissingField, pointer, "is required")
}

fn wrong(pointer: &str, detail: &str) -> Rejection {
    Rejection::new(RejectCode::WrongType, pointer, detail)
}

fn envelope<'a>(doc: &Doc<'_, 'a>) -> Result<Envelope<'a>, Rejection> {
    let Node::Object { .. } = doc.nodes[0] else {
        return Err(Rejection::new(RejectCode::NotAnObject, "", "must be an object"));
    };
    let mut envelope = Envelope::default();
    for field in doc.fields(0) {
        let slot = match field.key {
            "type" => &mut envelope.kind,
            "payload" => &mut envelope.payload,
            "eventId" => &mut envelope.event_id,
            "timestamp" => &mut envelope.timestamp,
            _ => continue,
        };
        if slot.replace(field).is_some() {
            return Err(twice(&format!("/{}", field.key)));
        }
    }
    Ok(envelope)
}

fn twice(pointer: &str) -> Rejection {
    Rejection::new(RejectCode::DuplicateKey, pointer, "stands more than once")
}

/// A string of the envelope that fills in what events lack; null supplies nothing.
fn supplied<'t>(doc: &Doc<'t, 't>, field: Option<Field<'_>>, pointer: &str) -> Result<Option<Text<'t>>, Rejection> {
    let Some(field) = field else {
        return Ok(None);
    };
    match doc.nodes[field.value] {
        Node::String(value) => {
            let written = doc.written(value);
            // Two ids that differ only in such halves would look alike once they are unescaped.
            if doc.has_half(&written) {
                return Err(Rejection::new(RejectCode::InvalidJson, pointer, HALF_PAIR));
            }
            Ok(Some(Text { value, json: &doc.text[written] }))
        }
        Node::Static(StaticNode::Null) => Ok(None),
        _ => Err(wrong(pointer, "must be a string")),
    }
}

struct Payload {
    /// The first event's node.
    node: usize,
    array: bool,
}

/// Finds the payload and where each of its events stands.
fn payload(
    doc: &Doc<'_, '_>,
    envelope: &Envelope<'_>,
    has_id: bool,
    most: usize,
    spans: &mut Vec<Range<usize>>,
) -> Result<Payload, Rejection> {
    let payload = envelope.payload.ok_or_else(|| missing("/payload"))?;
    let node = payload.value;
    let place = doc.field_span(&payload, doc.root().end);
    match doc.nodes[node] {
        Node::Object { .. } => {
            spans.clear();
            spans.push(place);
            Ok(Payload { node, array: false })
        }
        Node::Array { len: 0, .. } => {
            Err(Rejection::new(RejectCode::InvalidLength, "/payload", "must hold at least one event"))
        }
        Node::Array { len, .. } if len > most => {
            let detail = format!("Batch size {len} exceeds limit {most}");
            Err(Rejection::new(RejectCode::BatchTooLarge, "/payload", detail))
        }
        Node::Array { len: 2.., .. } if has_id => {
            let detail = "must not stand beside an array of several events";
            Err(Rejection::new(RejectCode::IdMismatch, "/eventId", detail))
        }
        Node::Array { .. } => {
            doc.element_spans(node, place, spans);
            Ok(Payload { node: node + 1, array: true })
        }
        _ => Err(wrong("/payload", "must be an event or an array of events")),
    }
}

fn subscription(doc: &Doc<'_, '_>, payload: Option<Field<'_>>) -> Result<Subscription, Rejection> {
    let mut wanted = Subscription::default();
    let Some(node) = options(doc, payload)? else {
        return Ok(wanted);
    };
    let mut seen = [false; 4];
    for field in doc.fields(node) {
        let number = match field.key {
            "channel" => 0,
            "storeId" => 1,
            "eventType" => 2,
            "fromSeq" => 3,
            _ => continue,
        };
        if std::mem::replace(&mut seen[number], true) {
            return Err(twice(&format!("/payload/{}", field.key)));
        }
        if let Node::Static(StaticNode::Null) = doc.nodes[field.value] {
            continue;
        }
        match number {
            0 => wanted.channel = channel(doc, field.value)?,
            1 => wanted.store_id = Some(filter(doc, field.value, "/payload/storeId")?),
            2 => wanted.event_type = Some(filter(doc, field.value, "/payload/eventType")?),
            _ => wanted.from_seq = Some(position(doc, field.value)?),
        }
    }
    Ok(wanted)
}

fn unsubscription(doc: &Doc<'_, '_>, payload: Option<Field<'_>>) -> Result<Message, Rejection> {
    let mut wanted = None;
    let mut seen = false;
    if let Some(node) = options(doc, payload)? {
        for field in doc.fields(node).filter(|field| field.key == "channel") {
            if std::mem::replace(&mut seen, true) {
                return Err(twice("/payload/channel"));
            }
            if !matches!(doc.nodes[field.value], Node::Static(StaticNode::Null)) {
                wanted = Some(channel(doc, field.value)?);
            }
        }
    }
    Ok(Message::Unsubscribe { channel: wanted })
}

/// The node of a payload that may be left out, or null.
fn options(doc: &Doc<'_, '_>, payload: Option<Field<'_>>) -> Result<Option<usize>, Rejection> {
    match payload.map(|payload| (payload.value, doc.nodes[payload.value])) {
        None | Some((_, Node::Static(StaticNode::Null))) => Ok(None),
        Some((node, Node::Object { .. })) => Ok(Some(node)),
        Some(_) => Err(wrong("/payload", "must be an object")),
    }
}

fn channel(doc: &Doc<'_, '_>, node: usize) -> Result<Channel, Rejection> {
    let detail = "must be \"confirmations\" or \"live\"";
    let name = doc.string(node).ok_or_else(|| wrong("/payload/channel", detail))?;
    let known = [Channel::Confirmations, Channel::Live].into_iter().find(|known| known.as_str() == name);
    known.ok_or_else(|| Rejection::new(RejectCode::InvalidValue, "/payload/channel", detail))
}

/// Longest text that is compared with the events', in bytes.
const FILTER_BYTES_MAX: usize = 1_024;

fn filter(doc: &Doc<'_, '_>, node: usize, pointer: &str) -> Result<String, Rejection> {
    match doc.string(node) {
        Some(text) if (1..=FILTER_BYTES_MAX).contains(&text.len()) => Ok(text.to_owned()),
        Some(_) => {
            let detail = format!("must be 1 to {FILTER_BYTES_MAX} bytes");
            Err(Rejection::new(RejectCode::InvalidLength, pointer, detail))
        }
        None => Err(wrong(pointer, "must be a string")),
    }
}

fn position(doc: &Doc<'_, '_>, node: usize) -> Result<u64, Rejection> {
    match doc.nodes[node] {
        Node::Static(StaticNode::U64(seq)) => Ok(seq),
        _ => Err(wrong("/payload/fromSeq", "must be an integer from 0")),
    }
}
