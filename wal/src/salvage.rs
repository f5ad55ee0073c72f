//! A view of a log that RocksDB refuses to open, since its manifest is damaged or a table is missing or cut off.
//!
//! RocksDB's own repair makes a new manifest from the tables it can read and turns the WAL files into tables. It works on
//! hard links in a folder of its own, so that the log stays as it was found.
//!
//! RocksDB's WAL names a family by number only, and its repair learns the numbers from tables; a family that has none
//! would lose what the WAL holds of it. So each family gets a table first, with one key that is deleted afterwards.

use crate::OpenError;
use crate::family::Family;
use crate::identity::{family, store};
use crate::open::{Compactions, Options, open_families};
use rocksdb::{DB, FlushOptions};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The key of the table that each family gets. No family has a key of nine bytes that begins like this.
const KEY: &[u8] = b"\0salvage\0";
/// Added to the numbers of those tables, to keep clear of the log's own.
const NUMBERS_FROM: u64 = 1 << 40;

/// The folder of the view; removed with it.
pub(crate) struct Salvage {
    folder: PathBuf,
}

impl Salvage {
    /// Collects what can be read of the log in `data`.
    pub(crate) fn of(data: &Path) -> Result<(Self, DB), OpenError> {
        let salvage = Salvage { folder: data.join("log.salvage") };
        let folder = &salvage.folder;
        remove_folder(folder).map_err(OpenError::io("remove", folder))?;
        fs::create_dir_all(folder).map_err(OpenError::io("create", folder))?;
        make_tables(folder)?;
        link_files(&data.join("log"), folder).map_err(OpenError::io("link the log's files into", folder))?;
        DB::repair(&rocksdb::Options::default(), folder)
            .map_err(|cause| OpenError::Store { path: folder.clone(), cause })?;
        let db = open_families(folder, &Options::default(), Compactions::Off)?;
        for of in Family::ALL {
            db.delete_cf(family(&db, of), KEY).map_err(store(&db))?;
        }
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
        let db = open_families(folder, &Options::default(), Compactions::Off)?;
        for of in Family::ALL {
            db.put_cf(family(&db, of), KEY, KEY).map_err(store(&db))?;
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
    let entries = match fs::read_dir(log) {
        // The log itself is gone: there is nothing to save.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is(&entry.path(), "sst") || is(&entry.path(), "log") {
            fs::hard_link(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
