//! A view of a log that RocksDB refuses to open, since its manifest is damaged or a table is missing or cut off.
//!
//! RocksDB's own repair makes a new manifest from the tables it can read and turns the WAL files into tables. It works on
//! hard links in a folder of its own, so that the log stays as it was found.
//!
//! RocksDB's WAL names a family by number only, and its repair learns the numbers from tables; a family that has none
//! would lose what the WAL holds of it. So each family gets a table first, with one key that is deleted afterwards.
//!
//! RocksDB's repair leaves out what it cannot turn into a table, and reports success: on a full disk intact events would
//! look lost. So room is asked for first, and what it says while it works is listened to, for others fill disks, too.

use crate::checkpoint::folder_bytes;
use crate::family::Family;
use crate::identity::{family, store};
use crate::open::{Compactions, Options, open_families};
use crate::{OpenError, room};
use rocksdb::{DB, FlushOptions, InfoLogger, LogLevel, WriteOptions};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The key of the table that each family gets. No family has a key of nine bytes that begins like this.
const KEY: &[u8] = b"\0salvage\0";
/// Added to the numbers of those tables, to keep clear of the log's own.
const NUMBERS_FROM: u64 = 1 << 40;
/// Beyond what the WAL holds: manifests, which RocksDB sets room aside for, and what every table has of its own.
const MARGIN_BYTES: u64 = 16 << 20;
/// Why RocksDB leaves a file out that is not damaged; other reasons are the file's.
const NOT_DAMAGE: [&str; 8] = [
    "No space left",
    "quota exceeded",
    "File too large",
    "Read-only file system",
    "Too many open files",
    "Permission denied",
    "Cannot allocate memory",
    "While appending",
];

/// What a view is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be looked at.
    Look,
    /// To be copied into a new log, which wants room beside it.
    Repair,
}

/// The folder of the view; removed with it.
pub(crate) struct Salvage {
    folder: PathBuf,
}

impl Salvage {
    /// Collects what can be read of the log in `data`, all of it or nothing.
    pub(crate) fn of(data: &Path, purpose: Purpose) -> Result<(Self, DB), OpenError> {
        let salvage = Salvage { folder: data.join("log.salvage") };
        let folder = &salvage.folder;
        remove_folder(folder).map_err(OpenError::io("remove", folder))?;
        match fs::create_dir(folder) {
            // How much is wanted is told below.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            created => created.map_err(OpenError::io("create", folder))?,
        }
        check_room(data, purpose)?;
        let db = collect(&data.join("log"), folder).map_err(|error| error.of_collecting(folder))?;
        Ok((salvage, db))
    }

    /// Names of the log's files that could not be read at all.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.join("lost")) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        // WAL files are put there too, once they are turned into tables.
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".sst")).collect();
        names.sort();
        names
    }
}

impl Drop for Salvage {
    fn drop(&mut self) {
        // What stays behind is removed the next time.
        remove_folder(&self.folder).ok();
    }
}

/// Looks whether there is room for all that the WAL holds, and for what comes after. As tables it takes no more than in the
/// WAL; the log's own tables are shared.
fn check_room(data: &Path, purpose: Purpose) -> Result<(), OpenError> {
    let log = data.join("log");
    let collected = wal_bytes(&log).map_err(OpenError::io("look at the files of", &log))? + MARGIN_BYTES;
    let (what, needed) = match purpose {
        Purpose::Look => ("collecting what can be read of a log that RocksDB refuses", collected),
        Purpose::Repair => (
            "collecting what can be read of a log that RocksDB refuses, and writing it anew,",
            collected + folder_bytes(&log),
        ),
    };
    room::check(data, what, needed)
}

fn wal_bytes(log: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for path in files(log)?.iter().filter(|path| is(path, "log")) {
        bytes += fs::metadata(path)?.len();
    }
    Ok(bytes)
}

/// The log's files; none where the log itself is gone.
fn files(log: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// Makes the view of `log` in `folder`, which is empty.
fn collect(log: &Path, folder: &Path) -> Result<DB, OpenError> {
    make_tables(folder)?;
    link_files(log, folder).map_err(OpenError::io("link the log's files into", folder))?;
    repair(folder)?;
    let db = open_unrecycled(folder)?;
    for of in Family::ALL {
        db.delete_cf_opt(family(&db, of), KEY, &without_wal()).map_err(store(&db))?;
    }
    Ok(db)
}

/// Has RocksDB repair what is in `folder`, and fails where it left something out that is not damaged: only its own log
/// tells of that.
fn repair(folder: &Path) -> Result<(), OpenError> {
    let failure = Arc::new(Mutex::new(None::<String>));
    let heard = Arc::clone(&failure);
    let logger = InfoLogger::new_callback_logger(LogLevel::Warn, move |_, line: &str| {
        if let Some(cause) = not_damage(line) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| cause.to_owned());
        }
    });
    let mut options = rocksdb::Options::default();
    options.set_info_logger(logger);
    DB::repair(&options, folder).map_err(|cause| OpenError::Store { path: folder.to_path_buf(), cause })?;
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), |cause| Err(OpenError::Collecting { path: folder.to_path_buf(), cause }))
}

/// Why a file was left out that is not damaged, if that is what a line of RocksDB's log tells.
fn not_damage(line: &str) -> Option<&str> {
    let (_, cause) = line.split_once("ignoring ")?;
    NOT_DAMAGE.iter().any(|known| cause.contains(*known)).then(|| cause.trim_end())
}

/// Where old WAL files are written over RocksDB permits no writes without a WAL.
fn open_unrecycled(folder: &Path) -> Result<DB, OpenError> {
    open_families(folder, &Options { recycled_wal_files: 0, ..Options::default() }, Compactions::Off)
}

/// What is written to the view need not outlive it, and RocksDB sets much room aside for a WAL.
fn without_wal() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Removes a folder, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Leaves one table of each family in `folder`, and nothing else.
fn make_tables(folder: &Path) -> Result<(), OpenError> {
    {
        let db = open_unrecycled(folder)?;
        for of in Family::ALL {
            db.put_cf_opt(family(&db, of), KEY, KEY, &without_wal()).map_err(store(&db))?;
        }
        let families: Vec<_> = Family::ALL.iter().map(|of| family(&db, *of)).collect();
        db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(store(&db))?;
    }
    keep_tables(folder).map_err(OpenError::io("prepare", folder))
}

fn keep_tables(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        match number.filter(|_| is(&path, "sst")) {
            Some(number) => fs::rename(&path, folder.join(format!("{:06}.sst", NUMBERS_FROM + number)))?,
            None => fs::remove_file(&path)?,
        }
    }
    Ok(())
}

/// Links what holds data; manifests are made anew.
fn link_files(log: &Path, folder: &Path) -> io::Result<()> {
    for path in files(log)?.iter().filter(|path| is(path, "sst") || is(path, "log")) {
        fs::hard_link(path, folder.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
#[path = "../../tests/support/small_disk.rs"]
mod small_disk;

#[cfg(test)]
mod tests {
    use super::small_disk::{fill_but, free_bytes, small_disk};
    use super::*;
    use crate::key;
    use event::Seq;
    use rocksdb::IteratorMode;

    const VALUES: u64 = 400;
    const VALUE: [u8; 10_000] = [7; 10_000];

    /// Leaves a log of four megabytes in `data` that has nothing but WAL files.
    fn with_wal_only(data: &Path) {
        let dir = tempfile::tempdir().unwrap();
        let db = open_families(dir.path(), &Options::default(), Compactions::Off).unwrap();
        for n in 1..=VALUES {
            db.put_cf(family(&db, Family::Log), key::of(Seq::new(n)), VALUE).unwrap();
        }
        db.flush_wal(true).unwrap();
        fs::create_dir_all(data.join("log")).unwrap();
        for path in files(dir.path()).unwrap().iter().filter(|path| is(path, "log")) {
            fs::copy(path, data.join("log").join(path.file_name().unwrap())).unwrap();
        }
    }

    #[test]
    fn a_disk_that_runs_full_meanwhile_is_not_taken_for_damage() {
        let test = "salvage::tests::a_disk_that_runs_full_meanwhile_is_not_taken_for_damage";
        let Some(disk) = small_disk(test, 128 << 20) else { return };
        let (data, folder) = (disk.join("data"), disk.join("view"));
        with_wal_only(&data);
        assert!(wal_bytes(&data.join("log")).unwrap() > VALUES * VALUE.len() as u64);
        let filler = fill_but(&disk, 2 << 20);
        fs::create_dir(&folder).unwrap();
        // As if there had been room when it was asked for.
        let error = collect(&data.join("log"), &folder).err().unwrap().of_collecting(&folder);
        let text = error.to_string();
        assert!(
            matches!(error, OpenError::Collecting { .. }) && text.contains("conversion error: IO error: No space left"),
            "{text}"
        );
        assert!(!text.contains("goes on without"), "{text}");
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_file(filler).unwrap();
        assert!(free_bytes(&disk) > 64 << 20);
        let (salvage, db) = Salvage::of(&data, Purpose::Look).unwrap();
        let kept = db.iterator_cf(family(&db, Family::Log), IteratorMode::Start);
        assert_eq!(kept.map(Result::unwrap).count() as u64, VALUES);
        drop((db, salvage));
        assert!(!data.join("log.salvage").exists());
    }

    #[test]
    fn only_what_is_wrong_with_a_file_is_damage() {
        let full =
            "[repair.cc:419] Log #12: ignoring conversion error: IO error: No space left on device: While appending";
        assert!(not_damage(full).is_some_and(|cause| cause.starts_with("conversion error: IO error")), "{full}");
        assert!(not_damage("Table #9: ignoring IO error: While open a file: Too many open files").is_some());
        assert!(not_damage("Table #9: ignoring IO error: While pread offset 0: Input/output error").is_none());
        assert!(not_damage("Table #9: ignoring Corruption: file is too short").is_none());
        assert!(not_damage("Log #12: dropping 40 bytes; Corruption: checksum mismatch").is_none());
    }
}
