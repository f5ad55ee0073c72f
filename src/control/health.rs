//! Whether the daemon can do its work, and since when each part can or cannot.

use event::UnixMicros;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Works.
    Up,
    /// Works with restrictions.
    Degraded,
    /// Does not work.
    Down,
    /// Not configured; does not count.
    Disabled,
}

impl ServiceState {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceState::Up => "up",
            ServiceState::Degraded => "degraded",
            ServiceState::Down => "down",
            ServiceState::Disabled => "disabled",
        }
    }
}

/// Where the daemon is in its life; only in the middle of it can it be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not everything is open yet.
    #[default]
    Starting,
    /// Everything is open, and accepts.
    Serving,
    /// It stops.
    Stopping,
}

#[derive(Debug, Clone)]
struct Service {
    state: ServiceState,
    since: UnixMicros,
    latency_ms: Option<f64>,
    last_error: Option<String>,
}

/// All parts.
#[derive(Debug, Default)]
pub struct Health {
    services: Mutex<BTreeMap<&'static str, Service>>,
    readiness: Mutex<Readiness>,
}

#[derive(Debug, Default)]
struct Readiness {
    phase: Phase,
    /// What has ended it for good; told until the process is gone.
    failure: Option<&'static str>,
    /// Why it is not ready though it serves.
    reasons: Vec<&'static str>,
}

impl Health {
    /// Notes how a part is.
    pub fn set(&self, name: &'static str, state: ServiceState, latency_ms: Option<f64>, error: Option<String>) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let now = UnixMicros::now();
        let service =
            services.entry(name).or_insert_with(|| Service { state, since: now, latency_ms: None, last_error: None });
        if service.state != state {
            service.state = state;
            service.since = now;
        }
        service.latency_ms = latency_ms.or(service.latency_ms);
        if error.is_some() {
            service.last_error = error;
        }
    }

    /// Notes where the daemon is in its life.
    pub fn set_phase(&self, phase: Phase) {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    /// Notes why the daemon is not ready though it serves; ready when empty.
    pub fn set_not_ready(&self, reasons: Vec<&'static str>) {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).reasons = reasons;
    }

    /// Notes what ends the daemon: it is never ready again, and says so through its stop, too.
    pub fn fail(&self, reason: &'static str) {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(reason);
    }

    /// Why it is not ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<&'static str> {
        let readiness = self.readiness.lock().unwrap_or_else(PoisonError::into_inner);
        let others = match readiness.phase {
            Phase::Starting => vec!["starting"],
            Phase::Serving => readiness.reasons.clone(),
            Phase::Stopping => vec!["shutting_down"],
        };
        let others = others.into_iter().filter(|reason| Some(*reason) != readiness.failure);
        readiness.failure.into_iter().chain(others).collect()
    }

    /// `healthy`, `degraded` or `unhealthy`: the log being down is the one thing that leaves nothing to do.
    #[must_use]
    pub fn status(&self) -> &'static str {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.get("wal").is_none_or(|wal| wal.state == ServiceState::Down) {
            return "unhealthy";
        }
        let well = |service: &Service| matches!(service.state, ServiceState::Up | ServiceState::Disabled);
        if services.values().all(well) { "healthy" } else { "degraded" }
    }

    /// The `services` object of `/health`.
    #[must_use]
    pub fn services(&self) -> serde_json::Value {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |service: &Service| {
            let mut out = serde_json::json!({
                "status": service.state.as_str(),
                "latencyMs": service.latency_ms,
                "since": service.since.to_string(),
            });
            if let Some(error) = &service.last_error {
                out["lastError"] = error.clone().into();
            }
            out
        };
        services
            .iter()
            .map(|(name, service)| ((*name).to_owned(), one(service)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_daemon_that_serves_is_ready_whatever_else_is_well() {
        let health = Health::default();
        health.set_not_ready(Vec::new());
        assert_eq!(health.not_ready(), ["starting"]);
        health.set_phase(Phase::Serving);
        assert!(health.not_ready().is_empty());
        health.set_not_ready(vec!["disk_reserve"]);
        assert_eq!(health.not_ready(), ["disk_reserve"]);
        health.set_phase(Phase::Stopping);
        health.set_not_ready(Vec::new());
        assert_eq!(health.not_ready(), ["shutting_down"]);
    }

    #[test]
    fn what_has_ended_it_is_told_to_its_end() {
        let health = Health::default();
        health.set_phase(Phase::Serving);
        health.fail("storage_failed");
        // Whoever looked at the log just before may find it well just after.
        health.set_not_ready(Vec::new());
        assert_eq!(health.not_ready(), ["storage_failed"]);
        health.set_not_ready(vec!["storage_failed"]);
        assert_eq!(health.not_ready(), ["storage_failed"]);
        health.set_phase(Phase::Stopping);
        assert_eq!(health.not_ready(), ["storage_failed", "shutting_down"]);
    }
}
