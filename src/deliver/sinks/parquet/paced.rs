use std::fs::File;
use std::io::{self, Write};

/// Bytes after which what was written is brought to the disk.
const SYNC_EVERY: u64 = 4 << 20;

/// A file that goes to the disk as it grows, and leaves room there.
///
/// One sync of a large file at its end would keep the disk busy for as long as it takes, and the log's own syncs, which
/// every answer waits for, would queue behind it.
pub(crate) struct PacedFile {
    file: File,
    free_bytes_min: u64,
    unsynced: u64,
}

impl PacedFile {
    pub(crate) fn new(file: File, free_bytes_min: u64) -> io::Result<Self> {
        let file = PacedFile { file, free_bytes_min, unsynced: 0 };
        file.check_room()?;
        Ok(file)
    }

    /// Makes the whole content durable.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn check_room(&self) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(&self.file)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.free_bytes_min {
            let text = format!("{free} bytes are free on the disk, {} are to be left", self.free_bytes_min);
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(())
    }
}

impl Write for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written as u64;
        if self.unsynced >= SYNC_EVERY {
            self.check_room()?;
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
