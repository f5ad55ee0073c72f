//! The log as one sink sees it: from its position on, block by block, out of memory where the sink keeps up.

use super::{Destination, FailureCode, Fault, Origin};
use crate::commit::{RecentBlock, Tail};
use crate::traces::TraceContext;
use event::{Seq, UnixMicros};
use record::{Block, Corrupt, Slot};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};
use wal::{Incarnation, ReadError, Reader};

/// Bytes of blocks read at once: the iterator that holds them keeps tables and memory of the log from being freed.
const READ_BYTES: usize = 8 << 20;

/// Most traces that one batch is linked with.
const TRACES_MAX: usize = 128;

/// A sink's place in the log.
#[derive(Debug)]
pub struct Consumer {
    reader: Reader,
    tail: Tail,
    next: Seq,
    /// Starts of the daemon, oldest first.
    history: Vec<Incarnation>,
    /// Events that the sink is not to get: they are dead letters.
    left_out: BTreeSet<Seq>,
    scratch: Vec<u8>,
    from_log: u64,
    /// Traces of requests that the open batch has events of, where they are wanted.
    traces: Option<Vec<TraceContext>>,
}

/// Why a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everything wanted is in the batch.
    End,
    /// There is more, the batch can take it: read on.
    More,
    /// There is more, the batch cannot take it.
    BatchFull,
}

impl Consumer {
    /// A consumer that begins with the event `next`.
    #[must_use]
    pub fn new(reader: Reader, tail: Tail, next: Seq) -> Self {
        let (history, left_out, scratch) = (Vec::new(), BTreeSet::new(), Vec::new());
        Consumer { reader, tail, next, history, left_out, scratch, from_log: 0, traces: None }
    }

    /// Sets whether traces are wanted.
    pub(super) fn note_traces(&mut self, wanted: bool) {
        self.traces = wanted.then(Vec::new);
    }

    /// The first traces that were met since the last call.
    pub(super) fn take_traces(&mut self) -> Vec<TraceContext> {
        self.traces.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Events that had to be read from the log, for they had left memory.
    pub(super) fn events_from_log(&self) -> u64 {
        self.from_log
    }

    /// The next event it will read.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Moves to another event.
    pub fn seek(&mut self, next: Seq) {
        self.next = next;
    }

    /// Sets which events the sink is not to get.
    pub(super) fn leave_out(&mut self, events: BTreeSet<Seq>) {
        self.left_out = events;
    }

    /// When `seq`, or what the log has instead of it, was committed; zero where that is not known.
    pub(super) fn committed_at(&self, seq: Seq) -> Result<UnixMicros, Fault> {
        self.first_commit_from(seq.max(self.reader.start()))
    }

    fn first_commit_from(&self, seq: Seq) -> Result<UnixMicros, Fault> {
        let mut found = UnixMicros::default();
        let read = self.reader.read(seq, |block, _| {
            found = block.committed_at();
            ControlFlow::Break(())
        });
        match read {
            // Damage is met by whoever reads on from there; and what is trimmed at this moment is old enough.
            Ok(_) | Err(ReadError::Gap { .. } | ReadError::Corrupt { .. } | ReadError::Trimmed { .. }) => Ok(found),
            Err(error) => Err(fault(&error)),
        }
    }

    /// Which of a range's events are erased and no dead letters of the sink. Asks the log: a sink may have got past them
    /// without reading them, as after a crash.
    pub(super) fn erased_in(&mut self, range: &RangeInclusive<Seq>) -> Result<Vec<Seq>, Fault> {
        let (mut found, mut damaged) = (Vec::new(), Ok(()));
        let (scratch, left_out) = (&mut self.scratch, &self.left_out);
        // What was trimmed is in nobody's account any more.
        let from = (*range.start()).max(self.reader.start());
        // Nor is a long log read for what it cannot have.
        if from > *range.end() || !self.reader.may_have_erased() {
            return Ok(found);
        }
        let read = self.reader.read(from, |block, _| {
            if block.has_erased() {
                let visited = block.visit_slots(scratch, |slot| match slot {
                    Slot::Erased(seq) if range.contains(&seq) && !left_out.contains(&seq) => found.push(seq),
                    _ => {}
                });
                damaged = visited.map_err(|cause| corrupt(block.first(), cause));
            }
            let is_enough = damaged.is_err() || block.last() >= *range.end();
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.map_err(|error| fault(&error))?;
        damaged.map(|()| found)
    }

    /// How many of a range's events the sink is not to get.
    pub(super) fn left_out_of(&self, range: RangeInclusive<Seq>) -> u64 {
        self.left_out.range(range).count() as u64
    }

    /// Reads the starts of the daemon anew.
    pub(super) fn learn_history(&mut self) -> Result<&[Incarnation], Fault> {
        self.history = self.reader.history().map_err(|error| fault(&error))?;
        Ok(&self.history)
    }

    /// The start of the daemon that committed `seq`; 0 where that is not known.
    pub(super) fn incarnation_of(&mut self, seq: Seq) -> Result<u64, Fault> {
        let newest = self.history.last();
        // Only the newest start can still be missing: it is written with its first group.
        if newest.is_none_or(|start| start.first < seq) {
            self.learn_history()?;
        }
        Ok(incarnation_in(&self.history, seq))
    }

    /// Brings events up to and including `until` into the open batch, whole blocks at a time, as far as it takes them.
    pub(super) fn fill<D: Destination>(&mut self, batch: &mut D, until: Seq) -> Result<Reached, Fault> {
        self.read(batch, until, |batch, origin| !batch.is_full() && batch.admits(origin))
    }

    /// Brings all of a range into the batch, whatever the batch's limits are by now.
    pub(super) fn refill<D: Destination>(&mut self, batch: &mut D, range: RangeInclusive<Seq>) -> Result<(), Fault> {
        self.next = *range.start();
        while self.read(batch, *range.end(), |_, _| true)? != Reached::End {}
        Ok(())
    }

    fn read<D: Destination>(
        &mut self,
        batch: &mut D,
        until: Seq,
        takes: impl Fn(&D, Origin) -> bool,
    ) -> Result<Reached, Fault> {
        if self.next > until {
            return Ok(Reached::End);
        }
        self.incarnation_of(until)?;
        let mut bytes = 0;
        let mut next = self.next;
        let mut outcome = Ok(Reached::End);
        let (scratch, history, left_out) = (&mut self.scratch, &self.history, &self.left_out);
        let traces = &mut self.traces;
        let mut each = |block: &Block<'_>, len: usize| {
            let incarnation = incarnation_in(history, block.first());
            let origin = Origin { incarnation, committed_at: block.committed_at() };
            if !takes(batch, origin) {
                outcome = Ok(Reached::BatchFull);
                return ControlFlow::Break(());
            }
            let last = block.last().min(until);
            let wanted = Wanted { range: next..=last, left_out };
            if let Err(fault) = add_block(batch, block, origin, &wanted, (scratch, traces)) {
                outcome = Err(fault);
                return ControlFlow::Break(());
            }
            next = last.next();
            bytes += len;
            if next > until {
                return ControlFlow::Break(());
            }
            if bytes >= READ_BYTES {
                outcome = Ok(Reached::More);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let recent = self.tail.recent(self.next, READ_BYTES);
        let end = match recent.is_empty() {
            true => self.reader.read(self.next, each).map_err(|error| fault(&error))?,
            false => visit(&recent, &mut each)?,
        };
        if recent.is_empty() {
            self.from_log += next.since(self.next);
        }
        // A known gap at the end of the log is passed, never what a block was refused for.
        self.next = if matches!(outcome, Ok(Reached::End)) { end.min(until.next()).max(next) } else { next };
        // A block of unusual size is no reason to hold on to that much memory.
        self.scratch.shrink_to(READ_BYTES);
        outcome
    }
}

/// Visits blocks until `each` breaks; returns the position after the last one visited.
fn visit(blocks: &[RecentBlock], mut each: impl FnMut(&Block<'_>, usize) -> ControlFlow<()>) -> Result<Seq, Fault> {
    let mut end = Seq::ZERO;
    for RecentBlock { first, bytes } in blocks {
        let block = Block::parse(*first, bytes).map_err(|cause| corrupt(*first, cause))?;
        end = block.last().next();
        if each(&block, bytes.len()).is_break() {
            break;
        }
    }
    Ok(end)
}

/// Which events of a block the sink is to get.
struct Wanted<'a> {
    range: RangeInclusive<Seq>,
    left_out: &'a BTreeSet<Seq>,
}

fn add_block(
    batch: &mut impl Destination,
    block: &Block<'_>,
    origin: Origin,
    wanted: &Wanted<'_>,
    (scratch, traces): (&mut Vec<u8>, &mut Option<Vec<TraceContext>>),
) -> Result<(), Fault> {
    let mut added = Ok(());
    let visited = block.visit_slots(scratch, |slot| {
        let event = match slot {
            Slot::Event(event) => event,
            // Its position counts, for the sink has to get past it.
            Slot::Erased(seq) if added.is_ok() && wanted.range.contains(&seq) => return batch.pass(seq, origin),
            Slot::Erased(_) => return,
        };
        if added.is_err() || !wanted.range.contains(&event.seq) {
            return;
        }
        if let Some(traces) = traces {
            note_trace(traces, event.segment.traceparent);
        }
        match wanted.left_out.contains(&event.seq) {
            true => batch.pass(event.seq, origin),
            false => added = batch.add(&event, origin),
        }
    });
    visited.map_err(|cause| corrupt(block.first(), cause))?;
    added
}

/// Notes the trace of an event's request, if it is kept; a request's events follow one another.
fn note_trace(traces: &mut Vec<TraceContext>, traceparent: Option<&str>) {
    let Some(context) = traceparent.and_then(|text| TraceContext::parse(text.as_bytes())) else { return };
    if context.is_sampled() && traces.len() < TRACES_MAX && traces.last() != Some(&context) {
        traces.push(context);
    }
}

/// In a history whose starts are in order.
pub(super) fn incarnation_in(history: &[Incarnation], seq: Seq) -> u64 {
    history.iter().rev().find(|start| start.first <= seq).map_or(0, |start| start.id)
}

fn corrupt(first: Seq, cause: Corrupt) -> Fault {
    fault(&ReadError::Corrupt { first, cause })
}

/// Missing or damaged events are never passed over: an operator decides.
pub(super) fn fault(error: &ReadError) -> Fault {
    match error {
        damage if damage.is_damage() => {
            let advice = "stop the daemon, run `ingestd wal verify`, then `ingestd wal repair`";
            Fault::of(FailureCode::LogDamaged, format_args!("{error}; {advice}"))
        }
        ReadError::Trimmed { .. } => Fault::of(FailureCode::LogTrimmed, error),
        _ => Fault::Retry(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{BlockWriter, IdListWriter, SegmentMeta, put_record};

    /// A log with one event a group, each a second after the one before.
    fn log_of(events: i64) -> (tempfile::TempDir, wal::Opened) {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = wal::open(dir.path(), &wal::Options::default()).unwrap();
        let (mut block, mut ids) = (BlockWriter::default(), IdListWriter::default());
        for at in (1..=events).map(|second| UnixMicros::new(second * 1_000_000)) {
            block.begin();
            ids.begin();
            let mut records = Vec::new();
            put_record(&mut records, 0, None, None, b"{}");
            let meta = SegmentMeta { tenant: "default", source: 0, received_at: at, traceparent: None };
            block.whole(&meta, &records, 1);
            ids.push(1, 0);
            let first = opened.writer.next();
            let (block, ids) = (block.finish(first, at), ids.finish(first, at));
            opened.writer.commit(&wal::Group { events: Some((1, block, ids)), writes: &[] }).unwrap();
        }
        (dir, opened)
    }

    #[test]
    fn what_is_trimmed_at_this_moment_is_old_enough_and_fails_nobody() {
        let (_dir, opened) = log_of(5);
        let consumer = Consumer::new(opened.reader, Tail::new(Seq::new(5)), Seq::FIRST);
        assert_eq!(consumer.committed_at(Seq::new(2)), Ok(UnixMicros::new(2_000_000)));
        opened.trimmer.trim(Seq::new(4), Seq::FIRST).unwrap();
        // The trim came after the start of the log was looked up.
        assert_eq!(consumer.first_commit_from(Seq::new(2)), Ok(UnixMicros::default()));
        assert_eq!(consumer.committed_at(Seq::new(2)), Ok(UnixMicros::new(4_000_000)));
        assert_eq!(consumer.committed_at(Seq::new(9)), Ok(UnixMicros::default()));
    }

    #[test]
    fn what_is_trimmed_is_not_looked_for_among_what_is_erased() {
        let (_dir, opened) = log_of(5);
        opened.trimmer.eraser().begin().unwrap();
        let mut consumer = Consumer::new(opened.reader, Tail::new(Seq::new(5)), Seq::FIRST);
        opened.trimmer.trim(Seq::new(4), Seq::FIRST).unwrap();
        for last in [2, 5] {
            assert_eq!(consumer.erased_in(&(Seq::FIRST..=Seq::new(last))), Ok(Vec::new()));
        }
    }
}
