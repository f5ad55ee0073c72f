//! Data folders that already remember ids, and hold events that no sink has taken yet, written straight through the
//! log: seconds in place of minutes over HTTP.
//!
//! Ids leave the dedup window an hour after their commit, so a folder is good for a while only. [`cached`] keeps one
//! of each kind and writes it anew when it is too old; [`copy`] makes a folder to be used up from it, sharing the
//! table files, which the log never changes.

use anyhow::{Context, Result, ensure};
use event::{Batch, Durability, Namespace, Source, UnixMicros};
use loadtest::ids::Ids;
use loadtest::template::{Message, Pool};
use prepare::{Limits, Parser};
use record::{BlockWriter, IdListWriter, SegmentMeta};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Events in a group.
const GROUP: u64 = 4096;
/// A cached folder older than this is written anew: its ids must stay in the window for the run that uses it.
const FRESH: Duration = Duration::from_secs(20 * 60);
/// Says what a cached folder holds; its age is the folder's.
const MARKER: &str = "prefilled";
/// A record that stands for a known event whose content has been trimmed.
const TINY: &[u8] = b"{}";

/// What a folder is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefill {
    /// Ids that are remembered: those of `loadgen --seed SEED`, counted from 0.
    pub ids: u64,
    /// Whether their events wait for the sinks, whole; otherwise all but the last are trimmed away.
    pub pending: bool,
}

/// Seed of the ids.
pub const SEED: u64 = 4_242;

impl Prefill {
    fn name(self) -> String {
        format!("prefill-{}-{}", self.ids, if self.pending { "pending" } else { "known" })
    }
}

/// Writes a new folder.
pub fn write(folder: &Path, what: Prefill) -> Result<()> {
    ensure!(!folder.join("log").exists(), "{} holds a log already", folder.display());
    let options = wal::Options { durability: Durability::Os, ..wal::Options::default() };
    let mut opened = wal::open(folder, &options)?;
    let mut source = EventSource::new(&opened.identity);
    let (mut block, mut list) = (BlockWriter::default(), IdListWriter::default());
    let mut done = 0;
    while done < what.ids {
        let left = what.ids - done;
        // The last event stays in any case, so it is always a real one, in a group of its own.
        let events = if left > 1 { GROUP.min(left - 1) } else { 1 };
        source.gather(done, events, what.pending || left == 1)?;
        let (first, now) = (opened.writer.next(), UnixMicros::now());
        block.begin();
        block.whole(&source.meta(now), &source.batch.records, events as u32);
        list.begin();
        for (fingerprint, content) in &source.ids {
            list.push(*fingerprint, *content);
        }
        let group = (events as u32, block.finish(first, now), list.finish(first, now));
        opened.writer.commit(&wal::Group { events: Some(group), writes: &[] })?;
        done += events;
    }
    opened.reader.flush()?;
    if !what.pending {
        let end = opened.reader.committed();
        opened.trimmer.trim(end, event::Seq::ZERO)?;
    }
    opened.writer.close()?;
    Ok(())
}

/// Makes the records and identities of groups.
struct EventSource {
    ids_of: Ids,
    pool: Pool,
    parser: Parser,
    key: event::FingerprintKey,
    scratch: Vec<u8>,
    batch: Batch,
    ids: Vec<(event::Fingerprint, u32)>,
}

impl EventSource {
    fn new(identity: &wal::Identity) -> Self {
        let key = identity.fingerprint_key.clone();
        Self {
            ids_of: Ids::new(SEED),
            pool: Pool::good(SEED, 1024, |event| Message::plain(event.as_bytes().to_vec())),
            parser: Parser::new(Limits::default(), key.clone()),
            key,
            scratch: Vec::new(),
            batch: Batch::new(record::DEFAULT_TENANT, Source::Http, UnixMicros::now()),
            ids: Vec::new(),
        }
    }

    /// Events number `first` and on: whole ones, or tiny ones with the same ids.
    fn gather(&mut self, first: u64, events: u64, whole: bool) -> Result<()> {
        self.batch.records.clear();
        self.batch.entries.clear();
        self.ids.clear();
        for number in first..first + events {
            if whole {
                let message = self.pool.message(&self.ids_of, number);
                let parsed = self.parser.single(message, UnixMicros::now(), &mut self.batch);
                ensure!(parsed.is_ok(), "a generated event is not valid");
            } else {
                record::put_record(&mut self.batch.records, 0, None, None, TINY);
                let (id, tenant) = (self.ids_of.text(number), record::DEFAULT_TENANT);
                let fingerprint = self.key.fingerprint(tenant, Namespace::Events, &id, &mut self.scratch);
                self.ids.push((fingerprint, event::content_hash(TINY)));
            }
        }
        self.ids.extend(self.batch.entries.iter().map(|entry| (entry.fingerprint, entry.content)));
        Ok(())
    }

    fn meta(&self, now: UnixMicros) -> SegmentMeta<'static> {
        SegmentMeta { tenant: record::DEFAULT_TENANT, source: Source::Http as u8, received_at: now, traceparent: None }
    }
}

/// A folder with that content in `cache`, written now if there is none or it is too old.
pub fn cached(cache: &Path, what: Prefill, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = cache.join(what.name());
    let marker = folder.join(MARKER);
    let written = fs::metadata(&marker).and_then(|marker| marker.modified()).ok();
    let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
    if age.is_some_and(|age| age < FRESH) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let started = SystemTime::now();
    write(&folder)?;
    fs::File::create(&marker)?.set_modified(started)?;
    Ok(folder)
}

/// Copies a data folder; table files are hard links, which is safe as they never change.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else if source.extension().is_some_and(|extension| extension == "sst")
            && fs::hard_link(&source, &target).is_ok()
        {
        } else if entry.file_type()?.is_file() && entry.file_name() != "LOCK" && entry.file_name() != MARKER {
            fs::copy(&source, &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Seq;
    use std::ops::ControlFlow;

    #[test]
    fn a_copy_remembers_all_ids_and_holds_the_events_asked_for() {
        for (pending, events) in [(false, 1), (true, 9_000)] {
            let what = Prefill { ids: 9_000, pending };
            let place = std::env::temp_dir().join(format!("prefill-test-{}-{pending}", std::process::id()));
            let folder = cached(&place, what, |folder| write(folder, what)).unwrap();
            copy(&folder, &place.join("copy")).unwrap();
            let opened = wal::open(&place.join("copy"), &wal::Options::default()).unwrap();
            assert!(opened.recovery.clean);
            assert_eq!(opened.recovery.next, Seq::new(9_001));
            let mut filter = crate::known::load(&place, &opened).unwrap();
            filter.begin_group(UnixMicros::now()).unwrap();
            assert_eq!(filter.stats().ids_in_memory, 9_000);
            let mut found = 0;
            opened
                .reader
                .read(opened.reader.start(), |block, _| {
                    found += block.events();
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(found, events);
            fs::remove_dir_all(&place).unwrap();
        }
    }
}
