//! Opening a data folder: format, evidence, RocksDB, identity, continuity at the end, mark.

use crate::copy::{self, CopyMark, CopyUse};
use crate::evidence;
use crate::family::Family;
use crate::identity::{self, Identity, Incarnation, family};
use crate::lock::Lock;
use crate::mark::{Found, Mark};
use crate::pulse::Pulses;
use crate::reader::Shared;
use crate::trim::Trimmer;
use crate::verify::Gap;
use crate::writer::Writer;
use crate::{Durability, OpenError, Poison, Reader, background, format, key, trim};
use event::{Seq, UnixMicros};
use record::Block;
use rocksdb::{DB, DBRecoveryMode, IteratorMode, LogLevel};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// Tables that are open at once; others are opened when they are read.
const OPEN_TABLES_MAX: i32 = 256;

/// How to open a log for writing.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a returned commit promises.
    pub durability: Durability,
    /// Time between syncs where `durability` is `interval`; 1 ms at least.
    pub sync_interval: Duration,
    /// How many finished WAL files are kept to be written again: overwriting blocks that exist halves the latency of
    /// fdatasync, for there is no file-system journal to wait for.
    pub recycled_wal_files: usize,
    /// What a copy is used as; without it one that is not decided yet is refused.
    pub copy_as: Option<CopyUse>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            durability: Durability::Fsync,
            sync_interval: Duration::from_millis(100),
            recycled_wal_files: 4,
            copy_as: None,
        }
    }
}

/// What was found at open.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Whether the last stop was clean.
    pub clean: bool,
    /// First position the log still holds.
    pub start: Seq,
    /// Position the next event gets.
    pub next: Seq,
    /// What the high-water mark said; zero where it says nothing.
    pub mark: Seq,
    /// Why it says nothing, in a log that has events.
    pub mark_trouble: Option<&'static str>,
    /// Commit time of the newest event, zero for an empty log: commit time must not run backwards from here.
    pub last_commit: UnixMicros,
    /// Gaps that an earlier repair recorded.
    pub known_gaps: Vec<Gap>,
    /// Whether the log is a copy of another one.
    pub copy: Option<CopyMark>,
}

/// An opened log.
pub struct Opened {
    /// The one writer.
    pub writer: Writer,
    /// A reader, to be cloned.
    pub reader: Reader,
    /// The right to trim, to be cloned.
    pub trimmer: Trimmer,
    /// What was found.
    pub recovery: Recovery,
    /// What the log, a copy, is to be used as from now on: to be [settled](Writer::settle_copy) before anything else.
    pub unsettled: Option<CopyUse>,
    /// Who the data folder is.
    pub identity: Identity,
    /// Random id of this start.
    pub incarnation: u64,
}

/// Opens or makes the log in `data`.
///
/// # Errors
/// [`OpenError`]; nothing of the folder's content was changed when it is `Newer`, `InUse` or `Missing`.
pub fn open(data: &Path, options: &Options) -> Result<Opened, OpenError> {
    let log = data.join("log");
    fs::create_dir_all(data).map_err(OpenError::io("create", data))?;
    let lock = Lock::take(data)?;
    check_log(data)?;
    fs::create_dir_all(&log).map_err(OpenError::io("create", &log))?;
    format::check(data)?;
    check_current(&log)?;
    if !format::has_log(data) {
        format::write(data)?;
    }
    let clean = take_clean_marker(data)?;
    if !clean {
        evidence::keep(data, &log)?;
    }
    let poison = Poison::default();
    let db = open_store(&log, options)?;
    let unsettled = copy::check(CopyMark::load(&db)?, options.copy_as).inspect_err(|_| {
        // Nothing was written since: the next start is to see the same stop. Without the marker it sees a crash.
        if clean {
            mark_clean(data).ok();
        }
    })?;
    let identity = identity::load_or_draw(&db)?;
    let found = Mark::find(&data.join("mark")).map_err(OpenError::io("read", data.join("mark")))?;
    let recovery = inspect(&db, found, clean)?;
    check_mark(data, &recovery)?;
    let mark = Mark::open(&data.join("mark")).map_err(OpenError::io("open", data.join("mark")))?;
    evidence::drop_folder(data)?;
    let incarnation = Incarnation { id: identity::draw_incarnation()?, first: recovery.next };
    let shared = Arc::new(Shared {
        committed: AtomicU64::new(recovery.next.prev().get()),
        // What was recovered has been written to tables, which are synced.
        synced: AtomicU64::new(recovery.next.prev().get()),
        unsynced: AtomicBool::new(false),
        start: AtomicU64::new(recovery.start.get()),
        gaps: recovery.known_gaps.clone(),
        folder: data.to_path_buf(),
        poison,
        pulses: Pulses::default(),
        db,
        _lock: Some(lock),
    });
    let writer = Writer::new(Arc::clone(&shared), mark, incarnation, clean, options);
    Ok(Opened {
        writer,
        trimmer: Trimmer::new(Arc::clone(&shared)),
        unsettled,
        reader: Reader::new(shared),
        recovery,
        identity,
        incarnation: incarnation.id,
    })
}

pub(crate) fn open_store(log: &Path, options: &Options) -> Result<DB, OpenError> {
    open_families(log, options, Compactions::Automatic)
}

/// Whether RocksDB rewrites its tables by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compactions {
    Automatic,
    /// Damage, which ends every compaction that meets it, is then left alone.
    Off,
}

pub(crate) fn open_families(log: &Path, options: &Options, compactions: Compactions) -> Result<DB, OpenError> {
    let mut store = rocksdb::Options::default();
    store.create_if_missing(true);
    store.create_missing_column_families(true);
    store.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    store.set_recycle_log_file_num(options.recycled_wal_files);
    // A WAL file can be recycled only once every family has flushed what it holds: flush them together.
    store.set_atomic_flush(true);
    store.set_max_total_wal_size(256 << 20);
    store.set_bytes_per_sync(1 << 20);
    store.set_max_background_jobs(2);
    // Descriptors are shared with connections, of which there may be very many.
    store.set_max_open_files(OPEN_TABLES_MAX);
    store.set_keep_log_file_num(4);
    store.set_log_level(LogLevel::Warn);
    store.set_stats_dump_period_sec(0);
    store.set_stats_persist_period_sec(0);
    background::never_resume(&store);
    DB::open_cf_descriptors(&store, log, Family::descriptors(compactions == Compactions::Off)).map_err(|cause| {
        let text = cause.to_string();
        if text.contains("lock hold") || text.contains("Resource temporarily unavailable") {
            OpenError::InUse(log.parent().unwrap_or(log).to_path_buf())
        } else {
            OpenError::Store { path: log.to_path_buf(), cause }
        }
    })
}

/// A data folder that has acknowledged events has a log.
pub(crate) fn check_log(data: &Path) -> Result<(), OpenError> {
    let (log, mark) = (data.join("log"), data.join("mark"));
    let acknowledged = Mark::find(&mark).map_err(OpenError::io("read", &mark))?;
    if log.exists() || !acknowledged.tells_of_events() {
        return Ok(());
    }
    let what = match acknowledged {
        Found::At(seq) => format!("folder is missing, though events up to {seq} were acknowledged"),
        _ => "folder is missing, and the high-water mark is damaged: events may have been acknowledged".to_owned(),
    };
    Err(OpenError::Damaged { at: log.display().to_string(), what })
}

/// A folder with tables or WAL files and without `CURRENT`, which names the newest manifest, is no new log: RocksDB would
/// begin one there and delete what it does not know.
pub(crate) fn check_current(log: &Path) -> Result<(), OpenError> {
    if log.join("CURRENT").exists() || !log.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(log).map_err(OpenError::io("list", log))?.filter_map(Result::ok);
    let is_data = |path: PathBuf| path.extension().is_some_and(|found| found == "sst" || found == "log");
    match entries.any(|entry| is_data(entry.path())) {
        true => {
            Err(OpenError::Damaged { at: log.join("CURRENT").display().to_string(), what: "file is missing".into() })
        }
        false => Ok(()),
    }
}

/// Writes a small file so that it is whole or absent after a power cut.
pub(crate) fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Leaves the marker of a clean stop.
pub(crate) fn mark_clean(data: &Path) -> std::io::Result<()> {
    write_synced(&data.join("clean"), "clean\n")
}

/// Takes the marker of a clean stop away, durably, so that the next crash is seen as one. A new folder counts as clean.
fn take_clean_marker(data: &Path) -> Result<bool, OpenError> {
    let marker = data.join("clean");
    match fs::remove_file(&marker) {
        Ok(()) => sync_folder(data).map_err(OpenError::io("sync", data)).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(!data.join("log/CURRENT").exists()),
        Err(error) => Err(OpenError::io("remove", marker)(error)),
    }
}

/// Families that are small and that a start needs whole: damage in them is to be met now, not by a compaction later.
const READ_AT_START: [Family; 4] = [Family::Cursor, Family::Manifest, Family::Projection, Family::Meta];

fn read_small(db: &DB) -> Result<(), OpenError> {
    for of in READ_AT_START {
        db.iterator_cf(family(db, of), IteratorMode::Start).try_for_each(|entry| {
            entry.map(drop).map_err(|cause| OpenError::Damaged { at: of.name().to_owned(), what: cause.to_string() })
        })?;
    }
    Ok(())
}

/// Finds where the log starts and ends.
pub(crate) fn inspect(db: &DB, mark: Found, clean: bool) -> Result<Recovery, OpenError> {
    read_small(db)?;
    let (log_end, last_commit) = last_block(db)?;
    let ids_end = last_ids(db)?;
    if log_end != ids_end {
        return Err(OpenError::Damaged {
            at: format!("event {}", log_end.min(ids_end).next()),
            what: format!("log ends at {log_end}, id lists at {ids_end}, which are written together"),
        });
    }
    let known_gaps = crate::verify::known_gaps(db).map_err(identity::store(db))?;
    let gap_end = known_gaps.iter().map(|gap| gap.until.prev()).max().unwrap_or(Seq::ZERO);
    let (start, next) = (trim::start(db)?, log_end.max(gap_end).next());
    let (mark, mark_trouble) = (mark.seq(), mark.trouble(next));
    let copy = CopyMark::load(db)?;
    Ok(Recovery { clean, start, next, mark, mark_trouble, last_commit, known_gaps, copy })
}

fn last_block(db: &DB) -> Result<(Seq, UnixMicros), OpenError> {
    let Some(entry) = db.iterator_cf(family(db, Family::Log), IteratorMode::End).next() else {
        return Ok((Seq::ZERO, UnixMicros::default()));
    };
    let (name, value) = entry.map_err(identity::store(db))?;
    let damaged = |what: String| OpenError::Damaged { at: format!("last block, key {name:02x?}"), what };
    let first = key::seq(&name).ok_or_else(|| damaged("not a position".into()))?;
    let block = Block::parse(first, &value).map_err(|cause| damaged(cause.to_string()))?;
    Ok((block.last(), block.committed_at()))
}

pub(crate) fn last_ids(db: &DB) -> Result<Seq, OpenError> {
    let Some(entry) = db.iterator_cf(family(db, Family::Ids), IteratorMode::End).next() else {
        return Ok(Seq::ZERO);
    };
    let (name, value) = entry.map_err(identity::store(db))?;
    let damaged = |what: String| OpenError::Damaged { at: format!("last id list, key {name:02x?}"), what };
    let first = key::seq(&name).ok_or_else(|| damaged("not a position".into()))?;
    let list = record::IdList::parse(first, &value).map_err(|cause| damaged(cause.to_string()))?;
    Ok(first.plus(list.len() as u64).prev())
}

fn check_mark(data: &Path, recovery: &Recovery) -> Result<(), OpenError> {
    if let Some(trouble) = recovery.mark_trouble {
        return Err(OpenError::Damaged { at: data.join("mark").display().to_string(), what: trouble.to_owned() });
    }
    if recovery.mark < recovery.next {
        return Ok(());
    }
    Err(OpenError::Missing {
        from: recovery.next,
        to: recovery.mark,
        end: recovery.next.prev(),
        evidence: evidence_path(data),
    })
}

fn evidence_path(data: &Path) -> PathBuf {
    evidence::folder(data)
}
