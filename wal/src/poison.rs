use crate::CommitError;
use std::sync::{Arc, OnceLock};

/// Remembers the first write or sync failure for ever.
///
/// After a failed fsync the kernel may drop the dirty pages and report success the next time, so trying again would
/// turn a loud failure into a silent loss. The process must end; recovery starts from what is on disk.
#[derive(Debug, Clone, Default)]
pub struct Poison(Arc<OnceLock<Arc<str>>>);

impl Poison {
    /// Records a failure; only the first one is kept. Returns the one that is kept.
    pub fn set(&self, reason: &str) -> CommitError {
        CommitError { reason: Arc::clone(self.0.get_or_init(|| reason.into())) }
    }

    /// The failure, if there was one.
    #[must_use]
    pub fn get(&self) -> Option<CommitError> {
        self.0.get().map(|reason| CommitError { reason: Arc::clone(reason) })
    }

    /// Fails once a failure is recorded.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(&self) -> Result<(), CommitError> {
        self.get().map_or(Ok(()), Err)
    }
}
