//! RocksDB's background errors are final too: a flush that failed is a sync that failed.

use rocksdb::{AsRawPtr, Options};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the end of RocksDB's own log is looked through.
const TAIL_BYTES: u64 = 64 << 10;

/// Stops RocksDB from resuming by itself after a background error; it stays read-only, so the next commit fails.
pub(crate) fn never_resume(options: &Options) {
    // SAFETY: the pointer comes from `options`, which lives until after the call, and the function only stores a
    // number in the structure. The safe wrapper has no setter for it.
    #[expect(unsafe_code, reason = "option without a safe setter in the rocksdb crate")]
    unsafe {
        librocksdb_sys::rocksdb_options_set_max_bgerror_resume_count(options.as_raw_ptr(), 0);
    }
}

/// How many background errors the open database has seen.
pub(crate) fn errors(db: &rocksdb::DB) -> u64 {
    db.property_int_value("rocksdb.background-errors").ok().flatten().unwrap_or(0)
}

/// What RocksDB last wrote down about an error, for people; it has no other way to tell.
pub(crate) fn last_error(log: &Path) -> Option<String> {
    let mut file = File::open(log.join("LOG")).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let cause =
        |line: &str| ["IO error", "Corruption"].iter().find_map(|kind| Some(line[line.find(kind)?..].to_owned()));
    text.lines().rev().find_map(cause)
}
