use crate::Error;
use crate::ring::Chunk;
use crate::spill::bloom::Bloom;
use crate::spill::directory::SpillFile;
use crate::spill::span::{Fences, Span, encode};
use event::Fingerprint;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ids sorted at a time: 32 MiB of memory, whatever the span's size.
const PART_IDS: u64 = 1 << 20;
const WRITE_BYTES: usize = 256 << 10;

/// A sealed part of the ring, to be written out.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) path: PathBuf,
}

/// One id on its way to the file, in the file's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    fingerprint: Fingerprint,
    offset: u32,
    content: u32,
}

impl Job {
    /// Writes the file and builds what is kept in memory for it. `None` when told to stop.
    pub(crate) fn run(self, stop: &AtomicBool) -> Result<Option<Span>, Error> {
        let path = self.path.clone();
        self.write(stop).map_err(|source| Error::Spill { path, source })
    }

    fn write(self, stop: &AtomicBool) -> io::Result<Option<Span>> {
        let ids = self.end - self.first;
        let file = SpillFile::create(self.path.clone())?;
        let mut out = io::BufWriter::with_capacity(WRITE_BYTES, &file.file);
        let mut bloom = Bloom::sized_for(ids);
        let mut fences = Fences::sized_for(ids);
        let parts = ids.div_ceil(PART_IDS);
        // Ranges hold about as many ids each; growing by doubling would take twice the memory.
        let mut rows = Vec::with_capacity((ids / parts + ids / parts / 16) as usize);
        let mut written = 0;
        for part in 0..parts {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.collect(part, parts, &mut rows);
            rows.sort_unstable();
            for row in &rows {
                fences.add(row.fingerprint, written);
                bloom.add(row.fingerprint);
                out.write_all(&encode(row.fingerprint, row.content, row.offset))?;
                written += 1;
            }
        }
        assert_eq!(u64::from(written), ids, "every id of a sealed part is in exactly one range of fingerprints");
        fences.finish(written);
        out.flush()?;
        drop(out);
        Ok(Some(Span { first: self.first, end: self.end, file, bloom, fences }))
    }

    /// Picks the ids of one of `parts` equal ranges of fingerprints.
    fn collect(&self, part: u64, parts: u64, rows: &mut Vec<Row>) {
        rows.clear();
        let ids = self.chunks.iter().flat_map(|chunk| chunk.iter());
        for (offset, id) in (0..).zip(ids) {
            let fingerprint = id.fingerprint();
            if ((fingerprint >> 64) * u128::from(parts)) >> 64 == u128::from(part) {
                rows.push(Row { fingerprint, offset, content: id.content() });
            }
        }
    }
}
