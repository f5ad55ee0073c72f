use crate::Rejection;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file that every rejected line's place and reason is written to, one JSON object per line.
pub(crate) struct RejectsFile(BufWriter<File>);

impl RejectsFile {
    /// Opens or creates it, and leaves what it holds.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        Ok(RejectsFile(BufWriter::new(file)))
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        self.0.get_ref().metadata().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// Drops what an earlier run wrote: a run reports all rejects anew.
    pub(crate) fn emptied(self) -> io::Result<Self> {
        // Not for pipes and terminals, such as /dev/stderr.
        if self.0.get_ref().metadata()?.is_file() {
            self.0.get_ref().set_len(0)?;
        }
        Ok(self)
    }

    pub(crate) fn write(&mut self, rejection: &Rejection) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, rejection)?;
        self.0.write_all(b"\n")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
