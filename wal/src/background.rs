//! RocksDB's background errors are final too: a flush that failed is a sync that failed.

use rocksdb::{AsRawPtr, Options};

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
