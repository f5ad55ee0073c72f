//! Which events were given up for a sink, for those who ask later what became of one: stored under `expired/`, the sink's
//! name, 0 and the first position of a range (big-endian), as its last position (little-endian).

use event::Seq;
use std::ops::{ControlFlow, Range, RangeInclusive};
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

/// How many of the events in `arrived` were given up, and the writes after which they were not.
pub(super) fn without(known: &[RangeInclusive<Seq>], sink: &str, arrived: &Range<Seq>) -> (u64, Vec<Write>) {
    let (mut events, mut writes) = (0, Vec::new());
    let put = |first: Seq, last: Seq| {
        Write::Put(Family::Projection, key(sink, Some(first)), last.get().to_le_bytes().to_vec())
    };
    for range in known {
        let (first, end) = (*range.start(), range.end().next());
        let (from, until) = (first.max(arrived.start), end.min(arrived.end));
        if from >= until {
            continue;
        }
        events += until.since(from);
        match first < from {
            true => writes.push(put(first, from.prev())),
            false => writes.push(Write::Delete(Family::Projection, key(sink, Some(first)))),
        }
        if until < end {
            writes.push(put(until, *range.end()));
        }
    }
    (events, writes)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn ranges(of: &[(u64, u64)]) -> Vec<RangeInclusive<Seq>> {
        of.iter().map(|(first, last)| Seq::new(*first)..=Seq::new(*last)).collect()
    }

    /// What is stored once these writes are through.
    fn after(known: &[RangeInclusive<Seq>], writes: Vec<Write>) -> Vec<(u64, u64)> {
        let value = |range: &RangeInclusive<Seq>| range.end().get().to_le_bytes().to_vec();
        let mut stored: BTreeMap<_, _> =
            known.iter().map(|range| (key("s", Some(*range.start())), value(range))).collect();
        for write in writes {
            match write {
                Write::Put(Family::Projection, key, value) => drop(stored.insert(key, value)),
                Write::Delete(Family::Projection, key) => drop(stored.remove(&key)),
                write => panic!("{write:?}"),
            }
        }
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes[bytes.len() - 8..].try_into().unwrap());
        stored.iter().map(|(key, value)| (number(key), u64::from_le_bytes(value[..].try_into().unwrap()))).collect()
    }

    #[test]
    fn what_arrived_after_all_is_taken_out_of_the_ranges_it_lies_in() {
        let known = ranges(&[(11, 20), (31, 40)]);
        for (from, until, events, left) in [
            (1, 11, 0, vec![(11, 20), (31, 40)]),
            (11, 16, 5, vec![(16, 20), (31, 40)]),
            (13, 16, 3, vec![(11, 12), (16, 20), (31, 40)]),
            (16, 21, 5, vec![(11, 15), (31, 40)]),
            (1, 100, 20, vec![]),
            (15, 35, 10, vec![(11, 14), (35, 40)]),
            (21, 31, 0, vec![(11, 20), (31, 40)]),
        ] {
            let (counted, writes) = without(&known, "s", &(Seq::new(from)..Seq::new(until)));
            assert_eq!((counted, after(&known, writes)), (events, left), "{from}..{until}");
        }
    }

    #[test]
    fn what_is_to_come_again_is_counted_and_cut() {
        let known = ranges(&[(11, 20), (31, 40)]);
        assert_eq!([1, 11, 15, 25, 36, 41].map(|from| count_from(&known, Seq::new(from))), [20, 20, 16, 10, 5, 0]);
        let cut = |from| cut(&known, "s", Seq::new(from)).map(|write| after(&known, vec![write]));
        assert_eq!(cut(15), Some(vec![(11, 14), (31, 40)]));
        assert_eq!([cut(11), cut(25), cut(41)], [None, None, None], "nothing reaches beyond");
    }
}
