//! Rows to RowBinary bytes.

use crate::Table;
use event::{Seq, UnixMicros};

/// Something that is one row of a table.
pub trait Row {
    /// Of which table.
    const TABLE: Table;

    /// Its position: the event's, or the dead letter's.
    fn position(&self) -> Seq;

    /// When it became durable.
    fn committed_at(&self) -> UnixMicros;

    /// Appends its values, in the order of the table's columns behind `node` and `incarnation`.
    fn put(&self, out: &mut Vec<u8>);
}

/// What rows of `events_raw` and `events_processed` have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow<'a> {
    /// Position in the log.
    pub seq: Seq,
    /// The owner.
    pub tenant: &'a str,
    /// The way in: `http`, `websocket`, …
    pub source: &'a str,
    /// `eventId`.
    pub event_id: &'a str,
    /// `eventType`.
    pub event_type: &'a str,
    /// `timestamp`; stored in whole milliseconds, rounded down.
    pub timestamp: UnixMicros,
    /// `userId`.
    pub user_id: Option<&'a str>,
    /// `sessionId`.
    pub session_id: &'a str,
    /// `storeId`.
    pub store_id: &'a str,
    /// When the request was read.
    pub received_at: UnixMicros,
    /// When the event became durable.
    pub committed_at: UnixMicros,
}

/// A row of `events_raw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRow<'a> {
    /// The envelope.
    pub event: EventRow<'a>,
    /// The bytes as received.
    pub raw: &'a [u8],
}

/// A row of `events_processed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessedRow<'a> {
    /// The envelope.
    pub event: EventRow<'a>,
    /// Version of the schema that it was brought to; 0 where there is none.
    pub schema_version: u32,
    /// `data`, JSON text.
    pub data: &'a str,
    /// `metadata`, JSON text.
    pub metadata: Option<&'a str>,
    /// What was added to it, JSON text.
    pub enriched: &'a str,
}

/// A row of `events_errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRow<'a> {
    /// Position among the dead letters.
    pub dead_seq: Seq,
    /// Position in the log, if it got that far.
    pub seq: Option<Seq>,
    /// The owner.
    pub tenant: &'a str,
    /// The way in.
    pub source: &'a str,
    /// The sink that could not take it; empty for what was rejected at intake.
    pub sink: &'a str,
    /// Reason code.
    pub code: &'a str,
    /// JSON pointer, or column, of what was wrong.
    pub pointer: &'a str,
    /// What was wrong.
    pub message: &'a str,
    /// `eventId`, where it could be read.
    pub event_id: Option<&'a str>,
    /// `eventType`, where it could be read, else empty.
    pub event_type: &'a str,
    /// `storeId`, where it could be read, else empty.
    pub store_id: &'a str,
    /// When the request was read.
    pub received_at: UnixMicros,
    /// When the dead letter became durable.
    pub committed_at: UnixMicros,
    /// The bytes as received.
    pub raw: &'a [u8],
}

impl EventRow<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.seq.get());
        put_text(out, self.tenant);
        put_text(out, self.source);
        put_text(out, self.event_id);
        put_text(out, self.event_type);
        put_i64(out, self.timestamp.get().div_euclid(1000));
        put_maybe(out, self.user_id);
        put_text(out, self.session_id);
        put_text(out, self.store_id);
        put_i64(out, self.received_at.get());
        put_i64(out, self.committed_at.get());
    }
}

impl Row for RawRow<'_> {
    const TABLE: Table = Table::Raw;

    fn position(&self) -> Seq {
        self.event.seq
    }

    fn committed_at(&self) -> UnixMicros {
        self.event.committed_at
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.event.put(out);
        put_bytes(out, self.raw);
    }
}

impl Row for ProcessedRow<'_> {
    const TABLE: Table = Table::Processed;

    fn position(&self) -> Seq {
        self.event.seq
    }

    fn committed_at(&self) -> UnixMicros {
        self.event.committed_at
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.event.put(out);
        out.extend_from_slice(&self.schema_version.to_le_bytes());
        put_text(out, self.data);
        put_maybe(out, self.metadata);
        put_text(out, self.enriched);
    }
}

impl Row for ErrorRow<'_> {
    const TABLE: Table = Table::Errors;

    fn position(&self) -> Seq {
        self.dead_seq
    }

    fn committed_at(&self) -> UnixMicros {
        self.committed_at
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.dead_seq.get());
        out.push(u8::from(self.seq.is_none()));
        if let Some(seq) = self.seq {
            put_u64(out, seq.get());
        }
        for text in [self.tenant, self.source, self.sink, self.code, self.pointer, self.message] {
            put_text(out, text);
        }
        put_maybe(out, self.event_id);
        put_text(out, self.event_type);
        put_text(out, self.store_id);
        put_i64(out, self.received_at.get());
        put_i64(out, self.committed_at.get());
        put_bytes(out, self.raw);
    }
}

/// Names and types of the columns, which a server compares with its table before it reads a row.
pub(crate) fn header(table: Table) -> Vec<u8> {
    let columns = table.columns();
    let mut out = Vec::new();
    put_len(&mut out, columns.len());
    columns.iter().for_each(|column| put_text(&mut out, column.name));
    columns.iter().for_each(|column| put_text(&mut out, column.kind));
    out
}

/// A UUID is two halves, each little-endian.
pub(crate) fn put_uuid(out: &mut Vec<u8>, id: u128) {
    put_u64(out, (id >> 64) as u64);
    put_u64(out, id as u64);
}

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_maybe(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_none()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

/// LEB128.
fn put_len(out: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}
