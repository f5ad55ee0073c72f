//! What RocksDB's WAL looked like after an unclean stop: opening replays and deletes it, so it is linked aside first.

use crate::OpenError;
use crate::salvage::remove_folder;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the evidence of a data folder lies.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("evidence")
}

/// Hard-links every WAL file of `log` into the evidence folder. Evidence that is already there stays as it is: it belongs
/// to a start that did not get as far as checking it, and since then only such starts have been here.
pub(crate) fn keep(data: &Path, log: &Path) -> Result<(), OpenError> {
    let folder = folder(data);
    if folder.exists() {
        return Ok(());
    }
    // Whole or not at all: what a start that was killed here has linked is not enough.
    let part = data.join("evidence.part");
    remove_folder(&part).map_err(OpenError::io("remove", &part))?;
    fs::create_dir_all(&part).map_err(OpenError::io("create", &part))?;
    for entry in fs::read_dir(log).map_err(OpenError::io("list", log))? {
        let entry = entry.map_err(OpenError::io("list", log))?;
        let name = entry.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "log") {
            fs::hard_link(entry.path(), part.join(&name)).map_err(OpenError::io("link aside", entry.path()))?;
        }
    }
    fs::rename(&part, &folder).map_err(OpenError::io("rename", part))
}

/// Removes the evidence once the log has been checked against the mark.
pub(crate) fn drop_folder(data: &Path) -> Result<(), OpenError> {
    let folder = folder(data);
    remove_folder(&folder).map_err(OpenError::io("remove", folder))
}
