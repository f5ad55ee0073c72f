//! A data folder that is a checkpoint of another one: what it is used as is made durable before anything else is done.

use super::boot::StartError;
use crate::commit::next_dead_letter;
use crate::deliver::{Cursor, hand_over};
use wal::{CopyUse, Opened};

/// Settles what a copy is used as, if that is to be settled by this start.
pub(super) fn settle(opened: &mut Opened) -> Result<(), StartError> {
    let Some(used) = opened.unsettled.take() else { return Ok(()) };
    let writes = match used {
        // What it holds is the original's to deliver.
        CopyUse::AsNewNode => {
            let end = Cursor { next: opened.recovery.next, next_dead: next_dead_letter(&opened.reader)? };
            hand_over(&opened.reader, end)?
        }
        // Each sink finds its place by what it holds itself.
        CopyUse::Replace => Vec::new(),
    };
    let before = opened.identity.node;
    opened.identity.node = opened.writer.settle_copy(used, &writes).map_err(StartError::Settle)?;
    let (node, end) = (opened.identity.node, opened.recovery.next.prev());
    match used {
        CopyUse::AsNewNode => {
            let (node, original) = (format!("{node:032x}"), format!("{before:032x}"));
            tracing::warn!(node, original, %end, "this copy is a node of its own from now on: its sinks begin behind the newest event of the copy");
        }
        CopyUse::Replace => {
            let node = format!("{node:032x}");
            tracing::warn!(node, %end, "this copy is in the place of the original from now on, which must never run again");
        }
    }
    Ok(())
}
