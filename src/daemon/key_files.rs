//! Files of keys and certificates, taken over when they change. On a thread of its own that no stop waits for: on a file
//! system that hangs a look takes for ever, and neither room for events nor the end of the daemon may hang with it.

use super::certificates::Certificates;
use super::taken_over;
use crate::access::Access;
use crate::control::audit::AuditLog;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often there is a turn; what is looked at in it has intervals of its own.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often the files of JWTs' keys are looked at.
const KEYS_INTERVAL: Duration = Duration::from_secs(5);

/// What looks after them. It holds nothing of the log, which closes without waiting for it.
pub(super) struct KeyFiles {
    pub(super) access: Arc<Access>,
    pub(super) certificates: Certificates,
    pub(super) audit: Arc<AuditLog>,
}

impl KeyFiles {
    /// Looks until `stop`.
    pub(super) fn run(mut self, stop: &watch::Receiver<bool>) {
        let mut looked = Instant::now();
        while !*stop.borrow() {
            self.certificates.watch();
            if looked.elapsed() >= KEYS_INTERVAL {
                looked = Instant::now();
                self.refresh_keys();
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn refresh_keys(&self) {
        if let Some(taken) = self.access.refresh() {
            let taken = taken.map(|files| json!({"files": files})).map_err(|error| error.to_string());
            taken_over::record(&self.audit, "take_over_keys", taken);
        }
    }
}
