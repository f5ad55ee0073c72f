//! Edits and purges.

use super::{Asker, Filter, Kept, LetterError, Letters, cursor};
use crate::commit::{LetterOrder, Ordered};
use serde_json::{Value, json};
use std::sync::Arc;

impl Letters {
    /// Keeps other bytes for a replay beside the letter's own.
    pub(super) async fn edit(self: &Arc<Self>, id: u64, bytes: Vec<u8>, asker: &Asker) -> Result<Value, LetterError> {
        let (_turn, mut kept) = self.at_its_turn(asker, self.get_aside(id, asker)).await?;
        kept.can_be_replayed()?;
        if bytes.is_empty() {
            return Err(LetterError::question("the body is the mended event"));
        }
        let max = self.limits()?.event_bytes_max;
        if bytes.len() > max {
            return Err(LetterError::TooLarge(max));
        }
        let whose = asker.whose().clone();
        self.begin(asker).await?;
        kept.beside.edit = Some(bytes.clone());
        let ordered = self.control.order(LetterOrder::Edit { id, bytes, whose }).await?;
        if let Some(error) = ordered.ended_by {
            return Err(error.into());
        }
        if ordered.is_full {
            return Err(LetterError::Full);
        }
        if !ordered.done.contains(&id) {
            return Err(LetterError::Missing(id));
        }
        self.record("edit", &[id]);
        Ok(kept.shown())
    }

    /// Removes one for good.
    pub(super) async fn purge(self: &Arc<Self>, id: u64, asker: &Asker) -> Result<Value, LetterError> {
        let (_turn, _) = self.at_its_turn(asker, self.get_aside(id, asker)).await?;
        let whose = asker.whose().clone();
        self.begin(asker).await?;
        let ordered = self.control.order(LetterOrder::Remove { ids: vec![id], whose }).await?;
        if let Some(error) = ordered.ended_by {
            return Err(error.into());
        }
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

    /// Removes those of one page that the filter takes, up to what cannot be read.
    pub(super) async fn purge_all(self: &Arc<Self>, filter: Filter, asker: &Asker) -> Result<Value, LetterError> {
        filter.must_choose()?;
        let (_turn, page) = self.at_its_turn(asker, self.page_aside(filter, asker)).await?;
        let ids: Vec<u64> = page.found.iter().map(|kept| kept.id).collect();
        if ids.is_empty() {
            return purged_of(Ordered::default(), page.next);
        }
        let whose = asker.whose().clone();
        self.begin(asker).await?;
        let ordered = self.control.order(LetterOrder::Remove { ids, whose }).await?;
        let purged: Vec<u64> = ordered.done.iter().copied().collect();
        self.record("purge", &purged);
        purged_of(ordered, page.next)
    }

    /// The one place that hears of every change that was made; never of what is in a letter.
    pub(super) fn record(&self, what: &'static str, ids: &[u64]) {
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            tracing::info!(what, letters = ids.len(), first, last, "dead letters changed");
        }
    }

    pub(super) fn limits(&self) -> Result<prepare::Limits, LetterError> {
        let shared = self.shared()?;
        Ok(shared.settings.load().limits.clone())
    }
}

/// What became of a page of letters. What was removed before one could not be read is told, as with replays; where that is
/// nothing, it is an error.
fn purged_of(ordered: Ordered, next: Option<String>) -> Result<Value, LetterError> {
    let kept: Vec<String> = ordered.awaited.iter().map(u64::to_string).collect();
    let mut answer = json!({"purged": ordered.done.len(), "kept": kept, "nextCursor": cursor::told(next)});
    if let Some(error) = ordered.ended_by {
        let Some(last) = ordered.done.last() else { return Err(error.into()) };
        answer["failed"] = error.to_string().into();
        // It is gone, so that this goes on behind it; the next number may be of another tenant.
        answer["nextCursor"] = cursor::told(Some(last.to_string()));
    }
    Ok(answer)
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

#[cfg(test)]
mod tests {
    use super::*;
    use event::Seq;

    fn unreadable() -> wal::ReadError {
        wal::ReadError::Gap { from: Seq::new(1), until: Seq::new(2) }
    }

    #[test]
    fn what_was_purged_before_a_letter_could_not_be_read_is_told() {
        let ordered = Ordered { done: [3, 5].into(), ended_by: Some(unreadable()), ..Ordered::default() };
        let answer = purged_of(ordered, Some("90".into())).unwrap();
        assert_eq!((&answer["purged"], &answer["nextCursor"]), (&2.into(), &"5".into()));
        assert_eq!(answer["failed"], unreadable().to_string());
        let nothing = Ordered { awaited: [3].into(), ended_by: Some(unreadable()), ..Ordered::default() };
        assert!(matches!(purged_of(nothing, None), Err(LetterError::Read(_))));
        let all = purged_of(Ordered { done: [3].into(), ..Ordered::default() }, None).unwrap();
        assert_eq!(all, json!({"purged": 1, "kept": [], "nextCursor": null}));
    }
}
