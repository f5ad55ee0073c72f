use crate::{Fingerprint, UnixMicros};
use std::ops::Range;

/// How an event came in. The numbers are stored in the log: never change or reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// `POST /events` and `POST /events/batch`.
    Http = 1,
    /// `WS /events/stream`.
    WebSocket = 2,
}

impl Source {
    /// The name of a stored number, for people and tables.
    #[must_use]
    pub const fn name_of(number: u8) -> &'static str {
        match number {
            1 => "http",
            2 => "websocket",
            _ => "unknown",
        }
    }
}

/// One request's good events, encoded and ready to be committed together.
///
/// `records` holds the events back to back in the log's record format (crate `record`); `entries` has one element for
/// each, in the same order. Parsing appends to both; the writer copies `records` whole unless it finds duplicates.
#[derive(Debug)]
pub struct Batch {
    /// The owner of the events.
    pub tenant: Box<str>,
    /// How they came in.
    pub source: Source,
    /// When the request was read.
    pub received_at: UnixMicros,
    /// W3C `traceparent` of the request, if it had one.
    pub traceparent: Option<Box<str>>,
    /// The encoded records, back to back.
    pub records: Vec<u8>,
    /// `records` as the log may store them whole instead: packed (crate `record`), where that is worth it.
    pub packed: Option<Box<[u8]>>,
    /// One element per record, in order.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new(tenant: &str, source: Source, received_at: UnixMicros) -> Self {
        Batch {
            tenant: tenant.into(),
            source,
            received_at,
            traceparent: None,
            records: Vec::new(),
            packed: None,
            entries: Vec::new(),
        }
    }

    /// The id of `entry` as the content of a JSON string: escapes as received, without the quotes.
    #[must_use]
    pub fn id_json(&self, entry: &Entry) -> &[u8] {
        let start = entry.id_start as usize;
        &self.records[start..start + entry.id_len as usize]
    }
}

/// What the writer and the answer need to know of one record of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Identity in the dedup window.
    pub fingerprint: Fingerprint,
    /// [`crate::content_hash`] of the raw bytes.
    pub content: u32,
    /// Where the record starts in `Batch::records`.
    pub start: u32,
    /// Where the record ends in `Batch::records`.
    pub end: u32,
    /// Where the id's JSON text (escapes as received, no quotes) starts in `Batch::records`.
    pub id_start: u32,
    /// Length of that text in bytes: at most six for each of the longest id's, all of them `\u00XX` escapes.
    pub id_len: u16,
    /// Index into the list of built-in event types, for counters; 255 for a registered one.
    pub event_type: u8,
}

impl Entry {
    /// The record's place in `Batch::records`.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}
