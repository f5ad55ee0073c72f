//! How far a sink has everything, as stored in [`Family::Cursor`] under the sink's name.
//!
//! ```text
//! 0 u8   version = 1        All integers are little-endian. What may never change: the meaning of version 1.
//! 1 u8   of a place that was passed: whether what had arrived after it is counted
//! 2 u8×6 0
//! 8 u64  first event that the sink does not have
//! 16 u64 first dead letter that the sink does not have; 0 for a sink that takes none
//! ```

use super::reconciled::Reconciled;
use super::{Ledger, expired, given_up, left_out, orders};
use event::Seq;
use std::ops::ControlFlow;
use wal::{Family, ReadError, Reader, Write};

const VERSION: u8 = 1;
const LEN: usize = 24;

/// A sink's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// First event that the sink does not have.
    pub next: Seq,
    /// First dead letter that the sink does not have; 0 for a sink that takes none.
    pub next_dead: u64,
}

impl Cursor {
    /// The stored cursor of `sink`, if it ever stored one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(reader: &Reader, sink: &str) -> Result<Option<Result<Cursor, String>>, ReadError> {
        Ok(reader.get(Family::Cursor, sink.as_bytes())?.map(|value| Cursor::decode(&value)))
    }

    /// How far the sink itself says that it has everything, where that is less than the cursor says: before what follows
    /// was given up, or before anything was sent. `None` once the sink has been told.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn passed(reader: &Reader, sink: &str) -> Result<Option<Result<Cursor, String>>, ReadError> {
        Ok(reader.get(Family::Projection, &passed(sink))?.map(|value| Cursor::decode(&value)))
    }

    /// The write that keeps this as [`Cursor::passed`].
    #[must_use]
    pub fn store_passed(&self, sink: &str) -> Write {
        Write::Put(Family::Projection, passed(sink), self.encode().to_vec())
    }

    /// Whether it is counted already how much of what was given up after [`Cursor::passed`] had arrived.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn is_counted(reader: &Reader, sink: &str) -> Result<bool, ReadError> {
        Ok(reader.get(Family::Projection, &passed(sink))?.is_some_and(|value| value.get(1) == Some(&1)))
    }

    /// The write that keeps this as [`Cursor::passed`], and that it is counted.
    pub(super) fn store_counted(&self, sink: &str) -> Write {
        let mut value = self.encode().to_vec();
        value[1] = 1;
        Write::Put(Family::Projection, passed(sink), value)
    }

    /// The write that ends it.
    #[must_use]
    pub fn forget_passed(sink: &str) -> Write {
        Write::Delete(Family::Projection, passed(sink))
    }

    /// The stored cursors of all sinks but these. What is no cursor counts as one at the log's very beginning.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of_others(reader: &Reader, running: &[&str]) -> Result<Vec<(String, Cursor)>, ReadError> {
        let mut others = Vec::new();
        reader.scan(Family::Cursor, &[], |name, value| {
            if !running.iter().any(|sink| sink.as_bytes() == name) {
                let cursor = Cursor::decode(value).unwrap_or(Cursor { next: Seq::ZERO, next_dead: 1 });
                others.push((String::from_utf8_lossy(name).into_owned(), cursor));
            }
            ControlFlow::Continue(())
        })?;
        Ok(others)
    }

    /// The writes after which the log knows nothing of `sink` any more.
    #[must_use]
    pub fn forget(sink: &str) -> Vec<Write> {
        let (from, until) = ([sink.as_bytes(), &[0]].concat(), [sink.as_bytes(), &[1]].concat());
        vec![
            Write::Delete(Family::Cursor, sink.as_bytes().to_vec()),
            Write::DeleteRange(Family::Manifest, from, until),
            Ledger::remove(sink),
            Cursor::forget_passed(sink),
            orders::store_paused(sink, false),
            Reconciled::forget(sink),
            left_out::forget_before(sink, Seq::new(u64::MAX)),
            expired::forget_from(sink, Seq::ZERO),
            given_up::forget(sink),
        ]
    }

    /// The write that stores it.
    #[must_use]
    pub fn store(&self, sink: &str) -> Write {
        Write::Put(Family::Cursor, sink.as_bytes().to_vec(), self.encode().to_vec())
    }

    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = VERSION;
        out[8..16].copy_from_slice(&self.next.get().to_le_bytes());
        out[16..24].copy_from_slice(&self.next_dead.to_le_bytes());
        out
    }

    pub(super) fn decode(value: &[u8]) -> Result<Cursor, String> {
        let [VERSION, _, _, _, _, _, _, _, rest @ ..] = value else {
            return Err(format!("stored cursor has unknown version {:?}", value.first()));
        };
        let (words, []) = rest.as_chunks::<8>() else { return Err("stored cursor has a wrong length".into()) };
        let [next, next_dead] = words else { return Err("stored cursor has a wrong length".into()) };
        Ok(Cursor { next: Seq::new(u64::from_le_bytes(*next)), next_dead: u64::from_le_bytes(*next_dead) })
    }
}

fn passed(sink: &str) -> Vec<u8> {
    [b"passed/", sink.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_never_changes() {
        let cursor = Cursor { next: Seq::new(0x0102_0304_0506_0708), next_dead: 9 };
        let stored = [1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(cursor.encode(), stored);
        assert_eq!(Cursor::decode(&stored), Ok(cursor));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for value in [&[][..], &[2; LEN], &[1; LEN - 1], &[1; LEN + 1]] {
            assert!(Cursor::decode(value).is_err(), "{value:?}");
        }
    }
}
