//! What the log's files need for an erasure. The blocks themselves are rewritten by the one writer, as
//! [`Write::Put`](crate::Write) under their own keys; their old bytes then still lie in RocksDB's WAL, memory and tables,
//! until what is in memory is flushed and the tables are merged.

use crate::family::Family;
use crate::identity::family;
use crate::reader::Shared;
use crate::{OpenError, Reader, format, key};
use event::Seq;
use rocksdb::{BottommostLevelCompaction, CompactOptions};
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Most that one merge of tables takes beside what it replaces: RocksDB merges no more than so much at once.
const MERGE_BYTES_MAX: u64 = 8 << 30;

/// Why an erasure goes no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// The disk is too full.
    #[error("{needed} bytes are needed beside the reserve, and {free} are free: make room, then run it again")]
    Room {
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are free beyond the reserve.
        free: u64,
    },
    /// The disk cannot be looked at.
    #[error("cannot look at the disk of the log: {0}")]
    Disk(io::Error),
    /// The format cannot be raised.
    #[error(transparent)]
    Format(#[from] OpenError),
    /// RocksDB could not flush or merge.
    #[error("cannot rewrite the tables of the log: {0}")]
    Store(#[from] rocksdb::Error),
}

/// The right to make the log's files forget; clones share it.
#[derive(Clone)]
pub struct Eraser {
    shared: Arc<Shared>,
}

impl Eraser {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Eraser { shared }
    }

    /// To be called before the first block is rewritten: from then on older releases refuse the folder.
    ///
    /// # Errors
    /// [`EraseError::Format`].
    pub fn begin(&self) -> Result<(), EraseError> {
        Ok(format::raise_for_erasure(&self.shared.folder)?)
    }

    /// Whether so many bytes can be written without touching the `reserve`. A write that fails ends the daemon: so it is
    /// looked first.
    ///
    /// # Errors
    /// [`EraseError::Room`], [`EraseError::Disk`].
    pub fn check_room(&self, needed: u64, reserve: u64) -> Result<(), EraseError> {
        let stat = rustix::fs::statvfs(&self.shared.folder).map_err(|error| EraseError::Disk(error.into()))?;
        let free = (stat.f_bavail * stat.f_frsize).saturating_sub(reserve);
        if free < needed { Err(EraseError::Room { needed, free }) } else { Ok(()) }
    }

    /// Writes what is in memory into tables, and merges the tables of the blocks in `range` and all small families, so
    /// that none holds what was erased. Blocks for as long as that takes; the log goes on meanwhile.
    ///
    /// # Errors
    /// [`EraseError`]; what was erased stays so, its old bytes may lie in tables until they are merged anyway.
    pub fn settle(&self, range: Option<RangeInclusive<Seq>>, reserve: u64) -> Result<(), EraseError> {
        let reader = Reader::new(Arc::clone(&self.shared));
        let size = reader.size();
        self.check_room(size.memory + size.tables.min(MERGE_BYTES_MAX), reserve)?;
        let db = &self.shared.db;
        let families: Vec<_> = Family::ALL.iter().map(|of| family(db, *of)).collect();
        db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default())?;
        let mut options = CompactOptions::default();
        // The log's own merges are not to wait for this one.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        if let Some(range) = range {
            let (begin, end) = (key::of(*range.start()), key::of(range.end().next()));
            db.compact_range_cf_opt(family(db, Family::Log), Some(begin), Some(end), &options);
        }
        for of in [Family::Dead, Family::Projection] {
            db.compact_range_cf_opt(family(db, of), None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Eraser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Eraser").finish_non_exhaustive()
    }
}
