//! A disk that hangs: a write or sync that does not return fails nothing, so it has to be looked for. On a thread of its
//! own, for everything else that touches the log may hang with it.

use super::maintenance::tell_log;
use crate::control::Health;
use crate::intake::Shared;
use event::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A write or sync that takes longer counts as hanging: the slowest that a working disk does is far below.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// What the watch needs.
pub(super) struct StallWatch {
    pub(super) reader: wal::Reader,
    pub(super) shared: Arc<Shared>,
    pub(super) health: Arc<Health>,
}

impl StallWatch {
    /// Refuses events while the log hangs and lets them in again once it goes on, until `stop`.
    pub(super) fn run(self, stop: &watch::Receiver<bool>) {
        let mut stalled = false;
        while !*stop.borrow() {
            let waits = self.reader.waiting_for().filter(|waits| *waits >= STALLED_AFTER);
            if waits.is_some() != stalled {
                stalled = waits.is_some();
                self.turn(waits);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn turn(&self, waits: Option<Duration>) {
        match waits {
            Some(waits) => tracing::error!(
                waits_s = waits.as_secs(),
                "a write or sync of the log does not return: refusing events until it does; look at the disk"
            ),
            None => tracing::warn!("the log goes on: accepting events again"),
        }
        let admission = &self.shared.admission;
        admission.set(Refusal::LogStalled, waits.is_some());
        tell_log(&self.health, admission.closed(), None);
    }
}
