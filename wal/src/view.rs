//! A log that is only looked at: nothing in its folder is changed, and damage is no reason to look away.

use crate::copy::CopyMark;
use crate::family::Family;
use crate::identity::{self, family};
use crate::mark::{Found, Mark};
use crate::open::{Recovery, check_current, check_log, last_ids};
use crate::pulse::Pulses;
use crate::reader::Shared;
use crate::{OpenError, Poison, Reader, format, key, trim};
use event::{Seq, UnixMicros};
use record::Block;
use rocksdb::{DB, DBRecoveryMode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// How often a log is tried to be opened for reading while files of it vanish, and the pause between.
const READ_ATTEMPTS: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(20);

/// Opens the log in `data` for reading only; nothing in the folder is changed. Damage does not keep it closed, as long
/// as RocksDB can make sense of its files.
///
/// # Errors
/// [`OpenError`] when there is no log or RocksDB refuses it.
pub fn open_read_only(data: &Path) -> Result<(Reader, Recovery), OpenError> {
    format::check_is_data_folder(data)?;
    format::check(data)?;
    open_view(data)
}

/// The same for whoever has looked at the format.
pub(crate) fn open_view(data: &Path) -> Result<(Reader, Recovery), OpenError> {
    let log = data.join("log");
    check_log(data)?;
    check_current(&log)?;
    let mut options = rocksdb::Options::default();
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    let families: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
    let mut attempts = 0;
    let db = loop {
        attempts += 1;
        match DB::open_cf_for_read_only(&options, &log, &families, false) {
            Ok(db) => break db,
            // Under a daemon that runs, a file may go between being named and being opened.
            Err(cause) if attempts < READ_ATTEMPTS && cause.to_string().contains("No such file") => {
                std::thread::sleep(READ_PAUSE);
            }
            Err(cause) => return Err(OpenError::Store { path: log, cause }),
        }
    };
    view(data, db)
}

/// A view of whatever of a log can be read.
pub(crate) fn view(data: &Path, db: DB) -> Result<(Reader, Recovery), OpenError> {
    let mark = Mark::find(&data.join("mark")).map_err(OpenError::io("read", data.join("mark")))?;
    let recovery = survey(&db, mark, data.join("clean").exists());
    let shared = Arc::new(Shared {
        committed: AtomicU64::new(recovery.next.prev().get()),
        synced: AtomicU64::new(recovery.next.prev().get()),
        unsynced: AtomicBool::new(false),
        start: AtomicU64::new(recovery.start.get()),
        gaps: recovery.known_gaps.clone(),
        folder: data.to_path_buf(),
        poison: Poison::default(),
        pulses: Pulses::default(),
        db,
        _lock: None,
    });
    Ok((Reader::new(shared), recovery))
}

/// Finds where the log starts and ends as far as that can be read; never fails, for this is how damage is looked at.
fn survey(db: &DB, mark: Found, clean: bool) -> Recovery {
    let (log_end, last_commit) = last_readable_block(db);
    let ids_end = last_ids(db).unwrap_or_default();
    let known_gaps = crate::verify::known_gaps(db).unwrap_or_default();
    let gap_end = known_gaps.iter().map(|gap| gap.until.prev()).max().unwrap_or(Seq::ZERO);
    let start = match identity::is_known(db) {
        true => trim::start(db).unwrap_or(Seq::FIRST),
        // What the log knew of itself is gone, and with it how far it had been trimmed.
        false => first_key(db).unwrap_or(Seq::FIRST),
    };
    let next = log_end.max(ids_end).max(gap_end).next();
    let (mark, mark_trouble) = (mark.seq(), mark.trouble(next));
    let copy = CopyMark::load(db).unwrap_or_default();
    Recovery { clean, start, next, mark, mark_trouble, last_commit, known_gaps, copy }
}

fn first_key(db: &DB) -> Option<Seq> {
    let mut cursor = db.raw_iterator_cf(family(db, Family::Log));
    cursor.seek_to_first();
    cursor.key().and_then(key::seq)
}

fn last_readable_block(db: &DB) -> (Seq, UnixMicros) {
    let mut cursor = db.raw_iterator_cf(family(db, Family::Log));
    cursor.seek_to_last();
    while let Some((name, value)) = cursor.item() {
        if let Some(Ok(block)) = key::seq(name).map(|first| Block::parse(first, value)) {
            return (block.last(), block.committed_at());
        }
        cursor.prev();
    }
    (Seq::ZERO, UnixMicros::default())
}
