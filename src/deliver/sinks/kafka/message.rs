//! What is sent, and what a message of it is. No I/O.

use event::Seq;
use std::fmt;
use std::ops::Range;

/// One event in the forms that the topics want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Position in the log.
    pub seq: Seq,
    /// The incarnation that committed it.
    pub incarnation: u64,
    /// The owner.
    pub tenant: &'a str,
    /// `eventId`.
    pub event_id: &'a str,
    /// `eventType`.
    pub event_type: &'a str,
    /// `sessionId`: the key. Empty, which no accepted event's is, for one that cannot be taken apart.
    pub session_id: &'a str,
    /// Version of the schema that the processed forms have.
    pub schema_version: u32,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// The bytes as received.
    pub raw: &'a [u8],
    /// The processed form before enrichment; `None` for an event that has none.
    pub validated: Option<&'a [u8]>,
    /// The enriched form; `None` for an event that has none.
    pub enriched: Option<&'a [u8]>,
}

/// One dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Position among the dead letters.
    pub dead_seq: u64,
    /// Position in the log, if it was accepted and a sink could not take it.
    pub seq: Option<Seq>,
    /// The owner.
    pub tenant: &'a str,
    /// `eventId`, if it could be read.
    pub event_id: Option<&'a str>,
    /// `eventType`, if it was accepted.
    pub event_type: Option<&'a str>,
    /// `sessionId`, if it was accepted: the key.
    pub session_id: Option<&'a str>,
    /// Why it is here, as in answers to clients.
    pub code: &'a str,
    /// Where in the event.
    pub pointer: Option<&'a str>,
    /// The same for a person.
    pub detail: Option<&'a str>,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// The bytes as received.
    pub raw: &'a [u8],
}

/// What a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// An event.
    Event(Seq),
    /// A dead letter.
    DeadLetter(u64),
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Events as received.
    Raw,
    /// The processed form before enrichment.
    Validated,
    /// The enriched form.
    Enriched,
    /// Dead letters.
    Dead,
}

/// One message of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What it is of.
    pub item: Item,
    /// Where it goes.
    pub topic: Topic,
    /// What decides on the partition.
    pub key: Option<&'a [u8]>,
    /// Names and values, in the order in which they are written.
    pub headers: Headers<'a>,
    /// The content.
    pub value: &'a [u8],
}

/// The headers of a message; see the [crate's](crate) table.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) spans: &'a [(&'static str, Range<usize>)],
}

impl<'a> Headers<'a> {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'a [u8])> + use<'a> {
        let Headers { bytes, spans } = *self;
        spans.iter().map(|(name, span)| (*name, bytes.get(span.clone()).unwrap_or_default()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.spans.len()
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Event(seq) => write!(f, "event {seq}"),
            Item::DeadLetter(dead_seq) => write!(f, "dead letter {dead_seq}"),
        }
    }
}

impl Message<'_> {
    /// Bytes of a batch that holds nothing else, before it is compressed: what a topic's `max.message.bytes` is held to.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        /// Of a batch, and of attributes, time and place of its first record.
        const FRAME: usize = 61 + 3;
        let bytes = |bytes: &[u8]| varint_len(bytes.len()) + bytes.len();
        let headers: usize = self.headers.iter().map(|(name, value)| bytes(name.as_bytes()) + bytes(value)).sum();
        let key = self.key.map_or(1, bytes);
        let record = key + bytes(self.value) + varint_len(self.headers.count()) + headers;
        FRAME + varint_len(record + 3) + record
    }
}

/// Bytes of a length as records have it: seven bits a byte, of twice the number.
fn varint_len(number: usize) -> usize {
    let bits = usize::BITS - (number << 1 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_as_many_bytes_as_kafka_gives_it() {
        for (number, bytes) in [(0, 1), (63, 1), (64, 2), (8_191, 2), (8_192, 3), (1 << 20, 4)] {
            assert_eq!(varint_len(number), bytes, "{number}");
        }
    }

    #[test]
    fn a_batch_of_one_is_as_large_as_on_the_wire() {
        let spans = [("name", 0..5)];
        let headers = Headers { bytes: b"value", spans: &spans };
        let item = Item::Event(Seq::FIRST);
        let message = Message { item, topic: Topic::Raw, key: Some(b"key"), headers, value: &[0; 100] };
        // Key 1+3, value 2+100, headers 1, and 1+4 and 1+5 of the header; with 3 more the record has a length of 2.
        assert_eq!(message.batch_bytes(), 61 + 2 + 3 + 4 + 102 + 1 + 5 + 6);
    }
}
