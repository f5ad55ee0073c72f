//! A frozen batch on its way to a sink, as stored in [`Family::Manifest`].
//!
//! ```text
//! key    sink name, 0, u64 first event (big-endian); of dead letters with the highest bit set
//!
//! value  0 u8  version = 1        All integers are little-endian. What may never change: the meaning of version 1.
//!        1 u8  layout: which version of its rows the sink made the batch with; highest bit: of dead letters
//!        2 u16 length of the name
//!        4 i32 day of commit of all events, days since 1970-01-01 UTC
//!        8 u64 first event, or dead letter
//!       16 u64 last event, or dead letter
//!       24 u64 rows
//!       32 u64 incarnation that committed the last event
//!       40 the batch's name in the sink, UTF-8: a file, a token
//! ```

use event::Seq;
use std::ops::ControlFlow;
use wal::{Family, ReadError, Reader, Write};

const VERSION: u8 = 1;
const HEAD: usize = 40;
const DEAD_LAYOUT: u8 = 0x80;
const DEAD_KEY: u64 = 1 << 63;

/// What a sink will have got when the batch is through: these events and no others, whatever happens in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Whether it holds dead letters; `first` and `last` are then their ids.
    pub dead: bool,
    /// Which version of its rows the sink made the batch with, below 128.
    pub layout: u8,
    /// Day of commit of all it holds, days since 1970-01-01 UTC.
    pub day: i32,
    /// First event.
    pub first: Seq,
    /// Last event.
    pub last: Seq,
    /// How many rows it has: fewer than positions only where the log has a known gap.
    pub rows: u64,
    /// The start of the daemon that committed the last event.
    pub incarnation: u64,
    /// Its name in the sink.
    pub name: String,
}

impl Manifest {
    /// The frozen batches of `sink`, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(reader: &Reader, sink: &str) -> Result<Vec<Result<Manifest, String>>, ReadError> {
        let prefix = key_prefix(sink);
        let mut found = Vec::new();
        reader.scan(Family::Manifest, &prefix, |key, value| {
            if !key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            found.push(Manifest::decode(value));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The write that stores it.
    #[must_use]
    pub fn store(&self, sink: &str) -> Write {
        Write::Put(Family::Manifest, self.key(sink), self.encode())
    }

    /// The write that removes it.
    #[must_use]
    pub fn remove(&self, sink: &str) -> Write {
        Write::Delete(Family::Manifest, self.key(sink))
    }

    fn key(&self, sink: &str) -> Vec<u8> {
        let mut key = key_prefix(sink);
        let kind = if self.dead { DEAD_KEY } else { 0 };
        key.extend_from_slice(&(self.first.get() | kind).to_be_bytes());
        key
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.name.len());
        let kind = if self.dead { DEAD_LAYOUT } else { 0 };
        out.extend_from_slice(&[VERSION, self.layout | kind]);
        out.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.day.to_le_bytes());
        for word in [self.first.get(), self.last.get(), self.rows, self.incarnation] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(self.name.as_bytes());
        out
    }

    pub(super) fn decode(value: &[u8]) -> Result<Manifest, String> {
        let Some((&[VERSION, layout, len0, len1, day0, day1, day2, day3], rest)) = value.split_first_chunk() else {
            return Err(format!("stored manifest has unknown version {:?}", value.first()));
        };
        let damaged = || "stored manifest contradicts itself".to_owned();
        let (words, name) = rest.split_at_checked(HEAD - 8).ok_or_else(damaged)?;
        let (&[first, last, rows, incarnation], []) = words.as_chunks::<8>() else { return Err(damaged()) };
        let name = std::str::from_utf8(name).map_err(|_| damaged())?;
        let manifest = Manifest {
            dead: layout & DEAD_LAYOUT != 0,
            layout: layout & !DEAD_LAYOUT,
            day: i32::from_le_bytes([day0, day1, day2, day3]),
            first: Seq::new(u64::from_le_bytes(first)),
            last: Seq::new(u64::from_le_bytes(last)),
            rows: u64::from_le_bytes(rows),
            incarnation: u64::from_le_bytes(incarnation),
            name: name.to_owned(),
        };
        let consistent = name.len() == usize::from(u16::from_le_bytes([len0, len1]))
            && manifest.first <= manifest.last
            && manifest.rows <= manifest.last.next().since(manifest.first);
        if consistent { Ok(manifest) } else { Err(damaged()) }
    }
}

fn key_prefix(sink: &str) -> Vec<u8> {
    let mut key = sink.as_bytes().to_vec();
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        Manifest {
            dead: false,
            layout: 1,
            day: 19_844,
            first: Seq::new(513),
            last: Seq::new(1024),
            rows: 512,
            incarnation: 7,
            name: "a".into(),
        }
    }

    #[test]
    fn version_1_never_changes() {
        let mut stored = vec![1, 1, 1, 0, 0x84, 0x4d, 0, 0];
        stored.extend([1, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]);
        stored.extend([0, 2, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'a']);
        assert_eq!(example().encode(), stored);
        assert_eq!(Manifest::decode(&stored), Ok(example()));
        assert_eq!(example().key("s"), [b's', 0, 0, 0, 0, 0, 0, 0, 2, 1]);
        let dead = Manifest { dead: true, ..example() };
        stored[1] = 0x81;
        assert_eq!(dead.encode(), stored);
        assert_eq!(Manifest::decode(&stored), Ok(dead.clone()));
        assert_eq!(dead.key("s"), [b's', 0, 0x80, 0, 0, 0, 0, 0, 2, 1]);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let stored = example().encode();
        for cut in 0..stored.len() {
            assert!(Manifest::decode(&stored[..cut]).is_err(), "cut at {cut}");
        }
        let backwards = Manifest { last: Seq::new(1), ..example() };
        assert!(Manifest::decode(&backwards.encode()).is_err());
        let too_many = Manifest { rows: 513, ..example() };
        assert!(Manifest::decode(&too_many.encode()).is_err());
    }
}
