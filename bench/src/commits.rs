//! Write-and-sync loops over a file whose blocks were all written before: the recycled mode of a log.
//!
//! Overwriting such blocks needs no commit of the file system's journal, so one append is one write and one flush of
//! the device, and nothing cheaper can make an event durable.

use crate::device;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use loadtest::figures::histogram;
use loadtest::ids::Ids;
use loadtest::template::{Message, Pool};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes written at once while preparing the file.
const PREPARE_BYTES: usize = 4 << 20;
/// Different payloads in a loop, so that no two appends in a row are the same.
const PAYLOADS: u64 = 16;
/// A record's length and checksum before each event, as a log would write them.
const RECORD_HEAD_BYTES: usize = 8;

/// A file of written blocks that is overwritten from its start once it is full; removed when dropped.
#[derive(Debug)]
pub struct WrittenFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    at: u64,
}

impl WrittenFile {
    /// Writes and syncs a new file in `directory`.
    pub fn prepare(directory: &Path, bytes: u64) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        // Several in one process must not meet.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("yardstick-{}-{number}.log", std::process::id()));
        let file = OpenOptions::new().create_new(true).write(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        let written = Self { file, path, bytes, at: 0 };
        let filler = vec![0xA5u8; PREPARE_BYTES];
        let mut at = 0;
        while at < bytes {
            let part = filler.len().min((bytes - at) as usize);
            written.file.write_all_at(&filler[..part], at)?;
            at += part as u64;
        }
        written.file.sync_all()?;
        Ok(written)
    }

    /// Appends, or starts over where the rest of the file is too short, and waits for stable storage.
    pub fn commit(&mut self, payload: &[u8]) -> Result<()> {
        self.commit_parts(&[payload])
    }

    /// The same for several parts, one behind the other, with one sync.
    pub fn commit_parts(&mut self, parts: &[&[u8]]) -> Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if self.at + bytes as u64 > self.bytes {
            self.at = 0;
        }
        for part in parts {
            self.file.write_all_at(part, self.at)?;
            self.at += part.len() as u64;
        }
        self.file.sync_data()?;
        Ok(())
    }

    /// The file's directory lies on this device.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WrittenFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

/// What a loop of commits found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommitFigures {
    /// Events (or, without events, one) in a commit.
    pub group: u64,
    /// Bytes in a commit.
    pub commit_bytes: u64,
    /// Commits per second.
    pub commits_per_s: f64,
    /// Events per second.
    pub events_per_s: f64,
    /// Median commit in microseconds.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// Longest.
    pub max_us: f64,
    /// Bytes that the device wrote per byte committed, where it can be told.
    pub device_bytes_per_byte: Option<f64>,
}

/// Commits payloads of `group` events each, one after the other, for that long.
pub fn run(file: &mut WrittenFile, payloads: &[Vec<u8>], group: u64, duration: Duration) -> Result<CommitFigures> {
    let path = file.path().to_owned();
    let mut turn = payloads.iter().cycle();
    time_commits(&path, group, duration, || {
        let payload = turn.next().context("no payload")?;
        file.commit(payload)?;
        Ok(payload.len())
    })
}

/// Calls `commit`, which returns how many bytes it made durable below `path`, over and over for that long.
pub fn time_commits(
    path: &Path,
    group: u64,
    duration: Duration,
    mut commit: impl FnMut() -> Result<usize>,
) -> Result<CommitFigures> {
    let mut latency: Histogram<u64> = histogram();
    let before = device::counts(path).ok();
    let start = Instant::now();
    let (mut commits, mut bytes) = (0u64, 0u64);
    let mut now = start;
    while now - start < duration || commits == 0 {
        bytes += commit()? as u64;
        let done = Instant::now();
        latency.saturating_record((done - now).as_nanos() as u64);
        now = done;
        commits += 1;
    }
    let seconds = (now - start).as_secs_f64().max(1e-9);
    let after = device::counts(path).ok();
    let device_bytes = before.zip(after).map(|(before, after)| after.since(&before).written_bytes);
    let us = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1e3;
    Ok(CommitFigures {
        group,
        commit_bytes: bytes / commits.max(1),
        commits_per_s: commits as f64 / seconds,
        events_per_s: (commits * group) as f64 / seconds,
        p50_us: us(0.5),
        p99_us: us(0.99),
        p999_us: us(0.999),
        max_us: latency.max() as f64 / 1e3,
        device_bytes_per_byte: device_bytes.map(|written| written as f64 / bytes.max(1) as f64),
    })
}

/// Groups of `events` events of real size, each with a record head.
pub fn event_groups(events: u64) -> Vec<Vec<u8>> {
    let ids = Ids::new(1);
    let mut pool = Pool::good(1, 1024, |event| Message::plain(event.as_bytes().to_vec()));
    (0..PAYLOADS)
        .map(|group| {
            let mut payload = Vec::new();
            for event in 0..events {
                let message = pool.message(&ids, group * events + event);
                payload.extend_from_slice(&[0u8; RECORD_HEAD_BYTES]);
                payload.extend_from_slice(message);
            }
            payload
        })
        .collect()
}

/// Payloads of exactly that many bytes.
pub fn plain_payloads(bytes: usize) -> Vec<Vec<u8>> {
    (0..PAYLOADS).map(|n| vec![n as u8; bytes]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_wrap_around_and_leave_no_file() {
        let directory = std::env::temp_dir();
        let mut file = WrittenFile::prepare(&directory, 1 << 20).unwrap();
        let path = file.path().to_owned();
        let payloads = event_groups(100);
        assert!(payloads.iter().all(|payload| (40_000..60_000).contains(&payload.len())));
        let figures = run(&mut file, &payloads, 100, Duration::from_millis(20)).unwrap();
        assert!(figures.events_per_s > 0.0 && figures.p50_us > 0.0);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        drop(file);
        assert!(!path.exists());
    }
}
