//! That an operator has said where a sink goes on, whatever it holds: stored under `reconciled/` and the sink's name.
//!
//! ```text
//! 0 u8   version = 1        All integers are little-endian. What may never change: the meaning of version 1.
//! 1 u8   whether the sink itself is still to be told
//! 2 u8×6 0
//! 8 i64  when, microseconds since 1970
//! ```

use event::UnixMicros;
use wal::{Family, ReadError, Reader, Write};

const VERSION: u8 = 1;
const LEN: usize = 16;

/// An operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reconciled {
    /// Whether the sink itself is still to be told.
    pub(super) is_pending: bool,
    /// When it was given: what was in the sink before is as it should be.
    pub(super) at: UnixMicros,
}

impl Reconciled {
    pub(super) fn load(reader: &Reader, sink: &str) -> Result<Option<Self>, ReadError> {
        Ok(reader.get(Family::Projection, &key(sink))?.and_then(|value| Self::decode(&value)))
    }

    pub(super) fn store(&self, sink: &str) -> Write {
        let mut out = vec![0; LEN];
        (out[0], out[1]) = (VERSION, u8::from(self.is_pending));
        out[8..].copy_from_slice(&self.at.get().to_le_bytes());
        Write::Put(Family::Projection, key(sink), out)
    }

    pub(super) fn forget(sink: &str) -> Write {
        Write::Delete(Family::Projection, key(sink))
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let [VERSION, is_pending, _, _, _, _, _, _, rest @ ..] = value else { return None };
        let at = UnixMicros::new(i64::from_le_bytes(rest.try_into().ok()?));
        Some(Reconciled { is_pending: *is_pending != 0, at })
    }
}

fn key(sink: &str) -> Vec<u8> {
    [b"reconciled/", sink.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_never_changes() {
        let reconciled = Reconciled { is_pending: true, at: UnixMicros::new(0x0102_0304_0506_0708) };
        let Write::Put(_, key, stored) = reconciled.store("s") else { panic!("not stored") };
        assert_eq!(key, b"reconciled/s");
        assert_eq!(stored, [1, 1, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(Reconciled::decode(&stored), Some(reconciled));
        assert_eq!(Reconciled::decode(&stored[..15]), None);
    }
}
