//! Edits and purges.

use super::listing::cursor;
use super::{Filter, Kept, LetterError, Letters};
use crate::commit::LetterOrder;
use serde_json::{Value, json};
use std::sync::Arc;

impl Letters {
    /// Keeps other bytes for a replay beside the letter's own.
    pub(super) async fn edit(&self, id: u64, bytes: Vec<u8>) -> Result<Value, LetterError> {
        let _turn = self.turn.lock().await;
        let kept = self.get(id)?;
        kept.can_be_replayed()?;
        if bytes.is_empty() {
            return Err(LetterError::question("the body is the mended event"));
        }
        let max = self.limits()?.event_bytes_max;
        if bytes.len() > max {
            return Err(LetterError::TooLarge(max));
        }
        let ordered = self.control.order(LetterOrder::Edit { id, bytes }).await?;
        if ordered.is_full {
            return Err(LetterError::Full);
        }
        if !ordered.done.contains(&id) {
            return Err(LetterError::Missing(id));
        }
        self.record("edit", &[id]);
        self.show(id)
    }

    /// Removes one for good.
    pub(super) async fn purge(&self, id: u64) -> Result<Value, LetterError> {
        let _turn = self.turn.lock().await;
        self.get(id)?;
        let ordered = self.control.order(LetterOrder::Remove { ids: vec![id] }).await?;
        if ordered.awaited.contains(&id) {
            return Err(LetterError::Conflict(format!(
                "a sink that takes dead letters has not got {id} yet: wait for it (`ingestd admin sinks`)"
            )));
        }
        if !ordered.done.contains(&id) {
            return Err(LetterError::Missing(id));
        }
        self.record("purge", &[id]);
        Ok(json!({"id": id.to_string(), "status": "purged"}))
    }

    /// Removes those of one page that the filter takes.
    pub(super) async fn purge_all(self: &Arc<Self>, filter: &Filter) -> Result<Value, LetterError> {
        filter.must_choose()?;
        let _turn = self.turn.lock().await;
        let page = self.page_aside(filter).await?;
        let ids: Vec<u64> = page.found.iter().map(|kept| kept.id).collect();
        let ordered = self.control.order(LetterOrder::Remove { ids }).await?;
        let purged: Vec<u64> = ordered.done.iter().copied().collect();
        self.record("purge", &purged);
        let kept: Vec<String> = ordered.awaited.iter().map(u64::to_string).collect();
        Ok(json!({"purged": purged.len(), "kept": kept, "nextCursor": cursor(page.next)}))
    }

    /// The one place that hears of every change that was made; never of what is in a letter.
    pub(super) fn record(&self, what: &'static str, ids: &[u64]) {
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            tracing::info!(what, letters = ids.len(), first, last, "dead letters changed");
        }
    }

    pub(super) fn limits(&self) -> Result<prepare::Limits, LetterError> {
        let shared = self.shared.upgrade().ok_or(LetterError::Refused(event::Refusal::ShuttingDown))?;
        Ok(shared.settings.load().limits.clone())
    }
}

impl Kept {
    /// Refuses what is in the log already: replayed once more, it could come twice to whoever has it.
    pub(super) fn can_be_replayed(&self) -> Result<(), LetterError> {
        let id = self.id;
        if let Some(replay) = self.beside.replay.as_ref().filter(|replay| replay.is_done()) {
            let seq = replay.seq.unwrap_or_default();
            return Err(LetterError::Conflict(format!(
                "dead letter {id} was replayed: its event is in the log as {seq}"
            )));
        }
        if let (Some(sink), Some(seq)) = (&self.head.sink, self.head.seq) {
            return Err(LetterError::Conflict(format!(
                "dead letter {id} was accepted and is in the log as {seq}; only {sink} could not take it, and the other \
                 sinks have it as it is: it can neither be changed nor go in again"
            )));
        }
        Ok(())
    }
}
