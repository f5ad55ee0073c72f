//! Events and dead letters to messages: keys, headers and values in one piece of memory. No I/O.

use crate::stretch::Stretch;
use crate::{DeadLetter, Event, Headers, Item, Message, Position, Topic};
use std::fmt::{self, Write};
use std::ops::Range;

/// A slice of the log on its way: everything after one position up to another.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    after: Position,
    end: Position,
    incarnation: Option<u64>,
    bytes: Vec<u8>,
    headers: Vec<(&'static str, Range<usize>)>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    item: Item,
    topic: Topic,
    key: Option<Range<usize>>,
    headers: Range<usize>,
    value: Range<usize>,
    /// What a slice says that ends with this part's item.
    end: Position,
    incarnation: Option<u64>,
}

impl Slice {
    /// An empty slice that begins after `after`.
    #[must_use]
    pub fn new(after: Position) -> Self {
        Slice { after, end: after, ..Slice::default() }
    }

    /// Makes it an empty one that begins after `after`, and keeps its memory.
    pub fn restart(&mut self, after: Position) {
        self.after = after;
        self.end = after;
        self.incarnation = None;
        self.bytes.clear();
        self.headers.clear();
        self.parts.clear();
    }

    /// Adds the next event.
    pub fn push(&mut self, event: &Event<'_>) {
        assert!(event.seq > self.end.seq, "events come in order");
        let headers_at = self.headers.len();
        self.header("event_id", event.event_id);
        self.header("event_type", event.event_type);
        self.header("tenant", event.tenant);
        self.header_of("seq", event.seq);
        self.header_of("incarnation", format_args!("{:016x}", event.incarnation));
        self.header_of("schema_version", event.schema_version);
        self.optional_header("traceparent", event.traceparent);
        let headers = headers_at..self.headers.len();
        let key = (!event.session_id.is_empty()).then(|| self.put(event.session_id.as_bytes()));
        self.end.seq = event.seq;
        self.incarnation = Some(event.incarnation);
        let forms =
            [(Topic::Raw, Some(event.raw)), (Topic::Validated, event.validated), (Topic::Enriched, event.enriched)];
        for (topic, value) in forms {
            let Some(value) = value else { continue };
            let value = self.put(value);
            self.add(Item::Event(event.seq), topic, key.clone(), headers.clone(), value);
        }
    }

    /// Adds the next dead letter.
    pub fn push_dead(&mut self, letter: &DeadLetter<'_>) {
        assert!(letter.dead_seq > self.end.dead_seq, "dead letters come in order");
        let headers_at = self.headers.len();
        self.optional_header("event_id", letter.event_id);
        self.optional_header("event_type", letter.event_type);
        self.header("tenant", letter.tenant);
        self.header_of("dead_seq", letter.dead_seq);
        if let Some(seq) = letter.seq {
            self.header_of("seq", seq);
        }
        self.header("code", letter.code);
        self.optional_header("pointer", letter.pointer);
        self.optional_header("detail", letter.detail);
        self.optional_header("traceparent", letter.traceparent);
        let headers = headers_at..self.headers.len();
        let key = letter.session_id.map(|session| self.put(session.as_bytes()));
        let value = self.put(letter.raw);
        self.end.dead_seq = letter.dead_seq;
        self.add(Item::DeadLetter(letter.dead_seq), Topic::Dead, key, headers, value);
    }

    fn add(&mut self, item: Item, topic: Topic, key: Option<Range<usize>>, headers: Range<usize>, value: Range<usize>) {
        let (end, incarnation) = (self.end, self.incarnation);
        self.parts.push(Part { item, topic, key, headers, value, end, incarnation });
    }

    /// Says that it reaches up to `end`, whose last event `incarnation` committed, though there is nothing to send of
    /// what lies between: a gap in the log, or what was skipped or dead-lettered.
    pub fn cover(&mut self, end: Position, incarnation: u64) {
        assert!(end.covers(&self.end), "a slice only grows");
        if end.seq > self.end.seq {
            self.incarnation = Some(incarnation);
        }
        self.end = end;
    }

    /// Takes all messages of an item out, and goes on to cover it; for one that was refused.
    pub fn remove(&mut self, item: Item) {
        self.parts.retain(|part| part.item != item);
    }

    /// The position it begins after.
    #[must_use]
    pub fn after(&self) -> Position {
        self.after
    }

    /// The position it ends with.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The incarnation that committed its last event; `None` when it covers no event.
    #[must_use]
    pub fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// How many messages it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether it has no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The messages in order.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        self.parts.iter().map(|part| self.message(part))
    }

    /// The message at a place in that order.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Message<'_>> {
        self.parts.get(place).map(|part| self.message(part))
    }

    /// Where in that order begins what comes after `position`; `None` if the slice has no border there.
    pub(crate) fn place_after(&self, position: Position) -> Option<usize> {
        let place = self.parts.partition_point(|part| position.covers(&part.end));
        let border = place.checked_sub(1).and_then(|last| self.parts.get(last)).map_or(self.after, |last| last.end);
        (border == position).then_some(place)
    }

    /// Which places an item has.
    pub(crate) fn places_of(&self, item: Item) -> Range<usize> {
        let first = self.parts.iter().position(|part| part.item == item).unwrap_or(self.parts.len());
        let count = self.parts.iter().skip(first).take_while(|part| part.item == item).count();
        first..first + count
    }

    /// The part with these places, which begins and ends at borders of items.
    pub(crate) fn stretch(&self, from: usize, to: usize) -> Stretch<'_> {
        let last = if to == self.parts.len() { None } else { to.checked_sub(1).and_then(|last| self.parts.get(last)) };
        let (end, incarnation) = last.map_or((self.end, self.incarnation), |last| (last.end, last.incarnation));
        Stretch { slice: self, from, to, end, incarnation }
    }

    fn message(&self, part: &Part) -> Message<'_> {
        let bytes = |span: &Range<usize>| self.bytes.get(span.clone()).unwrap_or_default();
        Message {
            item: part.item,
            topic: part.topic,
            key: part.key.as_ref().map(bytes),
            headers: Headers { bytes: &self.bytes, spans: self.headers.get(part.headers.clone()).unwrap_or_default() },
            value: bytes(&part.value),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn header(&mut self, name: &'static str, value: &str) {
        let span = self.put(value.as_bytes());
        self.headers.push((name, span));
    }

    fn optional_header(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.header(name, value);
        }
    }

    fn header_of(&mut self, name: &'static str, value: impl fmt::Display) {
        let start = self.bytes.len();
        // Writing into memory never fails.
        write!(Bytes(&mut self.bytes), "{value}").ok();
        self.headers.push((name, start..self.bytes.len()));
    }
}

/// Text that is appended to bytes.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Seq;

    fn event(seq: u64) -> Event<'static> {
        Event {
            seq: Seq::new(seq),
            incarnation: 0xab,
            tenant: "default",
            event_id: "e",
            event_type: "cart_created",
            session_id: "s",
            schema_version: 3,
            traceparent: None,
            raw: b"raw",
            validated: Some(b"validated"),
            enriched: Some(b"enriched"),
        }
    }

    fn letter(dead_seq: u64) -> DeadLetter<'static> {
        DeadLetter {
            dead_seq,
            seq: None,
            tenant: "default",
            event_id: None,
            event_type: None,
            session_id: None,
            code: "not_json",
            pointer: None,
            detail: None,
            traceparent: None,
            raw: b"\xff",
        }
    }

    fn headers(message: &Message<'_>) -> Vec<String> {
        let text = |(name, value): (&str, &[u8])| format!("{name}={}", String::from_utf8_lossy(value));
        message.headers.iter().map(text).collect()
    }

    #[test]
    fn an_event_goes_to_three_topics_with_one_key_and_one_set_of_headers() {
        let mut slice = Slice::new(Position { seq: Seq::new(4), dead_seq: 2 });
        slice.push(&Event { traceparent: Some("00-t-s-01"), session_id: "日本", ..event(7) });
        let messages: Vec<_> = slice.messages().collect();
        let topics: Vec<_> = messages.iter().map(|message| (message.topic, message.value)).collect();
        let wanted: [(Topic, &[u8]); 3] =
            [(Topic::Raw, b"raw"), (Topic::Validated, b"validated"), (Topic::Enriched, b"enriched")];
        assert_eq!(topics, wanted);
        for message in &messages {
            assert_eq!((message.item, message.key), (Item::Event(Seq::new(7)), Some("日本".as_bytes())));
            assert_eq!(
                headers(message),
                [
                    "event_id=e",
                    "event_type=cart_created",
                    "tenant=default",
                    "seq=7",
                    "incarnation=00000000000000ab",
                    "schema_version=3",
                    "traceparent=00-t-s-01"
                ]
            );
        }
        assert_eq!(slice.end(), Position { seq: Seq::new(7), dead_seq: 2 });
        assert_eq!(slice.incarnation(), Some(0xab));
    }

    #[test]
    fn forms_and_headers_that_an_event_does_not_have_are_left_out() {
        let mut slice = Slice::new(Position::START);
        slice.push(&Event { session_id: "", validated: None, enriched: None, ..event(1) });
        let messages: Vec<_> = slice.messages().collect();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].key, None);
        assert!(!headers(&messages[0]).iter().any(|header| header.starts_with("traceparent")));
    }

    #[test]
    fn a_dead_letter_says_why_it_is_dead() {
        let mut slice = Slice::new(Position::START);
        slice.push_dead(&DeadLetter {
            seq: Some(Seq::new(9)),
            event_id: Some("e"),
            session_id: Some("s"),
            pointer: Some("/data"),
            detail: Some("too deep"),
            ..letter(1)
        });
        slice.push_dead(&letter(2));
        let messages: Vec<_> = slice.messages().collect();
        assert_eq!(
            headers(&messages[0]),
            [
                "event_id=e",
                "tenant=default",
                "dead_seq=1",
                "seq=9",
                "code=not_json",
                "pointer=/data",
                "detail=too deep"
            ]
        );
        assert_eq!((messages[0].topic, messages[0].key), (Topic::Dead, Some(&b"s"[..])));
        assert_eq!((messages[1].key, messages[1].value), (None, &b"\xff"[..]));
        assert_eq!(slice.end(), Position { seq: Seq::ZERO, dead_seq: 2 });
        assert_eq!(slice.incarnation(), None);
    }

    #[test]
    fn what_is_removed_is_still_covered() {
        let mut slice = Slice::new(Position::START);
        for seq in 1..=3 {
            slice.push(&event(seq));
        }
        slice.remove(Item::Event(Seq::new(3)));
        let items: Vec<_> = slice.messages().map(|message| message.item).collect();
        assert_eq!(items, [1, 1, 1, 2, 2, 2].map(|seq| Item::Event(Seq::new(seq))));
        assert_eq!(slice.end().seq, Seq::new(3));
        slice.cover(Position { seq: Seq::new(10), dead_seq: 0 }, 5);
        assert_eq!((slice.end().seq, slice.incarnation()), (Seq::new(10), Some(5)));
    }

    #[test]
    fn a_slice_can_be_used_again() {
        let mut slice = Slice::new(Position::START);
        slice.push(&event(1));
        slice.restart(slice.end());
        assert!(slice.is_empty() && slice.bytes() == 0 && slice.incarnation().is_none());
        assert_eq!(slice.after(), Position { seq: Seq::new(1), dead_seq: 0 });
        slice.push(&event(2));
        assert_eq!(slice.len(), 3);
    }

    #[test]
    #[should_panic(expected = "events come in order")]
    fn events_that_come_again_are_a_bug() {
        let mut slice = Slice::new(Position::START);
        slice.push(&event(1));
        slice.push(&event(1));
    }
}
