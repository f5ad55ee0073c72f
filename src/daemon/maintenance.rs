//! What is looked at now and then: free disk space, size of the log, rates, trimming.

use super::live::Upkeep;
use super::quotas;
use crate::commit::Control;
use crate::control::admin::TrimOrder;
use crate::control::config::BacklogPolicy;
use crate::control::{Health, Pipeline, Rates, ServiceState};
use crate::deliver::{Cursor, Handle, Holder, State, give_up};
use crate::intake::Shared;
use arc_swap::ArcSwap;
use event::{Refusal, Seq};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

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
    pub(super) pipeline: Pipeline,
    pub(super) sinks: Vec<(Handle, BacklogPolicy)>,
    /// Whether events are refused for the sake of the disk reserve.
    pub(super) disk_closed: bool,
    pub(super) trim_orders: mpsc::Receiver<TrimOrder>,
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
                close_for_good(&self.shared, &self.health, &poison.to_string());
                return Err(poison.to_string());
            }
            let changed = self.watch_disk();
            if changed || sampled.elapsed() >= SAMPLE_INTERVAL {
                sampled = Instant::now();
                self.rates.sample(&self.shared.metrics);
                quotas::store(&self.control, &self.shared.limits.quotas);
                self.shared.metrics.turn();
                self.watch_log();
                self.pipeline.look();
            }
            if trimmed.elapsed() >= TRIM_INTERVAL {
                trimmed = Instant::now();
                let short_of_room = self.is_short_of_room();
                (self.trim)(short_of_room);
                self.control.tidy();
            }
            self.carry_out_orders();
            std::thread::sleep(DISK_INTERVAL);
        }
        // The writer takes what was handed in before it ends.
        quotas::store(&self.control, &self.shared.limits.quotas);
        Ok(())
    }

    /// Trims at once where somebody wants it, and says so.
    fn carry_out_orders(&mut self) {
        while let Ok(order) = self.trim_orders.try_recv() {
            (self.trim)(true);
            // Nobody may wait for it any more.
            order.send(()).ok();
        }
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
        let upkeep = self.upkeep.load();
        let reserve = upkeep.disk_reserve_bytes;
        let metrics = &self.shared.metrics;
        metrics.disk_free_bytes.store(free, Relaxed);
        metrics.disk_reserve_bytes.store(reserve, Relaxed);
        metrics.log_budget_bytes.store(upkeep.log_budget_bytes, Relaxed);
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

    fn watch_log(&mut self) {
        let mut over = self.is_over_budget();
        if over {
            // What every sink has goes first.
            (self.trim)(true);
            over = self.is_over_budget();
        }
        if over {
            self.expire_backlogs();
        }
        self.shared.admission.set(Refusal::LogBudget, over);
        let closed = self.shared.admission.closed();
        let commit = self.shared.metrics.stage(crate::metrics::Stage::Commit);
        let latency = (!commit.is_empty()).then(|| commit.value_at_quantile(0.5) as f64 / 1e3);
        tell_log(&self.health, closed, latency);
        self.watch_sinks();
    }

    fn is_over_budget(&self) -> bool {
        let budget = self.upkeep.load().log_budget_bytes;
        budget > 0 && self.log_bytes() > budget
    }

    fn log_bytes(&self) -> u64 {
        let size = self.reader.size();
        size.tables + size.memory
    }

    /// Has sinks that are away, and may lose their backlog, give up the oldest of it, where that makes room: the log can
    /// then be trimmed.
    fn expire_backlogs(&self) {
        let of_running = self.sinks.iter().map(|(sink, policy)| {
            let snapshot = sink.status().snapshot();
            let is_away = !matches!(snapshot.state, State::Running | State::Stopped | State::Connecting);
            Holder { needs: snapshot.cursor, gives_up: is_away && *policy == BacklogPolicy::Expire }
        });
        let mut holders: Vec<Holder> = of_running.collect();
        let names: Vec<&str> = self.sinks.iter().map(|(sink, _)| sink.status().snapshot().sink).collect();
        // One that is switched off will want what it has not got when it is switched on again.
        match Cursor::of_others(&self.reader, &names) {
            Ok(others) => {
                holders.extend(others.iter().map(|(_, cursor)| Holder { needs: cursor.next, gives_up: false }));
            }
            Err(error) => return tracing::error!(%error, "no backlog is given up"),
        }
        let (start, end) = (self.reader.start().max(Seq::FIRST), self.reader.committed().next());
        let Some(until) = give_up(&holders, start, end, self.log_bytes(), self.upkeep.load().log_budget_bytes) else {
            return;
        };
        for ((sink, _), holder) in self.sinks.iter().zip(&holders) {
            if holder.gives_up && holder.needs < until {
                sink.expire(until);
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
            let latency = snapshot.latency.map(|took| took.as_secs_f64() * 1e3);
            self.health.set(snapshot.sink, state, latency, error);
        }
    }
}

/// Lets nothing in any more: the log has failed. By whoever meets it first, for the daemon answers until it is gone.
pub(super) fn close_for_good(shared: &Shared, health: &Health, reason: &str) {
    shared.admission.set(Refusal::StorageFailed, true);
    health.set("wal", ServiceState::Down, None, Some(reason.to_owned()));
    health.fail(Refusal::StorageFailed.as_str());
}

/// Says how the log is, given why nothing is let in.
pub(super) fn tell_log(health: &Health, closed: Option<Refusal>, latency_ms: Option<f64>) {
    let state = match closed {
        None => ServiceState::Up,
        Some(Refusal::LogStalled | Refusal::StorageFailed) => ServiceState::Down,
        Some(_) => ServiceState::Degraded,
    };
    health.set("wal", state, latency_ms, closed.map(|reason| reason.as_str().to_owned()));
    health.set_not_ready(closed.map(Refusal::as_str).into_iter().collect());
}
