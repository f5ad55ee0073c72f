//! Events that a sink can never take and that are dead letters already, while the sink's cursor is not past them: stored
//! under `dead/`, the sink's name, 0 and the position, so that a crash makes no second dead letter of one.

use event::Seq;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use wal::{Family, ReadError, Reader, Write};

/// The marks of `sink`.
pub(super) fn load(reader: &Reader, sink: &str) -> Result<BTreeSet<Seq>, ReadError> {
    let prefix = key(sink, None);
    let mut found = BTreeSet::new();
    reader.scan(Family::Projection, &prefix, |name, _| {
        let Some(seq) = name.strip_prefix(&*prefix) else { return ControlFlow::Break(()) };
        found.extend(seq.try_into().ok().map(u64::from_be_bytes).map(Seq::new));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The write that sets a mark.
pub(super) fn mark(sink: &str, seq: Seq) -> Write {
    Write::Put(Family::Projection, key(sink, Some(seq)), Vec::new())
}

/// The write that removes the marks before `next`.
pub(super) fn forget_before(sink: &str, next: Seq) -> Write {
    Write::DeleteRange(Family::Projection, key(sink, Some(Seq::ZERO)), key(sink, Some(next)))
}

fn key(sink: &str, seq: Option<Seq>) -> Vec<u8> {
    let mut key = [b"dead/", sink.as_bytes(), &[0]].concat();
    key.extend(seq.into_iter().flat_map(|seq| seq.get().to_be_bytes()));
    key
}
