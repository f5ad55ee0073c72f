use crate::{Corrupt, DEFAULT_TENANT, Extension, Fields, RecordTag, SegmentTag};
use event::UnixMicros;

pub(crate) const PLAIN: u8 = 0;
pub(crate) const LZ4: u8 = 1;
pub(crate) const SEGMENT_HEAD: usize = 24;
pub(crate) const RECORD_HEAD: usize = 8;
/// Kind of a record: 0 is an event.
pub(crate) const ERASED: u8 = 1;

/// What all events of one request share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentMeta<'a> {
    /// The owner.
    pub tenant: &'a str,
    /// `event::Source` as a number.
    pub source: u8,
    /// When the request was read.
    pub received_at: UnixMicros,
    /// W3C trace context, if the request had one.
    pub traceparent: Option<&'a str>,
}

impl SegmentMeta<'_> {
    pub(crate) fn put_extension(&self, out: &mut Vec<u8>) {
        if self.tenant != DEFAULT_TENANT {
            Extension::put(out, SegmentTag::Tenant as u8, self.tenant.as_bytes());
        }
        if let Some(parent) = self.traceparent {
            Extension::put(out, SegmentTag::Traceparent as u8, parent.as_bytes());
        }
    }
}

/// Appends one record; returns the place of `raw` in `out`, so that the id's position can be told.
///
/// `event_id` and `timestamp` are what an envelope supplied, as the content of a JSON string.
pub fn put_record(
    out: &mut Vec<u8>,
    event_type: u8,
    event_id: Option<&[u8]>,
    timestamp: Option<&[u8]>,
    raw: &[u8],
) -> usize {
    let start = out.len();
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0, 0, event_type, 0]);
    if let Some(id) = event_id {
        Extension::put(out, RecordTag::EventId as u8, id);
    }
    if let Some(at) = timestamp {
        Extension::put(out, RecordTag::Timestamp as u8, at);
    }
    let extension = (out.len() - start - RECORD_HEAD) as u16;
    out[start + 4..start + 6].copy_from_slice(&extension.to_le_bytes());
    let raw_at = out.len();
    out.extend_from_slice(raw);
    raw_at
}

/// Appends what stands in the place of an erased record.
pub(crate) fn put_erased(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, u8::MAX, ERASED]);
}

/// Records below this stay as they are: a table of the packer costs more than it saves, and the store packs its tables.
const PACK_BYTES_MIN: usize = 4 << 10;

/// Packs a request's records as one LZ4 block, for [`crate::BlockWriter::packed`]; `None` where that saves less than an
/// eighth. `scratch` is reused.
///
/// Everything behind the parser works on fewer bytes then: checksum, log, memory table, flush and sink. Real events of one
/// request shrink to about a third.
pub fn pack(records: &[u8], scratch: &mut Vec<u8>) -> Option<Box<[u8]>> {
    if records.len() < PACK_BYTES_MIN {
        return None;
    }
    scratch.resize(lz4_flex::block::get_maximum_output_size(records.len()), 0);
    // The scratch has the most that packing can need.
    let len = lz4_flex::block::compress_into(records, scratch).ok()?;
    (len <= records.len() - records.len() / 8).then(|| scratch[..len].into())
}

/// One decoded segment head with its still packed records.
pub(crate) struct Segment<'a> {
    pub(crate) meta: SegmentMeta<'a>,
    pub(crate) count: u32,
    codec: u8,
    raw_len: usize,
    stored: &'a [u8],
}

impl<'a> Segment<'a> {
    pub(crate) fn take(fields: &mut Fields<'a>) -> Result<Self, Corrupt> {
        fields.what = "segment";
        let stored_len = fields.u32()? as usize;
        let raw_len = fields.u32()? as usize;
        let count = fields.u32()?;
        let codec = fields.u8()?;
        let source = fields.u8()?;
        let ext_len = usize::from(fields.u16()?);
        let received_at = UnixMicros::new(fields.i64()?);
        let extension = Extension::parse(fields.take(ext_len)?)?;
        let stored = fields.take(stored_len)?;
        let text = |tag: SegmentTag| {
            let value = extension.get(tag as u8).map(std::str::from_utf8);
            value.transpose().map_err(|_| Corrupt::Inconsistent("segment text"))
        };
        let meta = SegmentMeta {
            tenant: text(SegmentTag::Tenant)?.unwrap_or(DEFAULT_TENANT),
            source,
            received_at,
            traceparent: text(SegmentTag::Traceparent)?,
        };
        Ok(Segment { meta, count, codec, raw_len, stored })
    }

    /// The records, unpacked into `scratch` where they are packed.
    pub(crate) fn records<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], Corrupt>
    where
        'a: 'b,
    {
        match self.codec {
            PLAIN if self.raw_len == self.stored.len() => Ok(self.stored),
            // LZ4 cannot grow data by more than 255 times: a length beyond that is a lie, not a reason to allocate.
            LZ4 if self.raw_len <= self.stored.len().saturating_mul(255) => {
                scratch.clear();
                scratch.resize(self.raw_len, 0);
                match lz4_flex::block::decompress_into(self.stored, scratch) {
                    Ok(len) if len == self.raw_len => Ok(scratch),
                    _ => Err(Corrupt::Packed),
                }
            }
            _ => Err(Corrupt::Packed),
        }
    }
}
