//! Which blocks were rewritten whose old bytes may still lie in tables, for a run that was broken off has found them already:
//! stored in [`Family::Projection`] with the blocks, as the keys of the first and the last (u64 big-endian).

use event::Seq;
use std::ops::RangeInclusive;
use wal::{Family, ReadError, Reader, Write};

const KEY: &[u8] = b"erasure/unsettled";

/// From the first to the last of them.
pub(super) fn load(reader: &Reader) -> Result<Option<RangeInclusive<Seq>>, ReadError> {
    Ok(reader.get(Family::Projection, KEY)?.and_then(|value| decode(&value)))
}

/// The write that adds blocks.
pub(super) fn widen(reader: &Reader, blocks: impl Iterator<Item = Seq> + Clone) -> Result<Write, ReadError> {
    let known = load(reader)?;
    let ends = |known: Option<Seq>| known.into_iter().chain(blocks.clone());
    let first = ends(known.as_ref().map(|range| *range.start())).min().unwrap_or_default();
    let last = ends(known.as_ref().map(|range| *range.end())).max().unwrap_or_default();
    Ok(Write::Put(Family::Projection, KEY.to_vec(), encode(first, last)))
}

/// The write after which there are none.
pub(super) fn forget() -> Write {
    Write::Delete(Family::Projection, KEY.to_vec())
}

fn encode(first: Seq, last: Seq) -> Vec<u8> {
    [first.get().to_be_bytes(), last.get().to_be_bytes()].concat()
}

fn decode(value: &[u8]) -> Option<RangeInclusive<Seq>> {
    let (&[first, last], []) = value.as_chunks::<8>() else { return None };
    Some(Seq::new(u64::from_be_bytes(first))..=Seq::new(u64::from_be_bytes(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back_and_only_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = wal::open(dir.path(), &wal::Options::default()).unwrap();
        let mut store = |write| log.writer.commit(&wal::Group { events: None, writes: &[write] }).unwrap();
        let seqs = |of: &[u64]| of.iter().map(|seq| Seq::new(*seq)).collect::<Vec<_>>().into_iter();
        assert_eq!(load(&log.reader).unwrap(), None);
        for (blocks, range) in [(&[20, 30][..], 20..=30), (&[25], 20..=30), (&[7, 40], 7..=40)] {
            store(widen(&log.reader, seqs(blocks)).unwrap());
            assert_eq!(load(&log.reader).unwrap(), Some(Seq::new(*range.start())..=Seq::new(*range.end())));
        }
        store(forget());
        assert_eq!(load(&log.reader).unwrap(), None);
    }
}
