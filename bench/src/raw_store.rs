//! The engine's store, reduced to what durability costs: the prepared group is appended to written blocks and synced.

use crate::commits::WrittenFile;
use event::{Durability, Seq};
use ingestd::commit::Store;
use wal::{CommitError, Group};

/// Groups go into a [`WrittenFile`]; what is not an event is dropped.
#[derive(Debug)]
pub struct RawStore {
    file: WrittenFile,
    next: Seq,
}

impl RawStore {
    /// A store whose next event gets position `next`.
    pub fn new(file: WrittenFile, next: Seq) -> Self {
        Self { file, next }
    }
}

impl Store for RawStore {
    fn next(&self) -> Seq {
        self.next
    }

    fn commit(&mut self, group: &Group<'_>) -> Result<(), CommitError> {
        let Some((events, block, ids)) = group.events else { return Ok(()) };
        self.file
            .commit_parts(&[block, ids])
            .map_err(|error| CommitError { reason: format!("write to the yardstick failed: {error}").into() })?;
        self.next = self.next.plus(u64::from(events));
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Fsync
    }

    fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_the_events() {
        let mut store = RawStore::new(WrittenFile::prepare(&std::env::temp_dir(), 1 << 20).unwrap(), Seq::new(7));
        store.commit(&Group { events: Some((3, b"block", b"ids")), writes: &[] }).unwrap();
        store.commit(&Group::default()).unwrap();
        assert_eq!(store.next(), Seq::new(10));
        store.close().unwrap();
    }
}
