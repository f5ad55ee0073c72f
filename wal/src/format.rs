//! The file that says which format a data folder has. Without it, or where it says nothing, the log beside it is not
//! touched: it may be a newer release's.

use crate::OpenError;
use crate::mark::{Found, Mark};
use crate::open::write_synced;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Newest data-folder format this release reads.
pub(crate) const FORMAT: u32 = 2;
/// The one that a new folder has.
const FIRST: u32 = 1;
/// The one of a folder from which something was erased: a release that knows only the first one would take what is left
/// of an event for an event, or for damage.
const ERASED: u32 = 2;
/// What damage of the file is named by.
pub(crate) const NAME: &str = "format";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// There is none.
    Missing,
    /// Nothing: formats are numbers from 1.
    Unreadable,
    /// This one.
    Is(u32),
}

impl Format {
    /// Reads the file.
    pub(crate) fn find(data: &Path) -> Result<Format, OpenError> {
        let bytes = match fs::read(path(data)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Format::Missing),
            Err(error) => return Err(OpenError::io("read", path(data))(error)),
        };
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        Ok(number.filter(|number| *number > 0).map_or(Format::Unreadable, Format::Is))
    }

    /// What is wrong with it beside a log that is there.
    pub(crate) fn trouble(self) -> Option<&'static str> {
        match self {
            Format::Missing => Some("the file is missing: which release can read the log cannot be told without it"),
            Format::Unreadable => Some("the file is damaged: which release can read the log cannot be told"),
            Format::Is(_) => None,
        }
    }

    /// Whether nothing was ever erased from such a folder.
    pub(crate) fn has_nothing_erased(self) -> bool {
        self == Format::Is(FIRST)
    }

    /// Refuses a newer one.
    pub(crate) fn check_age(self) -> Result<(), OpenError> {
        self.check_known(FORMAT)
    }

    /// Refuses one that is newer than what a release knows.
    fn check_known(self, known: u32) -> Result<(), OpenError> {
        match self {
            Format::Is(found) if found > known => Err(OpenError::Newer { found, known }),
            _ => Ok(()),
        }
    }
}

/// Refuses a newer format, and none beside a log.
pub(crate) fn check(data: &Path) -> Result<(), OpenError> {
    let format = Format::find(data)?;
    format.check_age()?;
    match format.trouble().filter(|_| has_log(data)) {
        Some(trouble) => Err(OpenError::Damaged { at: path(data).display().to_string(), what: trouble.to_owned() }),
        None => Ok(()),
    }
}

/// Refuses a folder that has neither, nor a high-water mark that tells of events: it is no data folder.
pub(crate) fn check_is_data_folder(data: &Path) -> Result<(), OpenError> {
    let mark = data.join("mark");
    let tells_of_events = || Mark::find(&mark).map(Found::tells_of_events).map_err(OpenError::io("read", &mark));
    if has_log(data) || Format::find(data)? != Format::Missing || tells_of_events()? {
        return Ok(());
    }
    Err(OpenError::NoLog(data.to_path_buf()))
}

/// Writes the format of a new folder.
pub(crate) fn write(data: &Path) -> Result<(), OpenError> {
    put(data, FIRST)
}

/// Writes the newest format, where it is not known which one the folder had.
pub(crate) fn write_newest(data: &Path) -> Result<(), OpenError> {
    put(data, FORMAT)
}

/// Has older releases refuse the folder, durably, for something is about to be erased from its log.
pub(crate) fn raise_for_erasure(data: &Path) -> Result<(), OpenError> {
    match Format::find(data)? {
        Format::Is(found) if found >= ERASED => Ok(()),
        _ => put(data, ERASED),
    }
}

/// Gives a copy the format of what it was copied from before.
pub(crate) fn copy(data: &Path, copy: &Path) -> Result<(), OpenError> {
    match Format::find(data)? {
        Format::Is(found) => put(copy, found),
        _ => put(copy, FORMAT),
    }
}

fn put(data: &Path, format: u32) -> Result<(), OpenError> {
    write_synced(&path(data), &format!("{format}\n")).map_err(OpenError::io("write", path(data)))
}

/// Where the file lies.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// Whether there is a log, whatever is left of it.
pub(crate) fn has_log(data: &Path) -> bool {
    let is_of_log = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == "CURRENT" || name.starts_with("MANIFEST") || name.ends_with(".sst") || name.ends_with(".log")
    };
    let mut entries = fs::read_dir(data.join("log")).into_iter().flatten().filter_map(Result::ok);
    entries.any(|entry| is_of_log(entry.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Format {
        Format::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture").join(name)).unwrap()
    }

    #[test]
    fn a_release_from_before_refuses_a_folder_from_which_something_was_erased() {
        assert_eq!((fixture("format-1"), fixture("format-2")), (Format::Is(FIRST), Format::Is(ERASED)));
        // Releases that know only the first one look at the same number.
        let refused = fixture("format-2").check_known(FIRST);
        assert!(matches!(refused, Err(OpenError::Newer { found: ERASED, known: FIRST })), "{refused:?}");
        for name in ["format-1", "format-2"] {
            fixture(name).check_age().unwrap();
        }
        fixture("format-1").check_known(FIRST).unwrap();
    }

    #[test]
    fn only_an_erasure_raises_the_format_and_a_copy_has_that_of_its_log() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(dir.path()).unwrap();
        copy(dir.path(), other.path()).unwrap();
        assert_eq!(Format::find(other.path()).unwrap(), Format::Is(FIRST));
        for _ in 0..2 {
            raise_for_erasure(dir.path()).unwrap();
            assert_eq!(Format::find(dir.path()).unwrap(), Format::Is(ERASED));
        }
        copy(dir.path(), other.path()).unwrap();
        assert_eq!(Format::find(other.path()).unwrap(), Format::Is(ERASED));
        // What nobody knows is not said to be older than it may be.
        fs::remove_file(path(dir.path())).unwrap();
        copy(dir.path(), other.path()).unwrap();
        assert_eq!(Format::find(other.path()).unwrap(), Format::Is(FORMAT));
    }
}
