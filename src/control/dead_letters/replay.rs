//! Replays: a letter's bytes, or those of its edit, go in as any event does; what becomes of the letter is in the same
//! write as its event.

use super::listing::replay as told;
use super::{Asker, Filter, Kept, LetterError, Letters, cursor};
use crate::commit::{Beside, LetterOrder, Replay, Submission};
use event::{Batch, Refusal, Rejection, Source, UnixMicros};
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

impl Letters {
    /// Replays one. One that was replayed before stays as it is, and says what became of it then.
    pub(super) async fn replay(self: &Arc<Self>, id: u64, asker: &Asker) -> Result<Value, LetterError> {
        let (_turn, kept) = self.at_its_turn(asker, self.get_aside(id, asker)).await?;
        if let Some(before) = kept.beside.replay.as_ref().filter(|replay| replay.is_done()) {
            let mut result = result(id, before);
            result["repeated"] = true.into();
            return Ok(result);
        }
        kept.can_be_replayed()?;
        self.begin(asker).await?;
        let replay = self.put_in(&kept).await?;
        self.record("replay", &[id]);
        Ok(result(id, &replay))
    }

    /// Replays those of one page that the filter takes and that can be; what became of each.
    pub(super) async fn replay_all(self: &Arc<Self>, filter: Filter, asker: &Asker) -> Result<Value, LetterError> {
        filter.must_choose()?;
        let (_turn, page) = self.at_its_turn(asker, self.page_aside(filter, asker)).await?;
        if page.found.iter().any(|kept| kept.can_be_replayed().is_ok()) {
            self.begin(asker).await?;
        }
        let mut counts = serde_json::Map::new();
        let (mut results, mut replayed, mut next) = (Vec::new(), Vec::new(), page.next);
        for kept in &page.found {
            let status = if kept.can_be_replayed().is_err() {
                "skipped".to_owned()
            } else {
                match self.put_in(kept).await {
                    Ok(replay) => {
                        replayed.push(kept.id);
                        results.push(result(kept.id, &replay));
                        replay.status
                    }
                    // What has gone in so far is told; the rest is for another call.
                    Err(error) if !replayed.is_empty() => {
                        let (name, why) = match error {
                            LetterError::Refused(refusal) => ("refused", refusal.as_str().into()),
                            error => ("failed", error.to_string().into()),
                        };
                        counts.insert(name.to_owned(), why);
                        next = Some(kept.id.to_string());
                        break;
                    }
                    Err(error) => return Err(error),
                }
            };
            let count = counts.get(&status).and_then(Value::as_u64).unwrap_or_default();
            counts.insert(status, (count + 1).into());
        }
        self.record("replay", &replayed);
        let mut answer = json!({"accepted": 0, "duplicate": 0, "rejected": 0, "skipped": 0});
        counts.into_iter().for_each(|(name, count)| answer[name] = count);
        answer["results"] = results.into();
        answer["nextCursor"] = cursor::told(next);
        Ok(answer)
    }

    /// Validates, deduplicates and commits a letter's event: the letter's tenant is its owner, whatever an edit says.
    async fn put_in(self: &Arc<Self>, kept: &Kept) -> Result<Replay, LetterError> {
        let shared = self.shared()?;
        let permit = shared.admission.enter()?;
        let now = UnixMicros::now();
        let source = if kept.head.source == Source::WebSocket as u8 { Source::WebSocket } else { Source::Http };
        let mut batch = Batch::new(&kept.head.tenant, source, now);
        batch.traceparent = kept.head.traceparent.as_deref().map(Into::into);
        let parsed = self.parse(kept.bytes(), now, &mut batch)?;
        shared.metrics.received.fetch_add(1, Relaxed);
        if let Err(rejection) = parsed {
            shared.metrics.reject(rejection.code, 1);
            let replay = rejected(&rejection, now);
            self.control.order(LetterOrder::Note { id: kept.id, replay: replay.clone() }).await?;
            return Ok(replay);
        }
        let mut submission = Box::new(Submission::new(batch, permit));
        submission.replays = Some(kept.id);
        let submission =
            self.control.submit(submission).await.inspect_err(|refusal| shared.metrics.refuse(*refusal, 1))?;
        let receipt = submission.outcome.as_ref().map_err(|refusal| *refusal)?;
        match receipt.verdicts.first() {
            Some(verdict) => Ok(Replay::of(*verdict, receipt.committed_at)),
            // Another replay of it, whose asker has left, came before.
            None => {
                shared.metrics.duplicate.fetch_add(1, Relaxed);
                let id = kept.id;
                let beside = self.aside(move |letters| Ok(Beside::load(&letters.reader, id)?)).await?;
                Ok(beside.replay.ok_or(Refusal::Unknown)?)
            }
        }
    }

    fn parse(&self, bytes: &[u8], now: UnixMicros, batch: &mut Batch) -> Result<Result<(), Rejection>, LetterError> {
        let limits = self.limits()?;
        let mut parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner);
        parser.set_limits(limits);
        Ok(parser.single(bytes, now, batch))
    }
}

impl Kept {
    /// The bytes that a replay takes.
    fn bytes(&self) -> &[u8] {
        self.beside.edit.as_deref().unwrap_or(&self.raw)
    }
}

fn rejected(rejection: &Rejection, at: UnixMicros) -> Replay {
    let first = rejection.first();
    Replay {
        at: at.get(),
        status: "rejected".into(),
        seq: None,
        differs: false,
        code: Some(rejection.code.as_str().into()),
        pointer: Some(first.pointer.clone()),
        detail: Some(first.detail.clone()),
    }
}

fn result(id: u64, replay: &Replay) -> Value {
    let mut result = told(replay);
    result["id"] = id.to_string().into();
    result
}
