//! Going on without what is lost: everything that can be read is copied into a new log, what cannot be is recorded as a
//! gap, and the old log is kept in `quarantine/` as it was.
//!
//! Why a copy and not a delete: a damaged table block fails every compaction that meets it, and RocksDB would meet it.

use crate::family::Family;
use crate::identity::{self, family};
use crate::lock::Lock;
use crate::open::{Options, open_store, sync_folder};
use crate::reader::Shared;
use crate::verify::{Gap, VerifyReport, gap_entry};
use crate::{OpenError, key, open_read_only};
use event::Seq;
use record::{Block, IdList};
use rocksdb::{DB, FlushOptions, IteratorMode, WriteBatch};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes written to the new log at once.
const COPY_BYTES: usize = 4 << 20;

/// What a repair did.
#[derive(Debug, Clone)]
pub struct RepairReport {
    /// What was found.
    pub found: VerifyReport,
    /// Where the log lies as it was found; `None` when it was intact and left alone.
    pub quarantined: Option<PathBuf>,
}

/// Makes the log in `data` usable again and records every gap for ever; an intact log is left alone. Needs as much free
/// disk space as the log takes.
///
/// # Errors
/// [`OpenError`] when the folder is in use, or cannot be read or written; the log is then as before.
pub fn repair(data: &Path) -> Result<RepairReport, OpenError> {
    let lock = Lock::take(data)?;
    let (reader, recovery) = open_read_only(data)?;
    let found = reader.verify(recovery.mark, |_| {});
    if found.is_intact() {
        return Ok(RepairReport { found, quarantined: None });
    }
    let fresh = data.join("log.new");
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove", fresh)(error));
        }
        _ => {}
    }
    copy(reader.shared(), &fresh, &found)?;
    drop(reader);
    let quarantined = swap(data, &fresh)?;
    drop(lock);
    Ok(RepairReport { found, quarantined: Some(quarantined) })
}

/// Puts the new log in the old one's place.
fn swap(data: &Path, fresh: &Path) -> Result<PathBuf, OpenError> {
    let folder = data.join("quarantine");
    fs::create_dir_all(&folder).map_err(OpenError::io("create", &folder))?;
    let free = (1..).map(|number: u32| folder.join(format!("log-{number}"))).find(|path| !path.exists());
    let kept = free.unwrap_or_else(|| folder.join("log"));
    let log = data.join("log");
    fs::rename(&log, &kept).map_err(OpenError::io("move", &log))?;
    fs::rename(fresh, &log).map_err(OpenError::io("move", fresh))?;
    // The new log holds all that can be known; the marker of a clean stop, if any, was the old one's.
    fs::remove_file(data.join("clean")).ok();
    sync_folder(data).map_err(OpenError::io("sync", data))?;
    Ok(kept)
}

fn copy(old: &Shared, fresh: &Path, found: &VerifyReport) -> Result<(), OpenError> {
    fs::create_dir_all(fresh).map_err(OpenError::io("create", fresh))?;
    let new = open_store(fresh, &Options::default())?;
    let mut sink = Sink { db: &new, batch: WriteBatch::default() };
    let first_group = copy_log(&old.db, &mut sink, found)?;
    copy_older_ids(&old.db, &mut sink, first_group)?;
    for of in [Family::Cursor, Family::Manifest, Family::Dead, Family::Idempotency, Family::Projection, Family::Meta] {
        for entry in old.db.iterator_cf(family(&old.db, of), IteratorMode::Start) {
            // Damage in a small family ends its copy: what lies behind cannot be told apart from it.
            let Ok((name, value)) = entry else { break };
            sink.put(of, &name, &value)?;
        }
    }
    for gap in &found.gaps {
        let (name, value) = gap_entry(gap);
        sink.put(Family::Meta, &name, &value)?;
    }
    sink.finish()
}

/// Copies every whole group outside the gaps together with its id list; returns the first one's position.
fn copy_log(old: &DB, sink: &mut Sink<'_>, found: &VerifyReport) -> Result<Seq, OpenError> {
    let mut cursor = old.raw_iterator_cf(family(old, Family::Log));
    let mut from = Seq::ZERO;
    let mut first_group = None;
    let end = Gap { from: Seq::new(u64::MAX), until: Seq::new(u64::MAX), cause: String::new() };
    for gap in found.gaps.iter().chain([&end]) {
        cursor.seek(key::of(from));
        while let Some((name, value)) = cursor.item() {
            let Some(first) = key::seq(name).filter(|first| *first < gap.from) else { break };
            let ids = old.get_cf(family(old, Family::Ids), name).ok().flatten();
            let whole = Block::parse(first, value).is_ok();
            if let (true, Some(ids)) = (whole, ids.filter(|ids| IdList::parse(first, ids).is_ok())) {
                first_group.get_or_insert(first);
                sink.put(Family::Log, name, value)?;
                sink.put(Family::Ids, name, &ids)?;
            } else if whole {
                first_group.get_or_insert(first);
                sink.put(Family::Log, name, value)?;
            }
            cursor.next();
        }
        from = gap.until;
    }
    Ok(first_group.unwrap_or(Seq::new(u64::MAX)))
}

/// Copies the id lists of groups that the log no longer holds but the dedup window may.
fn copy_older_ids(old: &DB, sink: &mut Sink<'_>, before: Seq) -> Result<(), OpenError> {
    let mut cursor = old.raw_iterator_cf(family(old, Family::Ids));
    cursor.seek_to_first();
    while let Some((name, value)) = cursor.item() {
        let Some(first) = key::seq(name).filter(|first| *first < before) else { break };
        if IdList::parse(first, value).is_ok() {
            sink.put(Family::Ids, name, value)?;
        }
        cursor.next();
    }
    Ok(())
}

/// The new log, written in large batches.
struct Sink<'a> {
    db: &'a DB,
    batch: WriteBatch,
}

impl Sink<'_> {
    fn put(&mut self, to: Family, name: &[u8], value: &[u8]) -> Result<(), OpenError> {
        self.batch.put_cf(family(self.db, to), name, value);
        if self.batch.size_in_bytes() < COPY_BYTES {
            return Ok(());
        }
        self.db.write(std::mem::take(&mut self.batch)).map_err(identity::store(self.db))
    }

    fn finish(mut self) -> Result<(), OpenError> {
        self.db.write(std::mem::take(&mut self.batch)).map_err(identity::store(self.db))?;
        let families: Vec<_> = Family::ALL.iter().map(|of| family(self.db, *of)).collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(identity::store(self.db))?;
        self.db.flush_wal(true).map_err(identity::store(self.db))
    }
}
