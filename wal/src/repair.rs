//! Going on without what is lost: everything that can be read is copied into a new log, what cannot be is recorded as a
//! gap, and the old log is kept in `quarantine/` as it was.
//!
//! Why a copy and not a delete: a damaged table block fails every compaction that meets it, and RocksDB would meet it.

use crate::checkpoint::folder_bytes;
use crate::evidence;
use crate::examine::{MARK, examine_locked};
use crate::family::Family;
use crate::format::{self, Format};
use crate::identity::{self, family};
use crate::lock::Lock;
use crate::mark::Mark;
use crate::open::{Options, open_store, sync_folder};
use crate::reader::Shared;
use crate::salvage::remove_folder;
use crate::verify::{Damage, Gap, VerifyReport, first_ids, gap_entry};
use crate::{OpenError, key, room, trim};
use event::{Fingerprint, FingerprintKey, Seq, content_hash};
use record::{Block, EventView, IdList, IdListWriter, Slot};
use rocksdb::{DB, FlushOptions, IteratorMode, WriteBatch};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// The new log, finished, before it is exchanged for the old one; after that, the old one.
const READY: &str = "log.ready";
/// Bytes written to the new log at once.
const COPY_BYTES: usize = 4 << 20;

/// What a repair did.
#[derive(Debug, Clone)]
pub struct RepairReport {
    /// What was found.
    pub found: VerifyReport,
    /// Where the log lies as it was found; `None` when it was intact and left alone.
    pub quarantined: Option<PathBuf>,
    /// The file that names the format, if it was made anew.
    pub format: Option<Remade>,
}

/// A file that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remade {
    /// Where it is.
    pub file: PathBuf,
    /// Where the file lies as it was found, if there was one.
    pub kept: Option<PathBuf>,
    /// What was wrong with it.
    cause: &'static str,
}

impl Remade {
    fn damage(&self) -> Damage {
        Damage { family: format::NAME, cause: self.cause.to_owned() }
    }
}

/// Digests a stored event's identity with the log's key, as was done when it came in; `None` where its bytes do not tell.
pub type Fingerprinting<'a> = &'a mut dyn FnMut(&EventView<'_>, &FingerprintKey) -> Option<Fingerprint>;

/// Makes the log in `data` usable again and records every gap for ever; an intact log is left alone. Needs as much free
/// disk space as the log takes, and where RocksDB refuses it as much again as its WAL. Id lists that are damaged are made again
/// from the events.
///
/// # Errors
/// [`OpenError`] when there is no log, the folder is in use, or cannot be read or written, or there is too little room;
/// the log is then as before, and what was written of the new one is removed.
pub fn repair(data: &Path, fingerprint: Fingerprinting<'_>) -> Result<RepairReport, OpenError> {
    // First, for the lock is a file.
    format::check_is_data_folder(data)?;
    let lock = Lock::take(data)?;
    clear_away(data)?;
    // Before room is looked for: one that was broken off takes some.
    let fresh = data.join("log.new");
    remove_folder(&fresh).map_err(OpenError::io("remove", &fresh))?;
    let format = mend_format(data)?;
    let examined = examine_locked(data)?;
    let mut found = examined.verify(|_| {});
    let is_intact = found.is_intact();
    // It was mended before the log could be looked at.
    found.damaged.extend(format.iter().map(Remade::damage));
    if is_intact {
        return Ok(RepairReport { found, quarantined: None, format });
    }
    check_room(data)?;
    copy(examined.reader().shared(), &fresh, &found, fingerprint).map_err(|error| {
        // Else a disk that it has filled stays full. What cannot be removed now is the next time.
        remove_folder(&fresh).ok();
        error.of_new_log(&fresh)
    })?;
    drop(examined);
    let quarantined = swap(data, &fresh)?;
    if found.damaged.iter().any(|damage| damage.family == MARK) {
        remake_mark(data, found.end)?;
    }
    drop(lock);
    Ok(RepairReport { found, quarantined: Some(quarantined), format })
}

/// Looks whether there is room for the new log before anything is written. It takes no more than the old one: nothing is
/// added to it, and it needs no WAL.
fn check_room(data: &Path) -> Result<(), OpenError> {
    room::check(data, "the repair writes the log anew, which", folder_bytes(&data.join("log")))
}

/// Makes the file anew that says which format the folder has, if it says nothing: also where the log is gone, for there
/// will be one. The log itself is read as what this release reads, and refused if it is not.
fn mend_format(data: &Path) -> Result<Option<Remade>, OpenError> {
    let Some(cause) = Format::find(data)?.trouble() else { return Ok(None) };
    let file = format::path(data);
    let kept = if file.exists() { Some(quarantine(data, &file, format::NAME)?) } else { None };
    format::write_newest(data)?;
    Ok(Some(Remade { file, kept, cause }))
}

/// Makes a high-water mark that names the log's end, as no other is known.
fn remake_mark(data: &Path, end: Seq) -> Result<(), OpenError> {
    let path = data.join("mark");
    if path.exists() {
        quarantine(data, &path, "mark")?;
    }
    Mark::open(&path).and_then(|mut mark| mark.advance(end)).map_err(OpenError::io("write", path))
}

/// Puts the new log in the old one's place: at any moment there is a whole one. The old one goes into quarantine, with the
/// WAL files that an unclean stop had left, which a start since then may have replayed and removed.
fn swap(data: &Path, fresh: &Path) -> Result<PathBuf, OpenError> {
    let (log, ready) = (data.join("log"), data.join(READY));
    fs::create_dir_all(&log).map_err(OpenError::io("create", &log))?;
    fs::rename(fresh, &ready).map_err(OpenError::io("move", fresh))?;
    renameat_with(CWD, &ready, CWD, &log, RenameFlags::EXCHANGE)
        .map_err(|error| OpenError::io("exchange", &log)(error.into()))?;
    // The new log holds all that can be known; the marker of a clean stop, if any, was the old one's.
    fs::remove_file(data.join("clean")).ok();
    sync_folder(data).map_err(OpenError::io("sync", data))?;
    let kept = quarantine(data, &ready, "log")?;
    let evidence = evidence::folder(data);
    if evidence.exists() {
        quarantine(data, &evidence, "evidence")?;
    }
    sync_folder(data).map_err(OpenError::io("sync", data))?;
    Ok(kept)
}

/// What a repair that was broken off has left: one of the two logs that it exchanges, which may be either of them.
fn clear_away(data: &Path) -> Result<(), OpenError> {
    let ready = data.join(READY);
    if ready.exists() { quarantine(data, &ready, "log").map(drop) } else { Ok(()) }
}

/// Moves something into the quarantine, under a number that is free.
fn quarantine(data: &Path, what: &Path, name: &str) -> Result<PathBuf, OpenError> {
    let folder = data.join("quarantine");
    fs::create_dir_all(&folder).map_err(OpenError::io("create", &folder))?;
    let free = (1..).map(|number: u32| folder.join(format!("{name}-{number}"))).find(|path| !path.exists());
    let kept = free.unwrap_or_else(|| folder.join(name));
    fs::rename(what, &kept).map_err(OpenError::io("move", what))?;
    Ok(kept)
}

fn copy(old: &Shared, fresh: &Path, found: &VerifyReport, fingerprint: Fingerprinting<'_>) -> Result<(), OpenError> {
    fs::create_dir_all(fresh).map_err(OpenError::io("create", fresh))?;
    // What is written without a WAL wants none to be used again.
    let new = open_store(fresh, &Options { recycled_wal_files: 0, ..Options::default() })?;
    let mut sink = Sink { db: &new, batch: WriteBatch::default() };
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
    sink.write()?;
    // Under another key none of the old ids would be recognised.
    let knows_itself = identity::is_known(&old.db);
    let key = identity::load_or_draw(&new)?.fingerprint_key;
    if !knows_itself {
        trim::set_start(&new, found.start)?;
    }
    // Where RocksDB refused the log, lists may be gone that are still in the window.
    let first = first_ids(&old.db).filter(|_| found.refused.is_none());
    let mut ids = Ids { old: &old.db, first, usable: knows_itself, key, fingerprint };
    let first_group = copy_log(&old.db, &mut sink, found, &mut ids)?;
    if knows_itself {
        // What is lost may be sent again, and is new then.
        let first_lost = found.gaps.first().map_or(first_group, |gap| gap.from);
        copy_older_ids(&old.db, &mut sink, first_group.min(first_lost))?;
    }
    sink.finish()
}

/// Copies every whole group outside the gaps together with its id list; returns the first one's position.
fn copy_log(old: &DB, sink: &mut Sink<'_>, found: &VerifyReport, ids: &mut Ids<'_>) -> Result<Seq, OpenError> {
    let mut cursor = old.raw_iterator_cf(family(old, Family::Log));
    let mut from = Seq::ZERO;
    let mut first_group = None;
    let end = Gap { from: Seq::new(u64::MAX), until: Seq::new(u64::MAX), cause: String::new() };
    for gap in found.gaps.iter().chain([&end]) {
        cursor.seek(key::of(from));
        while let Some((name, value)) = cursor.item() {
            let Some(first) = key::seq(name).filter(|first| *first < gap.from) else { break };
            if let Ok(block) = Block::parse(first, value) {
                first_group.get_or_insert(first);
                sink.put(Family::Log, name, value)?;
                if let Some(list) = ids.of(&block) {
                    sink.put(Family::Ids, name, &list)?;
                }
            }
            cursor.next();
        }
        from = gap.until;
    }
    Ok(first_group.unwrap_or(Seq::new(u64::MAX)))
}

/// The id lists of the new log: the old ones where they are good.
struct Ids<'a> {
    old: &'a DB,
    /// Groups before this one have left the dedup window, as far as that can be told.
    first: Option<Seq>,
    usable: bool,
    key: FingerprintKey,
    fingerprint: Fingerprinting<'a>,
}

impl Ids<'_> {
    fn of(&mut self, block: &Block<'_>) -> Option<Vec<u8>> {
        let first = block.first();
        let stored = self.old.get_cf(family(self.old, Family::Ids), key::of(first));
        let is_good = |list: &Vec<u8>| IdList::parse(first, list).is_ok_and(|ids| ids.len() == block.events() as usize);
        match stored {
            Ok(Some(list)) if self.usable && is_good(&list) => Some(list),
            Ok(None) if self.first.is_some_and(|kept| first < kept) => None,
            _ => self.make(block),
        }
    }

    /// Makes a list from the events. One whose bytes do not tell its id gets one that nobody can send.
    fn make(&mut self, block: &Block<'_>) -> Option<Vec<u8>> {
        let mut list = IdListWriter::default();
        list.begin();
        // Nor can anybody send what was erased: its position is all that is left.
        let nobodys = |seq: Seq| xxh3_128(&seq.get().to_le_bytes());
        let each = |slot: Slot<'_>| match slot {
            Slot::Event(event) => {
                let fingerprint = (self.fingerprint)(&event, &self.key);
                list.push(fingerprint.unwrap_or_else(|| nobodys(event.seq)), content_hash(event.raw));
            }
            Slot::Erased(seq) => list.push(nobodys(seq), 0),
        };
        block.visit_slots(&mut Vec::new(), each).ok()?;
        Some(list.finish(block.first(), block.committed_at()).to_vec())
    }
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
        if self.batch.size_in_bytes() < COPY_BYTES { Ok(()) } else { self.write() }
    }

    /// Without a WAL: a new log that is not finished is of no use, and each byte would be on the disk twice.
    fn write(&mut self) -> Result<(), OpenError> {
        self.db.write_without_wal(std::mem::take(&mut self.batch)).map_err(identity::store(self.db))
    }

    fn finish(mut self) -> Result<(), OpenError> {
        self.write()?;
        let families: Vec<_> = Family::ALL.iter().map(|of| family(self.db, *of)).collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(identity::store(self.db))?;
        self.db.flush_wal(true).map_err(identity::store(self.db))
    }
}
