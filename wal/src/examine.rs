//! Looking at a log as it is, whatever state it is in.

use crate::format::{self, Format};
use crate::lock::Lock;
use crate::salvage::{Purpose, Salvage};
use crate::view::{open_view, view};
use crate::{Damage, OpenError, Reader, Recovery, VerifyReport};
use event::Seq;
use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::path::Path;

/// What damage of the high-water mark is named by.
pub(crate) const MARK: &str = "mark";

/// A log under examination; the log itself is not changed.
pub struct Examined {
    // Closed before the folder that it reads is removed.
    reader: Reader,
    recovery: Recovery,
    refused: Option<Refused>,
    format: Format,
    // Given back last: another repair wants the same folder.
    _lock: Option<Lock>,
}

/// Why RocksDB cannot open a log.
struct Refused {
    cause: String,
    salvage: Salvage,
}

/// Opens the log in `data` for examination. Where RocksDB refuses it, what can be read is collected in a folder beside it
/// for as long as this lives.
///
/// # Errors
/// [`OpenError`] when there is no log, or its files cannot be read or linked, or there is too little room for that folder.
pub fn examine(data: &Path) -> Result<Examined, OpenError> {
    // A daemon may be running that opened its files before they were damaged.
    examine_for(Purpose::Look, data, || Lock::take(data).map(Some))
}

/// The same for a repair, which holds the lock.
pub(crate) fn examine_locked(data: &Path) -> Result<Examined, OpenError> {
    examine_for(Purpose::Repair, data, || Ok(None))
}

fn examine_for(
    purpose: Purpose,
    data: &Path,
    lock: impl FnOnce() -> Result<Option<Lock>, OpenError>,
) -> Result<Examined, OpenError> {
    let format = Format::find(data)?;
    format::check_is_data_folder(data)?;
    format.check_age()?;
    let cause = match open_view(data) {
        Ok((reader, recovery)) => return Ok(Examined { reader, recovery, refused: None, format, _lock: None }),
        Err(OpenError::Store { cause, .. }) => cause.to_string(),
        Err(OpenError::Damaged { what, at }) if !data.join("log/CURRENT").exists() => format!("{at}: {what}"),
        Err(error) => return Err(error),
    };
    let (lock, (salvage, db)) = lock()
        .and_then(|lock| Ok((lock, Salvage::of(data, purpose)?)))
        .map_err(|error| cannot_collect(data, &cause, error))?;
    let (reader, recovery) = view(data, db)?;
    Ok(Examined { reader, recovery, refused: Some(Refused { cause, salvage }), format, _lock: lock })
}

/// Says what can be done about a folder in which nothing can be made.
fn cannot_collect(data: &Path, refused: &str, error: OpenError) -> OpenError {
    match error {
        OpenError::Io { cause, .. } if matches!(cause.kind(), ReadOnlyFilesystem | PermissionDenied) => {
            OpenError::Collect { data: data.to_path_buf(), refused: refused.to_owned(), cause }
        }
        error => error,
    }
}

impl Examined {
    /// For reading what can be read.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Where the log starts and ends, as far as that can be read.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Checks all of it; `progress` is called with each position reached.
    #[must_use]
    pub fn verify(&self, progress: impl FnMut(Seq)) -> VerifyReport {
        let mut report = self.reader.verify(self.recovery.mark, progress);
        if let Some(refused) = &self.refused {
            report.refused = Some(refused.cause.clone());
            report.unreadable_files = refused.salvage.unreadable();
            report.damaged.extend(self.reader.emptied());
        }
        for (family, trouble) in [(MARK, self.recovery.mark_trouble), (format::NAME, self.format.trouble())] {
            report.damaged.extend(trouble.map(|cause| Damage { family, cause: cause.to_owned() }));
        }
        report
    }
}
