//! That a log is a copy of another one, and what it is to be used as: kept in the log itself, so that it cannot get lost
//! on the way, and decided once.
//!
//! Stored in `meta` under `copy`:
//!
//! ```text
//! 0 u8   version = 1        All integers are little-endian. What may never change: the meaning of version 1.
//! 1 u8   0 undecided, 1 as a new node, 2 in the place of the original
//! 2 u8×6 0
//! 8 i64  when it was made, microseconds since 1970
//! 16 u64 its newest event
//! ```

use crate::family::Family;
use crate::identity::{self, family};
use crate::writer::{Writer, synced};
use crate::{CommitError, OpenError, Write};
use event::{Seq, UnixMicros};
use rocksdb::{DB, WriteBatch};

const NAME: &[u8] = b"copy";
const VERSION: u8 = 1;
const LEN: usize = 24;

/// What a copy is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyUse {
    /// Beside the original, which keeps its name and its backlog.
    AsNewNode,
    /// In the place of the original, which must never run again.
    Replace,
}

impl CopyUse {
    /// The flag of `ingestd serve` that says so.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            CopyUse::AsNewNode => "--as-new-node",
            CopyUse::Replace => "--replace",
        }
    }
}

/// What a log knows of its being a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyMark {
    /// What it is used as; `None` until somebody has said so.
    pub used: Option<CopyUse>,
    /// When it was made.
    pub made_at: UnixMicros,
    /// Its newest event when it was made.
    pub end: Seq,
}

impl CopyMark {
    /// The mark of a log; `None` for one that is no copy.
    pub(crate) fn load(db: &DB) -> Result<Option<CopyMark>, OpenError> {
        let Some(value) = identity::get(db, NAME)? else { return Ok(None) };
        let damaged = || OpenError::Damaged { at: "meta".into(), what: "the mark of a copy makes no sense".into() };
        CopyMark::decode(&value).ok_or_else(damaged).map(Some)
    }

    /// Stores it, durably, in a copy that nobody uses yet.
    pub(crate) fn store(&self, db: &DB) -> Result<(), rocksdb::Error> {
        db.put_cf_opt(family(db, Family::Meta), NAME, self.encode(), &synced())
    }

    fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = VERSION;
        out[1] = match self.used {
            None => 0,
            Some(CopyUse::AsNewNode) => 1,
            Some(CopyUse::Replace) => 2,
        };
        out[8..16].copy_from_slice(&self.made_at.get().to_le_bytes());
        out[16..].copy_from_slice(&self.end.get().to_le_bytes());
        out
    }

    fn decode(value: &[u8]) -> Option<CopyMark> {
        let [VERSION, used, _, _, _, _, _, _, rest @ ..] = value else { return None };
        let used = match used {
            0 => None,
            1 => Some(CopyUse::AsNewNode),
            2 => Some(CopyUse::Replace),
            _ => return None,
        };
        let (made_at, end) = rest.split_first_chunk()?;
        let (made_at, end) = (i64::from_le_bytes(*made_at), u64::from_le_bytes(end.try_into().ok()?));
        Some(CopyMark { used, made_at: UnixMicros::new(made_at), end: Seq::new(end) })
    }
}

/// Holds what the operator says against what the log knows. Returns what is still to be [settled](Writer::settle_copy).
pub(crate) fn check(mark: Option<CopyMark>, said: Option<CopyUse>) -> Result<Option<CopyUse>, OpenError> {
    match (mark, said) {
        (None, None) => Ok(None),
        (None, Some(said)) => Err(OpenError::NoCopy { said }),
        (Some(CopyMark { used: None, made_at, end }), None) => Err(OpenError::Copy { made_at, end }),
        (Some(CopyMark { used: None, .. }), said) => Ok(said),
        (Some(CopyMark { used: Some(used), .. }), Some(said)) if used != said => {
            Err(OpenError::UsedOtherwise { used, said })
        }
        (Some(_), _) => Ok(None),
    }
}

impl Writer {
    /// Makes it durable, together with `writes`, what a copy is used as. Returns the node id from now on.
    ///
    /// # Errors
    /// The first write or sync failure; then nothing is decided.
    pub fn settle_copy(&mut self, used: CopyUse, writes: &[Write]) -> Result<u128, CommitError> {
        self.note_write();
        let shared = self.shared();
        let (db, poison) = (&shared.db, &shared.poison);
        let failed = |error: String| poison.set(&format!("deciding what the copy is used as failed: {error}"));
        let mark = CopyMark::load(db).map_err(|error| failed(error.to_string()))?;
        let node = match used {
            CopyUse::AsNewNode => identity::draw_node(),
            CopyUse::Replace => identity::load_or_draw(db).map(|identity| identity.node),
        };
        let node = node.map_err(|error| failed(error.to_string()))?;
        let mut batch = WriteBatch::default();
        writes.iter().for_each(|write| write.add_to(db, &mut batch));
        let meta = family(db, Family::Meta);
        identity::put_node(meta, node, &mut batch);
        if let Some(mark) = mark {
            batch.put_cf(meta, NAME, CopyMark { used: Some(used), ..mark }.encode());
        }
        db.write_opt(batch, &synced()).map_err(|error| failed(error.to_string()))?;
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: CopyMark =
        CopyMark { used: Some(CopyUse::Replace), made_at: UnixMicros::new(0x0102_0304_0506_0708), end: Seq::new(9) };

    #[test]
    fn version_1_never_changes() {
        let stored = [1, 2, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(MARK.encode(), stored);
        assert_eq!(CopyMark::decode(&stored), Some(MARK));
        assert_eq!(CopyMark::decode(&stored[..23]), None);
    }

    #[test]
    fn what_is_decided_once_is_decided() {
        let undecided = CopyMark { used: None, ..MARK };
        assert!(matches!(check(Some(undecided), None), Err(OpenError::Copy { .. })));
        for said in [CopyUse::AsNewNode, CopyUse::Replace] {
            assert!(matches!(check(Some(undecided), Some(said)), Ok(Some(settles)) if settles == said));
            assert!(matches!(check(None, Some(said)), Err(OpenError::NoCopy { .. })));
        }
        assert!(matches!(check(Some(MARK), None), Ok(None)));
        assert!(matches!(check(Some(MARK), Some(CopyUse::Replace)), Ok(None)));
        assert!(matches!(check(Some(MARK), Some(CopyUse::AsNewNode)), Err(OpenError::UsedOtherwise { .. })));
    }
}
