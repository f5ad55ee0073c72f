//! What RocksDB's WAL looked like after an unclean stop: opening replays and deletes it, so it is linked aside first.

use crate::OpenError;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the evidence of a data folder lies.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("evidence")
}

/// Hard-links every WAL file of `log` into the evidence folder. Evidence that is already there stays: it is older and
/// belongs to a start that did not get as far as checking it.
pub(crate) fn keep(data: &Path, log: &Path) -> Result<usize, OpenError> {
    let folder = folder(data);
    fs::create_dir_all(&folder).map_err(OpenError::io("create", &folder))?;
    let mut kept = 0;
    for entry in fs::read_dir(log).map_err(OpenError::io("list", log))? {
        let entry = entry.map_err(OpenError::io("list", log))?;
        let name = entry.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "log") {
            match fs::hard_link(entry.path(), folder.join(&name)) {
                Ok(()) => kept += 1,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(OpenError::io("link aside", entry.path())(error)),
            }
        }
    }
    Ok(kept)
}

/// Removes the evidence once the log has been checked against the mark.
pub(crate) fn drop_folder(data: &Path) -> Result<(), OpenError> {
    let folder = folder(data);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(OpenError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}
