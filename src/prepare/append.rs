use event::{Batch, Entry, Fingerprint, content_hash};
use record::put_record;
use std::ops::Range;

/// Length of a record before its extension.
pub(crate) const RECORD_HEAD: usize = 8;
/// What stands before the first value of a record's extension: a tag of 1 byte, a length of 2.
const EXTENSION_HEAD: usize = 3;
/// Positions in a batch are 32 bits wide.
const RECORDS_MAX: usize = u32::MAX as usize;

/// An event that may be stored.
pub(crate) struct Checked<'a> {
    pub(crate) text: &'a [u8],
    /// Where the event stands in `text`.
    pub(crate) span: Range<usize>,
    /// Number of its type.
    pub(crate) kind: u8,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id_json: IdJson<'a>,
    /// The timestamp that an envelope supplied, as the content of a JSON string.
    pub(crate) timestamp: Option<&'a [u8]>,
}

/// An event's id as the content of a JSON string.
pub(crate) enum IdJson<'a> {
    /// The event's own, at this place in the text.
    Own(Range<usize>),
    /// Supplied by an envelope.
    Lent(&'a [u8]),
}

/// Appends the event's record and entry to `out`.
///
/// # Panics
/// When the batch would hold 4 GiB: whoever collects requests into one bounds them far below.
pub(crate) fn append(out: &mut Batch, event: &Checked<'_>) {
    let raw = &event.text[event.span.clone()];
    let start = out.records.len();
    out.records.reserve(RECORD_HEAD + raw.len());
    let (raw_at, id_start, id_len) = match &event.id_json {
        IdJson::Own(id) => {
            let raw_at = put_record(&mut out.records, event.kind, None, event.timestamp, raw);
            (raw_at, raw_at + id.start - event.span.start, id.len())
        }
        IdJson::Lent(id) => {
            let raw_at = put_record(&mut out.records, event.kind, Some(id), event.timestamp, raw);
            (raw_at, start + RECORD_HEAD + EXTENSION_HEAD, id.len())
        }
    };
    let end = out.records.len();
    assert!(end <= RECORDS_MAX, "a batch holds less than 4 GiB of records");
    debug_assert_eq!(end - raw_at, raw.len(), "a record ends with the event's bytes");
    out.entries.push(Entry {
        fingerprint: event.fingerprint,
        content: content_hash(raw),
        start: start as u32,
        end: end as u32,
        id_start: id_start as u32,
        id_len: id_len as u16,
        event_type: event.kind,
    });
}

/// Makes room for so many events of so many bytes together.
pub(crate) fn reserve(out: &mut Batch, events: usize, bytes: usize) {
    out.entries.reserve(events);
    out.records.reserve(events * RECORD_HEAD + bytes);
}
