//! API keys that are refused and do not stand so in their file: written until they do. On a thread of its own that no stop
//! waits for: on a disk that hangs a write takes for ever.

use crate::access::Access;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is looked whether there is something to write.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often it is said that it cannot be written.
const WARNING_INTERVAL: Duration = Duration::from_mins(10);

/// Writes what there is to write until `stop`.
pub(super) fn run(access: &Access, stop: &watch::Receiver<bool>) {
    let mut warned: Option<Instant> = None;
    while !*stop.borrow() {
        match access.keyring.save_refused() {
            Ok(false) => {}
            Ok(true) => {
                warned = None;
                tracing::info!("revoked API keys are written down");
            }
            Err(error) if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) => {
                warned = Some(Instant::now());
                tracing::error!(
                    %error,
                    "revoked API keys are not written down yet: they are refused, but would be taken again after a kill; \
                     it is tried again"
                );
            }
            Err(_) => {}
        }
        std::thread::sleep(INTERVAL);
    }
}
