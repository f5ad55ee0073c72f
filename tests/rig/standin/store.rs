//! One append-only file: a line per group, `CHECKSUM FIRST_SEQ id,id,… payload`, and beside it the last synced seq.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The planted bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Acknowledges what is only in its memory, and writes some milliseconds later.
    AckBeforeWrite,
    /// Writes, but never syncs.
    NoSync,
    /// Forgets at a restart which ids it has.
    ForgetIds,
    /// Cuts off its newest groups at a restart.
    LostOnRestart,
    /// Writes an all-or-nothing batch in two halves.
    TornBatch,
    /// Leaves out a sequence number at a restart.
    SkipSeq,
    /// Stores rejected events too.
    StoreRejected,
    /// Acknowledges although the sync failed.
    IgnoreSyncError,
    /// Says nothing about damage.
    SilentDamage,
    /// Forgets which idempotency keys it has answered.
    ForgetKeys,
    /// Writes on until the disk is full.
    NoReserve,
}

const BUGS: [(&str, Bug); 11] = [
    ("ack-before-write", Bug::AckBeforeWrite),
    ("no-sync", Bug::NoSync),
    ("forget-ids", Bug::ForgetIds),
    ("lost-on-restart", Bug::LostOnRestart),
    ("torn-batch", Bug::TornBatch),
    ("skip-seq", Bug::SkipSeq),
    ("store-rejected", Bug::StoreRejected),
    ("ignore-sync-error", Bug::IgnoreSyncError),
    ("silent-damage", Bug::SilentDamage),
    ("forget-keys", Bug::ForgetKeys),
    ("no-reserve", Bug::NoReserve),
];

impl Bug {
    pub(crate) fn from_env() -> Self {
        let name = std::env::var("STANDIN_BUG").unwrap_or_default();
        BUGS.iter().find(|(known, _)| *known == name).map_or(Self::None, |(_, bug)| *bug)
    }
}

/// Free bytes below which nothing more is accepted.
const RESERVE_BYTES: u64 = 2 << 20;

/// What was found in a folder.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) events: Vec<(u64, String)>,
    /// Seqs that were synced once and cannot be read back.
    pub(crate) missing: Option<(u64, u64)>,
    sound_bytes: u64,
}

/// What became of one event of a request.
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) duplicate: bool,
}

/// Why nothing was stored.
pub(crate) enum Refusal {
    DiskReserve,
    Closed,
}

pub(crate) struct Store {
    folder: PathBuf,
    bug: Bug,
    inner: Mutex<Inner>,
}

struct Inner {
    log: Option<File>,
    ids: HashMap<String, u64>,
    last: u64,
    unwritten: Vec<u8>,
}

fn log_path(data: &Path) -> PathBuf {
    data.join("log/000001.log")
}

fn checksum(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Reads the log up to the first group that is torn or damaged.
pub(crate) fn read(data: &Path) -> io::Result<Opened> {
    let bytes = match std::fs::read(log_path(data)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let mut opened = Opened::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some((sum, rest)) = line.strip_suffix(b"\n").and_then(|line| line.split_at_checked(16)) else { break };
        if format!("{:016x}", checksum(rest)).as_bytes() != sum {
            break;
        }
        let text = String::from_utf8_lossy(rest);
        let mut words = text.trim_start().splitn(3, ' ');
        let first: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        for (index, id) in words.next().unwrap_or("").split(',').enumerate() {
            opened.events.push((first + index as u64, id.to_owned()));
        }
        opened.sound_bytes += line.len() as u64;
    }
    let last = opened.events.last().map_or(0, |(seq, _)| *seq);
    let mark = std::fs::read_to_string(data.join("mark")).ok().and_then(|mark| mark.parse().ok()).unwrap_or(0);
    opened.missing = (mark > last).then_some((last + 1, mark));
    Ok(opened)
}

impl Store {
    pub(crate) fn open(data: &Path, bug: Bug) -> io::Result<Self> {
        std::fs::create_dir_all(data.join("log"))?;
        let mut opened = read(data)?;
        if let Some((first, last)) = opened.missing
            && bug != Bug::SilentDamage
        {
            eprintln!("rig-standin: seq {first}..={last} are missing from the log");
        }
        let path = log_path(data);
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        log.set_len(opened.sound_bytes)?;
        if bug == Bug::LostOnRestart && opened.events.len() > 3 {
            let keep = std::fs::read(&path)?;
            let end = keep[..keep.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            log.set_len(end as u64)?;
            opened.events = read(data)?.events;
        }
        log.sync_all()?;
        // The names must be as durable as the bytes.
        File::open(data.join("log"))?.sync_all()?;
        File::open(data)?.sync_all()?;
        let mut last = opened.events.last().map_or(0, |(seq, _)| *seq);
        if bug == Bug::SkipSeq && last > 0 {
            last += 1;
        }
        let ids = match bug {
            Bug::ForgetIds => HashMap::new(),
            _ => opened.events.into_iter().map(|(seq, id)| (id, seq)).collect(),
        };
        let inner = Mutex::new(Inner { log: Some(log), ids, last, unwritten: Vec::new() });
        Ok(Self { folder: data.to_owned(), bug, inner })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bug(&self) -> Bug {
        self.bug
    }

    /// Stores the new ones among `ids` as one group and returns when it is durable.
    pub(crate) fn append(&self, ids: &[String], payload: &str, atomic: bool) -> Result<Vec<Stored>, Refusal> {
        let mut inner = self.lock();
        let free = rustix::fs::statvfs(&self.folder).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize);
        if free < RESERVE_BYTES && self.bug != Bug::NoReserve {
            return Err(Refusal::DiskReserve);
        }
        let (mut stored, mut fresh, first) = (Vec::new(), Vec::new(), inner.last + 1);
        for id in ids {
            let known = inner.ids.get(id).copied();
            let seq = known.unwrap_or(first + fresh.len() as u64);
            if known.is_none() {
                inner.ids.insert(id.clone(), seq);
                fresh.push(id.as_str());
            }
            stored.push(Stored { seq, duplicate: known.is_some() });
        }
        inner.last += fresh.len() as u64;
        if atomic && self.bug == Bug::TornBatch && fresh.len() > 1 {
            let (one, other) = fresh.split_at(fresh.len() / 2);
            self.write(&mut inner, first, one, payload)?;
            std::thread::sleep(Duration::from_millis(20));
            self.write(&mut inner, first + one.len() as u64, other, payload)?;
        } else if !fresh.is_empty() {
            self.write(&mut inner, first, &fresh, payload)?;
        }
        Ok(stored)
    }

    fn write(&self, inner: &mut Inner, first: u64, ids: &[&str], payload: &str) -> Result<(), Refusal> {
        let text = format!(" {first} {} {}", ids.join(","), payload.replace(['\n', '\r'], " "));
        let line = format!("{:016x}{text}\n", checksum(text.as_bytes()));
        if self.bug == Bug::AckBeforeWrite && inner.unwritten.len() < 64 << 10 {
            inner.unwritten.extend_from_slice(line.as_bytes());
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut inner.unwritten);
        bytes.extend_from_slice(line.as_bytes());
        let Some(log) = &mut inner.log else { return Err(Refusal::Closed) };
        let synced = log.write_all(&bytes).and_then(|()| match self.bug {
            Bug::NoSync => Ok(()),
            _ => log.sync_data(),
        });
        match synced {
            Err(error) if self.bug != Bug::IgnoreSyncError => {
                // The first failure is final; the connections of all who wait close with the process.
                eprintln!("rig-standin: cannot make seq {first} durable: {error}");
                std::process::exit(1);
            }
            _ => {}
        }
        let mark = (first + ids.len() as u64 - 1).to_string();
        // The mark only ever helps to notice damage: its own failure must not fail the write.
        drop(std::fs::write(self.folder.join("mark"), mark));
        Ok(())
    }

    /// Writes out what is left; nothing is stored after this.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        let rest = std::mem::take(&mut inner.unwritten);
        if let Some(mut log) = inner.log.take()
            && let Err(error) = log.write_all(&rest).and_then(|()| log.sync_all())
        {
            eprintln!("rig-standin: cannot close the log: {error}");
            std::process::exit(1);
        }
    }
}
