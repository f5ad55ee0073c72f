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
    /// Fails where less is free than is to be left.
    pub(crate) fn new(file: File, free_bytes_min: u64) -> io::Result<Self> {
        let file = PacedFile { file, free_bytes_min, unsynced: 0 };
        file.check_room(free_bytes_min)?;
        Ok(file)
    }

    /// Makes the whole content durable.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Whether, once so many bytes more are written, as much is still free as is to be left.
    pub(crate) fn has_room_for(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.free_bytes()? >= self.free_bytes_min.saturating_add(bytes))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::fstatvfs(&self.file)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn check_room(&self, least: u64) -> io::Result<()> {
        let free = self.free_bytes()?;
        if free < least {
            let text = format!("{free} bytes are free on the disk, {least} are to be left");
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
            // A file that is being ended had room when that was decided, which others may have taken: half is for that.
            self.check_room(self.free_bytes_min / 2)?;
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
