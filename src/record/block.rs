use crate::segment::{ERASED, LZ4, PLAIN, RECORD_HEAD, SEGMENT_HEAD, Segment, SegmentMeta};
use crate::{Corrupt, Extension, Fields, RecordTag, checksum};
use event::{Seq, UnixMicros};
use std::ops::Range;

const VERSION: u8 = 1;
/// The same, some of whose events are erased.
const VERSION_ERASED: u8 = 2;
const HEAD: usize = 24;

/// Builds one block after another in the same buffer.
#[derive(Debug, Default)]
pub struct BlockWriter {
    out: Vec<u8>,
    events: u32,
    segments: u16,
}

impl BlockWriter {
    /// Most segments a block can hold.
    pub const SEGMENTS_MAX: usize = u16::MAX as usize;

    /// Starts a block, dropping what was in the buffer.
    pub fn begin(&mut self) {
        self.out.clear();
        self.out.resize(HEAD, 0);
        self.events = 0;
        self.segments = 0;
    }

    /// Adds all of a request's records as they are.
    pub fn whole(&mut self, meta: &SegmentMeta<'_>, records: &[u8], events: u32) {
        self.head(meta, PLAIN, records.len(), records.len(), events);
        self.out.extend_from_slice(records);
    }

    /// Adds all of a request's records, packed beforehand with [`lz4_flex::block::compress`].
    pub fn packed(&mut self, meta: &SegmentMeta<'_>, packed: &[u8], raw_len: usize, events: u32) {
        self.head(meta, LZ4, packed.len(), raw_len, events);
        self.out.extend_from_slice(packed);
    }

    /// Adds some of a request's records: those at `keep` in `records`.
    pub fn some(&mut self, meta: &SegmentMeta<'_>, records: &[u8], keep: &[Range<usize>]) {
        let len = keep.iter().map(Range::len).sum();
        self.head(meta, PLAIN, len, len, keep.len() as u32);
        for range in keep {
            self.out.extend_from_slice(&records[range.clone()]);
        }
    }

    /// Adds a segment as it is stored in another block.
    pub(crate) fn verbatim(&mut self, segment: &[u8], events: u32) {
        self.out.extend_from_slice(segment);
        self.segments += 1;
        self.events += events;
    }

    /// Events added since [`BlockWriter::begin`].
    #[must_use]
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Closes the block that starts at `first` and returns its bytes.
    pub fn finish(&mut self, first: Seq, committed_at: UnixMicros) -> &[u8] {
        self.finish_as(VERSION, first, committed_at)
    }

    /// The same for a block some of whose events are erased.
    pub(crate) fn finish_erased(mut self, first: Seq, committed_at: UnixMicros) -> Vec<u8> {
        self.finish_as(VERSION_ERASED, first, committed_at);
        self.out
    }

    fn finish_as(&mut self, version: u8, first: Seq, committed_at: UnixMicros) -> &[u8] {
        debug_assert!(self.events > 0, "a block holds at least one event");
        self.out[0] = version;
        self.out[2..4].copy_from_slice(&self.segments.to_le_bytes());
        self.out[4..8].copy_from_slice(&self.events.to_le_bytes());
        self.out[8..16].copy_from_slice(&committed_at.get().to_le_bytes());
        let sum = checksum(&self.out, first);
        self.out[16..24].copy_from_slice(&sum.to_le_bytes());
        &self.out
    }

    /// Gives memory back after an unusually large block.
    pub fn shrink(&mut self, to: usize) {
        self.out.clear();
        self.out.shrink_to(to);
    }

    fn head(&mut self, meta: &SegmentMeta<'_>, codec: u8, stored: usize, raw: usize, events: u32) {
        assert!(usize::from(self.segments) < Self::SEGMENTS_MAX, "too many segments in one block");
        let at = self.out.len();
        self.out.extend_from_slice(&(stored as u32).to_le_bytes());
        self.out.extend_from_slice(&(raw as u32).to_le_bytes());
        self.out.extend_from_slice(&events.to_le_bytes());
        self.out.extend_from_slice(&[codec, meta.source, 0, 0]);
        self.out.extend_from_slice(&meta.received_at.get().to_le_bytes());
        meta.put_extension(&mut self.out);
        let extension = (self.out.len() - at - SEGMENT_HEAD) as u16;
        self.out[at + 14..at + 16].copy_from_slice(&extension.to_le_bytes());
        self.segments += 1;
        self.events += events;
    }
}

/// A block whose checksum and head have been verified.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    first: Seq,
    committed_at: UnixMicros,
    events: u32,
    segments: u16,
    has_erased: bool,
    body: &'a [u8],
}

/// One event of a block, as it was recorded at commit.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// Position in the log.
    pub seq: Seq,
    /// When its group was committed.
    pub committed_at: UnixMicros,
    /// What it shares with the other events of its request.
    pub segment: SegmentMeta<'a>,
    /// Built-in event type, 255 = other.
    pub event_type: u8,
    /// The id that an envelope supplied, as the content of a JSON string.
    pub event_id: Option<&'a [u8]>,
    /// The timestamp that an envelope supplied, as the content of a JSON string.
    pub timestamp: Option<&'a [u8]>,
    /// The bytes as received.
    pub raw: &'a [u8],
}

/// What a position of a block holds.
#[derive(Debug, Clone, Copy)]
pub enum Slot<'a> {
    /// An event.
    Event(EventView<'a>),
    /// An event that was [erased](crate::erase): of it there is its position.
    Erased(Seq),
}

impl<'a> Block<'a> {
    /// Reads the head of the block stored under `first` and verifies the checksum.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes are not a whole, unchanged block of that key.
    pub fn parse(first: Seq, value: &'a [u8]) -> Result<Self, Corrupt> {
        let mut fields = Fields::new(value, "block");
        let version = fields.u8()?;
        if ![VERSION, VERSION_ERASED].contains(&version) {
            return Err(Corrupt::Version { what: "block", version });
        }
        fields.u8()?;
        let segments = fields.u16()?;
        let events = fields.u32()?;
        let committed_at = UnixMicros::new(fields.i64()?);
        let sum = fields.u64()?;
        if sum != checksum(value, first) {
            return Err(Corrupt::Checksum);
        }
        if events == 0 {
            return Err(Corrupt::Inconsistent("event count"));
        }
        let has_erased = version == VERSION_ERASED;
        Ok(Block { first, committed_at, events, segments, has_erased, body: fields.rest })
    }

    /// Position of the first event.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.first
    }

    /// Position of the last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.first.plus(u64::from(self.events) - 1)
    }

    /// How many events it holds, those that are erased included; at least one.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.events
    }

    /// When it was committed.
    #[must_use]
    pub fn committed_at(&self) -> UnixMicros {
        self.committed_at
    }

    /// Whether some of its events are erased.
    #[must_use]
    pub fn has_erased(&self) -> bool {
        self.has_erased
    }

    /// Calls `each` for every event in order, but for those that are erased; `scratch` is reused for unpacking.
    ///
    /// # Errors
    /// [`Corrupt`] when the content contradicts the head; events before that place have been visited.
    pub fn visit(&self, scratch: &mut Vec<u8>, mut each: impl FnMut(EventView<'_>)) -> Result<(), Corrupt> {
        self.visit_slots(scratch, |slot| {
            if let Slot::Event(event) = slot {
                each(event);
            }
        })
    }

    /// Calls `each` for every position in order.
    ///
    /// # Errors
    /// As [`Block::visit`].
    pub fn visit_slots(&self, scratch: &mut Vec<u8>, mut each: impl FnMut(Slot<'_>)) -> Result<(), Corrupt> {
        self.walk(|segment, _, first| {
            let mut records = Fields::new(segment.records(scratch)?, "record");
            for seq in (first.get()..).map(Seq::new).take(segment.count as usize) {
                each(self.record(&mut records, segment.meta, seq)?);
            }
            if records.rest.is_empty() { Ok(()) } else { Err(Corrupt::Inconsistent("segment length")) }
        })
    }

    /// Calls `each` with every segment, its stored bytes and the position of its first event.
    pub(crate) fn walk(
        &self,
        mut each: impl FnMut(&Segment<'a>, &'a [u8], Seq) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        let mut fields = Fields::new(self.body, "block");
        let mut seq = self.first;
        for _ in 0..self.segments {
            let before = fields.rest;
            let segment = Segment::take(&mut fields)?;
            each(&segment, &before[..before.len() - fields.rest.len()], seq)?;
            seq = seq.plus(u64::from(segment.count));
        }
        if !fields.rest.is_empty() || seq != self.last().next() {
            return Err(Corrupt::Inconsistent("event count"));
        }
        Ok(())
    }

    /// Takes the next record.
    pub(crate) fn record<'b>(
        &self,
        records: &mut Fields<'b>,
        segment: SegmentMeta<'b>,
        seq: Seq,
    ) -> Result<Slot<'b>, Corrupt> {
        let mut head = Fields::new(records.take(RECORD_HEAD)?, "record");
        let raw_len = head.u32()? as usize;
        let ext_len = usize::from(head.u16()?);
        let event_type = head.u8()?;
        let is_erased = self.has_erased && head.u8()? == ERASED;
        let extension = Extension::parse(records.take(ext_len)?)?;
        let raw = records.take(raw_len)?;
        if is_erased {
            return Ok(Slot::Erased(seq));
        }
        Ok(Slot::Event(EventView {
            seq,
            committed_at: self.committed_at,
            segment,
            event_type,
            event_id: extension.get(RecordTag::EventId as u8),
            timestamp: extension.get(RecordTag::Timestamp as u8),
            raw,
        }))
    }
}
