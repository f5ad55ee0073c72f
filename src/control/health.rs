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
    not_ready: Mutex<Vec<&'static str>>,
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

    /// Notes why the daemon is not ready; ready when empty.
    pub fn set_not_ready(&self, reasons: Vec<&'static str>) {
        *self.not_ready.lock().unwrap_or_else(PoisonError::into_inner) = reasons;
    }

    /// Why it is not ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<&'static str> {
        self.not_ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
