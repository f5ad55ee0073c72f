//! Reading committed groups: never past the last commit, never across a gap in silence.

use crate::family::Family;
use crate::identity::{self, Incarnation, family};
use crate::lock::Lock;
use crate::pulse::Pulses;
use crate::verify::Gap;
use crate::{Poison, ReadError, format, key};
use event::{Seq, UnixMicros};
use record::{Block, IdList};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What writer and readers share.
pub(crate) struct Shared {
    pub(crate) db: DB,
    pub(crate) folder: PathBuf,
    pub(crate) committed: AtomicU64,
    /// The newest position that is known to be synced, and whether something was written since then.
    pub(crate) synced: AtomicU64,
    pub(crate) unsynced: AtomicBool,
    pub(crate) start: AtomicU64,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) poison: Poison,
    pub(crate) pulses: Pulses,
    /// Given back after RocksDB is closed; a view for reading only has none.
    pub(crate) _lock: Option<Lock>,
}

/// How much room the log takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeReport {
    /// Tables of the events themselves: what trimming makes smaller.
    pub tables: u64,
    /// Events in memory and in WAL files only.
    pub memory: u64,
}

/// A view of the committed log; clones share it.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// Whether events may have been erased: the folder has another format from then on.
    #[must_use]
    pub fn may_have_erased(&self) -> bool {
        !format::Format::find(&self.shared.folder).is_ok_and(format::Format::has_nothing_erased)
    }

    /// Position of the newest committed event.
    #[must_use]
    pub fn committed(&self) -> Seq {
        Seq::new(self.shared.committed.load(Ordering::Acquire))
    }

    /// First position the log still promises to hold.
    #[must_use]
    pub fn start(&self) -> Seq {
        Seq::new(self.shared.start.load(Ordering::Acquire))
    }

    /// The write failure that closed the log, if there was one.
    #[must_use]
    pub fn poison(&self) -> &Poison {
        &self.shared.poison
    }

    /// How long the oldest write or sync that has not returned is under way; a disk that hangs is known by it.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Duration> {
        self.shared.pulses.waiting_for()
    }

    /// Visits committed blocks in order from the one that holds `from`, until `each` breaks or the log ends. The first
    /// block may begin before `from`. Returns the position after the last block visited.
    ///
    /// # Errors
    /// [`ReadError`]: blocks before the place of the error have been visited.
    pub fn read(
        &self,
        from: Seq,
        mut each: impl FnMut(&Block<'_>, usize) -> ControlFlow<()>,
    ) -> Result<Seq, ReadError> {
        let committed = self.committed();
        if from > committed {
            return Ok(from);
        }
        if from < self.start() {
            return Err(ReadError::Trimmed { wanted: from, start: self.start() });
        }
        let mut options = ReadOptions::default();
        options.set_readahead_size(2 << 20);
        options.fill_cache(false);
        let mut cursor = self.shared.db.raw_iterator_cf_opt(family(&self.shared.db, Family::Log), options);
        cursor.seek_for_prev(key::of(from));
        if !cursor.valid() {
            cursor.status()?;
            cursor.seek(key::of(from));
        }
        let mut expected = from;
        while let Some((name, value)) = cursor.item() {
            let first = key::seq(name).unwrap_or(Seq::ZERO);
            if first > committed {
                break;
            }
            let block = Block::parse(first, value).map_err(|cause| ReadError::Corrupt { first, cause })?;
            if block.last() < expected {
                // The block found backwards ends before a gap.
                cursor.next();
                continue;
            }
            if first > expected && !self.is_known_gap(expected, first) {
                return Err(ReadError::Gap { from: expected, until: first });
            }
            expected = block.last().next();
            if each(&block, value.len()).is_break() {
                return Ok(expected);
            }
            cursor.next();
        }
        cursor.status()?;
        if expected <= committed && !self.is_known_gap(expected, committed.next()) {
            return Err(ReadError::Gap { from: expected, until: committed.next() });
        }
        Ok(expected.max(committed.next()))
    }

    /// Visits all stored id lists in order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn ids(&self, mut each: impl FnMut(Seq, IdList<'_>)) -> Result<(), ReadError> {
        let mut options = ReadOptions::default();
        options.set_readahead_size(2 << 20);
        options.fill_cache(false);
        let mut cursor = self.shared.db.raw_iterator_cf_opt(family(&self.shared.db, Family::Ids), options);
        cursor.seek_to_first();
        while let Some((name, value)) = cursor.item() {
            let first = key::seq(name).unwrap_or(Seq::ZERO);
            let list = IdList::parse(first, value).map_err(|cause| ReadError::Corrupt { first, cause })?;
            each(first, list);
            cursor.next();
        }
        Ok(cursor.status()?)
    }

    /// First position whose ids were committed after `time`: everything before may leave the stored id lists.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn ids_older_than(&self, time: UnixMicros) -> Result<Seq, ReadError> {
        let mut cursor = self.shared.db.raw_iterator_cf(family(&self.shared.db, Family::Ids));
        cursor.seek_to_first();
        let Some(mut low) = cursor.key().and_then(key::seq) else { return Ok(Seq::ZERO) };
        let mut high = self.committed().next();
        // Commit time never runs backwards, so halving finds the place.
        while low < high {
            let middle = Seq::new(low.get() + high.since(low) / 2);
            cursor.seek_for_prev(key::of(middle));
            let Some((name, value)) = cursor.item() else { break };
            let first = key::seq(name).unwrap_or(Seq::ZERO);
            let list = IdList::parse(first, value).map_err(|cause| ReadError::Corrupt { first, cause })?;
            if list.committed_at() < time {
                low = first.plus(list.len() as u64).max(middle.next());
            } else {
                high = first.max(low);
            }
        }
        cursor.status()?;
        Ok(low)
    }

    /// One value of a family.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub fn get(&self, of: Family, name: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.shared.db.get_cf(family(&self.shared.db, of), name)?)
    }

    /// Visits a family's entries from `begin` on until `each` breaks.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub fn scan(
        &self,
        of: Family,
        begin: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mode = IteratorMode::From(begin, Direction::Forward);
        for entry in self.shared.db.iterator_cf(family(&self.shared.db, of), mode) {
            let (name, value) = entry?;
            if each(&name, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All starts that wrote something, oldest first.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub fn history(&self) -> Result<Vec<Incarnation>, ReadError> {
        Ok(identity::history(&self.shared.db)?)
    }

    /// Room that events take on disk and in memory; ids, answers and dead letters have bounds of their own.
    #[must_use]
    pub fn size(&self) -> SizeReport {
        let db = &self.shared.db;
        let of_log = |property| db.property_int_value_cf(family(db, Family::Log), property).ok().flatten().unwrap_or(0);
        SizeReport { tables: of_log("rocksdb.total-sst-files-size"), memory: of_log("rocksdb.cur-size-all-mem-tables") }
    }

    /// Writes what is in memory into tables and waits for it; only for tools and benches.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub fn flush(&self) -> Result<(), ReadError> {
        let db = &self.shared.db;
        let families: Vec<_> = Family::ALL.iter().map(|of| family(db, *of)).collect();
        Ok(db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default())?)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn is_known_gap(&self, from: Seq, until: Seq) -> bool {
        self.shared.gaps.iter().any(|gap| gap.from <= from && until <= gap.until)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("start", &self.start()).field("committed", &self.committed()).finish()
    }
}
