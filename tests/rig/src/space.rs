//! Small and read-only file systems: a tmpfs of limited size, which only root can mount.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// How often a disk under load is filled up further.
const FILL_TRIES: u32 = 50;

/// True if this process may mount; a scenario that needs it says aloud that it was skipped otherwise.
pub fn can_mount() -> bool {
    rustix::process::geteuid().is_root()
}

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of `bytes` at `path`.
    pub fn mount(path: &Path, bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let size = std::ffi::CString::new(format!("size={bytes}"))?;
        mount("rig", path, "tmpfs", MountFlags::NODEV, Some(size.as_c_str()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that can still be written.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Makes it read-only, or writable again; fails while a file is open for writing.
    pub fn set_read_only(&self, read_only: bool) -> io::Result<()> {
        let flags = if read_only { MountFlags::RDONLY | MountFlags::NODEV } else { MountFlags::NODEV };
        Ok(mount_remount(&self.path, flags, "")?)
    }

    /// Fills it with a file until only `free_bytes` are left; deleting the file gives the space back.
    pub fn fill(&self, free_bytes: u64) -> io::Result<PathBuf> {
        let path = self.path.join("ballast");
        let file = std::fs::File::create(&path)?;
        // Others write at the same time: what was free a moment ago may be taken, so the rest is measured again.
        for _ in 0..FILL_TRIES {
            let from = file.metadata()?.len();
            let bytes = self.free_bytes()?.saturating_sub(free_bytes);
            if bytes == 0 {
                break;
            }
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), from, bytes) {
                Ok(()) | Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached: a file that is still open somewhere must not keep the mount point.
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("rig: cannot unmount {}: {error}", self.path.display());
        }
    }
}
