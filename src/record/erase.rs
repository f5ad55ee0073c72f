use crate::segment::{Segment, pack, put_erased};
use crate::{Block, BlockWriter, Corrupt, Fields, SegmentMeta, Slot};
use event::Seq;

/// The block stored under `first` without the events that are meant: each leaves its position and nothing else, so that
/// the others keep theirs. `None` where none of them is there any more.
///
/// # Errors
/// [`Corrupt`] when the bytes are not a whole, unchanged block of that key.
pub fn erase(first: Seq, value: &[u8], is_meant: impl Fn(Seq) -> bool) -> Result<Option<Vec<u8>>, Corrupt> {
    let block = Block::parse(first, value)?;
    let mut writer = BlockWriter::default();
    writer.begin();
    let (mut scratch, mut has_erased) = (Vec::new(), false);
    block.walk(|segment, stored, from| {
        let until = from.plus(u64::from(segment.count));
        let is_touched = (from.get()..until.get()).any(|seq| is_meant(Seq::new(seq)));
        match if is_touched { rewrite(&block, segment, from, &is_meant, &mut scratch)? } else { None } {
            Some(rest) => {
                has_erased = true;
                add(&mut writer, segment, &rest);
            }
            None => writer.verbatim(stored, segment.count),
        }
        Ok(())
    })?;
    Ok(has_erased.then(|| writer.finish_erased(first, block.committed_at())))
}

/// What is left of a request.
struct Rest {
    records: Vec<u8>,
    is_empty: bool,
}

/// `None` where nothing was there to erase.
fn rewrite(
    block: &Block<'_>,
    segment: &Segment<'_>,
    from: Seq,
    is_meant: impl Fn(Seq) -> bool,
    scratch: &mut Vec<u8>,
) -> Result<Option<Rest>, Corrupt> {
    let mut records = Fields::new(segment.records(scratch)?, "record");
    let (mut rest, mut has_erased) = (Rest { records: Vec::new(), is_empty: true }, false);
    for seq in (from.get()..).map(Seq::new).take(segment.count as usize) {
        let before = records.rest;
        let slot = block.record(&mut records, segment.meta, seq)?;
        match slot {
            Slot::Event(_) if is_meant(seq) => {
                has_erased = true;
                put_erased(&mut rest.records);
            }
            Slot::Event(_) => {
                rest.is_empty = false;
                rest.records.extend_from_slice(&before[..before.len() - records.rest.len()]);
            }
            Slot::Erased(_) => put_erased(&mut rest.records),
        }
    }
    if !records.rest.is_empty() {
        return Err(Corrupt::Inconsistent("segment length"));
    }
    Ok(has_erased.then_some(rest))
}

fn add(writer: &mut BlockWriter, segment: &Segment<'_>, rest: &Rest) {
    // The trace of a request of which nothing is left is a trace of it.
    let traceparent = segment.meta.traceparent.filter(|_| !rest.is_empty);
    let meta = SegmentMeta { traceparent, ..segment.meta };
    match pack(&rest.records, &mut Vec::new()) {
        Some(packed) => writer.packed(&meta, &packed, rest.records.len(), segment.count),
        None => writer.whole(&meta, &rest.records, segment.count),
    }
}
