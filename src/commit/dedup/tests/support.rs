//! What the chapters share: made-up ids, and a filter with a clock and a directory of its own.

use crate::{Config, Dedup, Error};
use event::{Entry, Fingerprint, Seq, UnixMicros, Verdict};
use std::ops::Range;
use std::time::Duration;
use tempfile::TempDir;

/// Looks random, as real fingerprints do.
pub(super) fn fingerprint(id: u64) -> Fingerprint {
    let mix = |x: u64| {
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(x ^ (x >> 31))
    };
    mix(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | mix(!id)
}

pub(super) fn entry_of(fingerprint: Fingerprint, content: u32) -> Entry {
    Entry { fingerprint, content, start: 0, end: 0, id_start: 0, id_len: 0, event_type: 0 }
}

pub(super) fn entry(id: u64) -> Entry {
    entry_of(fingerprint(id), id as u32)
}

pub(super) fn entries(ids: Range<u64>) -> Vec<Entry> {
    ids.map(entry).collect()
}

pub(super) fn accepted(seq: u64) -> Verdict {
    Verdict::Accepted(Seq::new(seq))
}

pub(super) fn duplicate(first: u64) -> Verdict {
    Verdict::Duplicate { first: Seq::new(first), differs: false }
}

/// The filter's smallest budget: some 1,700 ids.
pub(super) const TINY: u64 = 64 << 10;
pub(super) const AMPLE: u64 = 64 << 20;

pub(super) struct Filter {
    pub(super) dedup: Dedup,
    pub(super) dir: TempDir,
    pub(super) now_ms: i64,
}

impl Filter {
    /// Starts at sequence number 1 and time 0.
    pub(super) fn new(window_ms: u64, budget_bytes: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let dedup = Dedup::new(config(&dir, window_ms, budget_bytes), Seq::FIRST).unwrap();
        Filter { dedup, dir, now_ms: 0 }
    }

    /// Commits one group now.
    pub(super) fn try_group(&mut self, entries: &[Entry]) -> Result<Vec<Verdict>, Error> {
        self.dedup.begin_group(micros(self.now_ms))?;
        let mut verdicts = Vec::new();
        self.dedup.check(entries, &mut verdicts)?;
        assert_eq!(verdicts.len(), entries.len());
        Ok(verdicts)
    }

    pub(super) fn group(&mut self, entries: &[Entry]) -> Vec<Verdict> {
        self.try_group(entries).unwrap()
    }

    /// Commits ids in groups of 100, all of them at the present time.
    pub(super) fn fill(&mut self, ids: Range<u64>) {
        for ids in entries(ids).chunks(100) {
            self.group(ids);
        }
    }
}

pub(super) fn micros(ms: i64) -> UnixMicros {
    UnixMicros::new(ms * 1000)
}

pub(super) fn config(dir: &TempDir, window_ms: u64, budget_bytes: u64) -> Config {
    Config { window: Duration::from_millis(window_ms), budget_bytes, spill_dir: dir.path().to_owned() }
}
