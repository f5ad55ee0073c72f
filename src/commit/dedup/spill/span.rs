use crate::Error;
use crate::spill::bloom::Bloom;
use crate::spill::directory::SpillFile;
use event::Fingerprint;
use std::os::unix::fs::FileExt;

/// Bytes of one record: fingerprint, content hash, sequence number less the span's first; little-endian.
pub(crate) const RECORD: usize = 24;
/// Ids that lie between two fences on average: a lookup reads that many records.
const IDS_PER_FENCE: u64 = 64;

/// An id found on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seq: u64,
    pub(crate) content: u32,
}

/// The ids of one range of sequence numbers in a file sorted by fingerprint.
///
/// Fingerprints are cut into equal ranges, and the fences say at which record each range starts: a lookup is one read
/// at a known place.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) file: SpillFile,
    pub(crate) bloom: Bloom,
    pub(crate) fences: Fences,
}

impl Span {
    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bloom.bytes() + (self.fences.starts.capacity() * size_of::<u32>()) as u64
    }

    pub(crate) fn ids(&self) -> u64 {
        self.end - self.first
    }

    /// Searches the file; `page` is only there to be reused.
    pub(crate) fn find(&self, fingerprint: Fingerprint, page: &mut Vec<u8>) -> Result<Option<Found>, Error> {
        let records = self.fences.records_near(fingerprint);
        page.resize((records.end - records.start) as usize * RECORD, 0);
        self.file
            .file
            .read_exact_at(page, records.start * RECORD as u64)
            .map_err(|source| Error::Lookup { path: self.file.path.clone(), source })?;
        Ok(self.search(fingerprint, page))
    }

    fn search(&self, fingerprint: Fingerprint, page: &[u8]) -> Option<Found> {
        let (records, _) = page.as_chunks::<RECORD>();
        // Records of one fingerprint are in order of acceptance: the last one counts.
        let after = records.partition_point(|record| decode(record).0 <= fingerprint);
        let (held, content, offset) = decode(records.get(after.checked_sub(1)?)?);
        (held == fingerprint).then(|| Found { seq: self.first + u64::from(offset), content })
    }
}

/// Encodes one record.
pub(crate) fn encode(fingerprint: Fingerprint, content: u32, offset: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(&fingerprint.to_le_bytes());
    record[16..20].copy_from_slice(&content.to_le_bytes());
    record[20..].copy_from_slice(&offset.to_le_bytes());
    record
}

fn decode(record: &[u8; RECORD]) -> (Fingerprint, u32, u32) {
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&record[..16]);
    let word = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    (Fingerprint::from_le_bytes(fingerprint), word(16), word(20))
}

/// At which record each of the equal ranges of fingerprints starts.
#[derive(Debug)]
pub(crate) struct Fences {
    ranges: u64,
    starts: Vec<u32>,
}

impl Fences {
    pub(crate) fn sized_for(ids: u64) -> Self {
        let ranges = ids.div_ceil(IDS_PER_FENCE).max(1);
        Fences { ranges, starts: Vec::with_capacity(ranges as usize + 1) }
    }

    fn range(&self, fingerprint: Fingerprint) -> usize {
        (((fingerprint >> 64) * u128::from(self.ranges)) >> 64) as usize
    }

    /// Notes the next record of the sorted file.
    pub(crate) fn add(&mut self, fingerprint: Fingerprint, record: u32) {
        let range = self.range(fingerprint);
        while self.starts.len() <= range {
            self.starts.push(record);
        }
    }

    /// Closes the list after the last record.
    pub(crate) fn finish(&mut self, records: u32) {
        self.starts.resize(self.ranges as usize + 1, records);
    }

    fn records_near(&self, fingerprint: Fingerprint) -> std::ops::Range<u64> {
        let range = self.range(fingerprint);
        u64::from(self.starts[range])..u64::from(self.starts[range + 1])
    }
}
