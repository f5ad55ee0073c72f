//! The one writer: one group, one WriteBatch, one fdatasync.

use crate::background;
use crate::durability::syncs_each_commit;
use crate::family::Family;
use crate::identity::{self, Incarnation, family};
use crate::mark::Mark;
use crate::open::{Options, mark_clean};
use crate::reader::Shared;
use crate::sync_timer::SyncTimer;
use crate::{CommitError, Durability, OpenError, key};
use event::Seq;
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How far the mark may lag behind what is synced.
const MARK_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest time between two looks, whatever is configured: without a pause the thread would spin.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Something that must be durable together with a group, or on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Stores a value.
    Put(Family, Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Family, Vec<u8>),
    /// Removes all keys from the first up to, not including, the second.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

impl Write {
    /// Whether the write is synced at every level of durability. What a sink is told of must not be lost here: its
    /// manifests and cursors, and with them all events before, are on stable storage before it hears of them. A dead
    /// letter's id is only given out once it is there. And whoever is told that something is erased is told so for good.
    fn must_be_synced(&self) -> bool {
        let (Write::Put(of, ..) | Write::Delete(of, ..) | Write::DeleteRange(of, ..)) = self;
        matches!(of, Family::Cursor | Family::Manifest | Family::Dead | Family::Projection | Family::Log)
    }

    pub(crate) fn add_to(&self, db: &DB, batch: &mut WriteBatch) {
        match self {
            Write::Put(to, key, value) => batch.put_cf(family(db, *to), key, value),
            Write::Delete(from, key) => batch.delete_cf(family(db, *from), key),
            Write::DeleteRange(from, begin, end) => batch.delete_range_cf(family(db, *from), begin, end),
        }
    }
}

/// What one commit makes durable.
#[derive(Debug, Default)]
pub struct Group<'a> {
    /// The events: count, block and id list, encoded for the position [`Writer::next`].
    pub events: Option<(u32, &'a [u8], &'a [u8])>,
    /// Everything else.
    pub writes: &'a [Write],
}

/// The right to append to the log. There is one.
pub struct Writer {
    shared: Arc<Shared>,
    next: Seq,
    durability: Durability,
    /// For groups that are synced, and for those that are not.
    synced: WriteOptions,
    written: WriteOptions,
    /// Of the newest commit, where it was synced.
    sync_took: Option<Duration>,
    incarnation: Option<Incarnation>,
    /// Whether the last stop was clean, and nothing was written since.
    is_as_found: bool,
    keeper: Option<Keeper>,
}

/// The thread that keeps the mark, syncs at intervals and watches for background errors.
struct Keeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<Mark>,
}

impl Writer {
    /// `clean`: whether the last stop was.
    pub(crate) fn new(
        shared: Arc<Shared>,
        mark: Mark,
        incarnation: Incarnation,
        clean: bool,
        options: &Options,
    ) -> Self {
        let keeper = Keeper::start(Arc::clone(&shared), mark, options);
        Writer {
            next: incarnation.first,
            durability: options.durability,
            synced: group_options(true),
            written: group_options(false),
            sync_took: None,
            incarnation: Some(incarnation),
            is_as_found: clean,
            keeper: Some(keeper),
            shared,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// From now on the log is another one than was found.
    pub(crate) fn note_write(&mut self) {
        self.is_as_found = false;
    }

    /// The position the next event gets.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.next
    }

    /// What a returned commit promises.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// How long the newest commit's write to the log's file and its fdatasync took; `None` where it was not synced.
    #[must_use]
    pub fn sync_took(&self) -> Option<Duration> {
        self.sync_took
    }

    /// Makes a group durable, whole or not at all, and lets readers see it.
    ///
    /// # Errors
    /// The first write or sync failure, now and at every later call.
    pub fn commit(&mut self, group: &Group<'_>) -> Result<(), CommitError> {
        self.shared.poison.check()?;
        self.note_write();
        let db = &self.shared.db;
        let mut batch = WriteBatch::with_capacity_bytes(group_bytes(group));
        let events = group.events.map_or(0, |(events, block, ids)| {
            let at = key::of(self.next);
            batch.put_cf(family(db, Family::Log), at, block);
            batch.put_cf(family(db, Family::Ids), at, ids);
            events
        });
        group.writes.iter().for_each(|write| write.add_to(db, &mut batch));
        if events > 0
            && let Some(incarnation) = self.incarnation
        {
            let (name, value) = identity::incarnation_entry(incarnation);
            batch.put_cf(family(db, Family::Meta), name, value);
        }
        let sync = syncs_each_commit(self.durability) || group.writes.iter().any(Write::must_be_synced);
        let options = if sync { &self.synced } else { &self.written };
        let timer = SyncTimer::start();
        if let Err(error) = self.shared.pulses.writer.during(|| db.write_opt(batch, options)) {
            return Err(self.shared.poison.set(&format!("write to the log failed: {error}")));
        }
        self.sync_took = sync.then(|| timer.elapsed());
        if events > 0 {
            self.incarnation = None;
            self.next = self.next.plus(u64::from(events));
            self.shared.committed.store(self.next.prev().get(), Ordering::Release);
        }
        if sync {
            // A sync covers everything that was written before.
            self.shared.synced.fetch_max(self.next.prev().get(), Ordering::Release);
        } else {
            self.shared.unsynced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Syncs everything, brings the mark up to the end and leaves the marker of a clean stop.
    ///
    /// # Errors
    /// The first failure; the next start then treats this stop as a crash, which is safe.
    pub fn close(mut self) -> Result<(), CommitError> {
        self.shared.poison.check()?;
        let db = &self.shared.db;
        db.flush_wal(true).map_err(|error| self.shared.poison.set(&format!("sync of the log failed: {error}")))?;
        if let Some(keeper) = self.keeper.take()
            && let Some(mut mark) = keeper.stop()
        {
            let end = Seq::new(self.shared.committed.load(Ordering::Acquire));
            mark.advance(end)
                .and_then(|()| mark_clean(&self.shared.folder))
                .map_err(|error| self.shared.poison.set(&format!("marking the clean stop failed: {error}")))?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        keeper.stop();
        // A start that failed for something else is no crash. Without the marker the next one sees one, which is safe.
        if self.is_as_found && self.shared.poison.get().is_none() {
            mark_clean(&self.shared.folder).ok();
        }
    }
}

impl Keeper {
    #[expect(clippy::expect_used, reason = "without this thread the log must not be used")]
    fn start(shared: Arc<Shared>, mark: Mark, options: &Options) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = Arc::clone(&stop);
        let sync_every = (options.durability == Durability::Interval).then_some(options.sync_interval);
        let thread = std::thread::Builder::new()
            .name("wal-mark".into())
            .spawn(move || keep(&shared, mark, sync_every, &signal))
            .expect("the system has a thread left");
        Keeper { stop, thread }
    }

    /// Ends the thread; `None` when it had failed.
    fn stop(self) -> Option<Mark> {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        self.thread.join().ok()
    }
}

fn keep(shared: &Shared, mut mark: Mark, sync_every: Option<Duration>, stop: &(Mutex<bool>, Condvar)) -> Mark {
    let pause = sync_every.unwrap_or(MARK_INTERVAL).clamp(PAUSE_MIN, MARK_INTERVAL);
    let mut synced_at = Instant::now();
    let mut stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*stopped {
        stopped = stop.1.wait_timeout(stopped, pause).unwrap_or_else(PoisonError::into_inner).0;
        let failed = |what: &str| drop(shared.poison.set(what));
        if background::errors(&shared.db) > 0 {
            let cause = background::last_error(&shared.folder.join("log"));
            let cause = cause.unwrap_or_else(|| "see log/LOG in the data folder".to_owned());
            failed(&format!("a background flush or compaction of the log failed: {cause}"));
        }
        if shared.poison.get().is_some() {
            continue;
        }
        if sync_every.is_some_and(|every| synced_at.elapsed() >= every) {
            synced_at = Instant::now();
            if let Err(error) = shared.pulses.keeper.during(|| sync(shared)) {
                failed(&format!("sync of the log failed: {error}"));
                continue;
            }
        }
        // Only what is synced is marked: a mark that survives a power cut which its events do not would tell of a loss.
        let synced = Seq::new(shared.synced.load(Ordering::Acquire));
        if let Err(error) = shared.pulses.keeper.during(|| mark.advance(synced)) {
            failed(&format!("writing the high-water mark failed: {error}"));
        }
    }
    mark
}

/// Syncs what was written since the last sync.
fn sync(shared: &Shared) -> Result<(), rocksdb::Error> {
    if shared.unsynced.swap(false, Ordering::AcqRel) {
        let seen = shared.committed.load(Ordering::Acquire);
        shared.db.flush_wal(true)?;
        shared.synced.fetch_max(seen, Ordering::Release);
    }
    Ok(())
}

fn group_options(sync: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    options.set_memtable_insert_hint_per_batch(true);
    options
}

fn group_bytes(group: &Group<'_>) -> usize {
    let events = group.events.map_or(0, |(_, block, ids)| block.len() + ids.len());
    events + group.writes.len() * 256 + 256
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("next", &self.next).field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// Opens a log only to repair it: no mark thread, no evidence handling.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

impl From<CommitError> for OpenError {
    fn from(error: CommitError) -> Self {
        OpenError::Damaged { at: "commit".into(), what: error.to_string() }
    }
}
