//! The high-water mark: how far the log was acknowledged, kept outside of it.
//!
//! Point-in-time recovery stops in silence at the first record it cannot read, and what follows is gone. The mark is
//! the second witness: a log that ends below it has lost acknowledged events. It is written by its own thread at most
//! every 100 ms and only names what is synced, so it can lag but never lead, at any level of durability.
//!
//! The file holds two slots of 32 bytes, 4,096 apart, written in turn: { magic u64, turn u64, seq u64, XXH3-64 of the
//! first 24 bytes }, little-endian. A torn write spoils one slot; the other is at most one turn older.

use crate::open::sync_folder;
use event::Seq;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: u64 = u64::from_le_bytes(*b"ingstdHW");
const SLOT: usize = 32;
const STRIDE: u64 = 4096;

/// What is there before the file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file: a folder that is new, or has lost it.
    Missing,
    /// A file that names no position: damaged, for one that was made always does.
    Unreadable,
    /// A position.
    At(Seq),
}

impl Found {
    /// The position, zero where none is known.
    pub(crate) fn seq(self) -> Seq {
        match self {
            Found::At(seq) => seq,
            Found::Missing | Found::Unreadable => Seq::ZERO,
        }
    }

    /// Whether events were acknowledged, or may have been.
    pub(crate) fn tells_of_events(self) -> bool {
        !matches!(self, Found::Missing | Found::At(Seq::ZERO))
    }

    /// What is wrong with it beside a log whose next event gets `next`. An empty log has nothing to lose, and a first
    /// start that was broken off leaves one like that.
    pub(crate) fn trouble(self, next: Seq) -> Option<&'static str> {
        match self {
            _ if next <= Seq::FIRST => None,
            Found::Missing => Some("the file is missing: whether the newest events are there cannot be told"),
            Found::Unreadable => Some("the file is damaged: whether the newest events are there cannot be told"),
            Found::At(_) => None,
        }
    }
}

/// The open mark file.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    turn: u64,
    seq: Seq,
}

impl Mark {
    /// Opens the file and reads the newest whole slot; where there is none, makes one, durably.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if let Some((turn, seq)) = newest(&file)? {
            return Ok(Mark { file, turn, seq });
        }
        let mut mark = Mark { file, turn: 0, seq: Seq::ZERO };
        mark.write(Seq::ZERO)?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(mark)
    }

    /// Reads the mark without making the file.
    pub(crate) fn find(path: &Path) -> io::Result<Found> {
        match File::open(path) {
            Ok(file) => Ok(newest(&file)?.map_or(Found::Unreadable, |(_, seq)| Found::At(seq))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }

    /// Moves it forward and syncs it; a position that is not further is left out.
    pub(crate) fn advance(&mut self, seq: Seq) -> io::Result<()> {
        if seq <= self.seq { Ok(()) } else { self.write(seq) }
    }

    fn write(&mut self, seq: Seq) -> io::Result<()> {
        self.turn += 1;
        let mut slot = [0; SLOT];
        for (at, word) in [MAGIC, self.turn, seq.get()].into_iter().enumerate() {
            slot[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        let sum = xxh3_64(&slot[..24]);
        slot[24..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&slot, (self.turn % 2) * STRIDE)?;
        self.file.sync_data()?;
        self.seq = seq;
        Ok(())
    }
}

fn newest(file: &File) -> io::Result<Option<(u64, Seq)>> {
    let mut best = None;
    for place in 0..2 {
        let mut slot = [0; SLOT];
        match file.read_exact_at(&mut slot, place * STRIDE) {
            Ok(()) => best = best.max(decode(&slot)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(best)
}

fn decode(slot: &[u8; SLOT]) -> Option<(u64, Seq)> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&slot[at * 8..at * 8 + 8]);
        u64::from_le_bytes(bytes)
    };
    (word(0) == MAGIC && word(3) == xxh3_64(&slot[..24])).then(|| (word(1), Seq::new(word(2))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut mark = Mark::open(&path).unwrap();
        mark.advance(Seq::new(5)).unwrap();
        mark.advance(Seq::new(9)).unwrap();
        mark.advance(Seq::new(7)).unwrap();
        assert_eq!(Mark::find(&path).unwrap(), Found::At(Seq::new(9)));
        // A torn write of the newest leaves the one before.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 8], STRIDE + 16).unwrap();
        assert_eq!(Mark::find(&path).unwrap(), Found::At(Seq::new(5)));
    }

    #[test]
    fn a_file_that_was_made_always_names_a_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(Mark::find(&path).unwrap(), Found::Missing);
        Mark::open(&path).unwrap();
        assert_eq!(Mark::find(&path).unwrap(), Found::At(Seq::ZERO));
        std::fs::write(&path, [7; 5000]).unwrap();
        assert_eq!(Mark::find(&path).unwrap(), Found::Unreadable);
    }
}
