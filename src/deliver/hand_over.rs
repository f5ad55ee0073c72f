//! A copy that goes on as a node of its own: what it holds is the original's to deliver, so every sink begins behind it,
//! also one that is switched on later. Stored in [`Family::Projection`] under `begin`, as a [`Cursor`].

use super::Cursor;
use wal::{Family, ReadError, Reader, Write};

const NAME: &[u8] = b"begin";

/// The writes after which no sink has a place of its own any more, and each is to begin at `end`.
///
/// # Errors
/// [`ReadError`].
pub fn hand_over(reader: &Reader, end: Cursor) -> Result<Vec<Write>, ReadError> {
    let known = Cursor::of_others(reader, &[])?;
    let mut writes: Vec<Write> = known.iter().flat_map(|(sink, _)| Cursor::forget(sink)).collect();
    writes.push(Write::Put(Family::Projection, NAME.to_vec(), end.encode().to_vec()));
    Ok(writes)
}

/// Where a new sink is to begin at the earliest.
pub(super) fn load(reader: &Reader) -> Result<Cursor, ReadError> {
    let stored = reader.get(Family::Projection, NAME)?;
    Ok(stored.and_then(|value| Cursor::decode(&value).ok()).unwrap_or_default())
}
