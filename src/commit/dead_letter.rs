//! Dead letters: rejected events, and stored events that a sink can never take, kept with the reason so that they can be
//! mended and replayed.
//!
//! Stored under an id that counts up (u64 big-endian) as: { u32 length of the head, head, bytes as received }, the head
//! being a JSON object, so that fields can be added.

use super::letter_order::{edit_bytes, edits, forget};
use super::submission::Reject;
use super::timeline::Timeline;
use arc_swap::ArcSwap;
use event::{Batch, Seq, UnixMicros};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
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
/// Before the id (u64 big-endian) of each start of the daemon that wrote some: the log's own history has only those that
/// committed an event.
const STARTS: &[u8] = b"dead_starts/";

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
    /// The sink that cannot take it; `None` for what was rejected at the door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Its position, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its type, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Its session, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its store, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// W3C trace context of its request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it was made durable, microseconds since 1970; set when it is.
    #[serde(default)]
    pub committed_at: i64,
    /// The newest event of the log at that moment.
    #[serde(default)]
    pub after: u64,
    /// The daemon's start that made it durable; 0 in those of older releases.
    #[serde(default)]
    pub incarnation: u64,
}

impl DeadLetter {
    /// When it was made durable, or else received: older releases did not note the former.
    #[must_use]
    pub fn moment(&self) -> UnixMicros {
        UnixMicros::new(if self.committed_at > 0 { self.committed_at } else { self.received_at })
    }
}

/// A dead letter that is not kept yet.
#[derive(Debug, Clone)]
pub struct DeadDraft {
    /// What is known of it.
    pub letter: DeadLetter,
    /// The bytes as received.
    pub raw: Vec<u8>,
}

/// Where in the log's life a group is committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: UnixMicros,
    /// The same as steady time, for telling how old something is.
    pub(super) age: UnixMicros,
    /// The newest event before the group.
    pub(super) after: Seq,
    /// The daemon's start.
    pub(super) incarnation: u64,
}

/// The writer's view of the dead letters.
#[derive(Debug)]
pub(super) struct DeadLetters {
    limits: Arc<ArcSwap<DeadLetterLimits>>,
    next: u64,
    /// None before this one is kept any more.
    oldest: u64,
    expired_at: UnixMicros,
    bytes: HashMap<Box<str>, u64>,
    /// Whether this start is among those that wrote some.
    is_recorded: bool,
}

impl DeadLetters {
    pub(super) fn load(reader: &Reader, limits: Arc<ArcSwap<DeadLetterLimits>>) -> Result<Self, ReadError> {
        let (expired_at, bytes) = (UnixMicros::default(), HashMap::new());
        let mut letters = DeadLetters { limits, next: 1, oldest: 1, expired_at, bytes, is_recorded: false };
        let mut oldest = None;
        reader.scan(Family::Dead, &[], |key, value| {
            if let Ok(id) = key.try_into().map(u64::from_be_bytes) {
                letters.next = id + 1;
                oldest.get_or_insert(id);
            }
            if let Some((letter, _)) = decode(value) {
                *letters.bytes.entry(letter.tenant.into()).or_default() += value.len() as u64;
            }
            ControlFlow::Continue(())
        })?;
        letters.next = letters.next.max(given_out(reader)?);
        letters.oldest = oldest.unwrap_or(letters.next);
        for (id, bytes) in edits(reader)? {
            if let Some((letter, _)) = reader.get(Family::Dead, &id.to_be_bytes())?.as_deref().and_then(decode) {
                *letters.used_by(&letter.tenant) += bytes;
            }
        }
        Ok(letters)
    }

    /// Adds the write that keeps a reject; `None` when the tenant's room is used up.
    pub(super) fn keep(
        &mut self,
        batch: &Batch,
        reject: &Reject,
        moment: Moment,
        writes: &mut Vec<Write>,
    ) -> Option<u64> {
        let value = encode(&letter_of(batch, reject), reject.raw.as_deref()?, moment);
        let used = self.bytes.entry(batch.tenant.clone()).or_default();
        if *used + value.len() as u64 > self.limits.load().tenant_bytes_max {
            return None;
        }
        *used += value.len() as u64;
        Some(self.store(value, moment, writes))
    }

    /// Adds the write that keeps what a sink cannot take, however much room is used: it was accepted.
    pub(super) fn keep_accepted(&mut self, draft: &DeadDraft, moment: Moment, writes: &mut Vec<Write>) -> u64 {
        let value = encode(&draft.letter, &draft.raw, moment);
        *self.bytes.entry(draft.letter.tenant.as_str().into()).or_default() += value.len() as u64;
        self.store(value, moment, writes)
    }

    /// The id that the next one gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether one has not aged away; it may have been removed all the same.
    pub(super) fn is_kept(&self, id: u64) -> bool {
        (self.oldest..self.next).contains(&id)
    }

    pub(super) fn tenant_bytes_max(&self) -> u64 {
        self.limits.load().tenant_bytes_max
    }

    /// Bytes that a tenant's dead letters take.
    pub(super) fn used_by(&mut self, tenant: &str) -> &mut u64 {
        self.bytes.entry(tenant.into()).or_default()
    }

    fn store(&mut self, value: Vec<u8>, moment: Moment, writes: &mut Vec<Write>) -> u64 {
        if !std::mem::replace(&mut self.is_recorded, true) {
            let name = [STARTS, &moment.incarnation.to_be_bytes()].concat();
            writes.push(Write::Put(Family::Projection, name, Vec::new()));
        }
        let id = self.next;
        self.next += 1;
        writes.push(Write::Put(Family::Dead, id.to_be_bytes().to_vec(), value));
        writes.push(Write::Put(Family::Projection, NEXT.to_vec(), self.next.to_be_bytes().to_vec()));
        id
    }

    /// Adds the removal of those that are too old, up to the first that a sink still has to get. One that cannot be read
    /// goes with the first after it that is too old.
    ///
    /// # Errors
    /// [`ReadError`]: none is removed.
    pub(super) fn expire(
        &mut self,
        reader: &Reader,
        timeline: &Timeline,
        needed: u64,
        writes: &mut Vec<Write>,
    ) -> Result<(), ReadError> {
        let now = timeline.now();
        if now.since(self.expired_at) < EXPIRE_EVERY {
            return Ok(());
        }
        self.expired_at = now;
        let age_max = self.limits.load().age_max;
        let (mut looked_at, mut unreadable, mut failed) = (0, Vec::new(), None);
        reader.scan(Family::Dead, &self.oldest.to_be_bytes(), |key, value| {
            let Ok(id) = key.try_into().map(u64::from_be_bytes) else { return ControlFlow::Break(()) };
            looked_at += 1;
            if looked_at > EXPIRE_MAX || id >= needed {
                return ControlFlow::Break(());
            }
            let Some((letter, _)) = decode(value) else {
                unreadable.push(Write::Delete(Family::Dead, key.to_vec()));
                return ControlFlow::Continue(());
            };
            if now.since(timeline.steady(letter.moment())) < age_max {
                return ControlFlow::Break(());
            }
            let edit = match edit_bytes(reader, id) {
                Ok(edit) => edit,
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            };
            if let Some(used) = self.bytes.get_mut(letter.tenant.as_str()) {
                *used = used.saturating_sub(value.len() as u64 + edit);
            }
            self.oldest = id + 1;
            writes.append(&mut unreadable);
            writes.push(Write::Delete(Family::Dead, key.to_vec()));
            writes.extend(forget(id));
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(()), Err)
    }
}

fn letter_of(batch: &Batch, reject: &Reject) -> DeadLetter {
    let first = reject.rejection.first();
    DeadLetter {
        tenant: batch.tenant.to_string(),
        code: reject.rejection.code.as_str().to_owned(),
        pointer: first.pointer.clone(),
        detail: first.detail.clone(),
        event_id: reject.rejection.event_id.clone(),
        received_at: UnixMicros::get(batch.received_at),
        source: batch.source as u8,
        sink: None,
        seq: None,
        event_type: None,
        session_id: None,
        store_id: None,
        traceparent: batch.traceparent.as_deref().map(str::to_owned),
        committed_at: 0,
        after: 0,
        incarnation: 0,
    }
}

fn encode(letter: &DeadLetter, raw: &[u8], moment: Moment) -> Vec<u8> {
    let Moment { now, after, incarnation, age: _ } = moment;
    put(&DeadLetter { committed_at: now.get(), after: after.get(), incarnation, ..letter.clone() }, raw)
}

/// The same letter, as it is stored, without anything of its event: only what sinks count by.
pub(super) fn emptied(letter: DeadLetter) -> Vec<u8> {
    let (pointer, detail) = (String::new(), "erased".to_owned());
    let (event_id, traceparent, event_type, session_id, store_id) = (None, None, None, None, None);
    put(&DeadLetter { pointer, detail, event_id, traceparent, event_type, session_id, store_id, ..letter }, &[])
}

fn put(letter: &DeadLetter, raw: &[u8]) -> Vec<u8> {
    let mut value = vec![0; 4];
    // Strings and numbers always serialise.
    if serde_json::to_writer(&mut value, letter).is_err() {
        value.truncate(4);
    }
    let head = (value.len() - 4) as u32;
    value[..4].copy_from_slice(&head.to_le_bytes());
    value.extend_from_slice(raw);
    value
}

/// The id that the next dead letter gets, in a log that nobody writes to.
///
/// # Errors
/// [`ReadError`].
pub fn next_id(reader: &Reader) -> Result<u64, ReadError> {
    let mut next = given_out(reader)?;
    reader.scan(Family::Dead, &next.to_be_bytes(), |key, _| {
        next = key.try_into().map_or(next, |id| u64::from_be_bytes(id) + 1);
        ControlFlow::Continue(())
    })?;
    Ok(next.max(1))
}

/// The id that the next one gets, as far as it is stored apart: those that are gone had ids, too, and somebody may still
/// hold them.
fn given_out(reader: &Reader) -> Result<u64, ReadError> {
    let stored = reader.get(Family::Projection, NEXT)?;
    Ok(stored.and_then(|value| value.try_into().ok().map(u64::from_be_bytes)).unwrap_or(0))
}

/// The starts of the daemon that wrote dead letters, as far as they are not known by the events that they committed.
///
/// # Errors
/// [`ReadError`].
pub fn starts(reader: &Reader) -> Result<Vec<u64>, ReadError> {
    let mut found = Vec::new();
    reader.scan(Family::Projection, STARTS, |name, _| {
        let Some(id) = name.strip_prefix(STARTS) else { return ControlFlow::Break(()) };
        found.extend(id.try_into().ok().map(u64::from_be_bytes));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The head and the bytes of a stored dead letter; `None` for something else.
#[must_use]
pub fn decode(value: &[u8]) -> Option<(DeadLetter, &[u8])> {
    let (len, rest) = value.split_first_chunk::<4>()?;
    let (head, raw) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(head).ok()?, raw))
}
