//! From a request to its part of the group: which of its events are new, and their bytes in the block.

use super::submission::Submission;
use dedup::Dedup;
use event::{Receipt, UnixMicros, Verdict};
use record::{BlockWriter, IdListWriter, SegmentMeta};
use wal::CommitError;

/// Asks the duplicate filter about each event of a request.
pub(super) fn decide(dedup: &mut Dedup, submission: &Submission, now: UnixMicros) -> Result<Receipt, CommitError> {
    let mut verdicts = Vec::with_capacity(submission.batch.entries.len());
    dedup.check(&submission.batch.entries, &mut verdicts).map_err(fatal)?;
    Ok(Receipt { committed_at: now, verdicts, dead_letters: Vec::new() })
}

/// Adds a request's new events to the block and the id list.
pub(super) fn encode(
    submission: &Submission,
    receipt: &Receipt,
    block: &mut BlockWriter,
    ids: &mut IdListWriter,
    keep: &mut Vec<std::ops::Range<usize>>,
) {
    let batch = &submission.batch;
    keep.clear();
    for (entry, verdict) in batch.entries.iter().zip(&receipt.verdicts) {
        if let Verdict::Accepted(_) = verdict {
            ids.push(entry.fingerprint, entry.content);
            keep.push(entry.range());
        }
    }
    let meta = SegmentMeta {
        tenant: &batch.tenant,
        source: batch.source as u8,
        received_at: batch.received_at,
        traceparent: batch.traceparent.as_deref(),
    };
    match &batch.packed {
        _ if keep.is_empty() => {}
        _ if keep.len() < batch.entries.len() => block.some(&meta, &batch.records, keep),
        Some(packed) => block.packed(&meta, packed, batch.records.len(), keep.len() as u32),
        None => block.whole(&meta, &batch.records, keep.len() as u32),
    }
}

pub(super) fn fatal(error: dedup::Error) -> CommitError {
    CommitError { reason: format!("duplicate filter failed: {error}").into() }
}
