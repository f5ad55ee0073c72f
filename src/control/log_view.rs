//! The log as it is shown to a person: its facts, its events, whether it can be read.

use event::Seq;
use prepare::processed::Extractor;
use record::{EventView, Slot};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use wal::{ReadError, Reader};

/// So many bytes of events are shown at once; one that is larger all the same.
const SHOWN_BYTES_MAX: usize = 4 << 20;
/// So many events are checked at once.
const CHECKED_EVENTS_MAX: u64 = 1_000_000;

/// Where the log begins and ends, its room, and every start that wrote to it.
///
/// # Errors
/// [`ReadError`].
pub fn facts(reader: &Reader) -> Result<Value, ReadError> {
    let size = reader.size();
    let starts: Vec<_> = reader
        .history()?
        .iter()
        .map(|start| json!({"incarnation": format!("{:016x}", start.id), "first": start.first.get()}))
        .collect();
    Ok(json!({
        "start": reader.start().get(),
        "next": reader.committed().next().get(),
        "tableBytes": size.tables,
        "memoryBytes": size.memory,
        "starts": starts,
    }))
}

/// One event, without its payload unless `raw`.
#[must_use]
pub fn event(event: &EventView<'_>, extractor: &mut Extractor, raw: bool) -> Value {
    let mut out = json!({
        "seq": event.seq.get(),
        "committedAt": event.committed_at.to_string(),
        "tenant": event.segment.tenant,
        "bytes": event.raw.len(),
    });
    match extractor.extract(event) {
        Ok(envelope) => {
            out["eventId"] = envelope.event_id.into();
            out["eventType"] = envelope.event_type.into();
        }
        Err(error) => out["unreadable"] = error.to_string().into(),
    }
    if raw {
        out["raw"] = String::from_utf8_lossy(event.raw).into();
    }
    out
}

/// Events from `from` on, `limit` at most, and where the next ones begin.
///
/// # Errors
/// [`ReadError`].
pub fn events(reader: &Reader, from: Seq, limit: usize, raw: bool) -> Result<(Vec<Value>, Seq), ReadError> {
    let (mut extractor, mut scratch) = (Extractor::new(), Vec::new());
    let (mut out, mut bytes, mut next) = (Vec::new(), 0, from);
    let mut damaged = Ok(());
    reader.read(from, |block, _| {
        let visited = block.visit_slots(&mut scratch, |slot| {
            let (Slot::Event(EventView { seq, .. }) | Slot::Erased(seq)) = slot;
            if seq < next || out.len() >= limit || bytes >= SHOWN_BYTES_MAX {
                return;
            }
            next = seq.next();
            if let Slot::Event(view) = slot {
                bytes += view.raw.len();
                out.push(event(&view, &mut extractor, raw));
            }
        });
        damaged = visited.map_err(|cause| ReadError::Corrupt { first: block.first(), cause });
        let is_enough = out.len() >= limit || bytes >= SHOWN_BYTES_MAX || damaged.is_err();
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    damaged.map(|()| (out, next))
}

/// Reads events of a range and checks them: the checksum and the inside of every block, and that none is missing. Reads so
/// much at once; `next` says where to go on, behind `until`.
#[must_use]
pub fn verify(reader: &Reader, from: Option<Seq>, to: Option<Seq>) -> Value {
    let until = to.unwrap_or_else(|| reader.committed()).min(reader.committed());
    let mut from = from.unwrap_or_else(|| reader.start().max(Seq::FIRST));
    let mut checked = check(reader, from, until);
    // What was trimmed while it was read is not missing.
    while checked.failed.is_some() && from < reader.start() {
        from = reader.start();
        checked = check(reader, from, until);
    }
    json!({
        "from": from.get(),
        "next": checked.next.get(),
        "until": until.get(),
        "blocks": checked.blocks,
        "events": checked.events,
        "intact": checked.failed.is_none(),
        "error": checked.failed,
    })
}

struct Checked {
    next: Seq,
    blocks: u64,
    events: u64,
    failed: Option<String>,
}

fn check(reader: &Reader, from: Seq, until: Seq) -> Checked {
    let mut checked = Checked { next: from, blocks: 0, events: 0, failed: None };
    let mut scratch = Vec::new();
    let read = reader.read(from, |block, _| {
        let (mut events, wanted) = (0, u64::from(block.events()));
        let visited = block.visit_slots(&mut scratch, |_| events += 1);
        match visited {
            Err(cause) => checked.failed = Some(format!("block at {}: {cause}", block.first())),
            Ok(()) if events != wanted => {
                checked.failed = Some(format!("block at {}: {events} events, not {wanted}", block.first()));
            }
            Ok(()) => {}
        }
        checked.blocks += 1;
        checked.events += events;
        checked.next = block.last().next();
        let is_enough = checked.failed.is_some() || checked.next > until || checked.events >= CHECKED_EVENTS_MAX;
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match read {
        Err(error) => checked.failed = checked.failed.or_else(|| Some(error.to_string())),
        // A gap that was recorded may reach to the end.
        Ok(next) => checked.next = checked.next.max(next),
    }
    checked
}
