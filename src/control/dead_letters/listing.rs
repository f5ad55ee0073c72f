//! Letters as they are told.

use super::{Asker, Filter, Kept, LetterError, Letters, cursor};
use crate::commit::{Beside, Replay, Whose, decode_dead_letter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::{Source, UnixMicros};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;
use wal::Family;

/// Letters, and bytes of them, that one call looks through, whatever it finds: the next one goes on behind.
const LOOKED_AT_MAX: usize = 10_000;
const BYTES_MAX: usize = 32 << 20;

/// Some letters, and where to go on.
pub(super) struct Page {
    pub(super) found: Vec<Kept>,
    /// As it is told.
    pub(super) next: Option<String>,
}

impl Letters {
    pub(super) async fn page_aside(self: &Arc<Self>, filter: Filter, asker: &Asker) -> Result<Page, LetterError> {
        let whose = asker.whose().clone();
        self.aside(move |letters| letters.page(&filter, &whose)).await
    }

    /// Letters within reach that the filter takes, oldest first. Blocks.
    pub(super) fn page(&self, filter: &Filter, whose: &Whose) -> Result<Page, LetterError> {
        let mut page = Page { found: Vec::new(), next: None };
        let (mut looked_at, mut bytes, mut failed) = (0, 0, None);
        let from = filter.cursor.as_ref().map_or(Ok(0), |cursor| self.seal.place(cursor, whose))?;
        self.reader.scan(Family::Dead, &from.to_be_bytes(), |key, value| {
            let Ok(id) = key.try_into().map(u64::from_be_bytes) else { return ControlFlow::Continue(()) };
            if looked_at >= LOOKED_AT_MAX || bytes >= BYTES_MAX {
                page.next = Some(self.seal.tell(id, whose));
                return ControlFlow::Break(());
            }
            looked_at += 1;
            bytes += value.len();
            let Some((head, raw)) = decode_dead_letter(value) else { return ControlFlow::Continue(()) };
            if !whose.holds(Some(&head)) {
                return ControlFlow::Continue(());
            }
            if page.found.len() >= filter.limit {
                // Only now: whether others have letters behind the last one is not to be told.
                page.next = Some(id.to_string());
                return ControlFlow::Break(());
            }
            let beside = match Beside::load(&self.reader, id) {
                Ok(beside) => beside,
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let kept = Kept { id, head, raw: raw.to_vec(), beside };
            if filter.takes(&kept) {
                page.found.push(kept);
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(page), |error| Err(error.into()))
    }

    /// `{"items": […], "nextCursor": …}`. Blocks.
    pub(super) fn list(&self, filter: &Filter, whose: &Whose) -> Result<Value, LetterError> {
        let page = self.page(filter, whose)?;
        let items: Vec<Value> = page.found.iter().map(Kept::told).collect();
        Ok(json!({"items": items, "nextCursor": cursor::told(page.next)}))
    }

    /// One, with its bytes. Blocks.
    pub(super) fn show(&self, id: u64, whose: &Whose) -> Result<Value, LetterError> {
        Ok(self.get(id, whose)?.shown())
    }
}

impl Kept {
    /// What can still be done with it.
    pub(super) fn state(&self) -> &'static str {
        match &self.beside {
            Beside { replay: Some(replay), .. } if replay.is_done() => "replayed",
            Beside { edit: Some(_), .. } => "edited",
            _ => "open",
        }
    }

    /// All that is known of it, with its bytes.
    pub(super) fn shown(&self) -> Value {
        let mut told = self.told();
        put_bytes(&mut told, "raw", &self.raw);
        if let Some(edit) = &self.beside.edit {
            put_bytes(&mut told, "edited", edit);
        }
        told
    }

    /// What is known of it, without its bytes.
    pub(super) fn told(&self) -> Value {
        let head = &self.head;
        json!({
            "id": self.id.to_string(),
            "state": self.state(),
            "code": head.code,
            "pointer": head.pointer,
            "detail": head.detail,
            "tenant": head.tenant,
            "eventId": head.event_id,
            "sink": head.sink,
            "seq": head.seq,
            "source": Source::name_of(head.source),
            "receivedAt": UnixMicros::new(head.received_at).to_string(),
            "committedAt": head.moment().to_string(),
            "bytes": self.raw.len(),
            "replay": self.beside.replay.as_ref().map(replay),
        })
    }
}

/// What became of a replay.
pub(super) fn replay(replay: &Replay) -> Value {
    let mut told = json!({"status": replay.status, "at": UnixMicros::new(replay.at).to_string()});
    if let Some(seq) = replay.seq {
        told["seq"] = seq.into();
    }
    if replay.differs {
        told["message"] = "an event with this id but other content was accepted before; this one was dropped".into();
    }
    for (name, value) in [("code", &replay.code), ("pointer", &replay.pointer), ("detail", &replay.detail)] {
        if let Some(value) = value {
            told[name] = value.as_str().into();
        }
    }
    told
}

/// Bytes as text, or else packed as base64 under another name: nothing of them is lost.
fn put_bytes(told: &mut Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => told[name] = text.into(),
        Err(_) => told[format!("{name}Base64")] = STANDARD.encode(bytes).into(),
    }
}
