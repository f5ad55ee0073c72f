//! Batches that were given up while nobody knew whether they had arrived: stored as their manifests, under `given_up/`,
//! the sink's name, 0 and the first position, until the sink can be asked how much of them it has.

use super::Manifest;
use event::Seq;
use std::ops::ControlFlow;
use wal::{Family, ReadError, Reader, Write};

/// The batches of `sink`, oldest first.
pub(super) fn load(reader: &Reader, sink: &str) -> Result<Vec<Manifest>, ReadError> {
    let prefix = key(sink, None);
    let mut found = Vec::new();
    reader.scan(Family::Projection, &prefix, |name, value| {
        if !name.starts_with(&prefix) {
            return ControlFlow::Break(());
        }
        // One that cannot be read any more stays counted as given up.
        found.extend(Manifest::decode(value).ok());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The write that keeps one.
pub(super) fn store(sink: &str, batch: &Manifest) -> Write {
    Write::Put(Family::Projection, key(sink, Some(batch.first)), batch.encode())
}

/// The write that removes one.
pub(super) fn remove(sink: &str, batch: &Manifest) -> Write {
    Write::Delete(Family::Projection, key(sink, Some(batch.first)))
}

/// The write that removes all of them.
pub(super) fn forget(sink: &str) -> Write {
    Write::DeleteRange(Family::Projection, key(sink, None), [b"given_up/", sink.as_bytes(), &[1]].concat())
}

fn key(sink: &str, first: Option<Seq>) -> Vec<u8> {
    let mut key = [b"given_up/", sink.as_bytes(), &[0]].concat();
    key.extend(first.into_iter().flat_map(|first| first.get().to_be_bytes()));
    key
}
