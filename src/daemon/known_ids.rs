//! The duplicate filter at the start: what is still known of earlier runs.

use super::boot::StartError;
use crate::commit::Timeline;
use crate::control::config::Config;
use dedup::Dedup;
use event::{Seq, UnixMicros};
use std::time::{Duration, Instant};

/// Fills the filter with the ids of the window.
pub(super) fn load_dedup(config: &Config, opened: &wal::Opened, timeline: &Timeline) -> Result<Dedup, StartError> {
    let started = Instant::now();
    let window = Duration::from_secs(config.dedup.window_s);
    let dedup_config =
        dedup::Config { window, budget_bytes: config.dedup.budget_bytes, spill_dir: config.data_dir.join("dedup") };
    // In steady time: the wall clock may have been set since.
    let horizon = timeline.now().minus(window);
    let mut filter: Option<Dedup> = None;
    let mut failed = None;
    opened.reader.ids(|first, list| {
        let at = timeline.steady(list.committed_at());
        if failed.is_some() || (filter.is_none() && at < horizon) {
            return;
        }
        failed = load_group(&mut filter, &dedup_config, first, list, at).err();
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut filter = match filter {
        Some(filter) => filter,
        None => Dedup::new(dedup_config, opened.recovery.next)?,
    };
    fill_gap(&mut filter, opened.recovery.next, timeline.steady(opened.recovery.last_commit))?;
    filter.finish_load();
    let ids = filter.stats().ids_in_memory + filter.stats().ids_on_disk;
    tracing::info!(ids, took_ms = started.elapsed().as_millis() as u64, "duplicate filter loaded");
    Ok(filter)
}

fn load_group(
    filter: &mut Option<Dedup>,
    config: &dedup::Config,
    first: Seq,
    list: record::IdList<'_>,
    at: UnixMicros,
) -> Result<(), dedup::Error> {
    let filter = match filter {
        Some(filter) => filter,
        None => filter.insert(Dedup::new(config.clone(), first)?),
    };
    fill_gap(filter, first, at)?;
    filter.load(first, at, list.iter())
}

/// The filter counts positions densely. Where a repair recorded a gap, ids that nobody can send stand for the lost ones.
fn fill_gap(filter: &mut Dedup, until: Seq, at: UnixMicros) -> Result<(), dedup::Error> {
    let from = filter.next_seq();
    let lost = (from.get()..until.get()).map(|seq| (xxhash_rust::xxh3::xxh3_128(&seq.to_le_bytes()), 0));
    if from < until { filter.load(from, at, lost) } else { Ok(()) }
}
