//! One process at a time changes a data folder: `lock` in it is locked (flock(2)) by whoever does.
//!
//! RocksDB's own lock comes too late: by then the marker of a clean stop is taken and evidence is put aside. And a repair
//! reads the old log without that lock.

use crate::OpenError;
use std::fs::{File, TryLockError};
use std::path::Path;

/// The right to change a data folder, held while it lives; the system takes it back from a process that dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

impl Lock {
    /// Takes the right, or says that another process has it.
    pub(crate) fn take(data: &Path) -> Result<Lock, OpenError> {
        let path = data.join("lock");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(OpenError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data.to_path_buf())),
            Err(TryLockError::Error(cause)) => Err(OpenError::io("lock", path)(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{OpenError, Options, open, open_read_only, repair};

    #[test]
    fn a_folder_is_changed_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let opened = open(data, &Options::default()).unwrap();
        assert!(matches!(open(data, &Options::default()), Err(OpenError::InUse(_))));
        assert!(matches!(repair(data, &mut |_, _| None), Err(OpenError::InUse(_))));
        assert!(!data.join("evidence").exists(), "the second did not touch what belongs to the first");
        open_read_only(data).unwrap();
        drop(opened);
        repair(data, &mut |_, _| None).unwrap();
        open(data, &Options::default()).unwrap();
    }

    #[test]
    fn looking_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open_read_only(folder.path()).is_err());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
