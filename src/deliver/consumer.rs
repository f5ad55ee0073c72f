//! The log as one sink sees it: from its position on, block by block.

use super::{Destination, Fault};
use event::{Seq, UnixMicros};
use record::{Block, Corrupt};
use std::ops::{ControlFlow, RangeInclusive};
use wal::{ReadError, Reader};

/// Bytes of blocks read at once: the iterator that holds them keeps tables and memory of the log from being freed.
const READ_BYTES: usize = 8 << 20;

/// A sink's place in the log.
#[derive(Debug)]
pub struct Consumer {
    reader: Reader,
    next: Seq,
    scratch: Vec<u8>,
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
    pub fn new(reader: Reader, next: Seq) -> Self {
        Consumer { reader, next, scratch: Vec::new() }
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

    /// Brings events up to and including `until` into the open batch, whole blocks at a time, as far as it takes them.
    pub(super) fn fill<D: Destination>(&mut self, batch: &mut D, until: Seq) -> Result<Reached, Fault> {
        self.read(batch, until, |batch, committed_at| !batch.is_full() && batch.admits(committed_at))
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
        takes: impl Fn(&D, UnixMicros) -> bool,
    ) -> Result<Reached, Fault> {
        if self.next > until {
            return Ok(Reached::End);
        }
        let mut bytes = 0;
        let mut next = self.next;
        let mut outcome = Ok(Reached::End);
        let scratch = &mut self.scratch;
        let read = self.reader.read(self.next, |block, len| {
            if !takes(batch, block.committed_at()) {
                outcome = Ok(Reached::BatchFull);
                return ControlFlow::Break(());
            }
            let last = block.last().min(until);
            if let Err(fault) = add_block(batch, block, next..=last, scratch) {
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
        });
        let end = read.map_err(|error| fault(&error))?;
        // A known gap at the end of the log is passed, never what a block was refused for.
        self.next = if matches!(outcome, Ok(Reached::End)) { end.min(until.next()).max(next) } else { next };
        // A block of unusual size is no reason to hold on to that much memory.
        self.scratch.shrink_to(READ_BYTES);
        outcome
    }
}

fn add_block(
    batch: &mut impl Destination,
    block: &Block<'_>,
    wanted: RangeInclusive<Seq>,
    scratch: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut added = Ok(());
    let visited = block.visit(scratch, |event| {
        if added.is_ok() && wanted.contains(&event.seq) {
            added = batch.add(&event);
        }
    });
    visited.map_err(|cause| corrupt(block.first(), cause))?;
    added
}

fn corrupt(first: Seq, cause: Corrupt) -> Fault {
    fault(&ReadError::Corrupt { first, cause })
}

/// Missing or damaged events are never passed over: an operator decides.
pub(super) fn fault(error: &ReadError) -> Fault {
    match error {
        damage if damage.is_damage() => {
            Fault::Final(format!("{error}; stop the daemon, run `ingestd wal verify`, then `ingestd wal repair`"))
        }
        ReadError::Trimmed { .. } => Fault::Final(error.to_string()),
        _ => Fault::Retry(error.to_string()),
    }
}
