//! The files of the audit log, by name and in order, and the head beside them.

use super::entry::hash;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that is written to.
pub(super) const CURRENT: &str = "audit.log";
const HEAD: &str = "audit.head";
const HEAD_BYTES: usize = 20 + 1 + 64 + 1;
/// What the first line of all follows on.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The newest line: its number and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Head { seq: 0, hash: NOTHING.into() }
    }
}

impl Head {
    /// Of a line, if that is an entry.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let entry: Value = serde_json::from_slice(line).ok()?;
        Some(Head { seq: entry["seq"].as_u64()?, hash: hash(line) })
    }

    /// As it is stored in the folder; none where it is not, or is damaged.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(HEAD)).ok()?;
        let (seq, hash) = text.trim_end().split_once(' ')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then_some(Head { seq: seq.parse().ok()?, hash: hash.into() })
    }

    /// Stores it: within one sector, so that it is the old one or the new one.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let text = format!("{:020} {}\n", self.seq, self.hash);
        debug_assert_eq!(text.len(), HEAD_BYTES);
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_data()
    }
}

/// Opens a file that only the service may read, made where it is missing.
fn open(path: &Path, append: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).create(true).mode(0o600);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(false)
    };
    options.open(path)
}

/// The file that is written to.
pub(super) fn open_current(folder: &Path) -> io::Result<File> {
    open(&folder.join(CURRENT), true)
}

/// The file of the head.
pub(super) fn open_head(folder: &Path) -> io::Result<File> {
    open(&folder.join(HEAD), false)
}

/// Makes what was made, renamed or removed in the folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What a file is called that begins with the entry `first` and is written to no more.
pub(super) fn name_of(first: u64) -> String {
    format!("audit-{first:020}.log")
}

/// The files that are written to no more, the oldest first, with their first entries.
pub(super) fn closed(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".log")?.parse().ok());
        if let Some(first) = first {
            out.push((first, entry.path()));
        }
    }
    out.sort();
    Ok(out)
}

/// Every file, the oldest first, opened, and how much of it was there.
pub(super) fn all(folder: &Path) -> io::Result<Vec<(String, File, u64)>> {
    let mut paths: Vec<PathBuf> = closed(folder)?.into_iter().map(|(_, path)| path).collect();
    paths.push(folder.join(CURRENT));
    let mut out = Vec::new();
    for path in paths {
        match File::open(&path) {
            Ok(file) => {
                let bytes = file.metadata()?.len();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                out.push((name, file, bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}

/// A file's first `bytes`.
pub(super) fn contents(file: &File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(text)
}

/// Its lines, without line feeds; one that has none is not whole and left out.
pub(super) fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    text[..whole].split(|byte| *byte == b'\n').rev().skip(1).collect::<Vec<_>>().into_iter().rev()
}
