//! What the block device under a path has done so far, from `/proc/diskstats`.
//!
//! The process's own `/proc/self/io` over-counts overwrites of large folios; the device's counters do not.

use anyhow::{Context, Result, bail};
use rustix::fs::{major, minor};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes in a sector of `/proc/diskstats`, whatever the device's own.
const SECTOR_BYTES: u64 = 512;

/// Counters of a device since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceCounts {
    /// Its name under `/dev`.
    pub name: String,
    /// Completed reads.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Completed writes.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Cache flushes (on kernels that count them).
    pub flushes: u64,
}

impl DeviceCounts {
    /// What has come on top since an earlier reading of the same device.
    pub fn since(&self, earlier: &DeviceCounts) -> DeviceCounts {
        DeviceCounts {
            name: self.name.clone(),
            reads: self.reads.saturating_sub(earlier.reads),
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            writes: self.writes.saturating_sub(earlier.writes),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
            flushes: self.flushes.saturating_sub(earlier.flushes),
        }
    }
}

/// Reads the counters of the device that holds `path`.
pub fn counts(path: &Path) -> Result<DeviceCounts> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    let (major, minor) = (major(metadata.dev()), minor(metadata.dev()));
    let text = std::fs::read_to_string("/proc/diskstats").context("/proc/diskstats")?;
    match find(&text, major, minor) {
        Some(counts) => Ok(counts),
        None => bail!("{} lies on device {major}:{minor}, which is no disk of its own", path.display()),
    }
}

fn find(text: &str, major: u32, minor: u32) -> Option<DeviceCounts> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        if number(0)? != u64::from(major) || number(1)? != u64::from(minor) {
            return None;
        }
        Some(DeviceCounts {
            name: (*fields.get(2)?).to_owned(),
            reads: number(3)?,
            read_bytes: number(5)? * SECTOR_BYTES,
            writes: number(7)?,
            written_bytes: number(9)? * SECTOR_BYTES,
            flushes: number(18).unwrap_or(0),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_device_is_found() {
        let text = "   7       0 loop0 1 0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
                    254       0 vda 10 1 20 5 30 2 40 6 0 7 8 0 0 0 0 9 1\n";
        let counts = find(text, 254, 0).unwrap();
        assert_eq!((counts.name.as_str(), counts.reads, counts.writes, counts.flushes), ("vda", 10, 30, 9));
        assert_eq!((counts.read_bytes, counts.written_bytes), (20 * 512, 40 * 512));
        assert_eq!(find(text, 8, 0), None);
    }
}
