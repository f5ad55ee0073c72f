//! What became of a group's events, for those who count and those who listen.

use super::engine::Requests;
use super::hub::{ConfirmationStatus, Hub};
use crate::metrics::Metrics;
use event::{Seq, UnixMicros, Verdict};
use std::sync::atomic::Ordering;

/// Counts a group's outcomes, once per group.
pub(super) fn count(group: &Requests, metrics: &Metrics) {
    let (mut accepted, mut duplicate, mut differs, mut by_type) = (0, 0, 0, [0; 7]);
    for (_, _, submission) in group {
        let Ok(receipt) = &submission.outcome else { continue };
        for (entry, verdict) in submission.batch.entries.iter().zip(&receipt.verdicts) {
            match verdict {
                Verdict::Accepted(_) => {
                    accepted += 1;
                    by_type[usize::from(entry.event_type).min(6)] += 1;
                }
                Verdict::Duplicate { differs: other, .. } => {
                    duplicate += 1;
                    differs += u64::from(*other);
                }
            }
        }
        for reject in &submission.rejects {
            metrics.reject(reject.rejection.code, 1);
        }
    }
    metrics.accepted.fetch_add(accepted, Ordering::Relaxed);
    metrics.duplicate.fetch_add(duplicate, Ordering::Relaxed);
    metrics.duplicate_differs.fetch_add(differs, Ordering::Relaxed);
    for (total, group) in metrics.by_type.iter().zip(by_type) {
        total.fetch_add(group, Ordering::Relaxed);
    }
}

/// Tells listeners what became of a group's events, behind which the log goes on at `next`.
pub(super) fn announce(group: &Requests, hub: &Hub, at: UnixMicros, next: Seq) {
    hub.announce(next, |audience| {
        for (_, _, submission) in group {
            let Ok(receipt) = &submission.outcome else { continue };
            let Some(heard) = audience.of(&submission.batch.tenant) else { continue };
            for (entry, verdict) in submission.batch.entries.iter().zip(&receipt.verdicts) {
                let status = match verdict {
                    Verdict::Accepted(_) => ConfirmationStatus::Accepted,
                    Verdict::Duplicate { .. } => ConfirmationStatus::Duplicate,
                };
                heard.confirm(submission.batch.id_json(entry).into(), Some(verdict.seq()), status, at);
            }
            for reject in &submission.rejects {
                let id = reject.rejection.event_id.as_deref().unwrap_or_default();
                let text = serde_json::to_vec(id).unwrap_or_default();
                let id_json = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().into();
                heard.confirm(id_json, None, ConfirmationStatus::Rejected, at);
            }
        }
    });
}
