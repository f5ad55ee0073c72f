//! The messages that go out, written by hand into one buffer for each round.

use crate::commit::{Confirmation, Listener, Missed};
use crate::intake::answer::{put_duplicate, put_durability, put_number};
use event::{Durability, Receipt, UnixMicros, Verdict};
use frame::put_text_with;

/// What an `event_error` says.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventError<'a> {
    /// The event's id as the content of a JSON string, where one could be read.
    pub(super) id_json: Option<&'a [u8]>,
    /// The event's place in its array.
    pub(super) index: Option<u32>,
    /// For programs.
    pub(super) code: &'a str,
    /// For people.
    pub(super) error: &'a str,
    /// RFC 6901 pointer; empty for the event itself.
    pub(super) pointer: &'a str,
}

/// An event that is stored, or was before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack<'a> {
    /// The event's id as the content of a JSON string.
    pub(super) id_json: &'a [u8],
    pub(super) receipt: &'a Receipt,
    pub(super) verdict: Verdict,
    pub(super) durability: Durability,
}

pub(super) fn put_ack(out: &mut Vec<u8>, ack: &Ack<'_>) {
    let Ack { id_json, receipt, verdict, durability } = *ack;
    put_text_with(out, |out| {
        out.extend_from_slice(b"{\"type\":\"event_ack\",\"eventId\":\"");
        out.extend_from_slice(id_json);
        out.extend_from_slice(b"\",\"status\":\"received\",\"timestamp\":\"");
        receipt.committed_at.put_rfc3339(out);
        out.extend_from_slice(b"\",\"seq\":");
        put_number(out, verdict.seq().get());
        put_duplicate(out, verdict);
        put_durability(out, durability);
        out.push(b'}');
    });
}

pub(super) fn put_error(out: &mut Vec<u8>, failed: &EventError<'_>) {
    put_text_with(out, |out| {
        out.extend_from_slice(b"{\"type\":\"event_error\"");
        if let Some(id) = failed.id_json {
            out.extend_from_slice(b",\"eventId\":\"");
            out.extend_from_slice(id);
            out.push(b'"');
        }
        if let Some(index) = failed.index {
            out.extend_from_slice(b",\"index\":");
            put_number(out, u64::from(index));
        }
        for (name, value) in [("error", failed.error), ("code", failed.code), ("pointer", failed.pointer)] {
            if !value.is_empty() {
                out.extend_from_slice(format!(",\"{name}\":{}", serde_json::Value::from(value)).as_bytes());
            }
        }
        put_now(out);
    });
}

/// A message of a type, a channel where it concerns one, and the time.
pub(super) fn put_simple(out: &mut Vec<u8>, kind: &str, channel: Option<&str>) {
    put_text_with(out, |out| {
        out.extend_from_slice(format!("{{\"type\":\"{kind}\"").as_bytes());
        if let Some(channel) = channel {
            out.extend_from_slice(format!(",\"channel\":\"{channel}\"").as_bytes());
        }
        put_now(out);
    });
}

/// Writes what a listener has heard, each behind what it has missed before; returns the number of messages.
pub(super) fn put_news(
    out: &mut Vec<u8>,
    listener: &mut Listener,
    heard: &[Confirmation],
    durability: Durability,
) -> u64 {
    let mut messages = 0;
    for confirmation in heard {
        if let Some(missed) = listener.note(confirmation) {
            put_lagged(out, missed);
            messages += 1;
        }
        put_confirmation(out, confirmation, durability);
        messages += 1;
    }
    messages
}

fn put_confirmation(out: &mut Vec<u8>, confirmation: &Confirmation, durability: Durability) {
    put_text_with(out, |out| {
        out.extend_from_slice(b"{\"type\":\"event_confirmation\",\"eventId\":\"");
        out.extend_from_slice(&confirmation.id_json);
        out.extend_from_slice(b"\",\"seq\":");
        match confirmation.seq {
            Some(seq) => put_number(out, seq.get()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(format!(",\"status\":\"{}\",\"timestamp\":\"", confirmation.status.as_str()).as_bytes());
        confirmation.at.put_rfc3339(out);
        out.push(b'"');
        // Nothing is stored of one that is rejected.
        if confirmation.seq.is_some() {
            put_durability(out, durability);
        }
        out.push(b'}');
    });
}

/// Tells a listener that was too slow what it was not told.
fn put_lagged(out: &mut Vec<u8>, missed: Missed) {
    let Missed { confirmations, from } = missed;
    put_text_with(out, |out| {
        out.extend_from_slice(
            format!("{{\"type\":\"lagged\",\"missed\":{confirmations},\"fromSeq\":{from}").as_bytes(),
        );
        put_now(out);
    });
}

fn put_now(out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"timestamp\":\"");
    UnixMicros::now().put_rfc3339(out);
    out.extend_from_slice(b"\"}");
}
