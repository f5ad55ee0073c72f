use std::path::PathBuf;
use std::time::Duration;

/// Where the files go, how large they get and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder that holds the `date=` directories; made when missing.
    pub dir: PathBuf,
    /// A file is closed when it has about this many bytes.
    pub file_bytes_max: u64,
    /// A file is closed this long after its first row was added.
    pub file_age_max: Duration,
    /// Rows of a row group: what readers skip or read in parallel.
    pub row_group_rows_max: usize,
    /// Bytes of values of a row group, before compression: bounds memory when events are large.
    pub row_group_bytes_max: usize,
    /// Free space to leave on the disk, bytes: where the log shares it, a write of the log that fails ends the daemon,
    /// one of a file is tried again. Where there is no more, no file is begun, and one is closed with what it has; half of
    /// it is left whatever a file that is being closed still has to write.
    pub free_bytes_min: u64,
    /// zstd level, 1 to 22.
    pub zstd_level: i32,
    /// How long files are kept.
    pub retention: Retention,
}

impl Config {
    /// The defaults: 128 MiB or 60 s, kept for ever.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Config {
            dir: dir.into(),
            file_bytes_max: 128 << 20,
            file_age_max: Duration::from_secs(60),
            row_group_rows_max: 128 << 10,
            row_group_bytes_max: 128 << 20,
            free_bytes_min: 256 << 20,
            zstd_level: 1,
            retention: Retention::default(),
        }
    }
}

/// Which published files are deleted; the default keeps all. The newest file always stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// A file goes when its whole UTC day lies longer ago than this.
    pub age_max: Option<Duration>,
    /// The oldest files go while all together have more bytes than this.
    pub bytes_max: Option<u64>,
}

impl Retention {
    /// Whether nothing is ever deleted.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.age_max.is_none() && self.bytes_max.is_none()
    }
}
