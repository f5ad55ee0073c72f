//! What an operator, or a policy, wants of a running sink.

use event::Seq;
use wal::{Family, ReadError, Reader, Write};

/// The newest wishes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders {
    /// Whether it is to rest; `None` until somebody says something: as before the start.
    pub(super) paused: Option<bool>,
    /// How often somebody said that it should go on.
    pub(super) revivals: u64,
    /// What it has not got before this is to be given up.
    pub(super) expire_until: Seq,
}

/// Whether `sink` was paused when that was last stored.
pub(super) fn was_paused(reader: &Reader, sink: &str) -> Result<bool, ReadError> {
    Ok(reader.get(Family::Projection, &key(sink))?.is_some())
}

/// The write that stores whether `sink` is paused.
pub(super) fn store_paused(sink: &str, paused: bool) -> Write {
    match paused {
        true => Write::Put(Family::Projection, key(sink), Vec::new()),
        false => Write::Delete(Family::Projection, key(sink)),
    }
}

fn key(sink: &str) -> Vec<u8> {
    [b"paused/", sink.as_bytes()].concat()
}
