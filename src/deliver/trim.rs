//! How far the log may be trimmed: not past what a sink still needs, and not what was committed lately.

use event::{Seq, UnixMicros};
use std::ops::ControlFlow;
use std::time::Duration;
use wal::{ReadError, Reader};

/// The first event the log must still hold, given each sink's cursor: everything before it was delivered by all sinks
/// and committed at least `hold` ago. Without sinks only `hold` counts.
///
/// The age is that of the commit, not of the delivery, so that it is known after a restart: what a sink got later than
/// `hold` after the commit may be trimmed as soon as it got it.
///
/// # Errors
/// [`ReadError`]: nothing is to be trimmed.
pub fn position(
    reader: &Reader,
    cursors: impl IntoIterator<Item = Seq>,
    hold: Duration,
    now: UnixMicros,
) -> Result<Seq, ReadError> {
    let start = reader.start();
    let end = reader.committed().next();
    let delivered = cursors.into_iter().min().unwrap_or(end).clamp(start, end.max(start));
    if hold.is_zero() {
        return Ok(delivered);
    }
    let old_enough = now.minus(hold);
    // Commit time never runs backwards, so the events that are old enough come first.
    let (mut low, mut high) = (start, delivered);
    while low < high {
        let middle = Seq::new(low.get() + high.since(low) / 2);
        match block_at(reader, middle)? {
            Some((_, last, committed_at)) if committed_at <= old_enough => low = last.next(),
            Some((first, _, _)) => high = first.min(middle).max(low),
            // A known gap reaches to the end: whatever lies there is gone anyway.
            None => high = middle,
        }
    }
    Ok(low.min(delivered))
}

/// The block that holds `seq`, or the first one after a known gap: first and last event, commit time.
fn block_at(reader: &Reader, seq: Seq) -> Result<Option<(Seq, Seq, UnixMicros)>, ReadError> {
    let mut found = None;
    reader.read(seq, |block, _| {
        found = Some((block.first(), block.last(), block.committed_at()));
        ControlFlow::Break(())
    })?;
    Ok(found)
}
