use crate::check::Maybe;
use crate::config::{Config, Layout};
use crate::index::{Index, Live};
use crate::marks::Marks;
use crate::ring::{Id, Ring};
use crate::spill::{Directory, Job, Span, SpillThread};
use crate::{Error, Stats};
use event::{Fingerprint, Seq, UnixMicros};
use std::collections::VecDeque;
use std::fmt;

/// Chunks freed by one group, and for each chunk that the group before it filled: giving 1.3 MB back to the system
/// takes up to 250 µs.
const RELEASED_PER_GROUP: u64 = 1;
const RELEASED_PER_FILLED: u64 = 2;

/// The duplicate filter. Owned by the one writer thread; dropping it removes its spill files.
pub struct Dedup {
    pub(crate) layout: Layout,
    pub(crate) ring: Ring,
    pub(crate) index: Index,
    pub(crate) marks: Marks,
    /// Oldest first.
    pub(crate) spans: VecDeque<Span>,
    pub(crate) now: i64,
    /// Ids are in the ring but not yet in the index.
    loading: bool,
    directory: Directory,
    thread: SpillThread,
    /// The spill thread has a part of the ring to write.
    writing: bool,
    /// Ids below this are on disk: their chunks are released bit by bit.
    on_disk_below: u64,
    pub(crate) counters: Stats,
    pub(crate) group: GroupWork,
    /// Entries of the present batch that the filters were asked about, one bit each …
    pub(crate) asked: u32,
    /// … and what they may hold.
    pub(crate) maybes: Vec<Maybe>,
    /// Reused by every disk lookup.
    pub(crate) page: Vec<u8>,
}

/// Work that one group has done so far, to keep it bounded.
#[derive(Debug, Default)]
pub(crate) struct GroupWork {
    pub(crate) rebuilt_slots: u64,
    /// The next sequence number when it began.
    first: u64,
}

impl Dedup {
    /// An empty filter; `next` is the first sequence number that [`Dedup::load`] or [`Dedup::check`] will insert.
    ///
    /// # Errors
    /// A configuration that cannot work, or a spill directory that cannot be used.
    pub fn new(config: Config, next: Seq) -> Result<Self, Error> {
        let layout = config.check()?;
        let first = next.get();
        Ok(Dedup {
            ring: Ring::new(first, layout.chunk_bits),
            index: Index::new(layout.shard_bits),
            marks: Marks::new(first, &layout),
            spans: VecDeque::new(),
            now: i64::MIN,
            loading: false,
            directory: Directory::open(&config.spill_dir)?,
            thread: SpillThread::start()?,
            writing: false,
            on_disk_below: first,
            counters: Stats::default(),
            group: GroupWork { first, ..GroupWork::default() },
            asked: 0,
            maybes: Vec::new(),
            page: Vec::new(),
            layout,
        })
    }

    /// Rebuilds the memory at start: the ids of one stored group. Groups come oldest first, the first one starting at
    /// the `next` given to [`Dedup::new`], each dense from the one before.
    ///
    /// Ids are only gathered here; [`Dedup::finish_load`] indexes them all at once.
    ///
    /// # Errors
    /// [`Error::Gap`] when the group does not follow; spilling errors.
    pub fn load(
        &mut self,
        first: Seq,
        committed_at: UnixMicros,
        ids: impl Iterator<Item = (Fingerprint, u32)>,
    ) -> Result<(), Error> {
        if first != self.next_seq() {
            return Err(Error::Gap { expected: self.next_seq(), found: first });
        }
        self.loading = true;
        self.advance(committed_at)?;
        for (fingerprint, content) in ids {
            self.ring.push(Id::new(fingerprint, content));
        }
        if self.ring.end() > first.get() {
            self.marks.note(first.get(), self.now);
        }
        Ok(())
    }

    /// Continues at `next`: the events before it, from where the last group ended, are lost and known to be, so no id
    /// of theirs can be a duplicate. What is known so far moves to disk as a whole.
    ///
    /// # Errors
    /// [`Error::Gap`] when `next` lies before the end of the last group; spilling errors, after which nothing has
    /// changed.
    pub fn skip_to(&mut self, next: Seq) -> Result<(), Error> {
        let end = self.next_seq();
        if next < end {
            return Err(Error::Gap { expected: end, found: next });
        }
        self.settle()?;
        let first = self.ring.first();
        if self.ring.len() > 0 {
            let (path, chunks) = (self.directory.file(first), self.ring.all_chunks());
            self.write(Job { first, end: end.get(), chunks, path })?;
            self.wait()?;
        }
        self.ring = Ring::new(next.get(), self.layout.chunk_bits);
        self.on_disk_below = next.get();
        // The index is built anew, of nothing.
        self.loading = true;
        Ok(())
    }

    /// Indexes what was loaded, on two threads. The next group does it if nobody did before.
    pub fn finish_load(&mut self) {
        if self.loading {
            self.index.build(&self.ring);
            self.loading = false;
        }
    }

    /// Starts a group: `now` is its commit time, which never runs backwards (an earlier one counts as the last one).
    /// Forgets what has left the window, takes over finished spill files and starts new ones.
    ///
    /// Waits for the spill thread only when memory is used up; see [`Stats::spill_waits`].
    ///
    /// # Errors
    /// Spilling errors. The filter stays whole; another call tries again.
    pub fn begin_group(&mut self, now: UnixMicros) -> Result<(), Error> {
        self.finish_load();
        self.advance(now)
    }

    /// Waits until no spill is under way and nothing more has to be spilled.
    ///
    /// # Errors
    /// Spilling errors.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.release(u64::MAX);
        while self.seal()? || self.writing {
            self.wait()?;
            self.release(u64::MAX);
        }
        Ok(())
    }

    /// The sequence number that the next new event gets.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        Seq::new(self.ring.end())
    }

    /// Everything below this has left the window: its stored ids are no longer needed.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        Seq::new(self.marks.expired_below())
    }

    /// Sizes and counters for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let filter_bytes = self.filter_bytes();
        let index_bytes = self.index.bytes();
        Stats {
            ids_in_memory: self.ring.len(),
            ids_on_disk: self.spans.iter().map(Span::ids).sum(),
            bytes_in_memory: self.ring.bytes() + index_bytes + filter_bytes + self.marks.bytes(),
            index_bytes,
            filter_bytes,
            spans: self.spans.len() as u64,
            shard_slots_most: self.index.shard_slots_most(),
            ..self.counters
        }
    }

    /// The ids that the index must know.
    pub(crate) fn live(&self) -> Live {
        let first = self.ring.first().max(self.marks.expired_below()).max(self.on_disk_below);
        Live::new(first, self.ring.end())
    }

    fn advance(&mut self, now: UnixMicros) -> Result<(), Error> {
        self.now = self.now.max(now.get());
        self.marks.expire(self.now, self.ring.end());
        while self.spans.front().is_some_and(|span| span.end <= self.marks.expired_below()) {
            if let Some(span) = self.spans.pop_front() {
                self.thread.discard(span)?;
            }
        }
        if let Some(result) = self.thread.try_done()? {
            self.take_over(result)?;
        }
        let filled = (self.ring.end() - self.group.first) >> self.layout.chunk_bits;
        self.group = GroupWork { first: self.ring.end(), ..GroupWork::default() };
        self.release(RELEASED_PER_GROUP + RELEASED_PER_FILLED * filled);
        self.shrink();
        self.seal()?;
        if self.writing && self.id_bytes() > self.most(self.layout.wait_bytes) {
            self.counters.spill_waits += 1;
            self.wait()?;
        }
        Ok(())
    }

    /// Frees chunks whose ids have expired or are on disk.
    fn release(&mut self, most: u64) {
        let released = self.ring.release(self.marks.expired_below().max(self.on_disk_below), most);
        self.counters.released_chunks_most = self.counters.released_chunks_most.max(released);
    }

    /// Rebuilds one shard while the index is far too large for what is live: after a burst the shards that get no new
    /// ids would keep their size.
    fn shrink(&mut self) {
        if self.index.bytes() / 2 > Index::bytes_for(self.live().len()) + self.index.least_bytes() {
            let slots = self.index.rebuild_next(self.live());
            self.note_rebuild(slots);
        }
    }

    pub(crate) fn note_rebuild(&mut self, slots: u64) {
        self.counters.rebuilds += 1;
        self.group.rebuilt_slots += slots;
        self.counters.rebuilt_slots_most = self.counters.rebuilt_slots_most.max(self.group.rebuilt_slots);
    }

    /// Hands the oldest part of the ring to the spill thread if memory asks for it and the thread is free. Says
    /// whether it did.
    fn seal(&mut self) -> Result<bool, Error> {
        if self.writing || self.id_bytes() <= self.most(self.layout.seal_bytes) {
            return Ok(false);
        }
        let first = self.ring.first();
        let ids = self.marks.later(first, self.layout.span_micros, self.ring.end()) - first;
        let chunk_ids = 1 << self.layout.chunk_bits;
        let ids = (ids.min(self.layout.span_ids) >> self.layout.chunk_bits << self.layout.chunk_bits).max(chunk_ids);
        let end = first + ids;
        if first < self.on_disk_below || end > self.ring.full_end() {
            return Ok(false);
        }
        let path = self.directory.file(first);
        self.write(Job { first, end, chunks: self.ring.chunks(first, end), path })?;
        Ok(true)
    }

    fn write(&mut self, job: Job) -> Result<(), Error> {
        self.thread.write(job)?;
        self.writing = true;
        Ok(())
    }

    /// Waits for the spill under way.
    fn wait(&mut self) -> Result<(), Error> {
        let result = self.thread.wait_done()?;
        self.take_over(result)
    }

    fn take_over(&mut self, result: Result<Span, Error>) -> Result<(), Error> {
        self.writing = false;
        let span = result?;
        self.counters.spills += 1;
        self.on_disk_below = span.end;
        self.spans.push_back(span);
        Ok(())
    }

    /// Bytes of ring and index; while loading, what the index will take.
    fn id_bytes(&self) -> u64 {
        let index = if self.loading { Index::bytes_for(self.ring.len()) } else { self.index.bytes() };
        self.ring.bytes() + index
    }

    /// What ring and index may take of `bytes`.
    fn most(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.filter_bytes() + self.marks.bytes()).max(self.layout.floor_bytes)
    }

    fn filter_bytes(&self) -> u64 {
        self.spans.iter().map(Span::bytes).sum()
    }
}

impl fmt::Debug for Dedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup").field("next", &self.next_seq()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
