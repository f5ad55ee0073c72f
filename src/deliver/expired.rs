//! Which events were given up for a sink, for those who ask later what became of one: stored under `expired/`, the sink's
//! name, 0 and the first position of a range (big-endian), as its last position (little-endian).

use event::Seq;
use std::ops::{ControlFlow, RangeInclusive};
use wal::{Family, ReadError, Reader, Write};

/// So many of the newest ranges are remembered.
const RANGES_MAX: usize = 256;

/// The ranges of `sink`, in order.
pub(super) fn load(reader: &Reader, sink: &str) -> Result<Vec<RangeInclusive<Seq>>, ReadError> {
    let prefix = key(sink, None);
    let mut found = Vec::new();
    reader.scan(Family::Projection, &prefix, |name, value| {
        let Some(first) = name.strip_prefix(&*prefix) else { return ControlFlow::Break(()) };
        if let (Ok(first), Ok(last)) = (first.try_into(), value.try_into()) {
            found.push(Seq::new(u64::from_be_bytes(first))..=Seq::new(u64::from_le_bytes(last)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The writes that add a range to those that are known.
pub(super) fn add(known: &[RangeInclusive<Seq>], sink: &str, range: &RangeInclusive<Seq>) -> Vec<Write> {
    let continued = known.last().filter(|last| last.end().next() == *range.start());
    let first = *continued.unwrap_or(range).start();
    let value = range.end().get().to_le_bytes().to_vec();
    let mut writes = vec![Write::Put(Family::Projection, key(sink, Some(first)), value)];
    if known.len() >= RANGES_MAX
        && let Some(oldest) = known.first()
    {
        writes.push(Write::Delete(Family::Projection, key(sink, Some(*oldest.start()))));
    }
    writes
}

/// How many events at or after `from` were given up.
pub(super) fn count_from(known: &[RangeInclusive<Seq>], from: Seq) -> u64 {
    known.iter().map(|range| range.end().next().since(from.max(*range.start()))).sum()
}

/// The write that ends a range before `from` where one reaches beyond it.
pub(super) fn cut(known: &[RangeInclusive<Seq>], sink: &str, from: Seq) -> Option<Write> {
    let range = known.iter().find(|range| *range.start() < from && range.contains(&from))?;
    let value = from.prev().get().to_le_bytes().to_vec();
    Some(Write::Put(Family::Projection, key(sink, Some(*range.start())), value))
}

/// The write that removes what lies at or after `from`: it is to be sent after all.
pub(super) fn forget_from(sink: &str, from: Seq) -> Write {
    Write::DeleteRange(Family::Projection, key(sink, Some(from)), [b"expired/", sink.as_bytes(), &[1]].concat())
}

fn key(sink: &str, first: Option<Seq>) -> Vec<u8> {
    let mut key = [b"expired/", sink.as_bytes(), &[0]].concat();
    key.extend(first.into_iter().flat_map(|first| first.get().to_be_bytes()));
    key
}
