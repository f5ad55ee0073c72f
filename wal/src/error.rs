use crate::CopyUse;
use event::{Seq, UnixMicros};
use std::path::PathBuf;

/// Why a data folder could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be made, read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Another process has the folder open.
    #[error("data folder {} is in use by another process: stop it first", .0.display())]
    InUse(PathBuf),
    /// Nothing says that it is a data folder.
    #[error(
        "there is no log in {}: {}",
        .0.display(), if .0.exists() { "it is no data folder" } else { "there is no such folder" }
    )]
    NoLog(PathBuf),
    /// A newer release wrote the folder.
    #[error("data folder has format {found}, this release reads up to {known}: use the release that wrote it")]
    Newer {
        /// Format found.
        found: u32,
        /// Newest format this release knows.
        known: u32,
    },
    /// Events that were acknowledged are not in the log.
    #[error(
        "acknowledged events {from}..={to} are missing from the log (it ends at {end}); \
         the WAL files as found are kept in {}; `ingestd wal verify` tells more, `ingestd wal repair` goes on without them",
        evidence.display()
    )]
    Missing {
        /// First missing position.
        from: Seq,
        /// Last missing position.
        to: Seq,
        /// Last position that is there.
        end: Seq,
        /// Where the evidence lies.
        evidence: PathBuf,
    },
    /// The log is a copy, and nobody has said what it is used as.
    #[error(
        "this data folder is a checkpoint of {made_at} (up to event {end}), and what it is to be is not decided: \
         `ingestd serve --as-new-node` runs it beside the original, `ingestd serve --replace` in its place"
    )]
    Copy {
        /// When it was made.
        made_at: UnixMicros,
        /// Its newest event.
        end: Seq,
    },
    /// Somebody takes the log for a copy.
    #[error("this data folder is no checkpoint, so {flag} says nothing of it: start without", flag = said.flag())]
    NoCopy {
        /// What it was to be used as.
        said: CopyUse,
    },
    /// What the copy is used as was decided before.
    #[error(
        "this data folder was started with {before} before, which is for good: {flag} needs another copy of the checkpoint",
        before = used.flag(), flag = said.flag()
    )]
    UsedOtherwise {
        /// What it is used as.
        used: CopyUse,
        /// What it was to be used as now.
        said: CopyUse,
    },
    /// The content contradicts itself.
    #[error("log is damaged at {at}: {what}; run `ingestd wal verify`, then `ingestd wal repair`")]
    Damaged {
        /// Position of the damage, as exactly as it is known.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// RocksDB refused, and what it can read cannot be collected beside the log.
    #[error(
        "RocksDB refuses the log in {} ({refused}), and what can be read of it cannot be collected in a folder beside it: \
         {cause}; make the disk writable, or copy the data folder to one that is, and look at it there",
        data.display()
    )]
    Collect {
        /// The data folder.
        data: PathBuf,
        /// Why RocksDB refused.
        refused: String,
        /// Why nothing can be made there.
        cause: std::io::Error,
    },
    /// The disk is too full for a repair, or to look at a log that RocksDB refuses.
    #[error(
        "{what} takes up to {needed} bytes, and {} has {free} free: move something else away \
         from that disk, such as older folders in quarantine/ or Parquet files, and run it again; the log is as it was",
        path.display()
    )]
    Room {
        /// What was to be written.
        what: &'static str,
        /// Where it was to lie.
        path: PathBuf,
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// RocksDB refused, and what it can read could not be collected, for a reason that is not the log's.
    #[error(
        "RocksDB refuses the log, and what can be read of it cannot be collected in {}: {cause}; \
         the log is as it was, and nothing is said of what is in it: mend that, and run it again",
        path.display()
    )]
    Collecting {
        /// The folder in which it was to be collected.
        path: PathBuf,
        /// What was said.
        cause: String,
    },
    /// A repair cannot write the new log.
    #[error(
        "cannot write the repaired log in {}: {cause}; the log is as it was: mend that, and run `ingestd wal repair` again",
        path.display()
    )]
    NewLog {
        /// Where the new log was to lie.
        path: PathBuf,
        /// What was said.
        cause: String,
    },
    /// RocksDB refused.
    #[error(
        "cannot open the log in {}: {cause}; if files are damaged or missing, `ingestd wal verify` tells what is lost, \
         and `ingestd wal repair` goes on without it",
        path.display()
    )]
    Store {
        /// The log's folder.
        path: PathBuf,
        /// RocksDB's words.
        cause: rocksdb::Error,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> OpenError {
        let path = path.into();
        move |cause| OpenError::Io { action, path, cause }
    }

    /// What RocksDB said in `path` as a failure to collect what can be read, without what is advised for a log.
    pub(crate) fn of_collecting(self, path: impl Into<PathBuf>) -> OpenError {
        match self {
            OpenError::Store { cause, .. } => OpenError::Collecting { path: path.into(), cause: cause.to_string() },
            other => other,
        }
    }

    /// As a failure to write the new log in `path`, without what else is advised for the old one.
    pub(crate) fn of_new_log(self, path: impl Into<PathBuf>) -> OpenError {
        let cause = match self {
            OpenError::Store { cause, .. } => cause.to_string(),
            other => other.to_string(),
        };
        OpenError::NewLog { path: path.into(), cause }
    }
}

/// The log cannot be written any more: the first failure was final.
#[derive(Debug, Clone, thiserror::Error)]
#[error("log is closed for writing: {reason}")]
pub struct CommitError {
    /// The first failure, in one line.
    pub reason: std::sync::Arc<str>,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A block is not what was written.
    #[error("block at {first} is damaged: {cause}")]
    Corrupt {
        /// Key of the block.
        first: Seq,
        /// What is wrong with it.
        cause: record::Corrupt,
    },
    /// Positions are missing in the middle.
    #[error("events {from}..{until} are missing from the log")]
    Gap {
        /// First missing position.
        from: Seq,
        /// First position after the gap.
        until: Seq,
    },
    /// The position was trimmed away.
    #[error("event {wanted} is no longer in the log, which starts at {start}")]
    Trimmed {
        /// Position asked for.
        wanted: Seq,
        /// First position kept.
        start: Seq,
    },
    /// RocksDB could not read.
    #[error("cannot read the log: {0}")]
    Store(#[from] rocksdb::Error),
}

impl ReadError {
    /// Whether something stored is not what was written, so that reading it again will not help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            ReadError::Corrupt { .. } | ReadError::Gap { .. } => true,
            ReadError::Store(cause) => cause.kind() == rocksdb::ErrorKind::Corruption,
            ReadError::Trimmed { .. } => false,
        }
    }
}
