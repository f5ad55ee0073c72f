//! A duplicate filter over the ids that a data folder remembers, as the daemon builds it at start.

use anyhow::{Context, Result};
use dedup::Dedup;
use event::UnixMicros;
use std::path::Path;
use std::time::Duration;

/// The daemon's default window.
const WINDOW: Duration = Duration::from_secs(3600);
/// The daemon's default budget.
const BUDGET_BYTES: u64 = 1 << 30;

/// Fills a filter with the ids of the window; ready to be asked.
pub fn load(folder: &Path, opened: &wal::Opened) -> Result<Dedup> {
    let config = dedup::Config { window: WINDOW, budget_bytes: BUDGET_BYTES, spill_dir: folder.join("dedup") };
    let horizon = UnixMicros::now().max(opened.recovery.last_commit).minus(WINDOW);
    let mut filter: Option<Dedup> = None;
    let mut failed = None;
    opened.reader.ids(|first, list| {
        if failed.is_some() || (filter.is_none() && list.committed_at() < horizon) {
            return;
        }
        let loaded = match &mut filter {
            Some(filter) => filter.load(first, list.committed_at(), list.iter()),
            None => Dedup::new(config.clone(), first)
                .and_then(|new| filter.insert(new).load(first, list.committed_at(), list.iter())),
        };
        failed = loaded.err();
    })?;
    if let Some(error) = failed {
        return Err(error).context("loading the ids");
    }
    let mut filter = match filter {
        Some(filter) => filter,
        None => Dedup::new(config, opened.recovery.next)?,
    };
    filter.finish_load();
    Ok(filter)
}
