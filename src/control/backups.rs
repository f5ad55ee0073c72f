//! Online copies of the data folder, as `ingestd admin checkpoint` makes them.

use crate::access::KEY_FILE;
use serde_json::{Value, json};
use std::path::Path;
use wal::Checkpointer;

/// Makes copies, one at a time.
pub struct Backups {
    checkpointer: Checkpointer,
    disk_reserve_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Backups {
    /// Copies of the log of `checkpointer`; so many bytes of its disk stay free, by the configuration of the moment.
    pub fn new(checkpointer: Checkpointer, disk_reserve_bytes: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        // Who may come in is part of what is kept; who has changed what stays with the folder where it was done.
        let checkpointer = checkpointer.with_files(&[KEY_FILE]);
        Backups { checkpointer, disk_reserve_bytes: Box::new(disk_reserve_bytes) }
    }

    /// Makes one. Blocks for as long as it takes.
    ///
    /// # Errors
    /// Why there is none, for a person.
    pub fn make(&self, target: &Path) -> Result<Value, String> {
        let made = self.checkpointer.make(target, (self.disk_reserve_bytes)()).map_err(|error| error.to_string())?;
        let end = made.end;
        // Quoted: whoever asks has named it, and a line end in it would begin a line of the log.
        tracing::info!(path = ?target, %end, bytes = made.bytes, "checkpoint made");
        let path = target.to_string_lossy();
        Ok(json!({"path": path, "end": made.end.get(), "bytes": made.bytes, "linked": made.is_linked}))
    }

    /// How far the one that is being made has got; null while none is.
    #[must_use]
    pub fn progress(&self) -> Value {
        let progress = self.checkpointer.progress();
        progress.map_or(Value::Null, |progress| json!({"bytes": progress.done, "of": progress.of}))
    }
}
