//! What was committed and delivered last: one side writes, the other waits.

use event::Seq;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The newest committed position and, per sink, how far it has everything.
#[derive(Debug, Clone)]
pub struct Tail {
    committed: watch::Sender<Seq>,
    delivered: Arc<Mutex<BTreeMap<&'static str, Seq>>>,
}

impl Tail {
    /// A tail that ends at `committed`.
    #[must_use]
    pub fn new(committed: Seq) -> Self {
        Tail { committed: watch::Sender::new(committed), delivered: Arc::default() }
    }

    /// The newest committed position.
    #[must_use]
    pub fn committed(&self) -> Seq {
        *self.committed.borrow()
    }

    /// Waits until something is committed at or after `seq`; returns the newest committed position.
    pub async fn reaches(&self, seq: Seq) -> Seq {
        let mut receiver = self.committed.subscribe();
        // The sender lives in self, so waiting cannot fail.
        receiver.wait_for(|committed| *committed >= seq).await.map_or(seq, |committed| *committed)
    }

    /// Notes that `sink` has everything before `position` (its cursor, durable).
    pub fn set_delivered(&self, sink: &'static str, position: Seq) {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).insert(sink, position);
    }

    /// The cursors: for each sink the first position it does not have yet.
    #[must_use]
    pub fn delivered(&self) -> BTreeMap<&'static str, Seq> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_committed(&self, seq: Seq) {
        self.committed.send_replace(seq);
    }
}
