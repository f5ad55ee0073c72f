//! Room on the disk, asked for before anything is written.

use crate::OpenError;
use std::path::Path;

/// Refuses to begin something for which the disk of `data` has no room; `what` takes it.
pub(crate) fn check(data: &Path, what: &'static str, needed: u64) -> Result<(), OpenError> {
    let stat = rustix::fs::statvfs(data).map_err(|error| OpenError::io("look at the disk of", data)(error.into()))?;
    let free = stat.f_bavail * stat.f_frsize;
    if free < needed { Err(OpenError::Room { what, path: data.to_path_buf(), needed, free }) } else { Ok(()) }
}
