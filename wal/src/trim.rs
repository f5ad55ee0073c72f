//! Trimming: whole files are deleted, nothing is rewritten.
//!
//! The log's start is stored first and durably: readers refuse what lies before it, so the leftovers in files that
//! also hold younger events are never seen. They go when their file does.

use crate::checkpoint::Checkpointer;
use crate::erase::Eraser;
use crate::family::Family;
use crate::identity::{self, family};
use crate::reader::Shared;
use crate::writer::synced;
use crate::{CommitError, OpenError, key};
use event::Seq;
use rocksdb::DB;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const START: &[u8] = b"start";

/// First position the log promises to hold.
pub(crate) fn start(db: &DB) -> Result<Seq, OpenError> {
    Ok(identity::get(db, START)?.and_then(|value| key::seq(&value)).unwrap_or(Seq::FIRST))
}

/// Stores the log's start, in a log that is made anew.
pub(crate) fn set_start(db: &DB, start: Seq) -> Result<(), OpenError> {
    db.put_cf_opt(family(db, Family::Meta), START, key::of(start), &synced()).map_err(identity::store(db))
}

/// The right to trim: from any thread, beside the writer.
#[derive(Clone)]
pub struct Trimmer {
    shared: Arc<Shared>,
}

impl Trimmer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Trimmer { shared }
    }

    /// The right to copy the log, to be cloned.
    #[must_use]
    pub fn checkpointer(&self) -> Checkpointer {
        Checkpointer::new(Arc::clone(&self.shared))
    }

    /// The right to make the log's files forget what was erased.
    #[must_use]
    pub fn eraser(&self) -> Eraser {
        Eraser::new(Arc::clone(&self.shared))
    }

    /// Drops whole files of events before `to`, which becomes the log's start, and of id lists before `ids`.
    ///
    /// # Errors
    /// The first write or sync failure, which is final.
    pub fn trim(&self, to: Seq, ids: Seq) -> Result<(), CommitError> {
        self.shared.poison.check()?;
        trim(&self.shared, to, ids)
            .map_err(|error| self.shared.poison.set(&format!("trimming the log failed: {error}")))
    }
}

/// Moves the start to `to` (never beyond the newest block) and deletes files before it; likewise id lists before `ids`.
fn trim(shared: &Shared, to: Seq, ids: Seq) -> Result<(), rocksdb::Error> {
    let db = &shared.db;
    let to = to.min(Seq::new(shared.committed.load(Ordering::Acquire)));
    if to > Seq::new(shared.start.load(Ordering::Acquire)) {
        let start = || db.put_cf_opt(family(db, Family::Meta), START, key::of(to), &synced());
        shared.pulses.trimmer.during(start)?;
        shared.start.store(to.get(), Ordering::Release);
        delete_before(db, Family::Log, to)?;
    }
    delete_before(db, Family::Ids, ids)
}

/// Deletes files that hold only groups before the one that contains `to`.
fn delete_before(db: &DB, of: Family, to: Seq) -> Result<(), rocksdb::Error> {
    let mut cursor = db.raw_iterator_cf(family(db, of));
    cursor.seek_for_prev(key::of(to));
    let Some(group) = cursor.key().and_then(key::seq) else { return cursor.status() };
    if group.prev() > Seq::ZERO {
        db.delete_file_in_range_cf(family(db, of), key::of(Seq::ZERO), key::of(group.prev()))?;
    }
    Ok(())
}
