//! Keys and certificates that are taken over because their files have changed, on record.

use crate::control::audit::{Actor, AuditLog, Entry, Outcome, Via};
use serde_json::{Value, json};

/// Records that it was done, or why it was not. Where that cannot be written the change stands all the same, for whoever
/// renews a certificate asks nobody: the log says so.
pub(super) fn record(audit: &AuditLog, action: &str, taken: Result<Value, String>) {
    let (outcome, details) = match taken {
        Ok(details) => (Outcome::Done, details),
        Err(error) => (Outcome::Failed, json!({"error": error})),
    };
    let entry = Entry::new(Actor::own(Via::Daemon), action).with(details).outcome(outcome);
    if let Err(error) = audit.record(entry) {
        tracing::error!(%error, action, "the audit log cannot be written: this is not in it");
    }
}
