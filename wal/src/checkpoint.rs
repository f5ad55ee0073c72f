//! A checkpoint: a consistent copy of the log, made while it is written, on hard links where the file system has them.
//!
//! It grows in `TARGET.part` and gets its name last, so that what bears the name is whole. Before that it is opened once:
//! what the WAL held goes into tables, the end is held against what was acknowledged when the copy began, and the copy is
//! [marked](crate::copy) as one.

use crate::copy::CopyMark;
use crate::identity;
use crate::lock::Lock;
use crate::mark::Mark;
use crate::open::{Compactions, Options, inspect, open_families, sync_folder};
use crate::reader::Shared;
use crate::{OpenError, Reader, format};
use event::{Seq, UnixMicros};
use rocksdb::checkpoint;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Beyond what is to be copied, for manifests and what comes in meanwhile.
const SLACK_BYTES: u64 = 64 << 20;
/// Marks a folder in which a copy grows: a lock alone is in every copy, and in every data folder.
const UNFINISHED: &str = "unfinished-checkpoint";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Something has the name already.
    #[error("{} exists already: name a folder that is not there yet", .0.display())]
    Exists(PathBuf),
    /// It would be part of what it is a copy of.
    #[error("{} lies in the data folder {}: name a folder outside of it", target.display(), data.display())]
    Inside {
        /// What was named.
        target: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// The name cannot be used.
    #[error("{} is no absolute path that ends in a folder's name, one without .part at its end", .0.display())]
    Name(PathBuf),
    /// The disk is too full.
    #[error(
        "the copy takes up to {needed} bytes, and {} has {free} free, of which {reserve} are to stay so: make room, or \
         name a folder on another disk",
        path.display()
    )]
    Room {
        /// Where the copy was to lie.
        path: PathBuf,
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are to stay free.
        reserve: u64,
    },
    /// There is one at a time.
    #[error("another checkpoint is being made: wait for it")]
    Busy,
    /// A folder cannot be made, read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// RocksDB could not copy the log.
    #[error("cannot copy the log: {0}")]
    Store(#[from] rocksdb::Error),
    /// What was copied cannot be opened.
    #[error("the copy is of no use: {0}")]
    Log(#[from] OpenError),
    /// Events that had been acknowledged are not in the copy.
    #[error("the copy is of no use: it ends at {end}, though events up to {acknowledged} had been acknowledged")]
    Short {
        /// Its newest event.
        end: Seq,
        /// The newest event that was to be in it.
        acknowledged: Seq,
    },
}

/// A copy that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its newest event.
    pub end: Seq,
    /// Bytes of its files, those that it shares with the log included.
    pub bytes: u64,
    /// Whether its tables are hard links to the log's: they take no room as long as the log has them, too.
    pub is_linked: bool,
}

/// How far a copy that is being made has got, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes that there will be, about.
    pub of: u64,
}

/// The right to make checkpoints, one at a time; clones share it.
#[derive(Clone)]
pub struct Checkpointer {
    shared: Arc<Shared>,
    under_way: Arc<Mutex<Option<PathBuf>>>,
    /// Files of the data folder that belong into a copy, too.
    beside: &'static [&'static str],
}

/// The copy that is being made, until it is dropped.
struct Turn<'a>(&'a Mutex<Option<PathBuf>>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Checkpointer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Checkpointer { shared, under_way: Arc::default(), beside: &[] }
    }

    /// The same, whose copies have these files of the data folder, too, where they are there: whoever writes them replaces
    /// them as a whole.
    #[must_use]
    pub fn with_files(self, beside: &'static [&'static str]) -> Self {
        Checkpointer { beside, ..self }
    }

    /// Copies the log, as it is at some moment after the call, to `target`, which must not be there yet and whose parent
    /// must. `reserve` bytes of the data folder's disk are to stay free. Blocks for as long as it takes.
    ///
    /// # Errors
    /// [`CheckpointError`]; then there is no `target`, at most a `target.part`, which the next try removes.
    pub fn make(&self, target: &Path, reserve: u64) -> Result<Checkpoint, CheckpointError> {
        let (target, part) = self.place(target)?;
        let _turn = self.claim(&part)?;
        let _lock = begin(&part)?;
        let made = self.fill(&part, reserve).and_then(|made| publish(&part, &target).map(|()| made));
        if made.is_err() {
            // What stays behind is removed the next time.
            remove_part(&part).ok();
        }
        made
    }

    /// How far the copy that is being made has got; `None` while none is.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let part = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(Progress { done: folder_bytes(&part), of: self.log_bytes() })
    }

    fn claim(&self, part: &Path) -> Result<Turn<'_>, CheckpointError> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.is_some() {
            return Err(CheckpointError::Busy);
        }
        *under_way = Some(part.to_path_buf());
        Ok(Turn(&self.under_way))
    }

    /// The target with its parent resolved, and where it grows.
    fn place(&self, target: &Path) -> Result<(PathBuf, PathBuf), CheckpointError> {
        let name = || CheckpointError::Name(target.to_path_buf());
        let (parent, last) = (target.parent().ok_or_else(name)?, target.file_name().ok_or_else(name)?);
        // What bears that ending is a copy that is not finished.
        if !target.is_absolute() || last.as_encoded_bytes().ends_with(b".part") {
            return Err(name());
        }
        let parent = parent.canonicalize().map_err(io("find the folder", parent))?;
        let data = &self.shared.folder;
        let data = data.canonicalize().map_err(io("find the data folder", data))?;
        if parent.starts_with(&data) {
            return Err(CheckpointError::Inside { target: target.to_path_buf(), data });
        }
        let target = parent.join(last);
        match fs::symlink_metadata(&target) {
            Ok(_) => return Err(CheckpointError::Exists(target)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("look at", &target)(error)),
            Err(_) => {}
        }
        let mut part = last.to_owned();
        part.push(".part");
        Ok((target, parent.join(part)))
    }

    fn fill(&self, part: &Path, reserve: u64) -> Result<Checkpoint, CheckpointError> {
        let data = &self.shared.folder;
        let is_linked = can_link(&format::path(data), part);
        self.check_room(part, is_linked, reserve)?;
        // Synced or not: what is in memory goes into tables, and what comes later is copied with the WAL.
        let acknowledged = Seq::new(self.shared.committed.load(Ordering::Acquire));
        let log = part.join("log");
        checkpoint::Checkpoint::new(&self.shared.db)?.create_checkpoint(&log)?;
        let end = finish(&log)?;
        if end < acknowledged {
            return Err(CheckpointError::Short { end, acknowledged });
        }
        // After the log was copied: what was erased from it raised the format before.
        format::copy(data, part)?;
        let mark = part.join("mark");
        Mark::open(&mark).and_then(|mut file| file.advance(end)).map_err(io("write", &mark))?;
        for name in self.beside {
            copy_file(&data.join(name), &part.join(name))?;
        }
        for folder in [&log, part] {
            sync_folder(folder).map_err(io("sync", folder))?;
        }
        Ok(Checkpoint { end, bytes: folder_bytes(part), is_linked })
    }

    fn check_room(&self, part: &Path, is_linked: bool, reserve: u64) -> Result<(), CheckpointError> {
        let stat = rustix::fs::statvfs(part).map_err(|error| io("look at the disk of", part)(error.into()))?;
        let is_same_disk = is_linked || is_on_disk_of(&self.shared.folder, part);
        let free = stat.f_bavail * stat.f_frsize;
        // The tables stay where they are; what is in memory is written once more, here and there.
        let needed = if is_linked { 2 * self.memory_bytes() } else { self.log_bytes() } + SLACK_BYTES;
        let reserve = if is_same_disk { reserve } else { 0 };
        if free < needed.saturating_add(reserve) {
            return Err(CheckpointError::Room { path: part.to_path_buf(), needed, free, reserve });
        }
        Ok(())
    }

    fn memory_bytes(&self) -> u64 {
        Reader::new(Arc::clone(&self.shared)).size().memory
    }

    /// Bytes of the log's files.
    fn log_bytes(&self) -> u64 {
        folder_bytes(&self.shared.folder.join("log"))
    }
}

/// Makes the folder in which a copy grows, in the place of one that was broken off.
fn begin(part: &Path) -> Result<Lock, CheckpointError> {
    // Neither is looked through a symbolic link: what it leads to is somebody else's.
    let found = |path: &Path| fs::symlink_metadata(path).map(|found| found.file_type()).ok();
    if let Some(kind) = found(part) {
        // Only what such a copy has left is removed, and only if nobody is at work there.
        if kind.is_dir() && found(&part.join(UNFINISHED)).is_some_and(|kind| kind.is_file()) {
            drop(Lock::take(part)?);
            remove_part(part).map_err(io("remove", part))?;
        } else if fs::remove_dir(part).is_err() {
            // One that was killed before it was marked, or after the mark was removed, has left nothing in it.
            return Err(CheckpointError::Exists(part.to_path_buf()));
        }
    }
    fs::create_dir(part).map_err(io("create", part))?;
    fs::File::create_new(part.join(UNFINISHED)).map_err(io("mark", part))?;
    Ok(Lock::take(part)?)
}

/// Removes what a copy has left; its mark last, for nothing else says that it is one.
fn remove_part(part: &Path) -> io::Result<()> {
    for entry in fs::read_dir(part)? {
        let entry = entry?;
        if entry.file_name() == UNFINISHED {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir_all(part)
}

/// Whether tables can be shared; two folders of one disk may still be two mounts.
fn can_link(file: &Path, part: &Path) -> bool {
    let probe = part.join("link");
    let is_linked = fs::hard_link(file, &probe).is_ok();
    fs::remove_file(&probe).ok();
    is_linked
}

fn is_on_disk_of(data: &Path, part: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    device(data) == device(part)
}

/// Opens the copied log once and marks it; returns its newest event.
fn finish(log: &Path) -> Result<Seq, CheckpointError> {
    let options = Options { recycled_wal_files: 0, ..Options::default() };
    let db = open_families(log, &options, Compactions::Off)?;
    let recovery = inspect(&db, crate::mark::Found::Missing, true)?;
    if !identity::is_known(&db) {
        let what = "who the log is (node id, key of the ids) is gone".to_owned();
        return Err(OpenError::Damaged { at: "meta".to_owned(), what }.into());
    }
    let end = recovery.next.prev();
    CopyMark { used: None, made_at: UnixMicros::now(), end }.store(&db)?;
    Ok(end)
}

/// Copies a file with its mode, durably, if it is there.
fn copy_file(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    match fs::copy(from, to) {
        Ok(_) => fs::File::open(to).and_then(|file| file.sync_all()).map_err(io("sync", to)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io("copy", from)(error)),
    }
}

/// Gives the copy its name, for good.
fn publish(part: &Path, target: &Path) -> Result<(), CheckpointError> {
    let named = match renameat_with(CWD, part, CWD, target, RenameFlags::NOREPLACE) {
        // Some file systems, NFS among them, do not know that (renameat2(2)).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_onto_nothing(part, target),
        named => named.map_err(io::Error::from),
    };
    named.map_err(io("give its name to", part))?;
    // Last, for a copy that has neither its name nor its mark would be nobody's.
    let mark = target.join(UNFINISHED);
    fs::remove_file(&mark).map_err(io("remove", mark))?;
    let parent = target.parent().unwrap_or(Path::new("/"));
    sync_folder(parent).map_err(io("sync", parent))
}

/// Renames a folder onto an empty one, which is there for that moment: rename(2) replaces no other.
fn rename_onto_nothing(part: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    fs::rename(part, target).inspect_err(|_| drop(fs::remove_dir(target)))
}

/// Bytes of all files below a folder, as far as they can be looked at: some go meanwhile.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.into();
    move |cause| CheckpointError::Io { action, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_rename_replaces_nothing_by_itself_it_still_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (part, target) = (dir.path().join("copy.part"), dir.path().join("copy"));
        let fill = |folder: &Path| {
            fs::create_dir(folder).and_then(|()| fs::write(folder.join("whose"), folder.as_os_str().as_encoded_bytes()))
        };
        fill(&part).unwrap();
        rename_onto_nothing(&part, &target).unwrap();
        assert!(!part.exists() && target.join("whose").exists());
        fill(&part).unwrap();
        assert_eq!(rename_onto_nothing(&part, &target).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(part.join("whose").exists());
        assert_eq!(fs::read(target.join("whose")).unwrap(), part.as_os_str().as_encoded_bytes());
        // What is there when it cannot be renamed is taken away again.
        fs::remove_dir_all(&target).unwrap();
        assert!(rename_onto_nothing(&dir.path().join("nothing"), &target).is_err());
        assert!(!target.exists());
    }
}
