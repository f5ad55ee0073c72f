//! Dead letters: rejected events, kept with the reason so that they can be mended and replayed.
//!
//! Stored under an id that counts up (u64 big-endian) as: { u32 length of the head, head, bytes as received }, the head
//! being a JSON object, so that fields can be added.

use super::submission::Reject;
use event::{Batch, UnixMicros};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;
use wal::{Family, ReadError, Reader, Write};

/// How many dead letters are kept and how long; beyond that they are only counted.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterLimits {
    /// Bytes per tenant.
    pub tenant_bytes_max: u64,
    /// Age at which they go.
    pub age_max: Duration,
}

/// Where the id that the next one gets is stored (u64 big-endian).
const NEXT: &[u8] = b"next_dead";

/// How often it is looked which dead letters are too old, and how many go at once at most.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
const EXPIRE_MAX: usize = 256;

impl Default for DeadLetterLimits {
    fn default() -> Self {
        DeadLetterLimits { tenant_bytes_max: 64 << 20, age_max: Duration::from_secs(30 * 24 * 60 * 60) }
    }
}

/// What is known of a dead letter besides its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The owner.
    pub tenant: String,
    /// The reason code.
    pub code: String,
    /// Where in the event.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
    /// The event's id, where one could be read.
    pub event_id: Option<String>,
    /// When it was received, microseconds since 1970.
    pub received_at: i64,
    /// `event::Source` as a number.
    pub source: u8,
}

/// The writer's view of the dead letters.
#[derive(Debug)]
pub(super) struct DeadLetters {
    limits: DeadLetterLimits,
    next: u64,
    /// None before this one is kept any more.
    oldest: u64,
    expired_at: UnixMicros,
    bytes: HashMap<Box<str>, u64>,
}

impl DeadLetters {
    pub(super) fn load(reader: &Reader, limits: DeadLetterLimits) -> Result<Self, ReadError> {
        let mut letters =
            DeadLetters { limits, next: 1, oldest: 1, expired_at: UnixMicros::default(), bytes: HashMap::new() };
        reader.scan(Family::Dead, &[], |key, value| {
            if let Ok(id) = key.try_into().map(u64::from_be_bytes) {
                letters.next = id + 1;
            }
            if let Some((letter, _)) = decode(value) {
                *letters.bytes.entry(letter.tenant.into()).or_default() += value.len() as u64;
            }
            ControlFlow::Continue(())
        })?;
        // Those that are gone had ids, too, and somebody may still hold them.
        let given_out = reader.get(Family::Projection, NEXT)?;
        let given_out = given_out.and_then(|value| value.try_into().ok().map(u64::from_be_bytes));
        letters.next = letters.next.max(given_out.unwrap_or(0));
        Ok(letters)
    }

    /// Adds the write that keeps a reject; `None` when the tenant's room is used up.
    pub(super) fn keep(&mut self, batch: &Batch, reject: &Reject, writes: &mut Vec<Write>) -> Option<u64> {
        let value = encode(batch, reject, reject.raw.as_deref()?);
        let used = self.bytes.entry(batch.tenant.clone()).or_default();
        if *used + value.len() as u64 > self.limits.tenant_bytes_max {
            return None;
        }
        *used += value.len() as u64;
        let id = self.next;
        self.next += 1;
        writes.push(Write::Put(Family::Dead, id.to_be_bytes().to_vec(), value));
        writes.push(Write::Put(Family::Projection, NEXT.to_vec(), self.next.to_be_bytes().to_vec()));
        Some(id)
    }

    /// Adds the removal of those that are too old.
    ///
    /// # Errors
    /// [`ReadError`]: none is removed.
    pub(super) fn expire(
        &mut self,
        reader: &Reader,
        now: UnixMicros,
        writes: &mut Vec<Write>,
    ) -> Result<(), ReadError> {
        if now.since(self.expired_at) < EXPIRE_EVERY {
            return Ok(());
        }
        self.expired_at = now;
        let mut looked_at = 0;
        reader.scan(Family::Dead, &self.oldest.to_be_bytes(), |key, value| {
            let Ok(id) = key.try_into().map(u64::from_be_bytes) else { return ControlFlow::Break(()) };
            let letter = decode(value).map(|(letter, _)| letter);
            let age = letter.as_ref().map(|letter| now.since(UnixMicros::new(letter.received_at)));
            looked_at += 1;
            if looked_at > EXPIRE_MAX || age.is_some_and(|age| age < self.limits.age_max) {
                return ControlFlow::Break(());
            }
            if let Some(used) = letter.and_then(|letter| self.bytes.get_mut(letter.tenant.as_str())) {
                *used = used.saturating_sub(value.len() as u64);
            }
            self.oldest = id + 1;
            writes.push(Write::Delete(Family::Dead, key.to_vec()));
            ControlFlow::Continue(())
        })
    }
}

fn encode(batch: &Batch, reject: &Reject, raw: &[u8]) -> Vec<u8> {
    let first = reject.rejection.first();
    let letter = DeadLetter {
        tenant: batch.tenant.to_string(),
        code: reject.rejection.code.as_str().to_owned(),
        pointer: first.pointer.clone(),
        detail: first.detail.clone(),
        event_id: reject.rejection.event_id.clone(),
        received_at: UnixMicros::get(batch.received_at),
        source: batch.source as u8,
    };
    let mut value = vec![0; 4];
    // Strings and numbers always serialise.
    if serde_json::to_writer(&mut value, &letter).is_err() {
        value.truncate(4);
    }
    let head = (value.len() - 4) as u32;
    value[..4].copy_from_slice(&head.to_le_bytes());
    value.extend_from_slice(raw);
    value
}

/// The head and the bytes of a stored dead letter; `None` for something else.
#[must_use]
pub(crate) fn decode(value: &[u8]) -> Option<(DeadLetter, &[u8])> {
    let (len, rest) = value.split_first_chunk::<4>()?;
    let (head, raw) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(head).ok()?, raw))
}
