//! From a refusal of a sink to the dead letter.

use super::consumer::fault;
use super::{FailureCode, Fault, Refused};
use crate::commit::{DeadDraft, DeadLetter};
use prepare::processed::Extractor;
use record::{EventView, Slot};
use std::ops::ControlFlow;
use wal::Reader;

/// The dead letters of events that `sink` can never take; of one that was erased meanwhile there is none.
pub(super) fn drafts(reader: &Reader, sink: &str, refused: &[Refused]) -> Result<Vec<DeadDraft>, Fault> {
    let mut extractor = Extractor::new();
    let mut scratch = Vec::new();
    let mut drafts = Vec::with_capacity(refused.len());
    for refusal in refused {
        let (mut draft, mut is_erased) = (None, false);
        let read = reader.read(refusal.seq, |block, _| {
            // What cannot be taken apart is found out by whoever reads the log next.
            block
                .visit_slots(&mut scratch, |slot| match slot {
                    Slot::Event(event) if event.seq == refusal.seq => {
                        draft = Some(draft_of(&event, sink, refusal, &mut extractor));
                    }
                    Slot::Erased(seq) => is_erased |= seq == refusal.seq,
                    Slot::Event(_) => {}
                })
                .ok();
            ControlFlow::Break(())
        });
        read.map_err(|error| fault(&error))?;
        let unreadable =
            || Fault::of(FailureCode::LogDamaged, format_args!("event {} cannot be read again", refusal.seq));
        if !is_erased {
            drafts.push(draft.ok_or_else(unreadable)?);
        }
    }
    Ok(drafts)
}

fn draft_of(event: &EventView<'_>, sink: &str, refusal: &Refused, extractor: &mut Extractor) -> DeadDraft {
    let known = extractor.extract(event).ok();
    let letter = DeadLetter {
        tenant: event.segment.tenant.to_owned(),
        code: refusal.code.clone(),
        pointer: refusal.pointer.clone(),
        detail: refusal.detail.clone(),
        event_id: known.map(|envelope| envelope.event_id.to_owned()),
        received_at: event.segment.received_at.get(),
        source: event.segment.source,
        sink: Some(sink.to_owned()),
        seq: Some(event.seq.get()),
        event_type: known.map(|envelope| envelope.event_type.to_owned()),
        session_id: known.map(|envelope| envelope.session_id.to_owned()),
        store_id: known.map(|envelope| envelope.store_id.to_owned()),
        traceparent: event.segment.traceparent.map(str::to_owned),
        // Set when it is kept.
        committed_at: 0,
        after: 0,
        incarnation: 0,
    };
    DeadDraft { letter, raw: event.raw.to_vec() }
}
