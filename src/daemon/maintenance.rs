//! What is looked at now and then: free disk space, size of the log, rates, trimming.

use super::live::Upkeep;
use crate::commit::Control;
use crate::control::config::BacklogPolicy;
use crate::control::{Health, Rates, ServiceState};
use crate::deliver::{Handle, State};
use crate::intake::Shared;
use arc_swap::ArcSwap;
use event::Refusal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the disk is looked at: at 1 GB/s a tenth of the default reserve.
const DISK_INTERVAL: Duration = Duration::from_millis(100);
/// How often rates are sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log is trimmed.
const TRIM_INTERVAL: Duration = Duration::from_secs(5);

/// What the maintenance thread needs.
pub(super) struct Maintenance {
    pub(super) data: PathBuf,
    pub(super) upkeep: Arc<ArcSwap<Upkeep>>,
    pub(super) reader: wal::Reader,
    pub(super) shared: Arc<Shared>,
    pub(super) health: Arc<Health>,
    pub(super) rates: Arc<Rates>,
    pub(super) sinks: Vec<(Handle, BacklogPolicy)>,
    /// Whether events are refused for the sake of the disk reserve.
    pub(super) disk_closed: bool,
    pub(super) trim: Box<dyn FnMut(bool) + Send>,
    pub(super) control: Control,
}

impl Maintenance {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// The log's first failure, wherever it was met: the daemon must end, and nothing may come in that the writer could
    /// meet it with.
    pub(super) fn run(mut self, stop: &watch::Receiver<bool>) -> Result<(), String> {
        let (mut sampled, mut trimmed) = (Instant::now(), Instant::now());
        while !*stop.borrow() {
            if let Some(poison) = self.reader.poison().get() {
                self.close_for_good(&poison.to_string());
                return Err(poison.to_string());
            }
            let changed = self.watch_disk();
            if changed || sampled.elapsed() >= SAMPLE_INTERVAL {
                sampled = Instant::now();
                self.rates.sample(&self.shared.metrics);
                self.watch_log();
            }
            if trimmed.elapsed() >= TRIM_INTERVAL {
                trimmed = Instant::now();
                let short_of_room = self.is_short_of_room();
                (self.trim)(short_of_room);
                self.control.tidy();
            }
            std::thread::sleep(DISK_INTERVAL);
        }
        Ok(())
    }

    fn close_for_good(&self, reason: &str) {
        self.shared.admission.set(Refusal::StorageFailed, true);
        self.health.set("wal", ServiceState::Down, None, Some(reason.to_owned()));
        self.health.set_not_ready(vec!["storage_failed"]);
    }

    /// Whether events are refused for want of room, which must not be for the sake of what every sink has.
    fn is_short_of_room(&self) -> bool {
        matches!(self.shared.admission.closed(), Some(Refusal::DiskReserve | Refusal::LogBudget))
    }

    /// Closes the gate while free space is below the reserve; opens it again a little above, so that it does not flap.
    /// Returns whether it has.
    fn watch_disk(&mut self) -> bool {
        let Ok(stat) = rustix::fs::statvfs(&self.data) else { return false };
        let free = stat.f_bavail * stat.f_frsize;
        let was_closed = self.disk_closed;
        let reserve = self.upkeep.load().disk_reserve_bytes;
        let reserve = if was_closed { reserve.saturating_add(reserve / 20) } else { reserve };
        let closed = free < reserve;
        if closed != was_closed {
            if closed {
                tracing::error!(
                    free,
                    reserve,
                    "free disk space is below log.disk_reserve_bytes: refusing events until there is room"
                );
            } else {
                tracing::info!(free, "free disk space is above the reserve again: accepting events");
            }
        }
        self.disk_closed = closed;
        self.shared.admission.set(Refusal::DiskReserve, closed);
        closed != was_closed
    }

    fn watch_log(&self) {
        let size = self.reader.size();
        let budget = self.upkeep.load().log_budget_bytes;
        let over = budget > 0 && size.tables + size.memory > budget;
        if over {
            self.expire_backlogs();
        }
        self.shared.admission.set(Refusal::LogBudget, over);
        let closed = self.shared.admission.closed();
        let state = if closed.is_some() { ServiceState::Degraded } else { ServiceState::Up };
        let commit = self.shared.metrics.stage(crate::metrics::Stage::Commit);
        let latency =
            commit.filter(|commit| !commit.is_empty()).map(|commit| commit.value_at_quantile(0.5) as f64 / 1e3);
        self.health.set("wal", state, latency, closed.map(|reason| reason.as_str().to_owned()));
        self.health.set_not_ready(closed.map(|reason| vec![reason.as_str()]).unwrap_or_default());
        self.watch_sinks();
    }

    /// Has sinks that may lose their backlog give up what the others do not need any more: the log can then be trimmed.
    fn expire_backlogs(&self) {
        let cursors = self.sinks.iter().map(|(sink, policy)| (sink.status().snapshot().cursor, *policy));
        let needed = cursors.filter(|(_, policy)| *policy == BacklogPolicy::Refuse).map(|(cursor, _)| cursor).min();
        let end = self.reader.committed().next();
        for (sink, policy) in &self.sinks {
            if *policy == BacklogPolicy::Expire {
                let backlog = end.since(sink.status().snapshot().cursor.min(end));
                // The older half at a time: what is newest is worth most.
                let until = sink.status().snapshot().cursor.plus(backlog.div_ceil(2));
                sink.expire(needed.map_or(until, |needed| until.min(needed)));
            }
        }
    }

    fn watch_sinks(&self) {
        for (sink, _) in &self.sinks {
            let snapshot = sink.status().snapshot();
            let state = match snapshot.state {
                State::Running => ServiceState::Up,
                State::Failed { .. } => ServiceState::Down,
                _ => ServiceState::Degraded,
            };
            let error = (state != ServiceState::Up).then(|| snapshot.last_error.map(|error| error.text)).flatten();
            self.health.set(snapshot.sink, state, None, error);
        }
    }
}
