//! On what kind of WAL files a log ran: new ones, or old ones of its pool, written over, whose sync costs much less. A log
//! begins each start without a pool, and fills it as its files are flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How often a running daemon's folder is looked at; a WAL file lasts longer than this.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The WAL files that a log's folder was seen to hold.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Which files there were: the number of a file that is gone is soon another one's, so with the time it was made.
    made: BTreeSet<(u64, Option<SystemTime>)>,
    /// By number, and whether the file had been another one before.
    pub(crate) files: BTreeMap<u64, bool>,
}

impl Seen {
    /// Notes what is there now.
    pub(crate) fn look(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "log")) else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else { continue };
            if !self.files.contains_key(&number) {
                let recycled = !self.made.insert((metadata.ino(), metadata.created().ok()));
                self.files.insert(number, recycled);
            }
        }
    }
}

/// Looks at a log's folder until it is asked.
#[derive(Debug)]
pub struct PoolWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize)>,
}

impl PoolWatch {
    /// Begins, before the daemon starts on that data folder: what lies there now it does not write to.
    pub fn start(data: &Path) -> Self {
        let folder = data.join("log");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut seen = Seen::default();
        seen.look(&folder);
        let thread = std::thread::spawn(move || watch(seen, &folder, &stopped));
        Self { stop, thread }
    }

    /// Ends; how many files were begun, and how many of these were old ones.
    pub fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Release);
        // A panic would have been reported on standard error.
        self.thread.join().unwrap_or_default()
    }
}

fn watch(mut seen: Seen, folder: &Path, stopped: &AtomicBool) -> (usize, usize) {
    let before: BTreeSet<u64> = seen.files.keys().copied().collect();
    loop {
        let is_last = stopped.load(Ordering::Acquire);
        seen.look(folder);
        if is_last {
            break;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    let begun = seen.files.iter().filter(|(number, _)| !before.contains(number));
    begun.fold((0, 0), |(begun, old), (_, is_old)| (begun + 1, old + usize::from(*is_old)))
}

/// The logs that run for one row.
#[derive(Debug, Default)]
pub struct Pools(Mutex<Vec<PoolWatch>>);

impl Pools {
    /// Looks at another one, too.
    pub fn watch(&self, data: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(PoolWatch::start(data));
    }

    /// Ends all of them; what is to be said of their pools, if there were any.
    pub fn end(&self) -> Option<String> {
        let watches = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let starts = watches.len();
        let counts = watches.into_iter().map(PoolWatch::end);
        let (begun, old) = counts.fold((0, 0), |(begun, old), count| (begun + count.0, old + count.1));
        (starts > 0).then(|| told(starts, begun, old))
    }
}

fn told(starts: usize, begun: usize, old: usize) -> String {
    let state = match old {
        0 => "cold",
        _ if old * 2 < begun => "mostly cold",
        _ => "warm",
    };
    format!("pool of WAL files {state}: in {starts} starts {old} of {begun} files were old ones")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_gets_another_number_is_an_old_one() {
        let data = tempfile::tempdir().unwrap();
        let log = data.path().join("log");
        fs::create_dir(&log).unwrap();
        fs::write(log.join("000001.log"), "of an earlier start").unwrap();
        let pools = Pools::default();
        pools.watch(data.path());
        let mut seen = Seen::default();
        fs::write(log.join("000004.log"), "new").unwrap();
        seen.look(&log);
        fs::rename(log.join("000004.log"), log.join("000009.log")).unwrap();
        fs::write(log.join("000011.sst"), "no WAL file").unwrap();
        seen.look(&log);
        assert_eq!(seen.files, BTreeMap::from([(1, false), (4, false), (9, true)]));
        // Whether the watch has met the fourth under its first name is a matter of time.
        let said = pools.end().unwrap();
        assert!(said.starts_with("pool of WAL files ") && said.contains("in 1 starts "), "{said}");
        assert_eq!(pools.end(), None);
    }

    #[test]
    fn a_pool_is_called_what_most_of_its_files_were() {
        assert!(told(1, 1, 0).contains("files cold: in 1 starts 0 of 1"));
        assert!(told(3, 9, 4).contains("mostly cold"));
        assert!(told(3, 9, 5).contains("warm: in 3 starts 5 of 9"));
    }
}
