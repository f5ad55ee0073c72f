//! Commits through the log's own writer, blocks and id lists prepared beforehand; only their heads and checksums, which
//! depend on the position, are made in the loop.

use crate::commits::{CommitFigures, event_groups, time_commits};
use crate::pool::Seen;
use anyhow::{Context, Result};
use event::{Source, UnixMicros};
use record::{BlockWriter, IdListWriter, SegmentMeta};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often finished files are trimmed, so that a long run does not fill the disk.
const TRIM_INTERVAL: Duration = Duration::from_millis(500);
/// How often the log's folder is looked at; a WAL file lasts longer than this.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Events in a group while warming up.
const WARM_GROUP: u64 = 512;

/// A round of commits, and on what kind of WAL files it ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WalFigures {
    /// The commits.
    #[serde(flatten)]
    pub commits: CommitFigures,
    /// WAL files begun in the round, and the one it began on.
    pub files: usize,
    /// Of these, how many were old files overwritten.
    pub recycled: usize,
}

/// A log in a folder of its own, which is removed when it is dropped.
pub struct Log {
    folder: PathBuf,
    opened: Option<wal::Opened>,
    keeper: Keeper,
}

/// A group with its ids, ready to be given a position.
struct Prepared {
    block: BlockWriter,
    ids: IdListWriter,
}

impl Log {
    /// Makes and opens a log below `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        let folder = directory.join(format!("wal-commit-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let opened = wal::open(&folder, &wal::Options::default())?;
        let keeper = Keeper::start(folder.join("log"), opened.trimmer.clone(), opened.reader.clone());
        Ok(Self { folder, opened: Some(opened), keeper })
    }

    /// Commits that many bytes, so that flushed WAL files lie ready to be recycled.
    pub fn warm_up(&mut self, bytes: u64) -> Result<()> {
        let mut groups = prepare(WARM_GROUP);
        let mut done = 0;
        let mut turn = 0;
        while done < bytes {
            let count = groups.len();
            done += self.commit(&mut groups[turn % count], WARM_GROUP)? as u64;
            turn += 1;
        }
        Ok(())
    }

    /// Commits groups of `events` for that long.
    pub fn run(&mut self, events: u64, duration: Duration) -> Result<WalFigures> {
        let mut groups = prepare(events);
        let folder = self.folder.clone();
        let before = self.keeper.files();
        let mut turn = 0;
        let commits = time_commits(&folder, events, duration, || {
            let count = groups.len();
            turn += 1;
            self.commit(&mut groups[turn % count], events)
        })?;
        // What the folder held when the round began: the newest file is the one it began on.
        let newest = before.keys().next_back().copied().unwrap_or(0);
        let ran_on: Vec<bool> = self.keeper.files().range(newest..).map(|(_, recycled)| *recycled).collect();
        let recycled = ran_on.iter().filter(|recycled| **recycled).count();
        Ok(WalFigures { commits, files: ran_on.len(), recycled })
    }

    fn commit(&mut self, group: &mut Prepared, events: u64) -> Result<usize> {
        let writer = &mut self.opened.as_mut().context("the log is closed")?.writer;
        let (first, now) = (writer.next(), UnixMicros::now());
        let (block, ids) = (group.block.finish(first, now), group.ids.finish(first, now));
        writer.commit(&wal::Group { events: Some((events as u32, block, ids)), writes: &[] })?;
        Ok(block.len() + ids.len())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.keeper.stop();
        self.opened = None;
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
    }
}

fn prepare(events: u64) -> Vec<Prepared> {
    let meta = SegmentMeta {
        tenant: record::DEFAULT_TENANT,
        source: Source::Http as u8,
        received_at: UnixMicros::now(),
        traceparent: None,
    };
    let groups = event_groups(events).into_iter().enumerate();
    groups
        .map(|(number, records)| {
            let (mut block, mut ids) = (BlockWriter::default(), IdListWriter::default());
            block.begin();
            // The payload has eight bytes of head before each event, as a record has.
            block.whole(&meta, &records, events as u32);
            ids.begin();
            for event in 0..events {
                let id = loadtest::ids::Ids::new(number as u64).bits(event);
                ids.push(id, event as u32);
            }
            Prepared { block, ids }
        })
        .collect()
}

/// Trims, and notes which WAL files are old ones.
struct Keeper {
    stop: Arc<AtomicBool>,
    folder: PathBuf,
    seen: Arc<std::sync::Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(folder: PathBuf, trimmer: wal::Trimmer, reader: wal::Reader) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(std::sync::Mutex::new(Seen::default()));
        let run = {
            let (stop, seen, folder) = (Arc::clone(&stop), Arc::clone(&seen), folder.clone());
            move || {
                let mut trimmed = Instant::now();
                while !stop.load(Ordering::Acquire) {
                    seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).look(&folder);
                    if trimmed.elapsed() >= TRIM_INTERVAL {
                        trimmed = Instant::now();
                        let end = reader.committed();
                        // A failure is final, and the next commit reports it.
                        trimmer.trim(end, end).ok();
                    }
                    std::thread::sleep(LOOK_INTERVAL);
                }
            }
        };
        Self { stop, folder, seen, thread: Some(std::thread::spawn(run)) }
    }

    fn files(&self) -> BTreeMap<u64, bool> {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.look(&self.folder);
        seen.files.clone()
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its panic would have been reported on standard error.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_through_the_log_and_the_folder_goes_away() {
        let mut log = Log::open(&std::env::temp_dir()).unwrap();
        let folder = log.folder.clone();
        let figures = log.run(64, Duration::from_millis(20)).unwrap();
        assert!(figures.commits.events_per_s > 0.0);
        assert_eq!((figures.files, figures.recycled), (1, 0));
        drop(log);
        assert!(!folder.exists());
    }
}
