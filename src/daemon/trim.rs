//! What of the log may go.

use super::ages::{Ages, Old};
use super::live::Upkeep;
use crate::commit::Tail;
use crate::control::config::BacklogPolicy;
use crate::deliver::{self, Cursor, Handle};
use arc_swap::ArcSwap;
use event::{Seq, UnixMicros};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Trims what every sink has had for long enough, and the ids that have left the window. Told that room is short, it
/// holds nothing that every sink has.
pub(super) fn trim(
    upkeep: Arc<ArcSwap<Upkeep>>,
    trimmer: wal::Trimmer,
    reader: wal::Reader,
    tail: Tail,
    sinks: &[(Handle, BacklogPolicy)],
) -> impl FnMut(bool) + Send + 'static {
    let running: Vec<&'static str> = sinks.iter().map(|(sink, _)| sink.status().snapshot().sink).collect();
    warn_of_idle_sinks(&reader, &running);
    let mut ages = Ages::new(UnixMicros::now(), Instant::now(), reader.committed().next());
    move |short_of_room| {
        let hold = upkeep.load().hold;
        let old = ages.look(Instant::now(), reader.committed().next(), hold);
        let mut needed: Vec<Seq> = tail.delivered().into_values().map(|to| to.next).collect();
        // A sink that has not told its cursor yet needs everything.
        if needed.len() < running.len() {
            return;
        }
        // One that is switched off will want what it has not got when it is switched on again.
        match Cursor::of_others(&reader, &running) {
            Ok(others) => needed.extend(others.iter().map(|(_, cursor)| cursor.next)),
            Err(error) => return tracing::error!(%error, "the log cannot be trimmed"),
        }
        let (hold, now) = match old {
            _ if short_of_room => (Duration::ZERO, UnixMicros::default()),
            Old::Before(seq) => {
                needed.push(seq);
                (Duration::ZERO, UnixMicros::default())
            }
            Old::ByCommitTime { until, now } => {
                needed.push(until);
                (hold, now)
            }
        };
        match deliver::trim::position(&reader, needed, hold, now) {
            // A failure is final and reported by whoever watches the log.
            Ok(to) => drop(trimmer.trim(to, tail.oldest_id())),
            Err(error) => tracing::error!(%error, "the log cannot be trimmed"),
        }
    }
}

/// Has the dead letters kept that sinks which are switched off have not got: they will want them when they are switched on
/// again.
///
/// # Errors
/// [`wal::ReadError`].
pub(super) fn hold_for_idle_sinks(reader: &wal::Reader, tail: &Tail, running: &[&str]) -> Result<(), wal::ReadError> {
    let others = Cursor::of_others(reader, running)?;
    // One that takes none has 0 there.
    others.iter().map(|(_, cursor)| cursor.next_dead).filter(|next| *next > 0).for_each(|next| tail.hold_dead(next));
    Ok(())
}

/// Says which sinks that are not configured (any more) hold the log.
fn warn_of_idle_sinks(reader: &wal::Reader, running: &[&str]) {
    for (sink, cursor) in Cursor::of_others(reader, running).unwrap_or_default() {
        tracing::warn!(
            sink,
            next = %cursor.next,
            "this sink is switched off and the log is kept for it; if it is never to come back, stop the daemon and \
             run `ingestd wal forget-sink`"
        );
    }
}
