use crate::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "ids-";
const SUFFIX: &str = ".spilled";

/// Where spill files live. They are derived from the id lists in the log, so the ones found at start are removed and
/// none is ever synced.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes the directory if need be, removes old spill files, and makes sure that new ones can be written.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::SpillDir { path, source }
        };
        fs::create_dir_all(path).map_err(at(path))?;
        for entry in fs::read_dir(path).map_err(at(path))? {
            let entry = entry.map_err(at(path))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
                fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        let directory = Directory { path: path.to_owned() };
        let probe = directory.file(0);
        SpillFile::create(probe.clone()).map_err(at(&probe))?;
        Ok(directory)
    }

    /// The file of the ids from sequence number `first` on.
    pub(crate) fn file(&self, first: u64) -> PathBuf {
        self.path.join(format!("{PREFIX}{first:020}{SUFFIX}"))
    }
}

/// A spill file that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct SpillFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl SpillFile {
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(SpillFile { file, path })
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // A file that stays is harmless: the next start removes it.
        drop(fs::remove_file(&self.path));
    }
}
