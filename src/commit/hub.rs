//! Live confirmations: what became of a tenant's events, for whoever listens.

use event::{Seq, UnixMicros};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Groups a slow listener may be behind before it is told that it lagged.
const GROUPS_BEHIND_MAX: usize = 256;

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmationStatus {
    /// Stored.
    Accepted,
    /// Its id was known.
    Duplicate,
    /// It can never be stored as it is.
    Rejected,
}

impl ConfirmationStatus {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ConfirmationStatus::Accepted => "accepted",
            ConfirmationStatus::Duplicate => "duplicate",
            ConfirmationStatus::Rejected => "rejected",
        }
    }
}

/// One event's outcome.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The owner.
    pub tenant: Arc<str>,
    /// The id as the content of a JSON string; empty where none could be read.
    pub id_json: Box<[u8]>,
    /// Its position, for a duplicate the first one's; `None` for a rejected event.
    pub seq: Option<Seq>,
    /// What became of it.
    pub status: ConfirmationStatus,
    /// When.
    pub at: UnixMicros,
}

/// Where the writer announces outcomes; costs nothing while nobody listens.
#[derive(Debug, Clone)]
pub struct Hub {
    groups: broadcast::Sender<Arc<[Confirmation]>>,
}

impl Default for Hub {
    fn default() -> Self {
        Hub { groups: broadcast::Sender::new(GROUPS_BEHIND_MAX) }
    }
}

impl Hub {
    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<[Confirmation]>> {
        self.groups.subscribe()
    }

    pub(super) fn has_listeners(&self) -> bool {
        self.groups.receiver_count() > 0
    }

    pub(super) fn announce(&self, group: Vec<Confirmation>) {
        if !group.is_empty() {
            // An error only says that the last listener has just left.
            self.groups.send(group.into()).ok();
        }
    }
}
